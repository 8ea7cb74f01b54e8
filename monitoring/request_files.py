"""The Parquet files that a running service writes: found, and read as far as they can be.

    FOLDER/date=2026-11-23/101502-4711-000003.parquet

A service writes a file every few seconds, so a period may have many thousands: they are read in
groups. One that is damaged, or still being written, is named and left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from configs.duck import parquet

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GROUP = 500  # files read by one query
DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})")
UNFINISHED = ".unfinished"


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
        for file in sorted(day.iterdir()) if inside and day.is_dir() else ():
            if file.name.endswith(UNFINISHED):
                left_out.append(f"{day.name}/{file.name}: it is still being written")
            elif file.suffix == ".parquet" and not file.name.startswith("."):
                files.append(file)
    return Found(tuple(files), tuple(left_out))


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
