"""Rows of a database, as Python gives them, in canonical form: chunk by chunk into a part.

A driver says little about types, SQLite's columns hold any, and a chunk of nothing but NULL says
nothing at all. So each chunk is read on its own, by the values that are in it, into the canonical
columns, whose types are always the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from common.duck import connect
from common.errors import UserError
from common.files import sha256_of
from configs.settings import Compute
from ingestion.canonical import select_canonical
from ingestion.mapping import check_part

if TYPE_CHECKING:
    import pyarrow as pa

ROW, TIMES = "source_row", "times of invoiced_at"
Rows = Sequence[Sequence[Any]]


def write_part(
    target: Path,
    chunks: Iterable[Rows],
    columns: dict[str, str],
    *,
    label: str,
    first_row: int,
    time_format: str | None,
    compute: Compute,
) -> tuple[int, str]:
    """Write chunks of rows as one part; returns their number and the file's sha256.

    columns: canonical column -> column of the source, in the order of a row's values.
    first_row: `source_row` of the first. No more than one chunk is held at a time. Raises
    UserError for a column whose values are of a type that nobody types into a cell, and for times
    and identifiers that are not what they were (`ingestion/mapping.py`).
    """
    import pyarrow.parquet as pq

    rows = 0
    # Without a chunk a part has no rows, and the columns all the same.
    with connect(target.parent, compute, ordered=True) as connection:

        def canonical(chunk: Rows) -> pa.Table:
            table = _arrow(chunk, columns, first_row + rows)
            connection.register("chunk", table)
            kinds = map(str, connection.table("chunk").types)
            query = select_canonical(
                "chunk",
                {name: name for name in columns},
                dict(zip(table.column_names, kinds, strict=True)),
                time_format,
                source=label,
                number=ROW,
                times=TIMES if TIMES in table.column_names else None,
            )
            return connection.sql(query).to_arrow_table()

        with pq.ParquetWriter(target, canonical([]).schema) as writer:
            for chunk in chunks:
                writer.write_table(canonical(chunk))
                rows += len(chunk)
        check_part(connection, target, time_format, columns, f"the rows of {label}")
    return rows, sha256_of(target)


def _arrow(chunk: Rows, columns: dict[str, str], first_row: int) -> pa.Table:
    import pyarrow as pa

    each = list(zip(*chunk, strict=True)) if chunk else [()] * len(columns)
    named = list(zip(each, columns.items(), strict=True))
    arrays = [_array(values, name, column, first_row) for values, (name, column) in named]
    numbers = pa.array(range(first_row, first_row + len(chunk)), pa.int64())
    table = pa.Table.from_arrays([numbers, *arrays], names=[ROW, *columns])
    if "invoiced_at" in columns and pa.types.is_string(table["invoiced_at"].type):
        values = each[list(columns).index("invoiced_at")]
        if any(isinstance(value, date) for value in values):  # times and text by turns
            times = [_time(value) if isinstance(value, date) else None for value in values]
            table = table.append_column(TIMES, pa.array(times, pa.timestamp("us")))
    return table


def _array(values: Sequence[Any], name: str, column: str, first_row: int) -> pa.Array:
    """The values as times, whole numbers or doubles if they all are; else as text."""
    import pyarrow as pa

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {date}:
        return pa.array(values, pa.date32())
    if kinds and all(issubclass(kind, date) for kind in kinds):
        return pa.array([_time(value) for value in values], pa.timestamp("us"))
    if kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except OverflowError:  # NUMERIC can be longer: as text it is read, or kept as unreadable
            pass
    if kinds == {float}:
        return pa.array(values, pa.float64())
    texts = [_text(value, name, column, row) for row, value in enumerate(values, start=first_row)]
    return pa.array(texts, pa.string())


def _time(value: date | None) -> datetime | None:
    if not isinstance(value, datetime):
        return None if value is None else datetime(value.year, value.month, value.day)
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _text(value: Any, name: str, column: str, row: int) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            pass
        case int() | float() | UUID():
            return str(value)
        case Decimal():  # 17850.00 is the customer 17850; format: never 1E+3
            whole = value.is_finite() and value == value.to_integral_value()
            return format(value.to_integral_value() if whole else value, "f")
        case date():
            return value.isoformat()
    raise UserError(
        f"column {column!r} holds values of type {type(value).__name__},"
        f" which are not read as {name}",
        where=f"source.columns.{name}, row {row}, first such value: {str(value)[:40]!r}",
        next_step=f"map {name} to another column, or cast it in source.database.query",
    )
