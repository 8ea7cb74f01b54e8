"""A text file in any encoding and dialect → UTF-8 in the one dialect that DuckDB is given.

No more than a block or a line is held at a time, and lines are bounded.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import UserError
from configs.source import Text

LONGEST_LINE = 2_000_000  # bytes: DuckDB's own limit, which it does not keep at the end of a file
CODECS = {"utf-8": "utf-8-sig", "windows-1252": "cp1252"}  # -sig: a byte-order mark is not text
BLOCK = 1 << 21
WORDS = re.compile(r'"(?:[^"]|"")*"|[^ \t\r\n\v\f]+')
ESCAPED = re.compile(r'\\(["\\])')


class Bounded(io.BufferedReader):
    """A file's bytes. Reading on in a line of more than `LONGEST_LINE` bytes raises UserError."""

    def __init__(self, path: Path) -> None:
        raw = gzip.open(path) if is_packed(path) else path.open("rb", buffering=0)  # noqa: SIM115
        super().__init__(raw)  # and closes it
        self._path, self._length = path, 0

    def read1(self, size: int = -1) -> bytes:  # what a TextIOWrapper calls
        block = super().read1(size)
        ended = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._length = len(block) - ended - 1 + (self._length if ended < 0 else 0)
        if self._length > LONGEST_LINE:
            raise UserError(
                f"a line of the file is longer than {LONGEST_LINE:,} bytes",
                where=f"source.path = {self._path}",
                next_step="end each row with a line end, and write a long text into a file of its"
                " own; if these are not rows of text, convert the file",
            )
        return block


def is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def decoded(path: Path, text: Text) -> io.TextIOWrapper:
    """Open the file as text. Reading it raises UserError for a line that is too long."""
    codec = CODECS.get(text.encoding, text.encoding)
    return io.TextIOWrapper(Bounded(path), encoding=codec, newline="")


def doubled(written: str) -> str:
    """Replace a backslash and a quote by doubled quotes, and two backslashes by one."""
    return ESCAPED.sub(lambda match: '""' if match[1] == '"' else "\\", written)


def write_plain(path: Path, text: Text, above: int, end: str, target: Path) -> None:
    """The file as UTF-8, with its quotes doubled. above: lines at its top of which only their end
    is kept, so that the lines below keep their numbers."""
    with decoded(path, text) as lines, _writing(target) as file:
        for _ in range(above):
            lines.readline()
            file.write(end)
        left = ""
        while block := lines.read(BLOCK):
            if text.escape == "backslash":
                block = left + block
                odd = (len(block) - len(block.rstrip("\\"))) % 2  # what it escapes is yet to come
                block, left = doubled(block[: len(block) - odd]), block[len(block) - odd :]
            file.write(block)
        file.write(left)


def write_words(path: Path, text: Text, above: int, width: int, target: Path) -> None:
    """The file as UTF-8, with tabs in place of the blanks between values. Empty lines hold no row.

    Raises UserError for a line that has another number of values than `width`.
    """
    with decoded(path, text) as lines, _writing(target) as file:
        for number, line in enumerate(lines, start=1):
            words = WORDS.findall(line)
            if not words or number <= above:
                continue
            if len(words) != width:
                raise UserError(
                    f"line {number} has {len(words)} values separated by blanks, not {width}:"
                    f" {line.strip()[:80]!r}",
                    where=f"source.path = {path}, line {number}",
                    next_step="correct that line (a value with blanks in it needs quotes), set"
                    " source.text.delimiter to what separates the values, or, if lines stand above"
                    " the header, source.text.skip_lines: their number",
                )
            file.write("\t".join(words) + "\n")


def write_even(path: Path, delimiter: str, target: Path) -> None:
    """A plain file with all its lines ending in LF. What is within quotes stays as it is; blanks
    at the beginning of a value, which DuckDB skips before a quote, go."""
    with (
        decoded(path, Text()) as lines,
        _writing(target) as file,
        reading(lines, delimiter=delimiter, skipinitialspace=True, strict=True) as rows,
    ):
        out = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        out.writerows(rows)  # unless all are, a value with a CR in it is not quoted


@contextmanager
def reading(lines: Iterable[str], **dialect: Any) -> Iterator[Iterator[list[str]]]:
    """`csv.reader`, of values as long as a line may be; what it refuses is named by its line."""
    before = csv.field_size_limit(LONGEST_LINE)
    rows = csv.reader(lines, **dialect)
    try:
        yield rows
    except csv.Error as error:
        reason = str(error)
        if "field limit" in reason:
            reason = (
                f"a value is longer than {LONGEST_LINE:,} characters: its quote may never be closed"
            )
        raise csv.Error(f"line {rows.line_num}: {reason}") from None
    finally:
        csv.field_size_limit(before)


def _writing(target: Path) -> io.TextIOWrapper:
    return target.open("w", encoding="utf-8", newline="")
