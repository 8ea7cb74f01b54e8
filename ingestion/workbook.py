"""Whether a workbook can be opened within bounds, told from its parts before it is.

The library that reads workbooks makes a place for each cell between the first and the last of a
sheet: for one cell in the last column and row these are 17 thousand million, and the process ends.
And it unpacks whatever a part has been packed from. So every part is unpacked here once, block by
block, and the cells are counted.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.errors import UserError

MOST_PLACES = 10_000_000  # in all sheets: a million takes 130 to 170 MB
FEW_PLACES, SPARSE = 1_000_000, 20  # above the first, places for each cell that is there
MOST_BYTES = 2 << 30  # of all parts; sheets as large as that have more places than are read
MOST_TEXT_BYTES = 400 << 20  # of any other part, such as the texts that cells share
BLOCK = 1 << 20
CELL = re.compile(
    rb"""<(?:\w+:)?c\s(?:[^<>]*?\s)?r\s*=\s*["']([A-Za-z]{1,3})(\d{1,7})["']""", re.ASCII
)
CELL_START, ROW_START = re.compile(rb"<(?:\w+:)?c[\s/>]"), re.compile(rb"<(?:\w+:)?row[\s/>]")


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
        found = CELL.findall(tags)
        columns = {_number(letters) for letters in {letters for letters, _ in found}}
        rows = {int(digits) for digits in {digits for _, digits in found}}
        if len(found) < cells:  # some do not say where they are: each stands after the one before
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
