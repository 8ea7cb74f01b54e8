"""Parts as they stood on a day: rows from that day on are left out.

For `operations.today`, the clock: whoever operates a past month must not see what came after it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from configs.duck import connect, literal, parquet
from configs.settings import Compute


def spans(part: Path) -> tuple[date | None, date | None]:
    """The days of a part's first and last row with a time; None where no row has one."""
    with connect() as connection:
        ((first, last),) = connection.execute(
            f"SELECT CAST(min(invoiced_at) AS DATE), CAST(max(invoiced_at) AS DATE)"
            f" FROM {parquet(part)}"
        ).fetchall()
    return first, last


def cut_part(part: Path, target: Path, until: date, compute: Compute) -> None:
    """Write the rows of a part that are before `until`, and those without a time, in the order of
    the part."""
    with connect(target.parent, compute, ordered=True) as connection:
        connection.execute(
            f"COPY (FROM {parquet(part)} WHERE invoiced_at IS NULL OR invoiced_at < DATE '{until}')"
            f" TO {literal(target)} (FORMAT parquet)"
        )
