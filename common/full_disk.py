"""Tell a full disk from any other failure: every library says it in words of its own."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import NO_ROOM, UserError

WORDS = {os.strerror(number): number for number in NO_ROOM} | {
    "database or disk is full": errno.ENOSPC  # SQLite's, also by way of MLflow, Optuna and Prefect
}
PROBE = 1 << 20  # bytes; with less than that left, whatever failed has failed for want of room


def full_disk(error: BaseException | str, place: Path) -> UserError | None:
    """Return the error to show when `error` means that the disk is full; None otherwise.

    error: an exception, with all that it was raised from, or the text that a process left.
    place: a file or folder on the disk in question. Where the error does not say why a write
    failed, such as SQLite's "disk I/O error", a write is tried there.
    """
    number, file = says_full(error) or (_probe(place, str(error)), None)
    return explain(number, Path(os.fsdecode(file)) if file else place) if number else None


def says_full(error: BaseException | str) -> tuple[int, Any] | None:
    """Return the errno, one of NO_ROOM, and the file if it is known; None when neither the error
    nor its causes are about a full disk."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return cause.errno, cause.filename
        numbers = [int(number) for number in re.findall(r'"errno":"(\d+)"', str(cause))]  # DuckDB's
        numbers += [number for words, number in WORDS.items() if words in str(cause)]
        if known := [number for number in numbers if number in NO_ROOM]:
            return known[0], None
    return None


def explain(number: int, place: Path) -> UserError:
    """Return the error to show. number: one of NO_ROOM.  place: the path that was written to."""
    folder = _existing(place)
    usage, files_left = shutil.disk_usage(folder), os.statvfs(folder).f_favail
    space = f"{usage.free / 1e6:,.1f} MB of {usage.total / 1e6:,.0f} MB are free"
    if not files_left:
        space += ", and no further file can be made"
    or_else = {
        errno.ENOSPC: "",
        errno.EDQUOT: " for this user",
        errno.EFBIG: ", or a limit on the size of files (ulimit -f) is reached",
    }[number]
    return UserError(
        f"the disk is full{or_else}: {os.strerror(number)} ({space})",
        where=str(place),
        next_step="make room, or pass --var FOLDER on another disk; then the same command goes on"
        " from the last finished stage (nothing half-written is used)",
    )


def _chain(error: BaseException | str) -> Iterator[BaseException | str]:
    """Yield the exception and its causes, including the one that SQLAlchemy wraps."""
    waiting: list[Any] = [error]
    seen: list[Any] = []
    while waiting:
        cause = waiting.pop(0)
        if cause is not None and not any(cause is other for other in seen):
            seen.append(cause)
            yield cause
            waiting += [getattr(cause, name, None) for name in ("__cause__", "__context__", "orig")]


def _probe(place: Path, text: str) -> int | None:
    """Return the errno if a write to the disk of `place` fails now for want of space."""
    try:
        with tempfile.TemporaryFile(dir=_existing(place)) as file:
            file.write(bytes(PROBE))
    except OSError as error:
        return error.errno if error.errno in NO_ROOM else None
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    # SQLite reports the limit so; nothing else tells it from a failing disk.
    return errno.EFBIG if limited and "disk I/O error" in text else None


def _existing(place: Path) -> Path:
    """The folder itself, or the nearest one above that is there."""
    place = place.absolute()
    return next(folder for folder in (place, *place.parents) if folder.is_dir())
