"""How text files are written: what the settings say is read, what does not fit is refused with its
place or kept as unreadable, and no row is lost."""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_log import (
    COLUMNS_OF_FOUR,
    FOUR,
    LINE,
    ROW,
    TIME,
    copy_parquet,
    files,
    query,
    read,
    read_four,
    refused_four,
    save,
    text,
    workbook,
)

from common.errors import UserError
from configs.settings import Compute
from configs.source import Text
from ingestion.files import explained, opened, read_file

WORDS = {"delimiter": "whitespace"}
NAMED = {"names": FOUR}

# --- encodings, delimiters, headers -----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "codec", "name"),
    [
        ("latin-1", "latin-1", "log.txt"),
        ("windows-1252", "cp1252", "log.csv.gz"),
        ("utf-16", "utf-16-be", "log.csv.gz"),
    ],
)
def test_every_encoding_is_read(tmp_path, encoding, codec, name):
    who = "Café-£" if codec == "latin-1" else "Café-€’"
    mark = b"\xfe\xff" if codec == "utf-16-be" else b""
    path = save(
        tmp_path / name, mark + text([who, *LINE[1:]], header=["wér", *FOUR[1:]]).encode(codec)
    )
    columns = COLUMNS_OF_FOUR | {"customer_id": "wér"}
    assert read_four(path, columns=columns, text={"encoding": encoding}) == [(who, *ROW[1:])]


@pytest.mark.parametrize(("name", "line"), [("log.csv", 1), ("log.csv.gz", 2), ("log.csv", 4000)])
def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path, name, line):
    lines = text(*([LINE] * 5000)).encode().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b",", b"\xc9,", 1)
    error = refused_four(save(tmp_path / name, b"\n".join(lines)))
    assert "the byte 0xc9 that cannot be UTF-8 text" in error.what
    assert error.where.endswith(f"{name}, line {line}")
    assert "--source.text.encoding latin-1 or windows-1252" in error.next_step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("set_to", "written"),
    [(None, ","), (None, ";"), (None, "\t"), (None, "|"), ("tab", "\t"), (":", ":"), (" ", " ")],
)
def test_any_delimiter(tmp_path, set_to, written):
    path = save(tmp_path / "log.txt", text(["a,b;c|d\te:f~g", *LINE[1:]], delimiter=written))
    assert read_four(path, text={"delimiter": set_to})[0][0] == "a,b;c|d\te:f~g"


def test_a_tsv_is_split_at_tabs_even_where_its_header_has_more_commas(tmp_path):
    header = ["who, really, in, the, end", *FOUR[1:]]
    path = save(tmp_path / "log.tsv", text(LINE, header=header, delimiter="\t"))
    assert read_four(path, columns=COLUMNS_OF_FOUR | {"customer_id": header[0]}) == [ROW]


@pytest.mark.parametrize(("name", "options"), [("log.txt", NAMED), ("log.txt.gz", {})])
def test_values_separated_by_blanks_with_quotes_around_a_value_with_blanks(tmp_path, name, options):
    body = '  00001 19970101  1   11.77\r\n\n"Mr ""X""  Y"\t19970112 12 \t 1.00  \n   \n'
    path = save(tmp_path / name, body if options else " who at   n price\n" + body)
    assert read_four(path, text=WORDS | options, time_format="%Y%m%d") == [
        ("00001", datetime(1997, 1, 1), 1, 11.77, []),
        ('Mr "X"  Y', datetime(1997, 1, 12), 12, 1.0, []),
    ]


def test_a_file_without_a_header_gets_its_names_from_the_settings(tmp_path):
    path = save(tmp_path / "log.csv", text(LINE, LINE, header=None))
    assert read_four(path, text=NAMED) == [ROW, ROW]


@pytest.mark.parametrize("name", ["log.csv", "log.xlsx"])
def test_a_header_that_stands_there_twice_is_one_unreadable_row(tmp_path, name):
    if name == "log.csv":
        path, options = save(tmp_path / name, text(LINE, FOUR, LINE)), {}
    else:
        line = ["17850", TIME, 6, 2.55]
        path = workbook(tmp_path / name, [FOUR, line, FOUR, line])
        options = {"time_format": "%d/%m/%Y"}
    unreadable = ["quantity=n", "unit_price=price", "invoiced_at=at"]
    assert read_four(path, **options) == [ROW, ("who", None, None, None, unreadable), ROW]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "end"), [('"sep=;"', "\r\n"), ("SEP=;;;;", "\n")])
def test_the_line_in_which_excel_names_the_delimiter_is_skipped(tmp_path, first, end):
    path = save(tmp_path / "log.csv", end.join([first, ";".join(FOUR), ";".join(LINE), ""]))
    assert read_four(path) == [ROW]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("above", "options"),
    [
        (["Report of 2026"], {}),
        (['All "sales" so far, net', ""], {"encoding": "utf-16"}),
        (["", ""], {}),
        (["Report of 2026"], WORDS),
    ],
)
def test_a_title_above_the_header_is_skipped_by_a_setting(tmp_path, above, options):
    words = options == WORDS
    lines = [*above, *text(LINE, LINE).replace("2010-12-01 ", "2010-12-01T").splitlines()]
    content = "\n".join(line.replace(",", " ") if words else line for line in lines)
    path = save(tmp_path / "log.csv", content.encode(options.get("encoding", "utf-8")))
    if any(above):
        assert "source.text.skip_lines" in refused_four(path, text=options).next_step
    skipped = options | {"skip_lines": sum(map(bool, above))}
    assert read_four(path, text=skipped) == [ROW] * 2
    if not words:  # what is wrong further down is named by its line
        save(path, (content + "\n1,2").encode(options.get("encoding", "utf-8")))
        assert f"Line: {len(lines) + 1}" in refused_four(path, text=skipped).what


def test_quotes_after_a_backslash_are_read_by_a_setting(tmp_path):
    written = r'"say \"a, b\"","2010-12-01 08:26",6,2.55' + "\n" + r'"c:\\",2010-12-01 08:26,6,2.55'
    path = save(tmp_path / "log.csv", ",".join(FOUR) + "\n" + written)
    assert "source.text.escape" in refused_four(path).next_step
    rows = read_four(path, text={"escape": "backslash"})
    assert rows == [('say "a, b"', *ROW[1:]), ("c:\\", *ROW[1:])]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log.DATA", "log.dat.gz", "export", "a.gz"])
def test_text_by_another_name_is_read_if_the_settings_say_so(tmp_path, name):
    path = save(tmp_path / name, text(LINE))
    if not name.startswith(("log.DATA", "log.dat")):
        assert "source.text.any_suffix" in refused_four(path).next_step
    assert read_four(path, text={"any_suffix": True}) == [ROW]


BARE = text(LINE, header=None)
LONG = f"{text(LINE)}{'x' * 500},1\n"
MIXED_ENDS = ",".join(FOUR) + "\r\n" + "\n".join([*[",".join(LINE)] * 50, '"x"y,,,'])
OPEN_QUOTE = text(LINE) + '2,2010-12-01,6,"' + "x,\n" * 800_000
BLANKS = "\n".join("c 2010-12-01 6 2.55" if n != 500 else "x x x x x" for n in range(600))
DELIMITERS = "set source.text.delimiter: one of , ; | tab whitespace"
REFUSED = [  # what is wrong, the content, the settings of the text, and what is said
    ("UTF-16 with its mark", text(LINE).encode("utf-16"), {}, "--source.text.encoding utf-16"),
    ("UTF-16 LE without its mark", text(LINE).encode("utf-16-le"), {}, "without a byte-order mark"),
    ("UTF-16 BE without its mark", text(LINE).encode("utf-16-be"), {}, "without a byte-order mark"),
    ("bytes of no UTF-16", b"odd", {"encoding": "utf-16"}, "cannot be UTF-16"),
    ("UTF-8 for UTF-16", text(LINE), {"encoding": "utf-16"}, "cannot be UTF-16"),
    ("a byte of no character", b"a\x81,b\n", {"encoding": "windows-1252"}, "cannot be WINDOWS"),
    ("a short row of long text", LONG, {}, "Expected Number of Columns: 4 Found: 2"),
    ("an unusual delimiter", text(LINE, delimiter=":"), {}, "no column", "by ','", DELIMITERS),
    ("another delimiter", text(LINE), {"delimiter": ";"}, "no column", "by ';'", DELIMITERS),
    *(
        (f"delimiter {d!r}", text(LINE), {"delimiter": d}, repr(d), "where: source.text.delimiter")
        for d in ("", "::", "\n", '"', "é", "comma")
    ),
    ("a value too many", BLANKS, WORDS | NAMED, "line 501 has 5 values", "not 4"),
    ("a value too few", "a b c d\n1 2 3", WORDS | NAMED, "line 2 has 3 values", "not 4"),
    ("few names", BARE, {"names": FOUR[:3]}, "names 3 columns, but the first line has", "17850"),
    (
        "names that another delimiter needs",
        BARE,
        NAMED | {"delimiter": ";"},
        "names 4 columns, but",
    ),
    ("a symbol of numbers", text(LINE), {"symbols": ("$", "-")}, "where: source.text.symbols"),
    ("one mark twice", text(LINE), {"decimal": ",", "thousands": ","}, "source.text.decimal"),
    ("a fault among mixed line ends", MIXED_ENDS, {}, "line 52"),
    ("an open quote", text(LINE) * 99 + '1,2,"3,4', {}, "unterminated quote"),
    ("an open quote in a large file", OPEN_QUOTE, {}, "a value is longer than 2,000,000"),
    *(
        (f"no names in {content!r}", content, {}, "the first row names no columns")
        for content in (",,\n1,2,3\n", "\ufeff\n", "\n\n")
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
def test_a_text_file_that_cannot_be_read_is_refused_with_what_helps(tmp_path, case):
    _, content, options, *said = case
    error = refused_four(save(tmp_path / "log.csv", content), text=options)
    whole = f"{error.what} where: {error.where} next: {error.next_step}"
    assert [part for part in said if part not in whole] == [], whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end", "options"),
    [
        ("log.csv.gz", "\n", {}),
        ("log.csv", '"\n', WORDS),
        ("log.csv.gz", "", {"encoding": "latin-1"}),
    ],
)
def test_a_line_without_bounds_is_refused(tmp_path, name, end, options):
    """DuckDB drops it where it is the last one, and holds it several times where it is not."""
    content = text(LINE) + '2,2010-12-01,6,"' + "x" * 5_000_000 + end
    content = content.replace(" ", "T").replace(",", " ") if options == WORDS else content
    error = refused_four(save(tmp_path / name, content), text=options)
    assert "a line of the file is longer than 2,000,000" in error.what


# --- no row is lost ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "name", "encoding"),
    [
        (("\n", "\r\n"), "log.csv", "utf-8"),
        (("\r\n", "\n"), "log.txt.gz", "windows-1252"),
        (("\r", "\n"), "log.csv", "windows-1252"),
        (("\n", "\r"), "log.txt.gz", "utf-8"),
    ],
)
def test_lines_may_end_in_different_ways_and_values_keep_their_line_ends(
    tmp_path, ends, name, encoding
):
    lines = ["who;at;n;price", '"é\n""1""\r\n";2010-12-01 08:26;6;2.55', 'c 5";2010-12-01;6;2.55']
    content = "".join(line + ends[at % 2] for at, line in enumerate(lines)).encode(encoding)
    assert read_four(save(tmp_path / name, content), text={"encoding": encoding}) == [
        ('é\n"1"', *ROW[1:]),
        ('c 5"', datetime(2010, 12, 1), 6, 2.55, []),
    ]


@pytest.mark.slow
def test_quoted_line_ends_over_many_blocks_are_part_of_a_value(tmp_path):
    who = [f"c{n}\nof\r\nmany" for n in range(30_000)]
    content = text(*([name, *LINE[1:]] for name in who), quoting=csv.QUOTE_ALL)
    rows = read_four(save(tmp_path / "log.csv", content))
    assert [row[0] for row in rows] == who


PIECES = st.text(st.sampled_from("aé\n\r\",; \\#'"), max_size=5)


def opened_rows(path: Path, **options) -> list[tuple[str | None, ...]]:
    """The rows as DuckDB reads them, once they are as many as were counted."""
    with (
        duckdb.connect() as connection,
        explained(path, Text(**options)),
        opened(connection, path, Text(**options), [], path.parent) as file,
    ):
        rows = connection.execute(f"FROM {file.relation}").fetchall()
        file.check_rows(len(rows), path)
        return rows


@pytest.mark.slow
@settings(max_examples=15)
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(PIECES, min_size=width, max_size=width), max_size=4)
    ),
    header=st.lists(PIECES.map("x{}".format), min_size=4, max_size=4),
    delimiter=st.sampled_from([",", ";", "|", "tab", "a", "'"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quote_all=st.booleans(),
    above=st.integers(0, 2),
    last_end=st.booleans(),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    escape=st.sampled_from(["quote", "backslash"]),
    name=st.sampled_from(["t.csv", "t.csv.gz"]),
)
def test_any_table_of_texts_is_read_whole(
    tmp_path_factory, rows, header, delimiter, end, quote_all, above, last_end, codec, escape, name
):
    separator = "\t" if delimiter == "tab" else delimiter

    def written(value: str) -> str:
        special = {*value} & {*'"\r\n', separator} or value.strip() != value or not value
        before = '"' if escape == "quote" else "\\"
        if escape == "backslash":
            value = value.replace("\\", "\\\\")
        return '"' + value.replace('"', before + '"') + '"' if quote_all or special else value

    names = [f"{name}{at}" for at, name in enumerate(header[: len(rows[0]) if rows else 2])]
    lines = [*["A title"] * above, *(separator.join(map(written, r)) for r in [names, *rows])]
    content = (end.join(lines) + end * last_end).encode(codec)
    options = {"encoding": "utf-16" if codec == "utf-16" else "utf-8", "skip_lines": above}
    path = save(tmp_path_factory.mktemp("any") / name, content)
    read_rows = opened_rows(path, delimiter=delimiter, escape=escape, **options)
    assert read_rows == [tuple(value or None for value in row) for row in rows]


@pytest.mark.slow
@settings(max_examples=15)
@given(st.text(st.sampled_from('ab,,""\n\n\r '), max_size=30))
def test_any_text_is_read_whole_or_refused(tmp_path_factory, content):
    """The rows are counted here character by character."""
    rows, begun, place = 0, False, "start"
    for character in content:
        if place == "quoted":
            place = "after" if character == '"' else place
        elif character == '"' and place in ("start", "after"):
            place, begun = "quoted", True
        elif character in "\r\n":
            rows, begun, place = rows + begun, False, "start"
        else:
            blank = character == " " and place == "start"
            place = "start" if character == "," or blank else "within"
            begun = begun or not blank
    path = save(tmp_path_factory.mktemp("any") / "t.csv", content)
    with contextlib.suppress(UserError):
        assert len(opened_rows(path, names=["one", "two"])) == rows + begun


def with_stray_quotes(folder: Path, lines: int, end: str, name: str) -> list[tuple]:
    """Customer, description, quantity and unreadable values where a quote stands before one value
    of the column `name`, and another after a value some lines later."""
    body = [["c", "2010-12-01 08:26", "6", "2.55", "5", f"MUG {n}"] for n in range(lines + 3)]
    body[1][-1], body[1 + lines][-1] = '"MUG', 'LAST"'
    content = end.join(",".join(line) for line in [[*FOUR, "code", "what"], *body]) + end
    columns = COLUMNS_OF_FOUR | {name: "what"}
    shown = "customer_id, description, quantity, unreadable"
    return read(save(folder / "log.csv", content), shown, columns=columns)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_two_stray_quotes_do_not_hide_the_lines_between_them(tmp_path, end):
    first, odd, *rest = with_stray_quotes(tmp_path, 1490, end, "description")
    assert first == ("c", "MUG 0", 6, []) and [row[3] for row in rest] == [[]]
    *others, (kept,) = odd
    assert others == ["c", None, 6] and len(kept) < 250
    assert kept.startswith(f"description=MUG{end}c,2010-12-01") and kept.endswith(" characters)")


@pytest.mark.slow
def test_a_value_of_any_column_may_have_ten_line_ends_and_no_more(tmp_path):
    ten = with_stray_quotes(tmp_path, 10, "\n", "description")
    assert [row[3] for row in ten] == [[]] * 3
    for name in ("description", "customer_id", "invoice_id", "quantity"):
        (kept,) = with_stray_quotes(tmp_path, 11, "\n", name)[1][3]
        assert kept.startswith(f"{name}=MUG\nc,") and len(kept) < 250


# --- times, numbers and identifiers -----------------------------------------------------------


def test_dates_in_another_form_are_kept_as_text(tmp_path):
    days = ["2010-12-13", "13/12/2010", "12.13.10", "epoch", "infinity", "20101213"]
    days.append("2010-12-13 00:00Z")
    path = save(tmp_path / "log.csv", text(*([LINE[0], day, *LINE[2:]] for day in days)))
    rows = read_four(path)
    assert [row[1] is not None for row in rows] == [True, *[False] * 5, True]
    assert [row[4] for row in rows[1:6]] == [[f"invoiced_at={day}"] for day in days[1:6]]
    day_first = read_four(path, time_format="%d/%m/%Y")
    assert [row[1] is not None for row in day_first] == [day == "13/12/2010" for day in days]


def one_time(folder: Path, value: str, kind: str) -> Path:
    """A log of one row with that time: Parquet of the DuckDB type `kind`, CSV, or a workbook."""
    if kind in ("csv", "xlsx"):
        path = folder / f"log.{kind}"
        if kind == "csv":
            return save(path, text(["1", value, "1", "2.5"]))
        return workbook(path, [FOUR, ["1", float(value), 1, 2.5]])
    row = f"SELECT '1' AS who, CAST('{value}' AS {kind}) AS at, 1 AS n, 2.5 AS price"
    return copy_parquet(folder / "log.parquet", row)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("time_format", "value", "time", "kinds"),
    [
        (
            "%Y%m%d",
            "19970102",
            datetime(1997, 1, 2),
            ("BIGINT", "DOUBLE", "DECIMAL(9, 1)", "VARCHAR", "xlsx"),
        ),
        ("epoch_s", "1700000000", datetime(2023, 11, 14, 22, 13, 20), ("csv", "BIGINT", "xlsx")),
        ("epoch_s", "1700000000.25", datetime(2023, 11, 14, 22, 13, 20, 250_000), ("DOUBLE",)),
        ("epoch_ms", "1700000000123", datetime(2023, 11, 14, 22, 13, 20, 123_000), ("VARCHAR",)),
        ("epoch_us", "1700000000123456", datetime(2023, 11, 14, 22, 13, 20, 123_456), ("csv",)),
        ("epoch_ns", "1700000000123456000", datetime(2023, 11, 14, 22, 13, 20, 123_456), ("csv",)),
        ("excel_days", "45244.92592592593", datetime(2023, 11, 14, 22, 13, 20), ("DOUBLE", "xlsx")),
    ],
)
def test_times_that_are_numbers_are_read_by_a_format_that_is_suggested(
    tmp_path, time_format, value, time, kinds
):
    for kind in kinds:
        path = one_time(tmp_path, value, kind)
        assert read_four(path, time_format=time_format) == [("1", time, 1, 2.5, [])], kind
        assert f"--source.time_format {time_format}" in refused_four(path).next_step


def test_a_few_bare_numbers_among_times_are_unreadable(tmp_path):
    path = save(tmp_path / "log.csv", text(*[LINE] * 200, ["1", "1700000000", "1", "2.5"]))
    assert read_four(path)[-1][4] == ["invoiced_at=1700000000"]
    save(path, text(["1", "1e400", "1", "2.5"], ["1", "2e400", "1", "2"]))
    what = refused_four(path, time_format="epoch_s").what
    assert "2 of 2 times are bare numbers such as 1e400, which are not times in epoch_s" in what


def test_numbers_are_read_as_the_settings_say_they_are_written(tmp_path):
    """Which texts are numbers in which notation: `test_numbers.py`."""
    written = ["1.234,50 €", "-€ 7,5", "12.34", "2.55", "$1"]
    path = save(tmp_path / "log.csv", text(*([*LINE[:3], value] for value in written)))
    rows = read_four(path, text={"decimal": ",", "thousands": ".", "symbols": ("€",)})
    assert [row[3] for row in rows] == [1234.5, -7.5, None, None, None]
    assert [row[4] for row in rows[2:]] == [[f"unit_price={value}"] for value in written[2:]]


LOST = {
    "DOUBLE": ["9007199254740993"],
    "FLOAT": ["16777217"],
    "VARCHAR": ["4.00638E+12", "4,00638E+12", "4.00638E12", "1e+18", "12345678901234567.0"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOST)
def test_an_identifier_that_has_lost_digits_is_unreadable(tmp_path, kind, caplog):
    values = LOST[kind]

    def log_of(rows: int) -> Path:
        known = " ".join(f"WHEN {at} THEN '{value}'" for at, value in enumerate(values))
        who = f"CAST(CASE n {known} ELSE n::VARCHAR END AS {kind}) AS who"
        return copy_parquet(
            tmp_path / "log.parquet",
            f"SELECT {who}, DATE '2010-12-01' AS at, 1 AS n, 2.5 AS price FROM range({rows}) t(n)",
        )

    error = refused_four(log_of(20 * len(values)))
    assert f"{len(values)} of {20 * len(values)} values of customer_id" in error.what
    assert "are numbers that have lost digits" in error.what
    rows = read_four(log_of(200 * len(values)))
    for who, *_, unreadable in rows[: len(values)]:
        assert who is None and unreadable[0].startswith("customer_id=")
    others = range(len(values), 200 * len(values))
    assert [row[0] for row in rows[len(values) :]] == [str(n) for n in others]
    assert "lost digits" in caplog.text


def test_long_numbers_of_a_workbook_and_leading_zeros_of_a_text_are_kept(tmp_path):
    book = workbook(tmp_path / "log.xlsx", [FOUR, [4006381000000002, TIME, 6, 2.55]])
    assert read_four(book)[0][0] == "4006381000000002"
    book = workbook(tmp_path / "log.xlsx", [FOUR, [4006381000000000002, TIME, 6, 2.55]])
    assert "lost digits" in refused_four(book).what
    path = save(tmp_path / "log.csv", text(["007", *LINE[1:]], ["9007199254740993", *LINE[1:]]))
    assert [row[0] for row in read_four(path)] == ["007", "9007199254740993"]


# --- the machine ------------------------------------------------------------------------------

LIMITED = f"""
import resource, signal, sys
from pathlib import Path
from common.errors import UserError
from configs.settings import Compute
from configs.source import Source
from ingestion.files import read_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
path = Path(sys.argv[1])
source = Source(kind="files", path=str(path), columns={COLUMNS_OF_FOUR!r})
try:
    read_file(source, path, path.with_name("part.out"), Compute())
except UserError as error:
    print(error.what)
"""


@pytest.mark.slow
def test_a_full_disk_is_not_the_files_fault_and_leaves_nothing(tmp_path):
    """In a process that may write 64 KiB to a file."""
    line = "md5(n::VARCHAR) AS who, DATE '2010-12-01' AS at, n, 2.5 AS price"
    path = copy_parquet(tmp_path / "log.parquet", f"SELECT {line} FROM range(100000) t(n)")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("the disk is full"), done.stdout + done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]


@pytest.mark.slow
def test_the_order_of_rows_and_the_bytes_do_not_depend_on_threads(tmp_path):
    path = tmp_path / "log.parquet"
    with duckdb.connect() as connection:
        line = "n AS who, DATE '2010-12-01' AS at, 1 AS n, 2.5 AS price"
        sql = f"SELECT {line} FROM range(400000) t(n)"
        connection.execute(f"COPY ({sql}) TO '{path}' (ROW_GROUP_SIZE 100000)")
    parts = []
    for threads in (1, 4):
        target, source = tmp_path / f"{threads}.out", files(path, columns=COLUMNS_OF_FOUR)
        read_file(source, path, target, Compute(threads=threads))
        parts.append(target.read_bytes())
    assert parts[0] == parts[1]
    wrong = "count(*) FILTER (source_row != CAST(customer_id AS BIGINT) + 1)"
    assert query(target, wrong) == [(0,)]
