"""Source `files`: Parquet, CSV (gzipped too) and XLSX, through a column mapping."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

import duckdb

from configs.errors import UserError
from configs.settings import Source
from ingestion.canonical import COLUMNS, REQUIRED, literal, select_canonical
from ingestion.formats import SUFFIXES, explained, first_line, relation

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
        with explained(path), duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")  # the same times on every machine
            _check_time_format(connection, source.time_format)
            opened = relation(connection, path)
            columns = connection.execute(f"DESCRIBE FROM {opened}").fetchall()
            types = {name: kind for name, kind, *_ in columns}
            mapping = _mapping(source, types, path)
            query = select_canonical(opened, mapping, types, source.time_format)
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
            f"the time format {time_format!r} is not understood: {first_line(error)}",
            where="source.time_format",
            next_step="write it for strptime, as in %d/%m/%Y %H:%M",
        ) from error
