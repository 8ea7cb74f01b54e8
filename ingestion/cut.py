"""Parts as they stood on a day: rows from that day on are left out.

For `operations.today`, the clock: whoever operates a past month must not see what came after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from common.duck import connect, literal, parquet
from configs.settings import Compute

MONTH = 31  # days


def spans(part: Path) -> tuple[date | None, date | None]:
    """The days of a part's first and last row with a time; None where no row has one. From what the
    file says of its row groups, where it does: a log may lie in hundreds of parts."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(part)
    place = metadata.schema.names.index("invoiced_at")
    days: list[date] = []
    for number in range(metadata.num_row_groups):
        column = metadata.row_group(number).column(place)
        known = column.statistics
        if known is None or not (known.has_min_max or known.null_count == column.num_values):
            return _read_spans(part)
        if known.has_min_max:
            days += [known.min.date(), known.max.date()]
    return (min(days), max(days)) if days else (None, None)


def _read_spans(part: Path) -> tuple[date | None, date | None]:
    with connect() as connection:
        ((first, last),) = connection.execute(
            f"SELECT CAST(min(invoiced_at) AS DATE), CAST(max(invoiced_at) AS DATE)"
            f" FROM {parquet(part)}"
        ).fetchall()
    return first, last


def goes_on(parts: Sequence[Path], day: date, compute: Compute) -> bool:
    """Whether a source goes on: there are rows from a day on, at least half of what one day had in
    the month before, so that a few with a wrong date do not count."""
    within = timedelta(days=MONTH)
    with connect(compute=compute) as connection:
        ((before, after),) = connection.execute(f"""
            SELECT count(*) FILTER (invoiced_at < DATE '{day}'),
                   count(*) FILTER (invoiced_at >= DATE '{day}')
            FROM {parquet(list(parts))}
            WHERE invoiced_at >= DATE '{day - within}' AND invoiced_at < DATE '{day + within}'
        """).fetchall()
    return a_day_of_rows(after, before)


def a_day_of_rows(after: int, before: int) -> bool:
    """Whether so many rows are at least half of a day's, beside those of a month before."""
    return after > 0 and 2 * MONTH * after >= before


def cut_part(part: Path, target: Path, until: date, compute: Compute) -> None:
    """Write the rows of a part that are before `until`, and those without a time, in the order of
    the part."""
    with connect(target.parent, compute, ordered=True) as connection:
        connection.execute(
            f"COPY (FROM {parquet(part)} WHERE invoiced_at IS NULL OR invoiced_at < DATE '{until}')"
            f" TO {literal(target)} (FORMAT parquet)"
        )
