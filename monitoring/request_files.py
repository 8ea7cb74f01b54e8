"""The Parquet files that a running service writes: found, and read as far as they can be.

    FOLDER/date=2026-11-23/101502-4711-000003.parquet

A service writes a file every few seconds, so a day may have many thousands. `merge_days` makes one
of those of a day that is over: `day.parquet`, which stands for all others beside it. Files are read
in groups. One that is damaged, or still being written, is named and left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from configs.duck import parquet

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

log = logging.getLogger("golden_path")
GROUP = 500  # files read by one query
DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
UNFINISHED = ".unfinished"
WHOLE_DAY = "day.parquet"
ROWS = 100_000  # of a row group, and held at once


@dataclass(frozen=True)
class Found:
    """files: that are whole by their names, by day and name.  left_out: the others, and why."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def list_files(folder: Path, since: date, until: date) -> Found:
    """The files of the days from `since` to before `until`; none where there is no such folder."""
    files: list[Path] = []
    left_out: list[str] = []
    for day in sorted(folder.glob("date=*")):
        named = DAY.fullmatch(day.name)
        try:
            inside = named is not None and since <= date.fromisoformat(named[1]) < until
        except ValueError:  # the 31st of November
            inside = False
        if inside and (day / WHOLE_DAY).exists():
            files.append(day / WHOLE_DAY)
            continue
        for file in sorted(day.iterdir()) if inside and day.is_dir() else ():
            if file.name.endswith(UNFINISHED):
                left_out.append(f"{day.name}/{file.name}: it is still being written")
            elif file.suffix == ".parquet" and not file.name.startswith("."):
                files.append(file)
    return Found(tuple(files), tuple(left_out))


def merge_days(folder: Path, until: date) -> None:
    """Make one file of those of each day before `until`, which no service writes into any more.

    The one is written aside and renamed before the others are removed, so a kill loses nothing. A
    day stays as it is where a file cannot be read, or where they differ in their columns, as on the
    day on which a champion of other features came.
    """
    for day in sorted(folder.glob("date=*")):
        named = DAY.fullmatch(day.name)
        if named is None or named[1] >= until.isoformat() or not day.is_dir():
            continue
        parts = [file for file in sorted(day.glob("[!.]*.parquet")) if file.name != WHOLE_DAY]
        if not (day / WHOLE_DAY).exists() and (len(parts) < 2 or not _merge(parts, day)):
            continue
        for file in parts:
            file.unlink()


def _merge(parts: Sequence[Path], day: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    aside = day / f".{WHOLE_DAY}.aside"
    held, rows = list[pa.Table](), 0
    try:
        schema = pq.read_schema(parts[0])
        with pq.ParquetWriter(aside, schema) as writer:
            for file in parts:
                held.append(pq.ParquetFile(file).read())
                rows += held[-1].num_rows
                if held[-1].schema != schema:
                    raise pa.ArrowInvalid("other columns")
                if rows >= ROWS or file == parts[-1]:
                    writer.write_table(pa.concat_tables(held), row_group_size=ROWS)
                    held, rows = [], 0
    except (pa.ArrowException, OSError) as error:
        log.warning("the files of %s are not merged: %s", day, error)
        aside.unlink(missing_ok=True)
        return False
    aside.replace(day / WHOLE_DAY)
    return True


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
    """ "" where it could be read."""
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
