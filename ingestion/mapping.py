"""Which column of a source is which canonical one (`source.columns`), and whether what was read is
what it should be.

A source declares the columns it has. A line needs a customer, a time, and a value: either
`amount`, with a quantity or without, or quantity and unit price.

A part that was just written is looked at once more: does it hold times and identifiers, or what is
left of them? The contract judges the batch later, by shares. These two faults are reported here,
because another setting or export helps, and because a rounded identifier names no customer.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import duckdb

from common.duck import literal, parquet
from common.errors import UserError
from configs.source import Source
from ingestion.canonical import CODES, EPOCHS, MAPPED

# What holds no single value that a person would have typed into a cell.
NO_VALUE = re.compile(r"BOOLEAN|BLOB|BIT|STRUCT|MAP|UNION|VARIANT|GEOMETRY|.*\]$")
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


def check_mapping(source: Source) -> None:
    """Check the mapping. Raises UserError for one that no source could satisfy."""
    unknown = [name for name in source.columns if name not in MAPPED]
    if unknown:
        raise UserError(
            f"source.columns maps {unknown[0]!r}, which is not a canonical column",
            where="source.columns",
            next_step=f"the canonical columns are {', '.join(MAPPED)}",
        )
    declared = source.declared
    values = declared & {"quantity", "unit_price", "amount"}
    missing = sorted({"customer_id", "invoiced_at"} - declared)
    if missing or ("amount" not in values and len(values) < 2):
        missing_name = missing[0] if missing else "amount, or quantity and unit_price"
        raise UserError(
            f"source.columns does not say which column is {missing_name}",
            where=f"source.columns declares {', '.join(source.columns)}",
            next_step="a log needs customer_id, invoiced_at, and amount or quantity and unit_price",
        )
    if {"amount", "unit_price"} <= values:  # two answers, or a quantity divided out of round money
        spare = "amount" if "quantity" in values else "unit_price"
        raise UserError(
            "source.columns declares both amount and unit_price",
            where="source.columns",
            next_step=f"leave out {spare}: the value of a line is amount, or quantity x unit_price",
        )


def map_columns(
    source: Source, types: dict[str, str], place: str, hint: str = ""
) -> dict[str, str]:
    """Map declared columns to those of the source. types: the columns it has -> DuckDB types.

    Raises UserError for a declared column that is not there, or whose type holds no single value.
    """
    mapping = {name: source.columns.get(name, name) for name in MAPPED if name in source.declared}
    for name, column in mapping.items():
        if column not in types:
            raise missing_column(source, name, column, types, place, hint)
        if NO_VALUE.match(types[column]):
            raise UserError(
                f"column {column!r} is of type {types[column]}, which is not read as {name}",
                where=f"{place}, column {column}",
                next_step=f"map {name} to another column with --source.columns.{name} COLUMN",
            )
    return mapping


def missing_column(
    source: Source, name: str, column: str, names: Iterable[str], place: str, hint: str = ""
) -> UserError:
    names = list(names)
    near = get_close_matches(column, names, n=1)
    near = near or [other for other in names if other.casefold() == column.casefold()]
    steps = [hint, f"did you mean {near[0]!r}?" if near else ""]
    if source.columns:
        steps.append(f"Pass --source.columns.{name} COLUMN, or correct it in the preset")
    else:  # all eight were expected
        steps.append(
            "Write the columns it has below source.columns, as configs/online_retail.yaml does"
        )
    return UserError(
        f"the source has no column {column!r}, which is to be read as {name}",
        where=f"{place}: its columns are {', '.join(names[:40])}",
        next_step=" ".join(step for step in steps if step),
    )


def check_time_format(time_format: str | None) -> None:
    if time_format in EPOCHS:
        return
    if time_format is not None and "%" not in time_format:  # strptime would read no time by it
        raise UserError(
            f"the time format {time_format!r} has no % in it",
            where="source.time_format",
            next_step=f"write it for strptime, as in %d/%m/%Y %H:%M, or one of {', '.join(EPOCHS)}",
        )
    try:
        duckdb.execute("SELECT try_strptime('', ?)", [time_format]).fetchall()
    except duckdb.Error as error:
        raise UserError(
            f"the time format {time_format!r} is not understood: {' '.join(str(error).split())}",
            where="source.time_format",
            next_step=f"write it for strptime, as in %d/%m/%Y %H:%M, or one of {', '.join(EPOCHS)}",
        ) from error


def check_part(
    connection: duckdb.DuckDBPyConnection,
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
    lost = connection.execute(f"""
        WITH each AS (SELECT unnest(unreadable) AS value FROM {parquet(part)})
        SELECT split_part(value, '=', 1) AS name, split_part(min(value), '=', 2), count(*),
               (SELECT count(*) FROM {parquet(part)})
        FROM each WHERE regexp_full_match(value, {numbers}) GROUP BY name ORDER BY name
    """).fetchall()
    for name, example, count, rows in lost:
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
        + (f", which are not times in {time_format}" if time_format else ""),
        where=where,
        next_step=(f"perhaps it is --source.time_format {likely}; " if likely else "")
        + f"it may be one of {', '.join(EPOCHS)}, or a format for strptime, as in %Y%m%d",
    )
