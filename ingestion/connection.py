"""A connection to a database by its SQLAlchemy URL, and what is said when there is none.

No password is ever part of the settings: a URL that holds one is refused, and the environment
variable is read at the moment of connecting. No message shows it, whatever the driver says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import UserError
from configs.settings import Database

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

SECRET = ("password", "passwd", "pwd", "secret", "token", "key")
LOGIN = ("password", "authentication", "access denied", "role", "login")
# A host that does not answer, or a cable that is pulled, is noticed within a minute.
PATIENCE = {
    "connect_timeout": 10,
    **{"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3},
}


def check_url(database: Database) -> URL:
    """The URL, once it is known to be one, without a password, with its driver installed."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    place = "source.database.url"
    try:
        url = make_url(database.url or "")
    except (ArgumentError, ValueError):  # what they say holds the URL
        raise UserError(
            "source.kind is database, but there is no URL of one"
            if database.url is None
            else "this is no SQLAlchemy URL (it is not shown, it may hold a password)",
            where=place,
            next_step="write DIALECT://USER@HOST:PORT/NAME, as in postgresql://me@localhost/shop",
        ) from None
    held = [name for name in url.query if any(word in name.lower() for word in SECRET)]
    if url.password is not None or held:
        raise UserError(
            f"the URL holds a password{f' ({held[0]})' if held else ''}",
            where=place,
            next_step="take it out: passwords come from the environment variable named by"
            f" source.database.password_variable ({database.password_variable}), or ~/.pgpass",
        )
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
    """A connection that reads, and sees one state of the data for as long as it lasts."""
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
            elif dialect == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection
    finally:
        engine.dispose()


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
        told = re.split(r"\sLINE \d+:", str(original))[0]  # after it PostgreSQL shows our SQL
        told = " ".join(told.split())[:400] or type(original).__name__
        if password:
            told = told.replace(password, "***")
        shown = f"source.database.url = {database.url}"
        variable = database.password_variable
        if connecting and any(word in told.lower() for word in LOGIN):
            state = "is set" if password else "is not set"
            raise UserError(
                f"the database refuses the login: {told}",
                where=shown,
                next_step=f"{variable} {state} in the environment: export {variable}=…,"
                " or mend the user in the URL",
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
