"""A table or a query of a database: whether it is there, its columns, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from configs.source import Source
from ingestion.mapping import map_columns
from ingestion.store import is_watermark

if TYPE_CHECKING:
    from sqlalchemy import Connection, Result


@dataclass(frozen=True)
class Table:
    """What is read, as SQL. columns: canonical column -> column of the source."""

    connection: Connection
    source: Source
    relation: str
    label: str
    place: str
    columns: dict[str, str]
    names: str  # of these columns, as SQL
    watermark: str

    def select(self, what: str, where: str = "", **values: Any) -> Result:
        """The server keeps the rows, and hands over `chunk_rows` of them at a time."""
        from sqlalchemy import text

        return self.connection.execute(
            text(f"SELECT {what} FROM {self.relation} {where}"),
            values,
            execution_options={"yield_per": self.source.database.chunk_rows},
        )


def open_table(source: Source, connection: Connection) -> Table:
    """The table, once it is known to be there and to have the columns."""
    database, quote = source.database, connection.dialect.identifier_preparer.quote
    if database.query:  # a colon is a parameter to SQLAlchemy; -- may end a query
        query = database.query.strip().rstrip(";").replace(":", "\\:")
        label, relation, place = "query", f"({query}\n) AS source_rows", "source.database.query"
    else:
        label = database.table or ""
        schema, _, name = label.rpartition(".")
        _check_table(connection, schema or None, name, label)
        relation = ".".join(map(quote, [schema, name] if schema else [name]))
        place = f"source.database.table = {label}"
    table = Table(connection, source, relation, label, place, {}, "", "")
    there = list(table.select("*", "WHERE 1 = 0").keys())
    columns = map_columns(source, dict.fromkeys(there, "VARCHAR"), place)
    watermark = database.watermark or ""
    if watermark and watermark not in there:
        near = get_close_matches(watermark, there, n=1)
        raise UserError(
            f"the source has no column {watermark!r}, which source.database.watermark names",
            where=f"{place}: its columns are {', '.join(there[:40])}",
            next_step=(f"did you mean {near[0]!r}? " if near else "")
            + "Pass --source.database.watermark COLUMN, or leave it out",
        )
    names = ", ".join(map(quote, columns.values()))
    return replace(table, columns=columns, names=names, watermark=watermark and quote(watermark))


def _check_table(connection: Connection, schema: str | None, name: str, label: str) -> None:
    from sqlalchemy import inspect

    inspector = inspect(connection)
    there = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
    if name not in there and not inspector.has_table(name, schema):
        near = get_close_matches(name, there, n=1)
        raise UserError(
            f"the database has no table or view {label!r}",
            where=f"source.database.table; there are {', '.join(there[:40]) or 'none'}",
            next_step=f"did you mean {near[0]!r}?" if near else "name one of them, or SCHEMA.NAME",
        )


def survey(table: Table, low: Any) -> tuple[Any, int, int, str | None]:
    """The highest watermark, how many rows lie below `low`, and not below it, and their `total`
    below it."""
    column = table.watermark
    below, values = "0, NULL", {}
    if low is not None:
        below, values = f"count(CASE WHEN {column} < :low THEN 1 END)", {"low": low}
        below += f", {_total(table, 'low') if _is_whole(low) else 'NULL'}"
    highest, rows, stamped, older, sum_below = table.select(
        f"max({column}), count(*), count({column}), {below}", **values
    ).one()
    missing = rows - stamped
    advice = "choose a column that every row has and that only grows, or leave watermark out"
    if missing:
        raise UserError(
            f"{missing:,} rows have no value in the watermark column {column}",
            where=f"{table.place}, source.database.watermark",
            next_step=f"{advice}; or leave such rows out with source.database.query",
        )
    if highest is not None and not is_watermark(highest):
        raise UserError(
            f"the watermark column {column} holds values of type {type(highest).__name__}",
            where=f"{table.place}, source.database.watermark",
            next_step=f"{advice}: a number, a time, a date or a text",
        )
    return highest, older, rows - older, _written(sum_below)


def total(table: Table, low: Any) -> str | None:
    """The sum of the watermarks below `low`: with the count of their rows it tells a row that went
    from one that stayed, even where another came. None where they are no whole numbers."""
    if not _is_whole(low):
        return None
    return _written(table.select(_total(table, "low"), low=low).scalar_one())


def _total(table: Table, name: str) -> str:
    """SQL that no number of rows makes overflow. (SQLite's sum is of 64 bits.)"""
    below = f"CASE WHEN {table.watermark} < :{name} THEN {table.watermark} END"
    if table.connection.dialect.name == "sqlite":
        return f"sum(({below}) % 1000000007)"
    return f"sum(CAST({below} AS DECIMAL(38)))"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | Decimal)


def _written(value: Any) -> str | None:
    return None if value is None else format(Decimal(value), "f")
