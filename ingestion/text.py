"""Text files: `.csv .tsv .txt`, gzipped too, written as `source.text` says.

Nothing is guessed from the rows: DuckDB's own detection skips lines that look odd and takes the
next one for the header. What a value means is decided in `ingestion/canonical.py`.

DuckDB reads UTF-8 with values parted by one character, and lines that all end alike. What is in
another encoding, parted by runs of blanks, or of mixed line ends (`mixed_ends`), is first rewritten
beside the target, line by line. (DuckDB's own latin-1 refuses the bytes 80 to 9F, and its utf-16
finds no rows in a file that is none, without a word.)
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from configs.duck import literal
from configs.errors import UserError
from configs.source import Text

SUFFIXES = tuple(f".{kind}{packed}" for packed in ("", ".gz") for kind in ("csv", "tsv", "txt"))
DELIMITERS, WHITESPACE = ",;\t|", "whitespace"
CHOICES = ", ; | tab whitespace"
CODECS = {"utf-8": "utf-8-sig", "windows-1252": "cp1252"}  # -sig: a byte-order mark is no text
WORDS = re.compile(r'"(?:[^"]|"")*"|[^ \t\r\n\v\f]+')


def check_text(text: Text) -> None:
    """Raises UserError for settings that contradict each other, or are no delimiter."""
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


@contextmanager
def opened_text(
    path: Path, text: Text, folder: Path, *, even_ends: bool = False
) -> Iterator[tuple[str, list[str], str]]:
    """`read_csv` of the file as SQL, its column names, and the delimiter in words; in `folder` is
    what had to be rewritten for it, while the context lasts. Every column is text.

    even_ends: rewrite it so that every line ends alike.
    """
    with _decoded(path, text) as lines:
        first = lines.readline(1 << 20)
    delimiter = _delimiter(path, text, first)
    if delimiter == WHITESPACE:
        found = WORDS.findall(first)
    else:
        found = next(csv.reader([first], delimiter=delimiter), [])
    names = named(list(text.names) or found, path)
    said = {WHITESPACE: "blanks", "\t": "tabs"}.get(delimiter, repr(delimiter))
    if text.names and len(found) != len(names):
        raise UserError(
            f"source.text.names names {len(names)} columns, but the first line has {len(found)}"
            f" values, parted by {said}: {first.strip()[:80]!r}",
            where=f"source.path = {path}, line 1",
            next_step=f"mend the names, or set source.text.delimiter: one of {CHOICES}",
        )
    rewritten, packed = folder / f".{path.name}.rewritten", path.name.lower().endswith(".gz")
    try:
        if delimiter == WHITESPACE or text.encoding != "utf-8" or even_ends:
            _rewrite(path, text, delimiter, len(names), rewritten, even_ends)
            path, packed = rewritten, False
        elif packed:
            with gzip.open(path) as file:
                while file.read(1 << 20):  # to the checksum, which DuckDB does not look at
                    pass
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        yield (
            (
                f"read_csv({literal(path)}, auto_detect = false, columns = {{{columns}}},"
                f" header = {str(not text.names).lower()}, quote = '\"', escape = '\"',"
                f" delim = {literal(chr(9) if delimiter == WHITESPACE else delimiter)},"
                f" compression = '{'gzip' if packed else 'none'}', hive_partitioning = false)"
            ),
            names,
            said,
        )
    finally:
        rewritten.unlink(missing_ok=True)


def mixed_ends(error: Exception) -> bool:
    """Whether DuckDB gave up on lines that end in different ways: it says so for nothing else that
    our options allow, and neither the line nor the cause."""
    return "state machine reached an invalid state" in str(error)


def named(header: list[str], path: Path) -> list[str]:
    """The column names: a nameless column gets one, and no name may stand for two columns."""
    if not any(name.strip() for name in header):
        raise UserError(
            "the first row names no columns",
            where=f"source.path = {path}",
            next_step="the first row must be the header: add one, remove the rows above it,"
            " or name the columns of a text file in source.text.names",
        )
    names = [name or f"column_{position}" for position, name in enumerate(header, start=1)]
    folded = [name.casefold() for name in names]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise UserError(
                f"the file has more than one column called {name!r} (letter case does not count)",
                where=f"source.path = {path}, header row",
                next_step="rename one of them; a text file without a header row needs"
                " source.text.names",
            )
    return names


def not_decodable(path: Path, text: Text) -> UserError:
    """Where the file is not in its encoding, and which one it may be in."""
    codec, place, byte, start = CODECS.get(text.encoding, text.encoding), "", "", b""
    with _unpacked(path) as file:
        for number, line in enumerate(file, start=1) if text.encoding != "utf-16" else ():
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
        next_step=f"if it is in another encoding, say so: --source.text.encoding {others};"
        " else mend that line, or fetch the file again",
    )


def _delimiter(path: Path, text: Text, first: str) -> str:
    if text.delimiter is not None:
        return "\t" if text.delimiter == "tab" else text.delimiter
    if ".tsv" in path.suffixes[-2:] and "\t" in first:
        return "\t"
    return max(DELIMITERS, key=first.count)


def _unpacked(path: Path) -> BinaryIO:
    packed = path.name.lower().endswith(".gz")
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _decoded(path: Path, text: Text) -> io.TextIOWrapper:
    codec = CODECS.get(text.encoding, text.encoding)
    return io.TextIOWrapper(_unpacked(path), encoding=codec, newline="")


def _rewrite(
    path: Path, text: Text, delimiter: str, width: int, target: Path, even_ends: bool
) -> None:
    """The file as UTF-8; values parted by blanks are parted by tabs. Empty lines hold no row."""
    with (
        _decoded(path, text) as lines,
        target.open("w", encoding="utf-8", newline="") as file,
    ):
        if delimiter != WHITESPACE and even_ends:
            rows = csv.reader(lines, delimiter=delimiter, strict=True)
            try:  # what is within quotes stays as it is
                csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
            except csv.Error as error:
                raise csv.Error(f"line {rows.line_num}: {error}") from None
            return
        if delimiter != WHITESPACE:
            while block := lines.read(1 << 20):
                file.write(block)
            return
        for number, line in enumerate(lines, start=1):
            words = WORDS.findall(line)
            if len(words) not in (0, width):
                raise UserError(
                    f"line {number} has {len(words)} values parted by blanks, and not {width}:"
                    f" {line.strip()[:80]!r}",
                    where=f"source.path = {path}, line {number}",
                    next_step="mend that line (a value with blanks in it wants quotes),"
                    f" or set source.text.delimiter: one of {CHOICES}",
                )
            if words:
                file.write("\t".join(words) + "\n")
