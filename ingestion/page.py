"""The contract's outcome as one self-contained page: no script, no other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingestion.expectations import Finding

FOLDER = Path(__file__).parent


def write_page(target: Path, rows: dict[str, Any], findings: list[Finding]) -> None:
    """Render `contract.html.jinja` with the row counts and the findings."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "percent": _percent}
    critical = [finding for finding in findings if finding.severity == "critical"]
    page = environment.get_template("contract.html.jinja").render(
        rows=rows,
        batch=critical,
        broken=[finding for finding in critical if not finding.success],
        row_rules=[finding for finding in findings if finding.severity == "warning"],
    )
    target.write_text(page, encoding="utf-8")


def _figure(value: Any) -> str:
    """A figure as a person reads it: 1,067,371 or 0.2277; a list is shown by its length."""
    match value:
        case None:
            return "no value"
        case bool() | str():
            return str(value)
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
    return f"{len(value)} columns"


def _percent(part: int | None, whole: int) -> str:
    """The share, with enough digits that a few rows of a million do not read as none."""
    share = 100 * (part or 0) / max(whole, 1)
    if share == 0:
        return "–"
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.1g} %" if share >= 0.001 else "< 0.001 %"
