"""The files of a labelled table as *parts*: Parquet files with the values as the file has them.

    source      the file a row came from          from_text  whether that is a text file
    source_row  1-based, as a person counts       cells      STRUCT of text: column -> value

Values stay text, so that quarantine can show what stood there; what is blank is NULL. Columns in a
STRUCT of their own may be called anything, `source` included. Columns that are left out are not
read at all: mostly they are left out for what they hold.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from common.duck import connect, literal, quoted
from common.errors import UserError
from configs.settings import Compute
from configs.source import Source
from configs.table import Table
from ingestion.canonical import EXACT, INTEGER, read_text
from ingestion.files import opened, write_whole
from ingestion.mapping import NO_VALUE


def named_columns(table: Table) -> list[str]:
    """The columns that are read: keys, target, features in order."""
    keys = (table.id, table.group, table.split, table.target)
    return [*(name for name in keys if name is not None), *table.columns]


def read_part(source: Source, path: Path, target: Path, compute: Compute, *, label: str) -> None:
    """Write the rows of a file to `target` as a part.

    Raises UserError for a file that cannot be read (`ingestion/files.py`), for a column that the
    settings name and the file lacks, and for one that it has and the settings do not name, unless
    the rows are there to be scored: then there is no target.
    """

    def copy(file: Path) -> None:
        wanted = named_columns(source.table)
        with (
            connect(target.parent, compute, ordered=True) as connection,
            opened(connection, path, source.text, wanted, target.parent) as read,
        ):
            check_columns(source.table, read.types, path, read.hint)
            value = {name: literal(text) for name, text in read.folders.items()}
            cells = ", ".join(
                f"{quoted(name)} := {as_text(value.get(name, quoted(name)), read.types[name])}"
                for name in wanted
            )
            copied = connection.execute(f"""
                COPY (
                    SELECT {literal(label)} AS source, {read.number} AS source_row,
                           {read.text is not None} AS from_text, struct_pack({cells}) AS cells
                    FROM {read.relation}
                ) TO {literal(file)} (FORMAT parquet)
            """)
            read.check_rows(copied.fetchall()[0][0], path)

    write_whole(source, path, target, copy)


def check_columns(table: Table, types: dict[str, str], path: Path, hint: str = "") -> None:
    """types: the columns of the file -> DuckDB types."""
    wanted, place = named_columns(table), f"source.path = {path}"
    for name in (*wanted, *table.leave_out):
        if name not in types:
            near = get_close_matches(name, types, n=1)
            near = near or [other for other in types if other.casefold() == name.casefold()]
            role = "left out" if name in table.leave_out else "read"
            raise UserError(
                f"the file has no column {name!r}, which is to be {role}",
                where=f"{place}: its columns are {', '.join(list(types)[:40])}",
                next_step=" ".join(
                    part
                    for part in (
                        hint,
                        f"did you mean {near[0]!r}?" if near else "",
                        "Correct source.table in the preset, or draft it again: make adopt",
                    )
                    if part
                ),
            )
        if name in wanted and types[name] != "BOOLEAN" and NO_VALUE.match(types[name]):
            raise UserError(
                f"column {name!r} is of type {types[name]}, which holds no single value",
                where=f"{place}, column {name}",
                next_step="leave it out: add it to source.table.leave_out",
            )
    if table.target is None:  # rows to score: what else the file has is not an input
        return
    unknown = [name for name in types if name not in {*wanted, *table.leave_out}]
    if unknown:
        raise UserError(
            f"the settings do not say what column {unknown[0]!r} is"
            + (f" (nor {', '.join(unknown[1:6])})" if unknown[1:] else ""),
            where=f"{place}, source.table",
            next_step="describe it below source.table.columns, or add it to"
            " source.table.leave_out: a column that is not known is not guessed at",
        )


def as_text(column: str, kind: str) -> str:
    """SQL of a value as text: whole numbers without `.0`; NULL for blanks and NaN."""
    if kind == "VARCHAR":
        return read_text(column)
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        number, text = f"CAST({column} AS DOUBLE)", f"CAST({column} AS VARCHAR)"
        whole = f"{number} = floor({number}) AND abs({number}) <= {EXACT}"
        return (
            f"CASE WHEN isnan({number}) THEN NULL WHEN {whole}"
            f" THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) ELSE {text} END"
        )
    if INTEGER.fullmatch(kind) or kind == "BOOLEAN":
        return f"CAST({column} AS VARCHAR)"
    return read_text(column)
