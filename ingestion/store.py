"""What has been read from a database so far: parts in a folder, and `state.json` that vouches.

The state is a record (`common/files.py`), written after everything it names is in place, and a
part is never written over: a kill or a lost connection half-way leaves the store as it was. A state
that was altered is not used: the source is read from its beginning.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_record, write_record

STATE = "state.json"
KINDS: dict[str, Callable[[str], Any]] = {
    **{"int": int, "float": float, "str": str, "Decimal": Decimal},
    **{"datetime": datetime.fromisoformat, "date": date.fromisoformat},
}


@dataclass(frozen=True)
class Part:
    """Rows whose watermark is at least `low` (None: from the beginning). below: the sum of the
    watermarks below it, where they are whole numbers."""

    file: str
    sha256: str
    rows: int
    low: Any = None
    below: str | None = None


@dataclass(frozen=True)
class State:
    """closed: parts never read again. open: the last one, of the rows at the highest watermark.
    key: what they all depend on."""

    key: str
    closed: tuple[Part, ...] = ()
    open: Part | None = None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.closed)

    @property
    def parts(self) -> list[Part]:
        return [*self.closed, *([self.open] if self.open else [])]


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """One run at a time; the system lets go of it when the process ends, however it does."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another run is reading the same source",
                where=str(store),
                next_step="wait until it has finished, or pass --var FOLDER to work elsewhere",
            ) from None
        yield


def load_state(store: Path, key: str) -> State:
    """What can be trusted: nothing of another key, and no part from the first damaged one on."""
    try:
        found = read_record(store / STATE)
        if found["key"] != key:
            return State(key)
        closed = [_part(record) for record in found["closed"]]
        last = _part(found["open"]) if found["open"] else None
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return State(key)
    for at, part in enumerate(closed):
        if not _intact(store, part):  # what followed it is read again with it
            return State(key, tuple(closed[:at]), part)
    return State(key, tuple(closed), last)


def save_state(store: Path, state: State) -> None:
    """Make the state the one that counts, then remove what it no longer names."""
    record = {
        "key": state.key,
        "closed": [_record(part) for part in state.closed],
        "open": state.open and _record(state.open),
    }
    write_record(store / STATE, record)
    kept = {part.file for part in state.parts}
    for path in store.glob("*.parquet"):
        if path.name not in kept:
            path.unlink()


def keep(
    store: Path, unfinished: Path, rows: int, sha256: str, low: Any, below: str | None
) -> Part:
    """The finished file under a name of its own, which says what is in it."""
    part = Part(f"{sha256[:16]}.parquet", sha256, rows, low, below)
    unfinished.replace(store / part.file)
    return part


def is_watermark(value: Any) -> bool:
    return type(value).__name__ in KINDS


def _intact(store: Path, part: Part) -> bool:
    try:
        with (store / part.file).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == part.sha256
    except OSError:
        return False


def _record(part: Part) -> dict[str, Any]:
    low = part.low
    written = None if low is None else [type(low).__name__, str(low)]
    if isinstance(low, date):
        written = [type(low).__name__, low.isoformat()]
    return {**asdict(part), "low": written}


def _part(record: dict[str, Any]) -> Part:
    low = record["low"] and KINDS[record["low"][0]](record["low"][1])
    return Part(record["file"], record["sha256"], record["rows"], low, record["below"])
