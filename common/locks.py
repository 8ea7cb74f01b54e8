"""Locks between processes: files that the system releases when the holder ends, however it does.

A lock names its holder, so that another process can report who holds it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError

LOOK_EVERY = 0.05  # seconds, while waiting for a bounded time


class Busy(UserError):
    """Another process, on this host or another, works on the same state."""


@contextmanager
def file_lock(
    file: Path,
    holder: str = "",
    *,
    wait: float | None = 0.0,
    busy: str = "another process holds the lock",
    where: str = "",
    next_step: str = "wait for it to end, then try again",
) -> Iterator[None]:
    """Hold an exclusive lock on `file`, which is made if need be and stays.

    holder: who holds it, written into the file for others to read, with the number of the process.
    wait: seconds to wait for another holder; None: as long as it takes.

    Raises Busy, with `busy` and the holder's name, `where` (else the file) and `next_step`, when
    another one has held it for longer.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not truncated at opening: what stands there names the holder.
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as lock:
        if not _acquired(lock.fileno(), wait):
            named = lock.read().strip() or "unknown"
            raise Busy(f"{busy}: {named}", where=where or str(file), next_step=next_step)
        lock.truncate()
        lock.write(f"{holder or 'a command'}, process {os.getpid()}")
        lock.flush()
        try:
            yield
        finally:
            lock.seek(0)
            lock.truncate()


@contextmanager
def folder_lock(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of a folder of state, such as var/: two commands at a time would trust each
    other's half-made files.

    Raises Busy when another process holds it.
    """
    with file_lock(
        folder.absolute() / "lock",
        command,
        busy="another command works in this folder",
        where=str(folder),
        next_step="wait for it, or pass --var ANOTHER_FOLDER",
    ):
        yield


def _acquired(descriptor: int, wait: float | None) -> bool:
    """Whether the lock could be taken within so many seconds."""
    if wait is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    begun = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() - begun >= wait:
                return False
            time.sleep(LOOK_EVERY)
