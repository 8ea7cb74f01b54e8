"""A part that was just written: does it hold times and identifiers, or what is left of them?

The contract judges the batch later, by shares. These two faults are told here, because one setting
or another export helps, and because an identifier that was rounded is no row's own any more.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import literal, parquet
from common.errors import UserError
from ingestion.canonical import CODES, EPOCHS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Shares of the rows. Fewer are dirt, and in quarantine; the contract has its own limit for times.
MANY_TIMES, MANY_CODES = 0.5, 0.01
NUMBER = r"[+-]?\d+([.,]\d+)?([eE]\+?\d+)?"
# Digits of a whole number -> how a time may be written in them, as `source.time_format` has it.
BY_DIGITS = {
    5: "excel_days",
    **{8: "%Y%m%d", 9: "epoch_s", 10: "epoch_s", 12: "epoch_ms", 13: "epoch_ms"},
    **{14: "%Y%m%d%H%M%S", 15: "epoch_us", 16: "epoch_us", 18: "epoch_ns", 19: "epoch_ns"},
}

log = logging.getLogger("golden_path")


def check_part(
    connection: DuckDBPyConnection,
    part: Path,
    time_format: str | None,
    columns: dict[str, str],
    place: str,
) -> None:
    """Raises UserError for a part of whose times most are bare numbers, or of whose identifiers
    many have lost digits; fewer of those are a warning.

    columns: canonical column -> column of the source.
    """
    numbers = literal(f"({'|'.join(('invoiced_at', *CODES))})={NUMBER}")
    found = connection.execute(f"""
        WITH each AS (SELECT unnest(unreadable) AS value FROM {parquet(part)})
        SELECT split_part(value, '=', 1) AS name, split_part(min(value), '=', 2), count(*),
               (SELECT count(*) FROM {parquet(part)})
        FROM each WHERE regexp_full_match(value, {numbers}) GROUP BY name ORDER BY name
    """).fetchall()
    for name, example, count, rows in found:
        limit = MANY_TIMES if name == "invoiced_at" else MANY_CODES
        many, where = count > limit * rows, f"{place}, column {columns.get(name, name)}"
        if name == "invoiced_at":
            if many and (time_format is None or time_format in EPOCHS):
                raise _bare_numbers(f"{count:,} of {rows:,}", example, time_format, where)
            continue
        what = (
            f"{count:,} of {rows:,} values of {name} are numbers that have lost digits, such as"
            f" {example}: many identifiers have become one"
        )
        step = (
            "export the column as text or as whole numbers, and do not save the file in a"
            " spreadsheet in between"
        )
        if many:
            raise UserError(what, where=where, next_step=step)
        log.warning("%s: %s; these rows are in quarantine. Next: %s", where, what, step)


def _bare_numbers(many: str, example: str, time_format: str | None, where: str) -> UserError:
    digits = len(f"{abs(float(example.replace(',', '.'))):.0f}")
    likely = BY_DIGITS.get(digits)
    return UserError(
        f"{many} times are bare numbers such as {example}"
        + (f", which are no times in {time_format}" if time_format else ""),
        where=where,
        next_step=(f"perhaps it is --source.time_format {likely}; " if likely else "")
        + f"it may be one of {', '.join(EPOCHS)}, or a format for strptime, as in %Y%m%d",
    )
