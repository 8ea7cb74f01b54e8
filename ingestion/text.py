"""Text files: `.csv .tsv .txt` and the like, gzipped too, written as `source.text` says.

Nothing is guessed from the rows: DuckDB's own detection skips lines that look odd and takes the
next one for the header. What a value means is decided in `ingestion/canonical.py`.

DuckDB reads UTF-8 with values separated by one character, quotes within quotes doubled, one kind of
line end, and nothing above the header. Whatever is written otherwise is first rewritten beside the
target (`ingestion/rewrite.py`). DuckDB's own latin-1 refuses the bytes 80 to 9F, its utf-16 finds
no rows in a file that is not UTF-16, and without an option for line ends it finds none where the
first one is within quotes and of another kind. So every option is given, and the rows that it reads
are compared with those that Python's `csv` counts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.duck import existing, literal
from common.errors import UserError
from configs.source import Text
from ingestion import rewrite

KINDS = ("csv", "tsv", "tab", "txt", "asc", "dat", "data")
SUFFIXES = tuple(f".{kind}{packed}" for packed in ("", ".gz") for kind in KINDS)
DELIMITERS, WHITESPACE = ",;\t|", "whitespace"
CHOICES = ", ; | tab whitespace"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEADER_LINES = 200  # that a header may run over, with line ends within quotes
IN_QUOTES = re.compile(r'"(?:[^"]|"")*"')
EXCEL_DELIMITER = re.compile(r'"?sep=([\t !#-~])"?[,;|\t]*[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True)
class TextFile:
    """A text file as DuckDB can read it. relation: SQL.  names: of its columns, which hold text.
    delimiter: in words.  rows: how many it holds, as counted without DuckDB."""

    relation: str
    names: list[str]
    delimiter: str
    rows: int


@dataclass(frozen=True)
class Top:
    """What a text file begins with. above: lines above the header, or above the first row if
    there is none.  values: of that.  line: its text."""

    above: int
    delimiter: str
    values: list[str]
    line: str


def check_text(text: Text) -> None:
    """Raises UserError for settings that contradict each other, or are not a delimiter."""
    delimiter = text.delimiter
    if delimiter not in (None, "tab", WHITESPACE) and (
        len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0'
    ):
        raise UserError(
            f"the delimiter {delimiter!r} is not one character",
            where="source.text.delimiter",
            next_step=f"write one of {CHOICES}, or another single character",
        )
    if text.decimal == text.thousands:
        raise UserError(
            f"{text.decimal!r} is set as decimal mark and as thousands separator",
            where="source.text.decimal, source.text.thousands",
            next_step="change one of them",
        )
    for symbol in text.symbols:
        if not is_symbol(symbol):
            raise UserError(
                f"{symbol!r} may be a part of a number, and not a symbol beside it",
                where="source.text.symbols",
                next_step="write what stands before or after a number, as in $,%",
            )


def is_symbol(text: str) -> bool:
    """Whether a text beside a number cannot be a part of it."""
    return not re.search(r"[\d,'’()+\-\u2212\u2013]", text) and text.strip(" .") not in (
        "",
        "e",
        "E",
    )


@contextmanager
def opened_text(path: Path, text: Text, folder: Path) -> Iterator[TextFile]:
    """The file for DuckDB; in `folder` is what had to be rewritten for it, while the context lasts.

    Raises UserError for names that do not fit the first line, and for a line that is too long.
    """
    place = f"source.path = {path}"
    top = _top(path, text)
    names = named(list(text.names) or top.values, path)
    separator = {WHITESPACE: "blanks", "\t": "tabs"}.get(top.delimiter, repr(top.delimiter))
    if text.names and len(top.values) != len(names):
        raise UserError(
            f"source.text.names names {len(names)} columns, but the first line has"
            f" {len(top.values)} values, separated by {separator}: {top.line.strip()[:80]!r}",
            where=f"{place}, line {top.above + 1}",
            next_step=f"correct the names, or set source.text.delimiter: one of {CHOICES}; if lines"
            " stand above the first row, set source.text.skip_lines: their number",
        )
    plain, even = (folder / f".{kind}.unfinished" for kind in ("plain", "even"))
    file, delimiter, skip = path, top.delimiter, 0
    try:
        if delimiter == WHITESPACE:
            rewrite.write_words(path, text, top.above, len(names), plain)
            file, delimiter = plain, "\t"
        elif _is_not_plain(path, text, top):
            end = top.line[len(top.line.rstrip("\r\n")) :] or "\n"
            rewrite.write_plain(path, text, top.above, end, plain)
            file, skip = plain, top.above
        rows, ends = _count(file, delimiter, len(names))
        if len(ends) > 1:
            rewrite.write_even(file, delimiter, even)
            file, ends, (rows, _) = even, ("\n",), _count(even, delimiter, len(names))
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        line_end = (ends or ("\n",))[0].replace("\r", r"\r").replace("\n", r"\n")
        yield TextFile(
            f"read_csv({existing(file)}, auto_detect = false, columns = {{{columns}}},"
            f" header = {str(not text.names).lower()}, skip = {skip}, quote = '\"', escape = '\"',"
            f" delim = {literal(delimiter)}, new_line = '{line_end}', hive_partitioning = false,"
            f" compression = '{'gzip' if rewrite.is_packed(file) else 'none'}')",
            names,
            separator,
            max(rows - (not text.names) - (skip if len(names) == 1 else 0), 0),
        )
    finally:
        plain.unlink(missing_ok=True)
        even.unlink(missing_ok=True)


def named(header: list[str], path: Path) -> list[str]:
    """The column names: a nameless column gets one, and no name may stand for two columns."""
    if not any(name.strip() for name in header):
        raise UserError(
            "the first row names no columns",
            where=f"source.path = {path}",
            next_step="the first row must be the header: add one, remove the rows above it (of a"
            " text file: set source.text.skip_lines),"
            " or name the columns of a text file in source.text.names",
        )
    names = [name or f"column_{position}" for position, name in enumerate(header, start=1)]
    folded = [name.casefold() for name in names]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise UserError(
                f"the file has more than one column called {name!r} (letter case does not count)",
                where=f"source.path = {path}, header row",
                next_step="rename one of them, or name all columns of a text file:"
                " source.text.names a,b,… (with source.text.skip_lines 1, if the first line is a"
                " header)",
            )
    return names


def not_decodable(path: Path, text: Text) -> UserError:
    """Where the file is not in its encoding, and which one it may be in."""
    codec, place, byte, start = rewrite.CODECS.get(text.encoding, text.encoding), "", "", b""
    with rewrite.Bounded(path) as file:
        lines = iter(partial(file.readline, rewrite.LONGEST_LINE), b"")
        for number, line in enumerate(lines, start=1) if text.encoding != "utf-16" else ():
            start = start or line[:2]
            try:
                line.decode(codec)
            except UnicodeDecodeError as error:
                byte, place = f" the byte 0x{line[error.start]:02x}", f", line {number}"
                break
    others = "latin-1 or windows-1252" if text.encoding == "utf-8" else "utf-8"
    if start in (b"\xff\xfe", b"\xfe\xff"):
        others = "utf-16"
    return UserError(
        f"the file holds{byte or ' bytes'} that cannot be {text.encoding.upper()} text",
        where=f"source.path = {path}{place}",
        next_step=f"if it is in another encoding, set it: --source.text.encoding {others};"
        " else correct that line, or fetch the file again",
    )


def _top(path: Path, text: Text) -> Top:
    as_doubled = rewrite.doubled if text.escape == "backslash" else str
    with rewrite.decoded(path, text) as lines:
        above, line, delimiter = 0, lines.readline(), text.delimiter

        def advance() -> None:
            nonlocal above, line
            above, line = above + 1, lines.readline()

        while above < text.skip_lines and line:
            advance()
        if excel := EXCEL_DELIMITER.fullmatch(line):
            delimiter = delimiter or excel[1]
            advance()
        while line and not line.strip():
            advance()
        whole = line = as_doubled(line)
        for _ in range(HEADER_LINES):  # a name may hold line ends
            if whole.count('"') % 2 == 0 or not (more := lines.readline()):
                break
            whole += as_doubled(more)
        else:
            whole = line  # the quote is not one that opens a value
    if line.count("\0") * 3 > len(line):
        raise UserError(
            "every second byte of the file is zero: it may be UTF-16 without a byte-order mark",
            where=f"source.path = {path}",
            next_step="save it as UTF-8",
        )
    delimiter = _delimiter(path, delimiter, IN_QUOTES.sub("", whole))
    if delimiter == WHITESPACE:
        return Top(above, delimiter, rewrite.WORDS.findall(line), line)
    with rewrite.reading(io.StringIO(whole, newline=""), delimiter=delimiter) as rows:
        return Top(above, delimiter, next(rows, []), line)


def _delimiter(path: Path, chosen: str | None, unquoted: str) -> str:
    if chosen is not None:
        return "\t" if chosen == "tab" else chosen
    if {".tsv", ".tab"} & set(path.suffixes[-2:]) and "\t" in unquoted:
        return "\t"
    return max(DELIMITERS, key=unquoted.count)


def _is_not_plain(path: Path, text: Text, top: Top) -> bool:
    """Whether DuckDB cannot be given the file as it is."""
    if text.encoding != "utf-8" or text.escape != "quote" or top.above:
        return True
    with rewrite.Bounded(path) as file:  # to DuckDB a quote after such a mark is not one
        return file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK and top.line.startswith('"')


def _count(file: Path, delimiter: str, width: int) -> tuple[int, tuple[str, ...]]:
    """The rows of a plain file, the header among them, and the kinds of line ends that it has. Of a
    single column, an empty line is a row, to DuckDB too."""
    with rewrite.decoded(file, Text()) as lines:
        with rewrite.reading(lines, delimiter=delimiter, skipinitialspace=True) as rows:
            count = sum(1 for _ in rows) if width == 1 else sum(map(bool, rows))
        ends = lines.newlines or ()
    return count, (ends,) if isinstance(ends, str) else ends
