"""One way to open DuckDB, in every package: how much memory, how many threads, and where it spills.

DuckDB never uses more than `compute.memory_mb`: what does not fit is written into a folder of its
own beside the files that the caller is making, and is gone when the connection is closed.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from common.errors import UserError
from common.full_disk import full_disk

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


MEMORY_MB = 2000  # unless the settings say otherwise


class Limits(Protocol):
    """What a query may use: `settings.compute`."""

    @property
    def memory_mb(self) -> int: ...
    @property
    def threads(self) -> int | None: ...


@contextmanager
def connect(
    folder: Path | None = None, compute: Limits | None = None, *, ordered: bool = False
) -> Iterator[DuckDBPyConnection]:
    """An in-memory connection in UTC. `folder` is where it may spill; without one it may not.

    `ordered`: rows keep the order of the file they are read from. It costs memory, so the queries
    that need an order of their own say ORDER BY instead.
    """
    import duckdb

    memory_mb = compute.memory_mb if compute else MEMORY_MB
    options: dict[str, str | int] = {
        "memory_limit": f"{memory_mb}MB",
        "preserve_insertion_order": str(ordered).lower(),
        "temp_directory": "" if folder is None else str(folder / ".spill"),
    }
    if compute and compute.threads:
        options["threads"] = compute.threads
    try:
        with duckdb.connect(config=options) as connection:  # type: ignore[arg-type]
            connection.execute("SET TimeZone = 'UTC'")  # the same times on every machine
            connection.execute("SET enable_progress_bar = false")  # stdout is ours
            yield connection
    except duckdb.IOException as error:
        if full := full_disk(error, folder or Path.cwd()):
            raise full from None
        raise
    except duckdb.OutOfMemoryException as error:
        raise UserError(
            f"a query needs more than {memory_mb} MB, and could not spill the rest:"
            f" {str(error).splitlines()[0]}",
            where="compute.memory_mb" + (f", {folder}" if folder else ""),
            next_step="free some space there, or pass --compute.memory_mb with more",
        ) from None


def quoted(name: str) -> str:
    """A column name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | Path) -> str:
    """A text as SQL, and the path of a file that is written; see `existing` for one to read."""
    return "'" + str(text).replace("'", "''") + "'"


def as_pattern(path: Path) -> str:
    """The pattern that this path alone matches. DuckDB takes the path of every file that it reads
    for a pattern, in which `a[1].csv` matches `a1.csv`, and `~` for the user's folder.

    Raises UserError for a path that no pattern matches: in one, a backslash parts folders.
    """
    plain = str(path.absolute())
    if "\\" in plain and glob.has_magic(plain):
        raise UserError(
            "a file cannot be read that has a backslash and one of * ? [ in its path",
            where=plain,
            next_step="rename the file, or the folders that it lies in",
        )
    return glob.escape(plain)


def existing(path: Path) -> str:
    """The path of a file that is read, as SQL."""
    return literal(as_pattern(path))


def parquet(paths: Path | list[Path]) -> str:
    """`read_parquet(…)` of one file or several, as SQL."""
    files = [paths] if isinstance(paths, Path) else paths
    return f"read_parquet([{', '.join(map(existing, files))}], hive_partitioning = false)"


def content_hash(texts: Iterable[str], others: Iterable[str] = ()) -> str:
    """SQL of a row's content as one number (HUGEINT, 64 bits are used): their sum over rows says
    which rows there are, whatever their order. MD5, as DuckDB's own `hash` may change with it.

    texts, others: SQL of the columns that are text, and of those that are numbers or times. A text
    stands behind its length: else one that holds a separator could read like two.
    """
    written = [
        *(f"coalesce(strlen({text}) || ':' || {text}, '-')" for text in texts),
        *(f"coalesce(CAST({other} AS VARCHAR), '-')" for other in others),
    ]
    return f"md5_number_lower(concat_ws(' ', {', '.join(written)}))::HUGEINT"
