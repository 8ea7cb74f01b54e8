"""Which column of a source is which canonical one: `source.columns`, checked.

A source declares the columns it has. A line needs a customer, a time, and a value: either
`amount`, with a quantity or without, or quantity and unit price.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import duckdb

from common.errors import UserError
from configs.source import Source
from ingestion.canonical import EPOCHS, MAPPED

# What holds no single value that a person would have typed into a cell.
NO_VALUE = re.compile(r"BOOLEAN|BLOB|BIT|STRUCT|MAP|UNION|VARIANT|GEOMETRY|.*\]$")


def check_mapping(source: Source) -> None:
    """Raises UserError for a mapping that no source could satisfy."""
    unknown = [name for name in source.columns if name not in MAPPED]
    if unknown:
        raise UserError(
            f"source.columns maps {unknown[0]!r}, which is no canonical column",
            where="source.columns",
            next_step=f"the canonical columns are {', '.join(MAPPED)}",
        )
    declared = source.declared
    values = declared & {"quantity", "unit_price", "amount"}
    missing = sorted({"customer_id", "invoiced_at"} - declared)
    if missing or ("amount" not in values and len(values) < 2):
        wanted = missing[0] if missing else "amount, or quantity and unit_price"
        raise UserError(
            f"source.columns does not say which column is {wanted}",
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
    """Declared column -> column of the source. types: the columns it has -> DuckDB types.

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
    source: Source, name: str, column: str, there: Iterable[str], place: str, hint: str = ""
) -> UserError:
    there = list(there)
    near = get_close_matches(column, there, n=1)
    near = near or [other for other in there if other.casefold() == column.casefold()]
    steps = [hint, f"did you mean {near[0]!r}?" if near else ""]
    if source.columns:
        steps.append(f"Pass --source.columns.{name} COLUMN, or mend it in the preset")
    else:  # all eight were expected
        steps.append(
            "Write the columns it has below source.columns, as configs/online_retail.yaml does"
        )
    return UserError(
        f"the source has no column {column!r}, which is to be read as {name}",
        where=f"{place}: its columns are {', '.join(there[:40])}",
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
