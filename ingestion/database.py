"""Source `database`: a table or a query, read in chunks, and only what is new.

With `database.watermark`, a column that only grows, the rows below its highest value are in closed
parts and never read again; those at the highest value are in one open part, read again every time,
because more may be committed with the same stamp. Every run counts the rows below and, where the
watermark is a whole number, adds it up: if some came late, or went, everything is read again. What
it cannot notice is a row that was changed in place, and with a watermark of times or texts as many
rows that came late as went. A row without a watermark has no place in this, so there must be none.

Without a watermark everything is read every time.

What has been read so far are parts in a folder, and `state.json` that vouches for them. The state
is a record (`common/files.py`), written after everything it names is in place, and a part is never
written over: a kill or a lost connection half-way leaves the store as it was. A state that was
altered is not used: the source is read from its beginning.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from common.errors import UserError
from common.files import read_record, sha256_of, write_record
from common.locks import file_lock
from configs.settings import Compute
from configs.source import Source
from ingestion import canonical, chunks
from ingestion.chunks import write_part
from ingestion.connection import KINDS, Table, check_url, connected, open_table, survey, total
from ingestion.mapping import check_mapping, check_time_format

if TYPE_CHECKING:
    from sqlalchemy import URL


# A condition, its values, the lowest watermark, and the total of those below it.
Piece = tuple[str, dict[str, Any], Any, str | None]
log = logging.getLogger("golden_path")
STATE = "state.json"


def check_database(source: Source) -> URL:
    """The URL. Raises UserError for settings that no database could satisfy; it connects to none,
    so it is cheap enough to be called before anything is started."""
    check_mapping(source)
    check_time_format(source.time_format)
    database = source.database
    if bool(database.table) == bool(database.query):
        raise UserError(
            "a database is read by a table or by a query"
            f"{'; both are set' if database.table else ', and neither is set'}",
            where="source.database.table, source.database.query",
            next_step="pass --source.database.table NAME, or write a query into the preset",
        )
    return check_url(database)


def read_new(source: Source, store: Path, compute: Compute) -> list[Path]:
    """The parts that make up the log so far, in the order of their rows.

    store: a folder that stays between runs; it holds the parts. A part that was returned before
    may be gone after the next call, when its rows are in another. Raises UserError for a database
    that is down, refuses the login, loses the connection, lacks a table or column, or holds values
    that cannot be read as a column; then the store is what it was.
    """
    url = check_database(source)
    watermark = source.database.watermark
    only_one = file_lock(
        store / ".lock",
        busy="another run is reading the same source",
        where=str(store),
        next_step="wait until it has finished, or pass --var FOLDER to work elsewhere",
    )
    with only_one, connected(source.database, url) as connection:
        table = open_table(source, connection)
        state = load_state(store, _key(source, url))
        low, known = (state.open.low, state.open.below) if state.open else (None, None)
        pieces: list[Piece]
        if watermark is None:
            state, pieces = State(state.key), [("", {}, None, None)]
        else:
            highest, below, above, sum_below = survey(table, low)
            if low is not None and (below != state.rows or above == 0 or sum_below != known):
                log.warning(
                    "%s: %d rows lie below the watermark %s and %d were read, %d are not below it:"
                    " rows came late or were deleted, and all rows are read again",
                    *(table.label, below, low, state.rows, above),
                )
                state, low, known = State(state.key), None, None
            pieces = _pieces(table, low, known, highest)
        parts = _read(table, pieces, state.rows + 1, store, compute)
        closed = (*state.closed, *(part for part in parts[:-1] if part.rows))
        state = State(state.key, closed, parts[-1])
        save_state(store, state)
    return [store / part.file for part in state.parts]


def _pieces(table: Table, low: Any, known: str | None, highest: Any) -> list[Piece]:
    """What is to be read: the rows below the highest watermark if there can be any, and at last
    those at it, which stay open."""
    column = table.watermark
    if highest is None:
        return [("", {}, None, None)]
    at_it = f"WHERE {column} = :highest"
    if low == highest:
        return [(at_it, {"highest": highest}, highest, known)]
    last = (at_it, {"highest": highest}, highest, total(table, highest))
    if low is None:
        first = f"WHERE {column} < :highest ORDER BY {column}"
        return [(first, {"highest": highest}, None, None), last]
    first = f"WHERE {column} >= :low AND {column} < :highest ORDER BY {column}"
    return [(first, {"low": low, "highest": highest}, low, known), last]


def _read(
    table: Table,
    pieces: list[Piece],
    first_row: int,
    store: Path,
    compute: Compute,
) -> list[Part]:
    """Each piece as a part; they get their names when all of them are there."""
    chunk_rows = table.source.database.chunk_rows
    unfinished = [store / f".{at}.unfinished" for at in range(len(pieces))]
    written = []
    try:
        for file, (where, values, low, below) in zip(unfinished, pieces, strict=True):
            rows, sha256 = write_part(
                file,
                table.select(table.names, where, **values).partitions(chunk_rows),
                table.columns,
                label=table.label,
                first_row=first_row,
                time_format=table.source.time_format,
                compute=compute,
            )
            first_row += rows
            written.append((file, rows, sha256, low, below))
        return [keep(store, *part) for part in written]
    finally:
        for file in unfinished:
            file.unlink(missing_ok=True)


def _key(source: Source, url: URL) -> str:
    """One hash of what the parts depend on, the code that writes them included."""
    database = source.database
    code = [inspect.getsource(module) for module in (canonical, chunks)]
    depends_on = [
        *(str(url), database.table, database.query, database.watermark, source.time_format),
        *(source.columns, code, duckdb.__version__),
    ]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


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


def load_state(store: Path, key: str) -> State:
    """Load the part of the state that is intact: only of the same key, and only the parts before
    the first damaged one."""
    try:
        saved = read_record(store / STATE)
        if saved["key"] != key:
            return State(key)
        closed = [_part(record) for record in saved["closed"]]
        last = _part(saved["open"]) if saved["open"] else None
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


def _intact(store: Path, part: Part) -> bool:
    try:
        return sha256_of(store / part.file) == part.sha256
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
