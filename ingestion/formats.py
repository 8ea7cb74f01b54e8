"""How each kind of file opens as something DuckDB can select from, and what is said of one that
does not."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import UserError
from ingestion.canonical import literal

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".xlsx")
DELIMITERS = ",;\t|"


def relation(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
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


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What DuckDB and Python say about a file, as one message."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise _damaged(path, f"its header is not UTF-8 text ({error.reason})") from error
    except (duckdb.Error, OSError, EOFError, zlib.error, csv.Error) as error:
        raise _damaged(path, first_line(error)) from error


def first_line(error: Exception) -> str:
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
