"""Store the trials of a search, so that a search that was killed continues.

Only finished trials are written, each in one transaction. What was under way when the process died
has left nothing behind and is run again. Any storage of Optuna's that SQLAlchemy reaches will do;
by default it is one SQLite file, which `optuna.load_study` and `optuna-dashboard` open as well.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import make_once
from common.full_disk import full_disk

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy import URL

SETTING = "tuning.storage"


@dataclass(frozen=True)
class Place:
    """Which study of which storage. url: SQLAlchemy's, without a password, which the environment
    variable `password_variable` holds if there is one."""

    url: str
    name: str
    password_variable: str = "OPTUNA_PASSWORD"


def open_study(place: Place) -> optuna.Study:
    """Open the study; it is made if it is not there.

    Raises UserError for a damaged file, a database that does not answer, or a missing driver.
    """
    import optuna

    with explained(place):
        return optuna.create_study(
            study_name=place.name, storage=_open_storage(place), load_if_exists=True
        )


def delete_study(place: Place) -> None:
    """Delete the study with all its trials."""
    import optuna

    with explained(place):
        optuna.delete_study(study_name=place.name, storage=_open_storage(place))


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn errors of SQLAlchemy and of a driver into one UserError, without a password."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        original = error.__cause__ if isinstance(error, StorageInternalError) else error
        original = getattr(original, "orig", None) or original or error
        password = os.environ.get(place.password_variable)
        message = str(original).replace(password or "\0", "***")
        message = " ".join(message.split())[:300] or type(original).__name__
        file = sqlite_file(place.url)
        if file is not None and (full := full_disk(error, file)):
            raise full from None
        if file is not None and re.search("not a database|malformed|disk image", message):
            raise _damaged(file, message) from None
        raise UserError(
            f"the tuning storage does not work: {message}",
            where=f"{SETTING} = {place.url}" if file is None else str(file),
            next_step="check that it runs, has free space, and accepts the user and the password in"
            f" {place.password_variable}; the same command then continues with the trials it kept"
            if file is None
            else "check that the disk has free space and that the file can be written; the same"
            " command then continues with the trials it kept",
        ) from None


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for any other."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _open_storage(place: Place) -> RDBStorage:
    from optuna.storages import RDBStorage

    url = _parsed(place)
    options: dict[str, Any] = {"hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        options["creator"] = partial(_connect, Path(url.database or ""))
        _make_file(Path(url.database or ""))
    else:
        options["pool_pre_ping"] = True
        password = os.environ.get(place.password_variable)
        url = url.set(password=password) if password else url
    text = url.render_as_string(hide_password=False)
    for _ in range(4):
        try:
            return RDBStorage(text, dict(options))
        except ImportError as error:
            raise _no_driver(url, error) from None
        except Exception as error:
            # Two families that make the tables of a new database meet.
            if "exists" not in str(error) and "unique" not in str(error):
                raise
    return RDBStorage(text, dict(options))


def _parsed(place: Place) -> URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(place.url)
    except (ArgumentError, ValueError):  # what they say holds the URL
        raise UserError(
            "this is not a SQLAlchemy URL (it is not shown, because it may hold a password)",
            where=SETTING,
            next_step="write DIALECT://USER@HOST:PORT/NAME, or leave it out for a file under var/",
        ) from None
    if url.drivername == "postgresql":  # of the drivers there are, the one we lock
        url = url.set(drivername="postgresql+psycopg")
    return url


def _no_driver(url: URL, error: ImportError) -> UserError:
    extra = url.get_backend_name() == "postgresql"
    return UserError(
        f"the driver of {url.drivername} is not installed: {error.__cause__ or error}",
        where=SETTING,
        next_step=".venv/bin/python -m pip install -e '.[postgres]'"
        if extra
        else "install the driver that SQLAlchemy's page on this dialect names into .venv",
    )


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=60, check_same_thread=False)  # families take turns
    # Waiting for the disk at every trial would cost more than all the rest of it. What is written
    # survives the death of the process; after a power cut the file may be damaged, which is seen.
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _make_file(file: Path) -> None:
    """Make the file with its tables, and look through one that is there for damage."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_once(file, _make_tables)
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        raise full_disk(error, file) or _no_access(file, error) from None
    try:
        with closing(_connect(file)) as connection:
            message = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise full_disk(error, file) or _no_access(file, error) from None
        raise _damaged(file, str(error)) from None
    if message != "ok":
        raise _damaged(file, message)


def _make_tables(file: Path) -> None:
    from optuna.storages import RDBStorage

    storage = RDBStorage("sqlite://", {"creator": partial(_connect, file)})
    storage.remove_session()
    storage.engine.dispose()


def _no_access(file: Path, error: Exception) -> UserError:
    return UserError(
        f"the study file cannot be opened: {error}",
        where=str(file),
        next_step="check who owns it, and whether another program has it open",
    )


def _damaged(file: Path, message: str) -> UserError:
    return UserError(
        f"the file of the tuning studies is damaged: {message}",
        where=str(file),
        next_step="delete it: finished models are kept, an unfinished search starts again",
    )
