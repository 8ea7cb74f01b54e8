"""One command at a time on a var/ folder: two would trust each other's half-made state."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError


class Busy(UserError):
    """Another command, on this host or another, works on the same state."""


@contextmanager
def alone(var: Path, command: str) -> Iterator[None]:
    """Hold var/lock. The system lets go of it when the process ends, however it ends.

    Raises Busy when another process holds it.
    """
    file = var.absolute() / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    # Not truncated at opening: what stands there names the holder.
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"another command works in this folder: {lock.read().strip() or 'unknown'}",
                where=str(var),
                next_step="wait for it, or pass --var ANOTHER_FOLDER",
            ) from None
        lock.truncate()
        lock.write(f"{command}, process {os.getpid()}")
        lock.flush()
        yield
        lock.seek(0)
        lock.truncate()
