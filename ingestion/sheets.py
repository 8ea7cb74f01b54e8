"""XLSX: every sheet with the log's header is part of the log, in the order of the workbook."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError
from ingestion.text import named

if TYPE_CHECKING:
    import pyarrow as pa


def read_sheets(path: Path, wanted: Collection[str]) -> pa.Table:
    """One Arrow table of text and times. The log's header is that of the first sheet that has the
    wanted columns; a sheet that shares some columns with it is refused, any other is no log.

    Raises UserError, and CalamineError for what is no workbook.
    """
    import pyarrow as pa
    from python_calamine import CalamineWorkbook

    workbook = CalamineWorkbook.from_path(path)
    titles = workbook.sheet_names
    sheets = [workbook.get_sheet_by_name(title).to_python() for title in titles]
    headers = [[str(cell) for cell in sheet[0]] if sheet else [] for sheet in sheets]
    log = next((at for at, header in enumerate(headers) if set(wanted) <= set(header)), 0)
    names = named(headers[log] if headers else [], path)
    rows: list[list] = []
    for title, sheet, header in zip(titles, sheets, headers, strict=True):
        if header == headers[log]:
            rows += sheet[1:]
        elif set(header) & set(headers[log]) - {""}:  # part of the log, or a list of its own?
            raise UserError(
                f"sheet {title!r} has other columns than sheet {titles[log]!r}:"
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
