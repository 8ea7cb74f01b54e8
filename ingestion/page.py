"""The contract's outcome as one self-contained page: no script, no other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.files import write_file
from common.terminal import on_page
from ingestion.batches import Batch
from ingestion.contract import MEASURES
from ingestion.expectations import Finding

FOLDER = Path(__file__).parent


def write_page(
    target: Path,
    rows: dict[str, Any],
    findings: list[Finding],
    name: str = "",
    compared: list[Finding] | None = None,
    batch: Batch | None = None,
    unseen: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Render `contract.html.jinja`: the row counts, what the contract finds, how the batch compares
    with the last accepted one, and the values of a table that are none of its categories
    (`ingestion/labelled/unseen.py`)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=on_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "percent": _percent}
    measured = [finding for finding in findings if finding.column in MEASURES]
    every = [*measured, *(compared or [])]
    page = environment.get_template("contract.html.jinja").render(
        rows=rows,
        name=name,
        batch=batch,
        measured=measured,
        compared=compared or [],
        unseen=unseen or {},
        broken=[f for f in every if not f.success and f.severity == "stop"],
        row_rules=[finding for finding in findings if finding.column not in MEASURES],
    )
    write_file(target, page)


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
    return str(value)


def _percent(part: int | None, whole: int) -> str:
    """The share, with enough digits that a few rows of a million do not read as none."""
    share = 100 * (part or 0) / max(whole, 1)
    if share == 0:
        return "–"
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.1g} %" if share >= 0.001 else "< 0.001 %"
