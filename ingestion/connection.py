"""A connection to a database by its SQLAlchemy URL, and what is said when there is none.

No password is ever part of the settings: `configs/settings.py` refuses a URL that holds one, and
the environment variable is read at the moment of connecting. No message shows it, whatever the
driver says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from configs.source import Database

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

NO_SUCH_DATABASE = re.compile(
    r"database .*does not exist|unknown database|cannot open database", re.IGNORECASE
)
LOGIN = ("password", "authentication", "access denied", "role", "login")
# A host that does not answer, or a cable that is pulled, is noticed within a minute.
# A scan of a large table begins where another one is, unless told otherwise. Not SET: servers that
# only speak like PostgreSQL may not know the setting.
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
            f"there is no database {url.database!r}", where=place, next_step="mend the path"
        )
    _engine(url).dispose()
    return url


@contextmanager
def connected(database: Database, url: URL) -> Iterator[Connection]:
    """A connection that reads, and sees one state of the data for as long as it lasts, in the same
    order each time where the server lets us say so."""
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
    """What SQLAlchemy and a driver say, as one message without a password."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        told = str(original).replace(password or "\0", "***")  # before anything is cut or joined
        told = re.split(r"\sLINE \d+:", told)[0]  # after it PostgreSQL shows our SQL
        told = " ".join(told.split())[:400] or type(original).__name__
        shown = f"source.database.url = {database.url}"
        variable = database.password_variable
        if connecting and NO_SUCH_DATABASE.search(told):
            raise UserError(
                f"the server has no such database: {told}",
                where=shown,
                next_step="mend the name at the end of the URL's address",
            ) from None
        if connecting and any(word in told.lower() for word in LOGIN):
            step = (
                f"the password in {variable} may be wrong for this user: export the right one,"
                if password
                else f"no password was given, {variable} is not set: export {variable}=…,"
            )
            raise UserError(
                f"the database refuses the login: {told}",
                where=shown,
                next_step=f"{step} or mend the user in the URL",
            ) from None
        if connecting:
            raise UserError(
                f"the database does not answer: {told}",
                where=shown,
                next_step="see that it runs and that host, port and name are right",
            ) from None
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise UserError(
                f"the connection to the database was lost: {told}",
                where=shown,
                next_step="run the same command again: what was read before is kept,"
                " and nothing of the part that was being read",
            ) from None
        kind, asked = ("query", database.query) if database.query else ("table", database.table)
        raise UserError(
            f"the database says: {told}",
            where=f"source.database.{kind} = {asked}",
            next_step="mend it, or cast or leave out in source.database.query what is named",
        ) from None
