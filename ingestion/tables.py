"""A table or a query of a database: whether it is there, its columns, and how it is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from configs.errors import UserError
from configs.settings import Source
from ingestion.mapping import map_columns, missing_column
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
        raise missing_column(source, "watermark", watermark, there, place)
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


def survey(table: Table, low: Any) -> tuple[Any, int, int]:
    """The highest watermark, and how many rows lie below `low`, and not below it."""
    column = table.watermark
    below = "0" if low is None else f"count(CASE WHEN {column} < :low THEN 1 END)"
    values = {} if low is None else {"low": low}
    highest, rows, stamped, older = table.select(
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
    return highest, older, rows - older
