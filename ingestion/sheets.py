"""XLSX: every sheet with the log's header is part of the log, in the order of the workbook.

A sheet without it may be a list of its own, or a part of the log that somebody edited. The second
would be missed by nobody, so whatever looks like it is refused; the rest is left alone, and said.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from ingestion.canonical import EXACT
from ingestion.text import named
from ingestion.workbook import check_workbook

if TYPE_CHECKING:
    import pyarrow as pa
    from python_calamine import CalamineSheet

log = logging.getLogger("golden_path")


def read_sheets(path: Path, wanted: Collection[str]) -> tuple[pa.Table, dict[str, str]]:
    """One Arrow table of text and times; and for a column that mixes both: column -> the column
    that holds its times, with none where there is text.

    The log's header is that of the first sheet that has the wanted columns; other sheets may write
    it in another letter case. A sheet that looks like a part of the log without its header is
    refused, any other is no log. Raises UserError, and CalamineError or BadZipFile for what is not
    a workbook.
    """
    import pyarrow as pa
    from python_calamine import CalamineWorkbook

    check_workbook(path)
    workbook = CalamineWorkbook.from_path(path)
    titles = workbook.sheet_names
    found = [workbook.get_sheet_by_name(title) for title in titles]
    sheets = [_without_blank_end(sheet.to_python()) for sheet in found]
    headers = [[str(cell) for cell in sheet[0]] if sheet else [] for sheet in sheets]
    first = next((at for at, header in enumerate(headers) if set(wanted) <= set(header)), 0)
    names = named(headers[first] if headers else [], path)
    rows: list[list] = []
    for title, sheet, read in zip(titles, sheets, found, strict=True):
        if sheet and _folded(sheet[0]) == _folded(headers[first]):
            _refuse_merged(read, path)
            rows += sheet[1:]
        elif reason := _like_the_log(sheet, headers[first]):
            raise UserError(
                f"sheet {title!r} ({len(sheet):,} rows) has not the header row of sheet"
                f" {titles[first]!r}, but may be part of the same log: {reason}",
                where=f"source.path = {path}, sheet {title}",
                next_step="if it is, give it the same header in its first row, with nothing above;"
                " if not, remove it from the file",
            )
        elif sheet:
            log.info(
                "%s: sheet %r (%d rows) is not of the log, and left alone",
                *(path.name, title, len(sheet)),
            )
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in names]
    arrays = [_array(column) for column in columns]
    times: dict[str, str] = {}
    for name, cells, array in zip(names, columns, list(arrays), strict=True):
        if pa.types.is_string(array.type) and any(isinstance(cell, date) for cell in cells):
            times[name] = f"times of {name}"
            arrays.append(_times(cells))
    return pa.Table.from_arrays(arrays, names=[*names, *times.values()]), times


def _without_blank_end(sheet: list[list]) -> list[list]:
    """Without the rows at its end that hold nothing but blanks: a blank or a format far below the
    table is no row of it. Those between others keep the numbers of the rows."""
    while sheet and not any(str(cell).strip() for cell in sheet[-1]):
        sheet.pop()
    return sheet


def _refuse_merged(sheet: CalamineSheet, path: Path) -> None:
    """Of merged cells only the first has a value: in all other rows it would be missing."""
    header = (sheet.start or (0, 0))[0]
    merged = [range_ for range_ in sheet.merged_cell_ranges or [] if range_[1][0] > header]
    if merged:
        row = min(first[0] for first, _ in merged) + 1
        raise UserError(
            f"{len(merged):,} groups of cells are merged, and only the first cell of each has a"
            " value",
            where=f"source.path = {path}, sheet {sheet.name}, row {row}",
            next_step="unmerge them, and fill in the value in every row",
        )


def _folded(row: list) -> list[str]:
    return [str(cell).strip().casefold() for cell in row]


def _like_the_log(sheet: list[list], header: list[str]) -> str:
    """Why a sheet without the log's header may be part of the log; empty: it is not."""
    known = set(_folded(header)) - {""}
    for number, row in enumerate(sheet, start=1):
        shared = known & set(_folded(row))
        if len(shared) > (number > 1):  # below the first row, one word may be chance
            return f"its row {number} is {', '.join(map(str, row))}"[:300]
    if len(sheet) > 1 and len(sheet[0]) == len(header):
        return f"it has as many columns, {len(header)}"
    return ""


def _array(cells: list) -> pa.Array:
    """Cells as text, whole numbers without `.0`; a column of nothing but times stays one."""
    import pyarrow as pa

    filled = [cell for cell in cells if cell != ""]
    if filled and all(isinstance(cell, date) for cell in filled):
        return _times(cells)
    whole = [
        int(cell) if isinstance(cell, float) and cell.is_integer() and abs(cell) < EXACT else cell
        for cell in cells
    ]
    return pa.array([None if cell == "" else str(cell) for cell in whole], pa.string())


def _times(cells: list) -> pa.Array:
    """The cells that are times or days; none for the others."""
    import pyarrow as pa

    days = (
        cell if isinstance(cell, datetime) or not isinstance(cell, date)
        else datetime(cell.year, cell.month, cell.day)
        for cell in cells
    )  # fmt: skip
    return pa.array(
        [day if isinstance(day, datetime) else None for day in days], pa.timestamp("us")
    )
