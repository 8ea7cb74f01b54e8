"""The training table held against its contract: features describe it, Great Expectations checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from features.catalogue import Feature
from features.contract import read_frame, table_checks
from ingestion.expectations import validate


def check_table(
    table: Path,
    features: Sequence[Feature],
    rows: dict[str, int],
    positive_rate: dict[str, float],
    *,
    dated: bool = True,
) -> None:
    """Raise UserError for the first check of the training table that is broken.

    rows, positive_rate: of each split.  dated: whether its rows have an as-of date.
    """
    findings = validate(read_frame(table), table_checks(features, dated=dated))
    for broken in (finding for finding in findings if not finding.success):
        raise UserError(
            f"the training table breaks its contract: {broken.code}"
            f"{'' if broken.found is None else f' is {broken.found}'}"
            f"{f', the limit is {broken.limit}' if broken.limit else ''} ({broken.why})",
            where=f"rows per split {rows}, positive rate {positive_rate}",
            next_step="check the valid rows and features.* settings (horizon, as-of dates)",
        )
