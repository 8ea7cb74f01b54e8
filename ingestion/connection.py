"""A database by its SQLAlchemy URL, and a table or a query of it: connecting, selecting, and the
errors of SQLAlchemy and the drivers as one message.

No password is ever part of the settings: `configs/settings.py` refuses a URL that holds one, and
the environment variable is read at the moment of connecting. No message shows it, whatever the
driver says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from configs.source import Database, Source
from ingestion.mapping import map_columns

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, Result


# What a watermark may be: name of its type -> how its text is read again.
KINDS: dict[str, Callable[[str], Any]] = {
    **{"int": int, "float": float, "str": str, "Decimal": Decimal},
    **{"datetime": datetime.fromisoformat, "date": date.fromisoformat},
}
NO_SUCH_DATABASE = re.compile(
    r"database .*does not exist|unknown database|cannot open database", re.IGNORECASE
)
LOGIN = ("password", "authentication", "access denied", "role", "login")
# A host that does not answer, or a cable that is pulled, is noticed within a minute.
# A scan of a large table begins where another one is, unless this setting is off. Not by SET:
# servers that only speak like PostgreSQL may not know the setting.
SAME_ORDER = (
    "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'synchronize_seqscans'"
)
PATIENCE = {
    "connect_timeout": 10,
    **{"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3},
}


def check_url(database: Database) -> URL:
    """The URL, once it is known to be one, with its driver installed."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    place = "source.database.url"
    try:
        url = make_url(database.url or "")
    except (ArgumentError, ValueError):  # what they say holds the URL
        raise UserError(
            "source.kind is database, but there is no URL of one"
            if database.url is None
            else "this is not a SQLAlchemy URL (it is not shown, because it may hold a password)",
            where=place,
            next_step="write DIALECT://USER@HOST:PORT/NAME, as in postgresql://me@localhost/shop",
        ) from None
    if url.drivername == "postgresql":  # of the drivers there are, the one we lock
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise UserError(  # SQLite would make an empty one
            f"there is no database {url.database!r}", where=place, next_step="correct the path"
        )
    _engine(url).dispose()
    return url


@contextmanager
def connected(database: Database, url: URL) -> Iterator[Connection]:
    """A connection that reads, and sees one state of the data for as long as it lasts, in the same
    order each time where the server allows it."""
    from sqlalchemy import event

    password = os.environ.get(database.password_variable)
    engine = _engine(url)
    dialect = engine.dialect.name
    if password and dialect != "sqlite":

        @event.listens_for(engine, "do_connect")
        def _(_dialect: Any, _record: Any, _args: Any, options: dict[str, Any]) -> None:
            options["password"] = password

    try:
        with explained(database, password, connecting=True):
            connection = engine.connect()
        with connection, explained(database, password):
            if dialect == "postgresql":
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                connection.exec_driver_sql(SAME_ORDER)
                if engine.dialect.driver == "psycopg":
                    _keep_odd_times(connection)
            elif dialect == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection
    finally:
        engine.dispose()


def _keep_odd_times(connection: Connection) -> None:
    """Times that Python has none for (`infinity`, the year 10500, before Christ) come as text, and
    so end as an unreadable value of their row and not as the end of the run."""
    from psycopg import DataError
    from psycopg.adapt import Loader
    from psycopg.pq import Format

    driver: Any = connection.connection.driver_connection

    def lenient(plain: type[Any]) -> type[Loader]:
        class Lenient(Loader):  # a wrapper: what the C loaders inherit, psycopg does not call
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._plain = plain(oid, context)

            def load(self, data: Any) -> Any:
                try:
                    return self._plain.load(data)
                except DataError:
                    return bytes(data).decode()

        return Lenient

    for kind in ("date", "timestamp", "timestamptz"):
        oid = driver.adapters.types[kind].oid
        driver.adapters.register_loader(oid, lenient(driver.adapters.get_loader(oid, Format.TEXT)))


def _engine(url: URL) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    options = {}
    if url.drivername == "postgresql+psycopg":
        options = {name: value for name, value in PATIENCE.items() if name not in url.query}
    try:
        return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=options)
    except (ImportError, NoSuchModuleError, ArgumentError) as error:
        extra = "postgres" if url.get_backend_name() == "postgresql" else ""
        raise UserError(
            f"the driver of {url.drivername} is not installed: {error}",
            where="source.database.url",
            next_step=".venv/bin/python -m pip install -e '.[postgres]'"
            if extra
            else "install the driver that SQLAlchemy's page on this dialect names into .venv",
        ) from None


@contextmanager
def explained(
    database: Database, password: str | None, *, connecting: bool = False
) -> Iterator[None]:
    """Raise what SQLAlchemy and a driver report as one UserError without the password."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        reason = str(original).replace(password or "\0", "***")  # before anything is cut or joined
        reason = re.split(r"\sLINE \d+:", reason)[0]  # after it PostgreSQL shows our SQL
        reason = " ".join(reason.split())[:400] or type(original).__name__
        shown = f"source.database.url = {database.url}"
        variable = database.password_variable
        if connecting and NO_SUCH_DATABASE.search(reason):
            raise UserError(
                f"the server has no such database: {reason}",
                where=shown,
                next_step="correct the name of the database at the end of the URL",
            ) from None
        if connecting and any(word in reason.lower() for word in LOGIN):
            step = (
                f"the password in {variable} may be wrong for this user: export the right one,"
                if password
                else f"no password was given, {variable} is not set: export {variable}=…,"
            )
            raise UserError(
                f"the database refuses the login: {reason}",
                where=shown,
                next_step=f"{step} or correct the user in the URL",
            ) from None
        if connecting:
            raise UserError(
                f"the database does not answer: {reason}",
                where=shown,
                next_step="check that it runs, and that host, port and name are right",
            ) from None
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise UserError(
                f"the connection to the database was lost: {reason}",
                where=shown,
                next_step="run the same command again: what was read before is kept,"
                " and nothing of the part that was being read",
            ) from None
        kind, name = ("query", database.query) if database.query else ("table", database.table)
        raise UserError(
            f"database error: {reason}",
            where=f"source.database.{kind} = {name}",
            next_step="correct it, or cast or leave out the column that is named in"
            " source.database.query",
        ) from None


def is_watermark(value: Any) -> bool:
    return type(value).__name__ in KINDS


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
    """Return the table, after checking that it exists and has the columns."""
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
    present = list(table.select("*", "WHERE 1 = 0").keys())
    columns = map_columns(source, dict.fromkeys(present, "VARCHAR"), place)
    watermark = database.watermark or ""
    if watermark and watermark not in present:
        near = get_close_matches(watermark, present, n=1)
        raise UserError(
            f"the source has no column {watermark!r}, which source.database.watermark names",
            where=f"{place}: its columns are {', '.join(present[:40])}",
            next_step=(f"did you mean {near[0]!r}? " if near else "")
            + "Pass --source.database.watermark COLUMN, or leave it out",
        )
    names = ", ".join(map(quote, columns.values()))
    return replace(table, columns=columns, names=names, watermark=watermark and quote(watermark))


def _check_table(connection: Connection, schema: str | None, name: str, label: str) -> None:
    from sqlalchemy import inspect

    inspector = inspect(connection)
    names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
    if name not in names and not inspector.has_table(name, schema):
        near = get_close_matches(name, names, n=1)
        raise UserError(
            f"the database has no table or view {label!r}",
            where=f"source.database.table; there are {', '.join(names[:40]) or 'none'}",
            next_step=f"did you mean {near[0]!r}?" if near else "name one of them, or SCHEMA.NAME",
        )


def survey(table: Table, low: Any) -> tuple[Any, int, int, str | None]:
    """Return the highest watermark, the number of rows below `low` and of the others, and the
    `total` of those below it."""
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
    from one that stayed, even where another came. None where they are not whole numbers."""
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
