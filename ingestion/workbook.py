"""XLSX: every sheet with the log's header is part of the log, in the order of the workbook.

A sheet without it may be a list of its own, or a part of the log that somebody edited. Nobody would
notice that the second is missing, so a sheet that looks like it is refused; other sheets are not
read, and the log of the run names them.

Whether a workbook can be opened within bounds is found out from its parts before it is. The library
that reads workbooks makes a place for each cell between the first and the last of a sheet: for one
cell in the last column and row these are 17 thousand million, and the process ends. And it unpacks
whatever a part has been packed from. So every part is unpacked here once, block by block, and the
cells are counted.

Values do not tell everything that a person sees. Excel keeps the number 1 and the format `00000`:
whoever reads the values gets 1, and the identifier of every other system is 00001. Only the formats
of the cells tell (ECMA-376, 18.3 and 18.8.30).
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree

from common.errors import UserError
from ingestion.canonical import EXACT
from ingestion.text import named

if TYPE_CHECKING:
    import pyarrow as pa
    from python_calamine import CalamineSheet


log = logging.getLogger("golden_path")
MOST_PLACES = 10_000_000  # in all sheets: a million takes 130 to 170 MB
FEW_PLACES, SPARSE = 1_000_000, 20  # above the first, places for each cell that is there
MOST_BYTES = 2 << 30  # of all parts; sheets as large as that have more places than are read
MOST_TEXT_BYTES = 400 << 20  # of any other part, such as the texts that cells share
BLOCK = 1 << 20
CELL = re.compile(
    rb"""<(?:\w+:)?c\s(?:[^<>]*?\s)?r\s*=\s*["']([A-Za-z]{1,3})(\d{1,7})["']""", re.ASCII
)
CELL_START, ROW_START = re.compile(rb"<(?:\w+:)?c[\s/>]"), re.compile(rb"<(?:\w+:)?row[\s/>]")
ROWS_LOOKED_AT = 1000  # of a sheet that are looked at
LARGEST_STYLES = 1 << 24  # bytes: an archive may unpack to any size
ZEROS = re.compile(r"0{2,}|0[0-]*-[0-]*0")  # 00000, and 000-00-0000
ADDRESS = re.compile(r"([A-Z]+)\d+")
UNREADABLE = (OSError, KeyError, RuntimeError, zipfile.BadZipFile, ElementTree.ParseError)


def read_sheets(path: Path, mapped: Collection[str]) -> tuple[pa.Table, dict[str, str]]:
    """One Arrow table of text and times; and for a column that mixes both: column -> the column
    that holds its times, with none where there is text.

    The log's header is that of the first sheet that has the mapped columns; other sheets may write
    it in another letter case. A sheet that looks like a part of the log without its header is
    refused, others are not logs. Raises UserError, and CalamineError or BadZipFile for what is not
    a workbook.
    """
    import pyarrow as pa
    from python_calamine import CalamineWorkbook

    check_workbook(path)
    workbook = CalamineWorkbook.from_path(path)
    titles = workbook.sheet_names
    all_sheets = [workbook.get_sheet_by_name(title) for title in titles]
    sheets = [_without_blank_end(sheet.to_python()) for sheet in all_sheets]
    headers = [[str(cell) for cell in sheet[0]] if sheet else [] for sheet in sheets]
    first = next((at for at, header in enumerate(headers) if set(mapped) <= set(header)), 0)
    names = named(headers[first] if headers else [], path)
    rows: list[list] = []
    for title, sheet, read in zip(titles, sheets, all_sheets, strict=True):
        if sheet and _folded(sheet[0]) == _folded(headers[first]):
            _refuse_merged(read, path)
            rows += sheet[1:]
        elif reason := _like_the_log(sheet, headers[first]):
            raise UserError(
                f"sheet {title!r} ({len(sheet):,} rows) does not have the header row of"
                f" sheet {titles[first]!r}, but may be part of the same log: {reason}",
                where=f"source.path = {path}, sheet {title}",
                next_step="if it is, give it the same header in its first row, with nothing above;"
                " if not, remove it from the file",
            )
        elif sheet:
            log.info(
                "%s: sheet %r (%d rows) does not have the header of the log, and is not read",
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
    table is not a row of it. Those between others keep the numbers of the rows."""
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


@dataclass
class Extent:
    """Of one part. cells: how many it holds, rows and columns: up to the last of them.
    size: bytes of the part, unpacked."""

    cells: int = 0
    rows: int = 0
    columns: int = 0
    size: int = 0

    @property
    def places(self) -> int:
        return self.rows * self.columns

    def add(self, tags: bytes) -> None:
        """Count what the next whole tags of the part hold."""
        self.size += len(tags)
        cells = len(CELL_START.findall(tags))
        if not cells:
            return
        self.cells += cells
        addresses = CELL.findall(tags)
        columns = {_number(letters) for letters in {letters for letters, _ in addresses}}
        rows = {int(digits) for digits in {digits for _, digits in addresses}}
        if (
            len(addresses) < cells
        ):  # some do not say where they are: each stands after the one before
            each = ROW_START.split(tags)
            columns.add(max(len(CELL_START.findall(row)) for row in each))
            rows.add(self.rows + len(each))
        self.columns = max(self.columns, *columns)
        self.rows = max(self.rows, *rows)


def check_workbook(path: Path) -> None:
    """Raises UserError for a workbook that would take too much memory, BadZipFile for none."""
    size = places = 0
    with zipfile.ZipFile(path) as book:
        for part in book.infolist():
            extent = Extent()
            with book.open(part) as file:
                for tags in _whole_tags(file, path):
                    extent.add(tags)
                    few = MOST_BYTES - size if extent.cells else MOST_TEXT_BYTES
                    if extent.size > few:
                        raise _refused(path, f"{part.filename} unpacks to over {few >> 20:,} MB")
            size += extent.size
            if "calcChain" not in part.filename:  # which names cells of the sheets again
                places += extent.places
            if extent.places > max(FEW_PLACES, SPARSE * extent.cells):
                raise _refused(
                    path,
                    f"{part.filename} holds {extent.cells:,} cells, the last of them in row"
                    f" {extent.rows:,} and column {extent.columns:,}",
                    "delete what stands far below or beside the table, or ",
                )
            if places > MOST_PLACES:
                raise _refused(path, f"its sheets have over {MOST_PLACES:,} cells")


def _whole_tags(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """A part in pieces that end between two tags."""
    begun = b""
    while block := file.read(BLOCK):
        before, _, after = block.rpartition(b"<")
        if before or _:
            yield begun + before
            begun = b"<" + after
        else:
            begun += block
        if len(begun) > 4 * BLOCK:
            raise _refused(path, f"one of its values is longer than {4 * BLOCK:,} bytes")
    yield begun


def _number(letters: bytes) -> int:
    """Of a column: 1 is A, 28 is AB."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - ord("A") + 1
    return number


def _refused(path: Path, reason: str, step: str = "") -> UserError:
    return UserError(
        f"the workbook is too large to be opened: {reason}",
        where=f"source.path = {path}",
        next_step=f"{step}save the table as CSV or Parquet",
    )


def padded_columns(path: Path) -> set[int]:
    """Places of such columns on any sheet; 0 is the first that has cells. What is not a workbook
    has none."""
    try:
        with zipfile.ZipFile(path) as book:
            with book.open("xl/styles.xml") as file:
                styles = _padding_styles(file)
            if not styles:
                return set()
            return _columns(
                book, lambda cell: cell.get("s") in styles and cell.get("t", "n") == "n"
            )
    except UNREADABLE:
        return set()


def uncomputed_columns(path: Path) -> set[int]:
    """Places of the columns with formulas that have no value beside them: a program wrote them, and
    no spreadsheet has saved them since. What is not a workbook has none."""
    try:
        with zipfile.ZipFile(path) as book:
            return _columns(
                book,
                lambda cell: (
                    cell.find("{*}f") is not None
                    and not cell.findtext("{*}v")
                    and cell.get("t") != "str"  # a formula whose value is an empty text
                ),
            )
    except UNREADABLE:
        return set()


def _padding_styles(file: IO[bytes]) -> set[str]:
    """The numbers of the cell styles whose format begins with zeros."""
    root = ElementTree.fromstring(file.read(LARGEST_STYLES))  # cut off, it is not XML
    zeros = {
        one.get("numFmtId")
        for one in root.iterfind("{*}numFmts/{*}numFmt")
        if ZEROS.fullmatch(re.sub(r'[\\"]', "", one.get("formatCode", "")))
    }
    cells = root.iterfind("{*}cellXfs/{*}xf")
    return {str(place) for place, cell in enumerate(cells) if cell.get("numFmtId") in zeros}


def _columns(book: zipfile.ZipFile, matches: Callable[[ElementTree.Element], bool]) -> set[int]:
    """Places of the columns that hold such a cell in the first rows of a sheet."""
    places = set[int]()
    for name in book.namelist():
        if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name):
            with book.open(name) as file:
                places |= _of_sheet(file, matches)
    return places


def _of_sheet(file: IO[bytes], matches: Callable[[ElementTree.Element], bool]) -> set[int]:
    rows = (row for _, row in ElementTree.iterparse(file) if row.tag.endswith("}row"))
    used, matching = set[int](), set[int]()
    for row in islice(rows, ROWS_LOOKED_AT):
        for cell in row:
            if place := ADDRESS.fullmatch(cell.get("r", "")):
                used.add(_number(place[1].encode()))
                if matches(cell):
                    matching.add(_number(place[1].encode()))
        row.clear()
    return {place - min(used) for place in matching}
