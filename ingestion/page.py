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
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined
    )
    critical = [finding for finding in findings if finding.severity == "critical"]
    page = environment.get_template("contract.html.jinja").render(
        rows=rows,
        batch=critical,
        row_rules=[finding for finding in findings if finding.severity == "warning"],
        accepted=all(finding.success for finding in critical),
    )
    target.write_text(page, encoding="utf-8")
