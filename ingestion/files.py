"""Source `files`: Parquet, CSV (gzipped too) and XLSX, through a column mapping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from configs.errors import UserError
from configs.settings import Source
from ingestion.canonical import COLUMNS, REQUIRED, literal, select_canonical

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".xlsx")


def read_file(source: Source, target: Path) -> None:
    """Write the rows of `source.path` to `target` in canonical form; see `ingestion/canonical.py`.

    Raises UserError for a file that is missing, empty, of another format, truncated or damaged,
    and for a column that the mapping names and the file lacks.
    """
    path = source.path
    assert path is not None
    check_file(path)
    connection = duckdb.connect()
    with _explained(path), connection:
        relation = _relation(connection, path)
        found = [row[0] for row in connection.sql(f"DESCRIBE FROM {relation}").fetchall()]
        mapping = _mapping(source, found, path)
        rows = f"(SELECT row_number() OVER () AS source_row, * FROM {relation})"
        query = select_canonical(rows, mapping, source.time_format)
        connection.execute(f"COPY ({query}) TO {literal(str(target))} (FORMAT parquet)")


def check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(
            "the file to read does not exist",
            where=f"source.path = {path}",
            next_step="pass --source.path FILE, or run on simulated data: make train",
        )
    if path.is_dir() or not path.name.lower().endswith(SUFFIXES):
        raise UserError(
            f"this kind of file is not read; known are {', '.join(SUFFIXES)}",
            where=f"source.path = {path}",
            next_step="convert it, or name another file with --source.path",
        )
    if path.stat().st_size == 0:
        raise UserError(
            "the file is empty (0 bytes)", where=f"source.path = {path}", next_step="fetch it again"
        )


def _relation(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return f"read_parquet({literal(str(path))})"
    if name.endswith(".xlsx"):
        connection.register("sheets", _read_sheets(path))
        return "sheets"
    # All text: what a value means is decided in one place, not guessed from the first rows.
    return f"read_csv({literal(str(path))}, header = true, all_varchar = true, auto_detect = true)"


def _read_sheets(path: Path):
    """Every sheet that has the header of the first one, as one Arrow table of text."""
    import pyarrow as pa
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        workbook = CalamineWorkbook.from_path(path)
        sheets = [workbook.get_sheet_by_name(name).to_python() for name in workbook.sheet_names]
    except (CalamineError, OSError) as error:
        raise _damaged(path, str(error)) from None
    header = [str(cell) for cell in sheets[0][0]] if sheets and sheets[0] else []
    if not header:
        raise UserError(
            "the first sheet has no header row",
            where=f"source.path = {path}",
            next_step="mend the workbook",
        )
    rows = [
        row
        for sheet in sheets
        if sheet and [str(c) for c in sheet[0]] == header
        for row in sheet[1:]
    ]
    columns = zip(*rows, strict=True) if rows else [[] for _ in header]
    text = [
        pa.array([None if cell == "" else str(cell) for cell in column], pa.string())
        for column in columns
    ]
    return pa.table(dict(zip(header, text, strict=True)))


def _mapping(source: Source, found: list[str], path: Path) -> dict[str, str]:
    unknown = [name for name in source.columns if name not in COLUMNS]
    if unknown:
        raise UserError(
            f"source.columns maps {unknown[0]!r}, which is no canonical column",
            where="source.columns",
            next_step=f"the canonical columns are {', '.join(COLUMNS)}",
        )
    mapping = {name: source.columns.get(name, name) for name in COLUMNS}
    for name, column in mapping.items():
        if column not in found and (name in REQUIRED or name in source.columns):
            raise UserError(
                f"the file has no column {column!r}, which source.columns maps to {name}",
                where=f"{path}: its columns are {', '.join(found)}",
                next_step=f"mend source.columns.{name} in the preset, or pass --source.columns.{name} COLUMN",
            )
    return {name: column for name, column in mapping.items() if column in found}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """DuckDB's errors about a file, as one message."""
    try:
        yield
    except (duckdb.IOException, duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> UserError:
    first = " ".join(reason.splitlines()[0].split()) if reason else "unknown reason"
    return UserError(
        f"the file cannot be read as {path.suffix.lstrip('.')}: {first}",
        where=f"source.path = {path}",
        next_step="it may be truncated, damaged or of another format: fetch it again, or check it by hand",
    )
