"""Source `files`: Parquet, CSV (gzipped too) and XLSX, through a column mapping."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import UserError
from configs.settings import Source
from ingestion.canonical import COLUMNS, REQUIRED, literal, select_canonical

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".xlsx")
DELIMITERS = ",;\t|"
# What holds no single value that a person would have typed into a cell.
NO_VALUE = re.compile(r"BOOLEAN|BLOB|BIT|STRUCT|MAP|UNION|VARIANT|GEOMETRY|.*\]$")


def read_file(source: Source, target: Path) -> None:
    """Write the rows of `source.path` to `target` in canonical form; see `ingestion/canonical.py`.

    Raises UserError for a file that is missing, empty, of another format, truncated or damaged,
    for a column that the mapping names and the file lacks, and for one that holds lists, structs
    or booleans. Then `target` does not exist.
    """
    path = check_file(source.path)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        with _explained(path), duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")  # the same times on every machine
            _check_time_format(connection, source.time_format)
            relation = _relation(connection, path)
            columns = connection.execute(f"DESCRIBE FROM {relation}").fetchall()
            types = {name: kind for name, kind, *_ in columns}
            mapping = _mapping(source, types, path)
            query = select_canonical(relation, mapping, types, source.time_format)
            connection.execute(f"COPY ({query}) TO {literal(str(unfinished))} (FORMAT parquet)")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def check_file(path: Path | None) -> Path:
    """The path, once it is known to be a file of a kind that is read."""
    if path is None:
        raise UserError(
            "source.kind is files, but no file is named",
            where="source.path",
            next_step="pass --source.path FILE",
        )
    if not path.exists():
        raise UserError(
            f"the file {path.name!r} does not exist",
            where=f"source.path = {path}",
            next_step="pass --source.path FILE, or run on simulated data: make train",
        )
    if path.is_dir() or not path.name.lower().endswith(SUFFIXES):
        kind = "a folder" if path.is_dir() else f"a file of kind {path.suffix!r}"
        raise UserError(
            f"{path.name!r} is {kind}; what is read are files named {', '.join(SUFFIXES)}",
            where=f"source.path = {path}",
            next_step="convert it, or name another file with --source.path",
        )
    if path.stat().st_size == 0:
        raise UserError(
            f"the file {path.name!r} is empty (0 bytes)",
            where=f"source.path = {path}",
            next_step="fetch it again",
        )
    return path


def _relation(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".parquet"):
        # A folder called `country=UK` would add a column.
        return f"read_parquet({literal(str(path))}, hive_partitioning = false)"
    if name.endswith(".xlsx"):
        connection.register("sheets", _read_sheets(path))
        return "sheets"
    return _csv(path)


def _csv(path: Path) -> str:
    """Nothing is guessed from the first rows: DuckDB's detection skips lines that look odd and
    takes the next one for the header. What a value means is decided in `ingestion/canonical.py`."""
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        line = file.readline().decode("utf-8-sig")
        while packed and file.read(1 << 20):  # to the checksum, which DuckDB does not look at
            pass
    delimiter = max(DELIMITERS, key=line.count)
    header = next(csv.reader([line], delimiter=delimiter), [])
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in _named(header, path))
    return (
        f"read_csv({literal(str(path))}, auto_detect = false, header = true,"
        f" columns = {{{columns}}}, delim = {literal(delimiter)}, quote = '\"', escape = '\"',"
        f" compression = '{'gzip' if packed else 'none'}', hive_partitioning = false)"
    )


def _read_sheets(path: Path) -> pa.Table:
    """Every sheet that has the header of the first one, as one Arrow table of text and times."""
    import pyarrow as pa
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        workbook = CalamineWorkbook.from_path(path)
        sheets = [workbook.get_sheet_by_name(name).to_python() for name in workbook.sheet_names]
    except CalamineError as error:
        raise _damaged(path, str(error)) from error
    headers = [[str(cell) for cell in sheet[0]] if sheet else [] for sheet in sheets]
    names = _named(headers[0] if headers else [], path)
    rows: list[list] = []
    for title, sheet, header in zip(workbook.sheet_names, sheets, headers, strict=True):
        if header == headers[0]:
            rows += sheet[1:]
        elif set(header) & set(headers[0]) - {""}:  # part of the log, or a list of something else?
            raise UserError(
                f"sheet {title!r} has other columns than sheet {workbook.sheet_names[0]!r}:"
                f" {', '.join(header)}",
                where=f"source.path = {path}",
                next_step="give both the same header row, or remove one of them",
            )
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    arrays = [_array(list(column)) for column in columns]
    return pa.Table.from_arrays(arrays, names=names)


def _array(cells: list) -> pa.Array:
    """Cells as text, whole numbers without `.0`; a column of nothing but times stays one."""
    import pyarrow as pa

    filled = [cell for cell in cells if cell != ""]
    if filled and all(isinstance(cell, date) for cell in filled):
        days = (
            c if c == "" or isinstance(c, datetime) else datetime(*c.timetuple()[:3]) for c in cells
        )
        return pa.array([None if day == "" else day for day in days], pa.timestamp("us"))
    whole = [int(c) if isinstance(c, float) and c.is_integer() else c for c in cells]
    return pa.array([None if cell == "" else str(cell) for cell in whole], pa.string())


def _named(header: list[str], path: Path) -> list[str]:
    """The column names: a nameless column gets one, and no name may stand for two columns."""
    if not any(name.strip() for name in header):
        raise UserError(
            "the first row names no columns",
            where=f"source.path = {path}",
            next_step="the first row must be the header: add one, or remove the rows above it",
        )
    names = [name or f"column_{position}" for position, name in enumerate(header, start=1)]
    folded = [name.casefold() for name in names]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise UserError(
                f"the file has more than one column called {name!r} (letter case does not count)",
                where=f"source.path = {path}, header row",
                next_step="rename one of them",
            )
    return names


def _mapping(source: Source, types: dict[str, str], path: Path) -> dict[str, str]:
    """Canonical column -> column of the file, for those that the file has."""
    unknown = [name for name in source.columns if name not in COLUMNS]
    if unknown:
        raise UserError(
            f"source.columns maps {unknown[0]!r}, which is no canonical column",
            where="source.columns",
            next_step=f"the canonical columns are {', '.join(COLUMNS)}",
        )
    mapping = {name: source.columns.get(name, name) for name in COLUMNS}
    for name, column in mapping.items():
        if column in types:
            if NO_VALUE.match(types[column]):
                raise UserError(
                    f"column {column!r} is of type {types[column]}, which is not read as {name}",
                    where=f"{path}, column {column}",
                    next_step=f"map {name} to another column with --source.columns.{name} COLUMN",
                )
        elif name in REQUIRED or name in source.columns:
            near = get_close_matches(column, types, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"the file has no column {column!r}, which is to be read as {name}",
                where=f"{path}: its columns are {', '.join(list(types)[:40])}",
                next_step=f"{hint}Pass --source.columns.{name} COLUMN, or mend it in the preset",
            )
    return {name: column for name, column in mapping.items() if column in types}


def _check_time_format(connection: duckdb.DuckDBPyConnection, time_format: str | None) -> None:
    try:
        connection.execute("SELECT try_strptime('', ?)", [time_format]).fetchall()
    except duckdb.Error as error:
        raise UserError(
            f"the time format {time_format!r} is not understood: {_first_line(error)}",
            where="source.time_format",
            next_step="write it for strptime, as in %d/%m/%Y %H:%M",
        ) from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What DuckDB and Python say about a file, as one message."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _damaged(path, f"its header is not UTF-8 text ({error.reason})") from error
    except (duckdb.Error, OSError, EOFError, zlib.error, csv.Error) as error:
        raise _damaged(path, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    """What happened and where, without DuckDB's advice to its own callers and the SQL."""
    told = re.split(r"\n *(?:Possible |LINE \d|The search space)", str(error))[0]
    told = re.sub(r"^[\w ]+ Error: ", "", " ".join(told.split()))
    return told[:300] or type(error).__name__


def _damaged(path: Path, reason: str) -> UserError:
    kind = next(suffix for suffix in SUFFIXES[::-1] if path.name.lower().endswith(suffix))
    return UserError(
        f"the file cannot be read as {kind.lstrip('.')}: {reason}",
        where=f"source.path = {path}",
        next_step="it may be truncated, damaged or of another format:"
        " mend the row named, or fetch it again",
    )
