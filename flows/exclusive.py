"""One command at a time on a data set, on all hosts: the lock of var/, and one of PostgreSQL's.

A file's lock holds on one host. Where `tuning.storage` is a PostgreSQL that several hosts share, a
command holds an advisory lock there too, keyed by the data set and the folder of the state. It
belongs to the connection: the server releases it when the process ends, however it ends, and within
a minute when the host is gone. The holder asks every few seconds whether it still has the lock, and
ends when it cannot know: before the server would give the lock to another host. (Not through a
connection pool that hands a connection to another client after each transaction: PgBouncer's mode
`transaction`.)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

from common.errors import UserError
from common.locks import Busy, folder_lock
from configs.settings import Settings

if TYPE_CHECKING:
    import psycopg

SETTING = "tuning.storage"
ASK_EVERY = 5.0  # seconds
UNSURE = 30.0  # seconds without an answer: the command ends
# Of the server's side: after 60 s without an answer it takes the connection for dead.
PATIENCE: tuple[LiteralString, ...] = (
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 60000",
)
# Of ours, libpq's: a write that is not acknowledged fails well before UNSURE.
OURS = {
    "connect_timeout": 5,
    **{"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2},
    "tcp_user_timeout": 10_000,  # milliseconds
}
TRY: LiteralString = "SELECT pg_try_advisory_lock(%s)"
RELEASE: LiteralString = "SELECT pg_advisory_unlock(%s)"
HOLDER: LiteralString = """
    SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND (classid::bigint << 32) | objid::bigint = %s
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def exclusive(settings: Settings, command: str) -> Iterator[None]:
    """Hold the lock of var/, and the shared database's where there is one.

    Raises Busy when another command holds one of them; UserError when the database does not answer.
    """
    with folder_lock(settings.var, command), one_host(settings, command):
        yield


@contextmanager
def one_host(settings: Settings, command: str) -> Iterator[None]:
    """Hold the advisory lock of the data set and var/ in the PostgreSQL of `tuning.storage`; with
    any other storage, do nothing. A thread ends the process when the lock is lost.

    Raises Busy, which names the host, when another session holds it.
    """
    url = settings.tuning.storage
    if url is None or not is_shared(url):
        yield
        return
    lock = _Lock(
        # libpq takes the same parameters as SQLAlchemy, and knows no drivers.
        re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", url),
        os.environ.get(settings.tuning.password_variable),
        key_of(settings),
        # PostgreSQL keeps 63 bytes of it, and shows it to others.
        f"{command} on {socket.gethostname()[:30]}, process {os.getpid()}",
    )
    held, stop = [_take(lock)], threading.Event()
    watch = threading.Thread(target=_keep, args=(lock, held, stop), name="exclusive", daemon=True)
    watch.start()
    try:
        yield
    finally:
        stop.set()
        watch.join(ASK_EVERY)
        with suppress(Exception):  # else it is free when the server has noticed the end
            held[-1].execute(RELEASE, [lock.key])
        held[-1].close()


def is_shared(url: str) -> bool:
    """Whether the storage is one that other hosts may use too, and that can lock."""
    return re.match(r"postgres(ql)?(\+\w+)?:", url) is not None


def key_of(settings: Settings) -> int:
    """Return the number of the lock: 64 bits of a hash of the data set and the path of the
    state."""
    what = json.dumps([settings.dataset, str(settings.var.absolute())])
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True)
class _Lock:
    """Which lock, and where.  address: libpq's URL, without a password; key: of the lock; name: of
    the session, for others to see."""

    address: str
    password: str | None = field(repr=False)
    key: int
    name: str


def _take(lock: _Lock) -> psycopg.Connection[Any]:
    """Open a session that holds the lock. Raises Busy where another session holds it."""
    try:
        import psycopg
    except ImportError as error:
        raise UserError(
            f"the driver of PostgreSQL is not installed: {error}",
            where=SETTING,
            next_step=".venv/bin/python -m pip install -e '.[postgres]'",
        ) from None
    options: dict[str, Any] = {**OURS, "application_name": lock.name}
    if lock.password:
        options["password"] = lock.password
    connection = None
    try:
        connection = psycopg.connect(lock.address, autocommit=True, **options)
        for setting in PATIENCE:
            connection.execute(setting)
        ((taken,),) = connection.execute(TRY, [lock.key]).fetchall()
        holders = [] if taken else connection.execute(HOLDER, [lock.key]).fetchall()
    except psycopg.Error as error:
        if connection is not None:
            connection.close()
        reason = " ".join(str(error).replace(lock.password or "\0", "***").split())[:300]
        raise UserError(
            f"the database that holds the lock for several hosts cannot be used: {reason}",
            where=f"{SETTING} = {lock.address}",
            next_step="see that it runs and accepts user and password, then repeat the command",
        ) from None
    if not taken:
        connection.close()
        # It may have been released since, and the name of another user's session is not shown.
        holder = next((name for (name,) in holders if name), "a session of another user")
        # A session of our own may outlive its connection, until the server notices.
        kind = UserError if holder == lock.name else Busy
        raise kind(
            f"another command works on the same data set and folder: {holder}",
            where=f"{SETTING} = {lock.address}",
            next_step="wait for it, or pass --var ANOTHER_FOLDER",
        )
    return connection


def _keep(lock: _Lock, held: list[psycopg.Connection[Any]], stop: threading.Event) -> None:
    """Check that the session is alive, until `stop` is set; where it is not, take the lock again.
    Ends the process when another host has taken the lock, or may have."""
    from flows.stopping import end_because

    answered = time.monotonic()
    while not stop.wait(ASK_EVERY):
        try:
            if not _answers(held[-1]):
                held[-1].close()
                held.append(_take(lock))
            answered = time.monotonic()
        except Busy as error:
            end_because(error)
        except UserError as error:
            if time.monotonic() - answered > UNSURE:
                end_because(error)


def _answers(connection: psycopg.Connection[Any]) -> bool:
    with suppress(Exception):
        connection.execute("SELECT 1")
        return True
    return False
