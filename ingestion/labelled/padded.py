"""Which columns of a workbook show numbers with zeros in front, as in 00001; which hold formulas
that were never computed.

Excel keeps the number 1 and the format `00000`. Whoever reads the values gets 1, and the identifier
of every other system is 00001: only the formats of the cells tell (ECMA-376, 18.3 and 18.8.30).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

ROWS = 1000  # of a sheet that are looked at
LARGEST_STYLES = 1 << 24  # bytes: an archive may unpack to any size
ZEROS = re.compile(r"0{2,}|0[0-]*-[0-]*0")  # 00000, and 000-00-0000
CELL = re.compile(r"([A-Z]+)\d+")
UNREADABLE = (OSError, KeyError, zipfile.BadZipFile, ElementTree.ParseError)


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


def _columns(book: zipfile.ZipFile, wanted: Callable[[ElementTree.Element], bool]) -> set[int]:
    """Places of the columns that hold such a cell in the first rows of a sheet."""
    found = set[int]()
    for name in book.namelist():
        if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name):
            with book.open(name) as file:
                found |= _of_sheet(file, wanted)
    return found


def _of_sheet(file: IO[bytes], wanted: Callable[[ElementTree.Element], bool]) -> set[int]:
    rows = (row for _, row in ElementTree.iterparse(file) if row.tag.endswith("}row"))
    used, found = set[int](), set[int]()
    for row in islice(rows, ROWS):
        for cell in row:
            if place := CELL.fullmatch(cell.get("r", "")):
                used.add(_number(place[1]))
                if wanted(cell):
                    found.add(_number(place[1]))
        row.clear()
    return {place - min(used) for place in found}


def _number(letters: str) -> int:
    """0 for A, 26 for AA."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
