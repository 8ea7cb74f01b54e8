"""A file as a part in canonical form: how each kind opens as something DuckDB can select from, and
the message about one that does not.

`sources.py` says which files there are, `text.py` and `workbook.py` how these two kinds are read.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote
from zipfile import BadZipFile

import duckdb

from common.duck import connect, literal, parquet
from common.errors import UserError
from common.files import atomic_path
from common.full_disk import says_full
from configs.settings import Compute
from configs.source import Source, Text
from ingestion import text as texts
from ingestion.canonical import select_canonical
from ingestion.mapping import check_mapping, check_part, check_time_format, map_columns
from ingestion.sources import SUFFIXES, check_file
from ingestion.text import check_text
from ingestion.workbook import read_sheets

DAMAGED = (
    *(duckdb.Error, OSError, EOFError, zlib.error, csv.Error, BadZipFile, NotImplementedError),
    RuntimeError,  # zipfile's, of a part that is encrypted
)


def read_file(
    source: Source, path: Path, target: Path, compute: Compute, *, label: str | None = None
) -> None:
    """Write the rows of a file to `target` in canonical form; see `ingestion/canonical.py`.

    label: what `source` says of the rows (see `labels`); none: the file's name. Raises UserError
    for a file that is missing, empty, of another format, truncated or damaged, not in its encoding,
    for a declared column that it lacks or that holds lists, structs or booleans; OSError for a disk
    that is full. Then `target` is what it was before.
    """
    check_mapping(source)
    check_text(source.text)
    check_time_format(source.time_format)
    write_whole(
        source,
        path,
        target,
        lambda file: _copy(source, path, file, compute, label or path.name),
    )


def write_whole(source: Source, path: Path, target: Path, copy: Callable[[Path], None]) -> None:
    """Write `target` by `copy(file)`, which reads `path`, or leave what stood there before. What
    goes wrong is explained as it concerns the file that is read."""
    check_file(path, source.text)
    with atomic_path(target) as file, explained(path, source.text):
        copy(file)


def _copy(source: Source, path: Path, target: Path, compute: Compute, label: str) -> None:
    columns, folder = source.wanted, target.parent
    with (
        connect(folder, compute, ordered=True) as connection,
        opened(connection, path, source.text, columns, folder) as file,
    ):
        mapping = map_columns(source, file.types, f"source.path = {path}", file.hint)
        query = select_canonical(
            file.relation,
            mapping,
            file.types,
            source.time_format,
            source=label,
            number=file.number,
            text=file.text,
            times=file.times.get(mapping["invoiced_at"]),
            constants=file.folders,
        )
        copied = connection.execute(f"COPY ({query}) TO {literal(target)} (FORMAT parquet)")
        file.check_rows(copied.fetchall()[0][0], path)
        check_part(connection, target, source.time_format, mapping, f"source.path = {path}")


@dataclass(frozen=True)
class Opened:
    """A file as DuckDB can read it. types: its columns. number: SQL of the row's number.
    text: how its numbers are written, if it is a text file. hint: what to try when a column that
    should be there is not. times: a column that mixes times and text -> the one of its times.
    rows: how many a text file holds, as counted without DuckDB. folders: columns that stand in the
    names of the file's folders -> their value."""

    relation: str
    types: dict[str, str]
    number: str = "row_number() OVER ()"
    text: Text | None = None
    hint: str = ""
    times: dict[str, str] = field(default_factory=dict)
    rows: int | None = None
    folders: dict[str, str] = field(default_factory=dict)

    def check_rows(self, read: int, path: Path) -> None:
        """Raises UserError where DuckDB has read more or fewer rows than the file holds."""
        if self.rows not in (None, read):
            raise UserError(
                f"the file holds {self.rows:,} rows, and {read:,} were read",
                where=f"source.path = {path}",
                next_step="look for a quote that is left open, and for lines that end in another"
                " way than the others; if there are none, write the file with another program",
            )


@contextmanager
def opened(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    text: Text,
    columns: Collection[str],
    folder: Path,
) -> Iterator[Opened]:
    """Open a file. columns: those that are mapped; one that the file lacks may be the name of a
    folder, as in `month=2026-01/log.parquet`.  folder: where a file may be rewritten to be read."""
    folders = folder_columns(path, columns)
    with _opened(connection, path, text, set(columns) - set(folders), folder) as file:
        folders = {name: value for name, value in folders.items() if name not in file.types}
        types = file.types | dict.fromkeys(folders, "VARCHAR")
        yield replace(file, types=types, folders=folders)


def folder_columns(path: Path, columns: Collection[str]) -> dict[str, str]:
    """Return those of the columns that are folders called `column=value` above the file."""
    pairs = (part.partition("=") for part in path.absolute().parent.parts if "=" in part)
    named = {unquote(name): unquote(value) for name, _, value in pairs}
    missing = "__HIVE_DEFAULT_PARTITION__"
    return {k: "" if v == missing else v for k, v in named.items() if k in columns}


@contextmanager
def _opened(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    text: Text,
    columns: Collection[str],
    folder: Path,
) -> Iterator[Opened]:
    name = path.name.lower()
    if name.endswith(".parquet"):
        # The least and the greatest value that a file states leave NaN out, and DuckDB takes them
        # for those of all values: isnan() is false of each, or a cast fails.
        connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        relation = parquet(path)
        types = _types(connection, relation)
        if "file_row_number" in map(str.casefold, types):
            yield Opened(relation, types)  # a column of the file's own, which hides DuckDB's
        else:  # known to the reader, so that it can read on several cores
            yield Opened(relation, types, number="file_row_number + 1")
    elif name.endswith(".xlsx"):
        table, times = read_sheets(path, columns)
        connection.register("sheets", table)
        types = _types(connection, "sheets")
        types = {name: kind for name, kind in types.items() if name not in times.values()}
        yield Opened("sheets", types, times=times)
    else:
        with texts.opened_text(path, text, folder) as read:
            hint = (
                f"The values of a line were taken to be separated by {read.delimiter}; if they are"
                f" not, set source.text.delimiter: one of {texts.CHOICES}. If lines stand above"
                " the header, set source.text.skip_lines: their number."
            )
            types = dict.fromkeys(read.names, "VARCHAR")
            yield Opened(read.relation, types, text=text, hint=hint, rows=read.rows)


def _types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE FROM {relation}").fetchall()
    return {name: kind for name, kind, *_ in described}


@contextmanager
def explained(path: Path, text: Text) -> Iterator[None]:
    """Raise what DuckDB and Python report about a file as one UserError."""
    from python_calamine import CalamineError

    try:
        yield
    except UnicodeError as error:
        raise texts.not_decodable(path, text) from error
    except (*DAMAGED, CalamineError) as error:
        if says_full(error):
            raise  # it is not the file that is at fault
        reason = first_line(error)
        if "not utf-8 encoded" in reason or (
            "unicode" in reason.lower() and path.suffix != ".parquet"
        ):
            raise texts.not_decodable(path, text) from error
        raise _damaged(path, reason) from error


def first_line(error: Exception) -> str:
    """What happened and where, without DuckDB's advice to its own callers and the SQL."""
    reason = re.split(r"\n *(?:Possible |LINE \d|The search space)", str(error))[0]
    # A long row, or one of many lines, stands before the reason: both are to be seen.
    lines = [line.strip()[:120] for line in reason.splitlines() if line.strip()]
    reason = " ".join(lines[:2] + lines[2:][-2:])
    reason = re.sub(r"^[\w ]+ Error: ", "", " ".join(reason.split()))
    return reason[:300] or type(error).__name__


def _damaged(path: Path, reason: str) -> UserError:
    name = path.name.lower()
    kind = next((suffix for suffix in SUFFIXES[::-1] if name.endswith(suffix)), "text")
    steps = "correct the row that is named, or fetch the file again"
    if not name.endswith(SUFFIXES[:2]):
        steps += (
            f"; if another character separates its values, source.text.delimiter: {texts.CHOICES};"
            " if lines stand above the header, source.text.skip_lines: their number; if the header"
            " has more or fewer names than a row has values, source.text.names: all of them, with"
            r" skip_lines: 1; if quotes within quotes are written \", source.text.escape: backslash"
        )
    return UserError(
        f"the file cannot be read as {kind.lstrip('.')}: {reason}",
        where=f"source.path = {path}",
        next_step=f"it may be truncated, damaged or of another format: {steps}",
    )
