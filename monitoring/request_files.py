"""Find, merge and read the Parquet files that a running service writes.

    FOLDER/date=2026-11-23/101502-4711-000003.parquet

A service writes a file every few seconds, so a day may have many thousands. `merge_days` merges
those of a day that is over into one, `day.parquet`, which lists the names of what it contains.
Files are read in groups. One that is damaged, or still being written, is reported and left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import parquet

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GROUP = 500  # files read by one query
DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
UNFINISHED = ".unfinished"
WHOLE_DAY = "day.parquet"
MERGED = b"golden_path_merged"  # in its metadata: the names of the files that it contains
ROWS = 100_000  # of a row group, and held at once


@dataclass(frozen=True)
class LogFiles:
    """files: those that are complete by their names, by day and name.  left_out: the others, and
    why."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def list_files(folder: Path, since: date, until: date) -> LogFiles:
    """List the files of the days from `since` to before `until`; none where the folder does not
    exist."""
    files: list[Path] = []
    left_out: list[str] = []
    for day in sorted(folder.glob("date=*")):
        named = DAY.fullmatch(day.name)
        try:
            inside = named is not None and since <= date.fromisoformat(named[1]) < until
        except ValueError:  # the 31st of November
            inside = False
        merged = _merged(day) if inside else set()
        for file in sorted(day.iterdir()) if inside and day.is_dir() else ():
            if file.name in merged:
                continue  # a process was killed before it removed it
            if file.name.endswith(UNFINISHED):
                left_out.append(f"{day.name}/{file.name}: it is still being written")
            elif file.suffix == ".parquet" and not file.name.startswith("."):
                files.append(file)
    return LogFiles(tuple(files), tuple(left_out))


def merge_days(folder: Path, until: date) -> None:
    """Merge the files of each day before `until`, which no service writes into any more, into one.

    It is written under a temporary name and renamed before those that it contains, which it lists,
    are removed: a kill loses nothing. Files that cannot be read, or have other columns than the
    first, as on the day on which a champion of other features came, stay beside it.
    """
    for day in sorted(folder.glob("date=*")):
        named = DAY.fullmatch(day.name)
        if named is None or named[1] >= until.isoformat() or not day.is_dir():
            continue
        merged = _merged(day)
        parts = [file for file in sorted(day.glob("[!.]*.parquet")) if file.name != WHOLE_DAY]
        others = [file for file in parts if file.name not in merged]
        if len(others) + bool(merged) > 1 and others:
            merged |= _merge(day, others, merged)
        for file in parts:
            if file.name in merged:
                file.unlink()


def _merged(day: Path) -> set[str]:
    """Read the names of the files that were merged into that of the day; none where it is
    missing."""
    import pyarrow.parquet as pq

    if not (day / WHOLE_DAY).exists():
        return set()
    try:
        return set(json.loads(pq.read_metadata(day / WHOLE_DAY).metadata[MERGED]))
    except (OSError, LookupError, TypeError, ValueError):
        return set()


def _merge(day: Path, others: Sequence[Path], merged: set[str]) -> set[str]:
    """Write the file of the day from itself, where it exists, and from others; returns the names of
    the latter that are in it now."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary, schema, names = day / f".{WHOLE_DAY}.temporary", None, list[str]()
    writer, held, rows = None, list[pa.Table](), 0
    try:
        for file in [*([day / WHOLE_DAY] if merged else []), *others]:
            try:
                table = pq.ParquetFile(file).read().replace_schema_metadata()
            except (pa.ArrowException, OSError):  # it is named whenever the day is read
                continue
            schema = schema or table.schema
            if table.schema != schema:
                continue
            names += [file.name] * (file.name != WHOLE_DAY)
            held.append(table)
            rows += table.num_rows
            if rows >= ROWS:
                writer = writer or pq.ParquetWriter(temporary, schema)
                writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
                held, rows = [], 0
        if len(names) + bool(merged) < 2 or not names:
            return set()
        writer = writer or pq.ParquetWriter(temporary, schema)
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
        writer.add_key_value_metadata({MERGED: json.dumps(sorted({*merged, *names}))})
        writer.close()
        temporary.replace(day / WHOLE_DAY)
        return set(names)
    finally:
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)


def read_each(
    connection: DuckDBPyConnection,
    files: Sequence[Path],
    read: Callable[[DuckDBPyConnection, str], None],
) -> list[str]:
    """Call `read` with SQL for each group of files, within a transaction of its own. Where it fails
    the group is halved, down to the file that is at fault: those are returned, with the reason."""
    left_out: list[str] = []
    groups = [list(files[start : start + GROUP]) for start in range(0, len(files), GROUP)]
    while groups:
        group = groups.pop(0)
        reason = _read(connection, group, read)
        if reason and len(group) > 1:
            half = len(group) // 2
            groups[:0] = [group[:half], group[half:]]
        elif reason:
            file = group[0]
            left_out.append(f"{file.parent.name}/{file.name}: {reason}")
    return left_out


def _read(
    connection: DuckDBPyConnection,
    group: list[Path],
    read: Callable[[DuckDBPyConnection, str], None],
) -> str:
    """Read one group; returns the reason where it cannot be read, else ""."""
    import duckdb

    connection.execute("BEGIN")
    try:
        read(connection, parquet(group))
        connection.execute("COMMIT")
        return ""
    except duckdb.OutOfMemoryException:  # no file's fault
        connection.execute("ROLLBACK")
        raise
    except duckdb.Error as error:
        connection.execute("ROLLBACK")
        lines = str(error).splitlines() or [type(error).__name__]
        return f"it cannot be read ({lines[0][:200]})"
