"""Render the page about the data contract: the row counts, the rules, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.contract import MEASURES
from reports import page

if TYPE_CHECKING:
    from ingestion.batches import Batch
    from ingestion.facts import Finding


def write_contract_page(
    target: Path,
    rows: dict[str, Any],
    findings: list[Finding],
    name: str = "",
    compared: list[Finding] | None = None,
    batch: Batch | None = None,
    unseen: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write the page to `target`.

    rows: the counts `raw`, `valid`, `quarantined`.  findings: what the contract found.  name: of
    the batch.  compared: how it differs from the last accepted one, `batch`.  unseen: the values of
    a table that are not among its categories (`ingestion/labelled/unseen.py`).
    """
    measured = [finding for finding in findings if finding.column in MEASURES]
    broken = [f for f in (*measured, *(compared or [])) if not f.success and f.severity == "stop"]
    held = batch is not None and batch.status == "held"
    released = batch is not None and batch.status == "released"
    context = {
        "rows": rows,
        "name": name,
        "batch": batch,
        "measured": measured,
        "compared": compared or [],
        "unseen": unseen or {},
        "broken": broken,
        "held": held,
        "released": released,
        "refused": held or (bool(broken) and not released),
        "row_rules": [finding for finding in findings if finding.column not in MEASURES],
    }
    page.write_page(target, "contract.html.jinja", context)
