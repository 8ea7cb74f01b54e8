"""How files are written: encodings, delimiters, numbers and headers of every kind are read as the
settings say; what does not fit is refused with its place or kept as unreadable, never guessed."""

from __future__ import annotations

import csv
import gzip
import io
import os
import subprocess
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path

import duckdb
import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from configs.settings import Compute
from configs.source import Source, Text
from ingestion.files import explained, opened, read_file
from ingestion.sources import expand, labels

COLUMNS = {"customer_id": "who", "invoiced_at": "at", "quantity": "n", "unit_price": "price"}
HEADER = ["who", "at", "n", "price"]
LINE = ["17850", "2010-12-01 08:26", "6", "2.55"]
TIME = datetime(2010, 12, 1, 8, 26)
ROW = ("17850", TIME, 6, 2.55, [])


def source(*paths: Path | str, columns: dict[str, str] = COLUMNS, **options) -> Source:
    return Source(kind="files", path=[str(path) for path in paths], columns=columns, **options)


def read(path: Path, **options) -> list[tuple]:
    """(customer, time, quantity, price, unreadable) of each row in order."""
    target = path.parent / "part.out"
    read_file(source(path, **options), path, target, Compute())
    assert sorted(file.name for file in path.parent.iterdir() if file.name.startswith(".")) == []
    with duckdb.connect() as connection:
        kept = "customer_id, invoiced_at, quantity, unit_price, unreadable"
        query = f"SELECT {kept} FROM read_parquet(?) ORDER BY source_row"
        return connection.execute(query, [str(target)]).fetchall()


def refused(path: Path, **options) -> UserError:
    before = set(path.parent.iterdir())
    with pytest.raises(UserError) as caught:
        read_file(source(path, **options), path, path.parent / "part.out", Compute())
    assert set(path.parent.iterdir()) == before
    error = caught.value
    assert error.what and error.where and error.next_step
    assert not any(word in str(error) for word in ("LINE 1", "SELECT", "read_csv"))
    return error


def text(*lines: list[str], header: list[str] | None = HEADER, **dialect) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", **dialect).writerows(
        [*([header] if header else []), *lines]
    )
    return file.getvalue()


# --- encodings --------------------------------------------------------------------------------

ENCODINGS = [
    ("utf-8", "utf-8"),
    ("utf-8", "utf-8-sig"),
    ("latin-1", "latin-1"),
    ("windows-1252", "cp1252"),
    ("utf-16", "utf-16"),
    ("utf-16", "utf-16-be"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "codec"), ENCODINGS)
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.txt"])
def test_every_encoding_is_read(tmp_path, encoding, codec, name):
    who = "Café-£" if codec == "latin-1" else "Café-€’"
    content = text([who, *LINE[1:]], header=["wér", *HEADER[1:]]).encode(codec)
    if codec == "utf-16-be":
        content = b"\xfe\xff" + content
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    columns = COLUMNS | {"customer_id": "wér"}
    assert read(path, columns=columns, text={"encoding": encoding}) == [(who, *ROW[1:])]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
@pytest.mark.parametrize("line", [1, 2, 4000])
def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path, name, line):
    lines = text(*([LINE] * 5000)).encode().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b",", b"\xc9,", 1)
    content = b"\n".join(lines)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    error = refused(tmp_path / name)
    assert "the byte 0xc9 that cannot be UTF-8 text" in error.what
    assert error.where.endswith(f"{name}, line {line}")
    assert "--source.text.encoding latin-1 or windows-1252" in error.next_step


def test_utf16_is_known_by_its_mark(tmp_path):
    (tmp_path / "log.csv").write_bytes(text(LINE).encode("utf-16"))
    assert "--source.text.encoding utf-16" in refused(tmp_path / "log.csv").next_step


def test_the_reason_is_told_even_where_the_row_is_long(tmp_path):
    (tmp_path / "log.csv").write_text(text(LINE) + f"{'x' * 500},1\n")
    assert "Expected Number of Columns: 4 Found: 2" in refused(tmp_path / "log.csv").what


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark(tmp_path, codec):
    (tmp_path / "log.csv").write_bytes(text(LINE).encode(codec))
    assert "UTF-16 without a byte-order mark" in refused(tmp_path / "log.csv").what


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("utf-16", b"odd"), ("utf-16", text(LINE).encode()), ("windows-1252", b"a\x81,b\n")],
)
def test_another_encoding_than_the_one_that_is_set(tmp_path, encoding, content):
    (tmp_path / "log.csv").write_bytes(content)
    error = refused(tmp_path / "log.csv", text={"encoding": encoding})
    assert "cannot be" in error.what or "no column" in error.what


# --- delimiters and headers -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("set_to", "written"),
    [(None, ","), (None, ";"), (None, "\t"), (None, "|"), ("tab", "\t"), ("\t", "\t")]
    + [(mark, mark) for mark in ",;|:~^ #"],
)
def test_any_delimiter(tmp_path, set_to, written):
    (tmp_path / "log.txt").write_text(text(["a,b;c|d\te:f~g", *LINE[1:]], delimiter=written))
    assert read(tmp_path / "log.txt", text={"delimiter": set_to})[0][0] == "a,b;c|d\te:f~g"


def test_a_tsv_is_parted_by_tabs_even_where_its_header_has_more_commas(tmp_path):
    header = ["who, really, in, the, end", *HEADER[1:]]
    (tmp_path / "log.tsv").write_text(text(LINE, header=header, delimiter="\t"))
    assert read(tmp_path / "log.tsv", columns=COLUMNS | {"customer_id": header[0]}) == [ROW]


@pytest.mark.parametrize("set_to", [None, ";"])
def test_a_wrong_delimiter_is_named_with_how_to_set_it(tmp_path, set_to):
    written = ":" if set_to is None else ","
    (tmp_path / "log.csv").write_text(text(LINE, delimiter=written))
    error = refused(tmp_path / "log.csv", text={"delimiter": set_to})
    assert "no column 'who'" in error.what or "no column" in error.what
    assert f"parted by {(set_to or ',')!r}" in error.next_step
    assert "set source.text.delimiter: one of , ; | tab whitespace" in error.next_step


@pytest.mark.parametrize("delimiter", ["", "::", "\n", '"', "é", "comma"])
def test_a_delimiter_that_is_none(tmp_path, delimiter):
    (tmp_path / "log.csv").write_text(text(LINE))
    error = refused(tmp_path / "log.csv", text={"delimiter": delimiter})
    assert repr(delimiter) in error.what and error.where == "source.text.delimiter"


@pytest.mark.parametrize("name", ["log.txt", "log.txt.gz"])
@pytest.mark.parametrize("names", [True, False])
def test_values_parted_by_blanks(tmp_path, name, names):
    body = "  00001 19970101  1   11.77\r\n\n00002\t19970112 12 \t 1.00  \n   \n"
    content = (body if names else " who at   n price\n" + body).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    options = {"delimiter": "whitespace", "names": HEADER if names else []}
    found = read(tmp_path / name, text=options, time_format="%Y%m%d")
    assert found == [
        ("00001", datetime(1997, 1, 1), 1, 11.77, []),
        ("00002", datetime(1997, 1, 12), 12, 1.0, []),
    ]


def test_quotes_hold_blanks_together(tmp_path):
    (tmp_path / "log.txt").write_text('"Mr ""X""  Y" 2010-12-01T08:26 6 2.55\n')
    found = read(tmp_path / "log.txt", text={"delimiter": "whitespace", "names": HEADER})
    assert found == [('Mr "X"  Y', *ROW[1:])]


@pytest.mark.parametrize(("at", "values"), [(1, 5), (3, 3), (500, 5)])
def test_a_line_with_more_or_fewer_values_parted_by_blanks_is_named(tmp_path, at, values):
    lines = ["c 2010-12-01 6 2.55"] * 600
    lines[at] = " ".join(["x"] * values)
    (tmp_path / "log.txt").write_text("\n".join(lines))
    error = refused(tmp_path / "log.txt", text={"delimiter": "whitespace", "names": HEADER})
    assert f"line {at + 1} has {values} values parted by blanks, and not 4" in error.what
    assert f"line {at + 1}" in error.where


def test_a_file_without_a_header_gets_its_names_from_the_settings(tmp_path):
    (tmp_path / "log.csv").write_text(text(LINE, LINE, header=None))
    assert read(tmp_path / "log.csv", text={"names": HEADER}) == [ROW, ROW]


@pytest.mark.parametrize(("names", "delimiter"), [(HEADER[:3], None), (HEADER, ";")])
def test_names_that_do_not_fit_the_first_line(tmp_path, names, delimiter):
    (tmp_path / "log.csv").write_text(text(LINE, header=None))
    options = {"names": names, "delimiter": delimiter}
    error = refused(tmp_path / "log.csv", columns={"customer_id": "who"} | COLUMNS, text=options)
    assert f"names {len(names)} columns, but the first line has" in error.what
    assert "17850" in error.what and "source.text.delimiter" in error.next_step


def test_a_header_twice_is_an_unreadable_row_not_a_crash(tmp_path):
    (tmp_path / "log.csv").write_text(text(LINE, HEADER, LINE))
    first, again, last = read(tmp_path / "log.csv")
    assert first == last == ROW
    assert again == ("who", None, None, None, ["quantity=n", "unit_price=price", "invoiced_at=at"])


@pytest.mark.slow
def test_quoted_newlines_over_many_blocks_are_part_of_a_value(tmp_path):
    rows = [[f"c{n}\nof\r\nmany", *LINE[1:]] for n in range(60_000)]
    (tmp_path / "log.csv").write_text(text(*rows, quoting=csv.QUOTE_ALL), newline="")
    found = read(tmp_path / "log.csv")
    assert [row[0] for row in found] == [f"c{n}\nof\r\nmany" for n in range(60_000)]


# --- numbers and times ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decimal", "thousands", "written", "value"),
    [
        (".", "", "1234.5", 1234.5),
        (".", ",", "1,234.5", 1234.5),
        (".", ",", "-1,234,567", -1234567.0),
        (".", ",", "1234.5", 1234.5),
        (",", ".", "1.234,50", 1234.5),
        (",", "", "0,5", 0.5),
        (",", "", ",5", 0.5),
        (",", " ", "1 234,5", 1234.5),
        (".", "'", "1'234.5", 1234.5),
        (".", "'", "1’234.5", 1234.5),
        (",", " ", "1\u00a0234\u202f567,5", 1234567.5),
        (".", ",", "1.5e3", 1500.0),
        # Never guessed:
        (".", "", "1,234.5", None),
        (".", "", "1_234", None),
        (".", ",", "1,00", None),
        (".", ",", "1,2345", None),
        (".", ",", ",123", None),
        (".", ",", "0,125", None),
        (".", "", "$5", None),
        (",", "", "2.55", None),
        (",", ".", "1,234.5", None),
        (",", ".", "12.34", None),
        (",", " ", "12 34", None),
        (".", ",", "1,234e999", None),
    ],
)
def test_numbers_are_read_as_they_are_said_to_be_written(
    tmp_path, decimal, thousands, written, value
):
    (tmp_path / "log.csv").write_text(text([*LINE[:3], written]))
    options = {"decimal": decimal, "thousands": thousands}
    ((*_, price, unreadable),) = read(tmp_path / "log.csv", text=options)
    assert price == value
    assert unreadable == ([] if value is not None else [f"unit_price={written}"])


@pytest.mark.slow
@settings(max_examples=20)
@given(
    number=st.integers(-(10**12), 10**12),
    marks=st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'"), (".", "")]),
)
def test_any_number_comes_back_from_how_it_was_written(tmp_path_factory, number, marks):
    decimal, thousands = marks
    written = f"{number / 100:,.2f}".replace(",", "T").replace(".", decimal)
    path = tmp_path_factory.mktemp("number") / "log.csv"
    path.write_text(text([*LINE[:3], written.replace("T", thousands)]))
    found = read(path, text={"decimal": decimal, "thousands": thousands})
    assert found[0][3] == number / 100 and found[0][4] == []


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$29.85", 29.85),
        ("-$29.85", -29.85),
        ("$-29.85", -29.85),
        ("29.85 US$", 29.85),
        ("1,250.00\u00a0%", 1250.0),
        ("12", 12.0),
        ("€5", None),
        ("$", None),
        ("1 2", None),
        ("2$5", None),
    ],
)
def test_symbols_beside_a_number_are_read_where_they_are_named(tmp_path, written, value):
    (tmp_path / "log.csv").write_text(text([*LINE[:3], written]), encoding="utf-8")
    options = {"thousands": ",", "symbols": ("$", "US$", "%")}
    assert read(tmp_path / "log.csv", text=options)[0][3] == value


def test_a_symbol_that_may_be_a_part_of_a_number_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text(text(LINE))
    assert refused(tmp_path / "log.csv", text={"symbols": ("$", "-")}).where == (
        "source.text.symbols"
    )


def test_marks_that_are_the_same(tmp_path):
    (tmp_path / "log.csv").write_text(text(LINE))
    error = refused(tmp_path / "log.csv", text={"decimal": ",", "thousands": ","})
    assert "source.text.decimal" in error.where


def test_mixed_dates_the_odd_ones_are_kept_as_text(tmp_path):
    days = [
        "2010-12-13",
        "13/12/2010",
        "12.13.10",
        "epoch",
        "infinity",
        "20101213",
        "2010-12-13 00:00Z",
    ]
    (tmp_path / "log.csv").write_text(text(*([LINE[0], day, *LINE[2:]] for day in days)))
    found = read(tmp_path / "log.csv")
    assert [row[1] is not None for row in found] == [True, *[False] * 5, True]
    assert [row[4] for row in found[1:6]] == [[f"invoiced_at={day}"] for day in days[1:6]]
    day_first = read(tmp_path / "log.csv", time_format="%d/%m/%Y")
    assert [row[1] is not None for row in day_first] == [day == "13/12/2010" for day in days]


@pytest.mark.parametrize("kind", ["BIGINT", "DOUBLE", "DECIMAL(9, 1)", "VARCHAR"])
def test_days_as_numbers_in_parquet(tmp_path, kind):
    path = tmp_path / "log.parquet"
    with duckdb.connect() as connection:
        query = f"SELECT 1 AS who, CAST(19970102 AS {kind}) AS at, 1 AS n, 2.5 AS price"
        if kind == "VARCHAR":
            query = query.replace("19970102", "'19970102'")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    assert read(path, time_format="%Y%m%d") == [("1", datetime(1997, 1, 2), 1, 2.5, [])]
    assert "--source.time_format %Y%m%d" in refused(path).next_step


def test_days_as_numbers_in_a_workbook(tmp_path):
    path = workbook(tmp_path / "log.xlsx", [HEADER, [1, 19970102, 1, 2.5]])
    assert read(path, time_format="%Y%m%d") == [("1", datetime(1997, 1, 2), 1, 2.5, [])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("time_format", "value", "fraction"),
    [
        ("epoch_s", "1700000000", 0),
        ("epoch_s", "1700000000.25", 250_000),
        ("epoch_ms", "1700000000123", 123_000),
        ("epoch_us", "1700000000123456", 123_456),
        ("epoch_ns", "1700000000123456000", 123_456),
        ("excel_days", "45244.92592592593", 0),
    ],
)
def test_times_that_are_numbers(tmp_path, time_format, value, fraction):
    time = datetime(2023, 11, 14, 22, 13, 20, fraction)
    parquet = tmp_path / "log.parquet"
    (tmp_path / "log.csv").write_text(text(["1", value, "1", "2.5"]))
    files = [tmp_path / "log.csv", parquet]
    if time_format != "epoch_ns":
        files.append(workbook(tmp_path / "log.xlsx", [HEADER, ["1", float(value), 1, 2.5]]))
    for kind in ("DOUBLE", "VARCHAR", *(["BIGINT"] if value.isdigit() else [])):
        with duckdb.connect() as connection:
            query = f"SELECT '1' AS who, CAST({value} AS {kind}) AS at, 1 AS n, 2.5 AS price"
            connection.execute(f"COPY ({query}) TO '{parquet}' (FORMAT parquet)")
        for file in files:
            assert read(file, time_format=time_format) == [("1", time, 1, 2.5, [])]
            assert f"--source.time_format {time_format}" in refused(file).next_step
        files = [parquet]


def test_a_few_bare_numbers_among_times_are_unreadable(tmp_path):
    lines = [LINE] * 200 + [["1", "1700000000", "1", "2.5"]]
    (tmp_path / "log.csv").write_text(text(*lines))
    assert read(tmp_path / "log.csv")[-1][4] == ["invoiced_at=1700000000"]
    (tmp_path / "log.csv").write_text(text(["1", "1e400", "1", "2.5"], ["1", "2e400", "1", "2"]))
    error = refused(tmp_path / "log.csv", time_format="epoch_s")
    assert (
        "2 of 2 times are bare numbers such as 1e400, which are not times in epoch_s" in error.what
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "value", "who"),
    [
        ("DOUBLE", "17850", "17850"),
        ("FLOAT", "17850", "17850"),
        ("DOUBLE", "9007199254740991", "9007199254740991"),
        ("BIGINT", "9007199254740993", "9007199254740993"),
        ("DECIMAL(30, 2)", "12345678901234567890", "12345678901234567890"),
        ("VARCHAR", "'12345678901234567890'", "12345678901234567890"),
        ("VARCHAR", "'00017850'", "00017850"),
        ("VARCHAR", "'1E+A'", "1E+A"),
        ("VARCHAR", "'12E5'", "12E5"),
        ("DOUBLE", "'NaN'", None),
        ("DOUBLE", "1.5", "1.5"),
        ("DECIMAL(9, 2)", "17850", "17850"),
        ("UUID", "'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "6f9619ff-8b86"),
        ("VARCHAR", "'.0'", ".0"),
    ],
)
def test_ids_of_any_type(tmp_path, kind, value, who):
    path = tmp_path / "log.parquet"
    with duckdb.connect() as connection:
        day = "DATE '2010-12-01' AS at, 1 AS n, 2.5 AS price"
        connection.execute(f"COPY (SELECT CAST({value} AS {kind}) AS who, {day}) TO '{path}'")
    found = read(path)[0][0]
    assert found == who or found.startswith(who)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DOUBLE", "9007199254740993"),
        ("FLOAT", "16777217"),
        ("VARCHAR", "'4.00638E+12'"),
        ("VARCHAR", "'4,00638E+12'"),
        ("VARCHAR", "'4.00638E12'"),
        ("VARCHAR", "'1e+18'"),
        ("VARCHAR", "'12345678901234567.0'"),
    ],
)
def test_an_identifier_that_has_lost_digits_is_nobodys(tmp_path, kind, value, caplog):
    path = tmp_path / "log.parquet"

    def write_log(rows: int) -> None:
        one = f"CASE WHEN range = 0 THEN CAST({value} AS {kind}) ELSE range::VARCHAR::{kind} END"
        query = f"SELECT {one} AS who, DATE '2010-12-01' AS at, 1 AS n, 2.5 AS price"
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({query} FROM range({rows})) TO '{path}' (FORMAT parquet)")

    write_log(20)
    error = refused(path)
    assert "1 of 20 values of customer_id are numbers that have lost digits" in error.what
    write_log(200)
    first, *others = read(path)
    assert first[0] is None and first[4][0].startswith("customer_id=")
    assert [row[0] for row in others] == [str(n) for n in range(1, 200)]
    assert "lost digits" in caplog.text


def test_long_numbers_of_a_workbook_and_leading_zeros_of_a_text(tmp_path):
    book = workbook(tmp_path / "log.xlsx", [HEADER, [4006381000000002, TIME, 6, 2.55]])
    assert read(book)[0][0] == "4006381000000002"
    book = workbook(tmp_path / "log.xlsx", [HEADER, [4006381000000000002, TIME, 6, 2.55]])
    assert "lost digits" in refused(book).what
    (tmp_path / "log.csv").write_text(text(["007", *LINE[1:]], ["9007199254740993", *LINE[1:]]))
    assert [row[0] for row in read(tmp_path / "log.csv")] == ["007", "9007199254740993"]


def test_folders_that_are_columns(tmp_path):
    columns = {**COLUMNS, "country": "land", "product_id": "code"}
    header = text([*LINE, "x"], header=[*HEADER, "code"])
    for folder in ("land=New%20Zealand/code=1", "land=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "log.csv").write_text(header)
    made = source(tmp_path / "**" / "*.csv", columns=columns)
    found = []
    for path in expand(made):
        read_file(made, path, tmp_path / "part.out", Compute())
        with duckdb.connect() as connection:
            part = connection.read_parquet(str(tmp_path / "part.out"))
            found += part.project("country, product_id, customer_id").fetchall()
    assert sorted(found, key=str) == [("New Zealand", "X", "17850"), (None, "X", "17850")]


def test_a_parquet_file_with_a_column_of_row_numbers_of_its_own(tmp_path):
    path = tmp_path / "log.parquet"
    with duckdb.connect() as connection:
        line = "'c' AS who, DATE '2010-12-01' AS at, 1 AS n, 2.5 AS price, 7 AS File_Row_Number"
        connection.execute(f"COPY (SELECT {line} FROM range(3)) TO '{path}' (FORMAT parquet)")
    read(path)
    with duckdb.connect() as connection:
        numbers = connection.read_parquet(str(tmp_path / "part.out")).project("source_row")
        assert numbers.order("source_row").fetchall() == [(1,), (2,), (3,)]


# --- line ends and stray quotes ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("ends", [("\n", "\r\n"), ("\r\n", "\n"), ("\r", "\n"), ("\n", "\r")])
@pytest.mark.parametrize("name", ["log.csv", "log.txt.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_lines_that_end_in_different_ways_are_read_and_values_keep_theirs(
    tmp_path, ends, name, encoding
):
    lines = ["who;at;n;price", '"é\n""1""\r\n";2010-12-01 08:26;6;2.55', 'c 5";2010-12-01;6;2.55']
    content = "".join(line + ends[at % 2] for at, line in enumerate(lines)).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    first, second = read(tmp_path / name, text={"encoding": encoding})
    assert first == ('é\n"1"', *ROW[1:])
    assert second == ('c 5"', datetime(2010, 12, 1), 6, 2.55, [])


def test_a_fault_in_a_file_of_mixed_line_ends_is_still_named_by_its_line(tmp_path):
    lines = [",".join(LINE)] * 50
    (tmp_path / "log.csv").write_bytes(
        ",".join(HEADER).encode() + b"\r\n" + "\n".join([*lines, '"x"y,,,']).encode()
    )
    assert "line 52" in refused(tmp_path / "log.csv").what


# --- rows are counted a second time -----------------------------------------------------------

PIECES = st.text(st.sampled_from("aé\n\r\",; \\#'"), max_size=5)


def opened_rows(path: Path, **options) -> list[tuple[str | None, ...]]:
    """The rows as DuckDB reads them, once they are as many as were counted."""
    with (
        duckdb.connect() as connection,
        explained(path, Text(**options)),
        opened(connection, path, Text(**options), [], path.parent) as file,
    ):
        found = connection.execute(f"FROM {file.relation}").fetchall()
        file.check_rows(len(found), path)
        return found


@pytest.mark.slow
@settings(max_examples=40)
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
    packed=st.booleans(),
)
def test_any_table_of_texts_is_read_whole(
    tmp_path_factory,
    rows,
    header,
    delimiter,
    end,
    quote_all,
    above,
    last_end,
    codec,
    escape,
    packed,
):
    width = len(rows[0]) if rows else 2
    parted = "\t" if delimiter == "tab" else delimiter

    def written(value: str) -> str:
        quoted = quote_all or {*value} & {*'"\r\n', parted} or value.strip() != value or not value
        before = '"' if escape == "quote" else "\\"
        if escape == "backslash":
            value = value.replace("\\", "\\\\")
        return '"' + value.replace('"', before + '"') + '"' if quoted else value

    names = [f"{name}{at}" for at, name in enumerate(header[:width])]
    lines = [*["A title"] * above, *(parted.join(map(written, row)) for row in [names, *rows])]
    content = (end.join(lines) + end * last_end).encode(codec)
    path = tmp_path_factory.mktemp("any") / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    encoding = "utf-16" if codec == "utf-16" else "utf-8"
    found = opened_rows(
        path, delimiter=delimiter, skip_lines=above, encoding=encoding, escape=escape
    )
    assert found == [tuple(value or None for value in row) for row in rows]


@pytest.mark.slow
@settings(max_examples=40)
@given(st.text(st.sampled_from('ab,,""\n\n\r '), max_size=30))
def test_no_row_of_any_text_is_lost_unsaid(tmp_path_factory, content):
    """Read whole or refused. Counted here character by character."""
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
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_text(content, newline="")
    try:
        found = opened_rows(path, names=["one", "two"])
    except UserError:
        return
    assert len(found) == rows + begun


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("inner", ["\n", "\r\n"])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_header_may_hold_line_ends(tmp_path, end, inner, at):
    header = [
        f'"{name}{inner}(free)"' if at == place else name for place, name in enumerate(HEADER)
    ]
    path = tmp_path / "log.csv"
    path.write_text(end.join([",".join(header), ",".join(LINE), ""]), newline="")
    columns = {**COLUMNS, list(COLUMNS)[at]: f"{HEADER[at]}{inner}(free)"}
    assert read(path, columns=columns) == [ROW]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "\n", '"\n'])
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
@pytest.mark.parametrize("options", [{}, {"delimiter": "whitespace"}, {"encoding": "latin-1"}])
def test_a_line_without_bounds_is_refused(tmp_path, end, name, options):
    """DuckDB drops it where it is the last one, and holds it several times where it is not."""
    content = (text(LINE) + '2,2010-12-01,6,"' + "x" * 5_000_000 + end).encode()
    if "delimiter" in options:
        content = content.replace(b" ", b"T").replace(b",", b" ")
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    assert (
        "a line of the file is longer than 2,000,000" in refused(tmp_path / name, text=options).what
    )


def test_a_quote_that_is_left_open_is_refused_before_it_holds_the_whole_file(tmp_path):
    (tmp_path / "log.csv").write_text(text(LINE) + '2,2010-12-01,6,"' + "x,\n" * 800_000)
    assert "a value is longer than 2,000,000" in refused(tmp_path / "log.csv").what


# --- lines above the header, quotes within quotes, other suffixes ------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;;;;"])
def test_the_line_in_which_excel_names_the_delimiter(tmp_path, first, end):
    content = end.join([first, ";".join(HEADER), ";".join(LINE), ""])
    (tmp_path / "log.csv").write_text(content, newline="")
    assert read(tmp_path / "log.csv") == [ROW]


@pytest.mark.slow
@pytest.mark.parametrize("above", [["Report of 2026"], ['All "sales" so far, net', ""], ["", ""]])
@pytest.mark.parametrize("options", [{}, {"encoding": "utf-16"}, {"delimiter": "whitespace"}])
def test_a_title_above_the_header(tmp_path, above, options):
    path, words = tmp_path / "log.csv", "delimiter" in options
    lines = [*above, *text(LINE, LINE).replace("2010-12-01 ", "2010-12-01T").splitlines()]
    content = "\n".join(line.replace(",", " ") if words else line for line in lines)
    path.write_text(content, encoding=options.get("encoding", "utf-8"))
    if any(above):
        error = refused(path, text=options)
        assert "source.text.skip_lines" in error.next_step
    skipped = options | {"skip_lines": sum(map(bool, above))}
    assert read(path, text=skipped) == [ROW] * 2
    if not words:  # what is wrong further down is named by its line
        path.write_text(content + "\n1,2", encoding=options.get("encoding", "utf-8"))
        assert f"Line: {len(lines) + 1}" in refused(path, text=skipped).what


def test_quotes_after_a_backslash(tmp_path):
    written = r'"say \"a, b\"","2010-12-01 08:26",6,2.55' + "\n" + r'"c:\\",2010-12-01 08:26,6,2.55'
    (tmp_path / "log.csv").write_text(",".join(HEADER) + "\n" + written)
    assert "source.text.escape" in refused(tmp_path / "log.csv").next_step
    found = read(tmp_path / "log.csv", text={"escape": "backslash"})
    assert [row[0] for row in found] == ['say "a, b"', "c:\\"] and found[0][1:] == ROW[1:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["log.asc", "log.DATA", "log.dat.gz", "export", "log.2026", "a.gz"]
)
def test_text_by_another_name(tmp_path, name):
    content = text(LINE).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    if not name.lower().startswith(("log.asc", "log.data", "log.dat")):
        assert "source.text.any_suffix" in refused(tmp_path / name).next_step
    assert read(tmp_path / name, text={"any_suffix": True}) == [ROW]


MANY = ["c", "2010-12-01 08:26", "6", "2.55", "5"]


def swallowed(folder: Path, lines: int, end: str, **columns: str) -> list[tuple]:
    """A quote before one description, and one after another some lines later."""
    body = [[*MANY, f"MUG {number}"] for number in range(lines + 3)]
    body[1][-1], body[1 + lines][-1] = '"MUG', 'LAST"'
    header = [*HEADER, "code", "what"]
    content = end.join(",".join(line) for line in [header, *body]) + end
    (folder / "log.csv").write_text(content, newline="")
    made = source(folder / "log.csv", columns=COLUMNS | columns)
    read_file(made, folder / "log.csv", folder / "part.out", Compute())
    with duckdb.connect() as connection:
        part = connection.read_parquet(str(folder / "part.out")).order("source_row")
        return part.project("customer_id, description, quantity, unreadable").fetchall()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_two_stray_quotes_do_not_make_the_lines_between_them_vanish_unsaid(tmp_path, end):
    first, odd, *rest = swallowed(tmp_path, 1490, end, description="what")
    assert first == ("c", "MUG 0", 6, []) and [row[3] for row in rest] == [[]]
    ((kept,),) = [odd[3]]
    assert odd[:3] == ("c", None, 6)
    assert kept.startswith(f"description=MUG{end}c,2010-12-01") and kept.endswith(" characters)")
    assert len(kept) < 250


def test_a_value_of_ten_line_ends_is_one(tmp_path):
    assert [row[3] for row in swallowed(tmp_path, 10, "\n", description="what")] == [[]] * 3
    assert len(swallowed(tmp_path, 11, "\n", description="what")[1][3]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["customer_id", "invoice_id", "product_id", "country", "quantity"])
def test_any_mapped_column_may_have_swallowed_lines(tmp_path, name):
    (kept,) = swallowed(tmp_path, 500, "\n", **{name: "what"})[1][3]
    assert kept.startswith(f"{name}=MUG\nc,") and len(kept) < 250


# --- workbooks, and several files -------------------------------------------------------------


def workbook(path: Path, *sheets: list[list]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for lines in sheets:
        sheet = book.create_sheet()
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_extra_sheet_is_left_alone_wherever_it_stands(tmp_path, position):
    sheets = [[HEADER, LINE], [HEADER, LINE]]
    sheets.insert(position, [["about", "this"], ["export", "x"]])
    assert read(workbook(tmp_path / "log.xlsx", *sheets)) == [ROW, ROW]


def test_two_sheets_and_two_files_are_the_same_rows(tmp_path):
    years = [[[f"c{n}", *LINE[1:]] for n in part] for part in (range(5), range(3, 9))]
    both = read(workbook(tmp_path / "both.xlsx", *([HEADER, *lines] for lines in years)))
    for number, lines in enumerate(years):
        workbook(tmp_path / f"year-{number}.xlsx", [HEADER, *lines])
    found = [row for path in expand(source(f"{tmp_path}/year-*.xlsx")) for row in read(path)]
    assert found == both and len(both) == 11


@pytest.mark.parametrize(
    "header",
    [["Who", "AT", "n", "pRICE"], ["who ", "at", " n", "price  "]],
)
def test_a_header_in_other_letter_case_or_with_blanks_is_the_same_header(tmp_path, header):
    path = workbook(tmp_path / "log.xlsx", [HEADER, LINE], [header, LINE, LINE])
    assert read(path) == [ROW] * 3


@pytest.mark.parametrize(
    "sheet",
    [
        [["Orders of 2011"], HEADER, LINE],
        [["Orders of 2011"], [None], ["WHO ", "At", "n", "price", "more"], LINE],
        [LINE, LINE],
        [["who", "when", "pieces"], LINE],
        [["price"], ["2"]],
    ],
    ids=["title", "title and more", "no header", "shares a column", "shares its only column"],
)
@pytest.mark.parametrize("position", [0, 1])
def test_a_sheet_that_looks_like_a_part_of_the_log_is_refused_never_skipped(
    tmp_path, sheet, position
):
    sheets = [[HEADER, LINE]]
    sheets.insert(position, sheet)
    error = refused(workbook(tmp_path / "log.xlsx", *sheets))
    title = f"Sheet{position or ''}"
    assert f"sheet '{title}' ({len(sheet)} rows)" in error.what
    assert title in error.where and "remove it" in error.next_step


def test_a_sheet_that_is_left_alone_is_said_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO", logger="golden_path")
    notes = [["about", "this export"], ["who", "the customer"], ["n", "pieces"]]
    assert read(workbook(tmp_path / "log.xlsx", [HEADER, LINE], notes, [])) == [ROW]
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "log.xlsx: sheet 'Sheet1' (3 rows) is not of the log, and left alone"


@pytest.mark.parametrize("time_format", [None, "%d/%m/%Y"])
def test_dates_of_a_workbook_are_dates_whatever_stands_beside_them(tmp_path, time_format):
    days = [datetime(2010, 12, 1, 8, 26), date(2010, 12, 2), "03/12/2010", "at", None]
    path = workbook(tmp_path / "log.xlsx", [HEADER, *(["c", d, 6, 2.5] for d in days)])
    found = [(row[1], row[4]) for row in read(path, time_format=time_format)]
    third = (datetime(2010, 12, 3), []) if time_format else (None, ["invoiced_at=03/12/2010"])
    assert found == [
        (days[0], []),
        (datetime(2010, 12, 2), []),
        third,
        (None, ["invoiced_at=at"]),
        (None, []),
    ]


def far(path: Path, *cells: tuple[int, int]) -> Path:
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("more")):
        sheet.append(HEADER)
        for cell in cells:
            sheet.cell(*cell, value=1)
    book.save(path)
    return path


@pytest.mark.parametrize("cell", [(1_048_576, 16_384), (1_048_576, 2), (70, 16_384)])
def test_a_cell_far_away_is_refused_before_places_are_made_up_to_it(tmp_path, cell):
    error = refused(far(tmp_path / "log.xlsx", cell))
    row, column = cell
    assert f"the last of them in row {row:,} and column {max(column, 4):,}" in error.what


def test_a_workbook_is_opened_within_bounds(tmp_path, monkeypatch):
    def rewritten(sheet: str, end: str = "</sheetData></worksheet>") -> Path:
        with zipfile.ZipFile(made) as old, zipfile.ZipFile(tmp_path / "new.xlsx", "w", 8) as new:
            for name in old.namelist():
                content = old.read(name)
                if name.endswith("sheet1.xml"):
                    content = content.partition(b"</sheetData>")[0] + (sheet + end).encode()
                new.writestr(name, content)
        return tmp_path / "new.xlsx"

    made = far(tmp_path / "made.xlsx")
    cells = "<c><v>1</v></c>" * 4
    assert len(read(rewritten(f"<row>{cells}</row>" * 5), time_format="epoch_s")) == 5
    wide = f"<row>{cells * 500}</row>" + "<row><c><v>1</v></c></row>" * 2000
    assert "column 2,000" in refused(rewritten(wide)).what
    value = '<row r="2"><c r="A2" t="inlineStr"><is><t>{}</t></is></c></row>'
    assert "longer than 4,194,304" in refused(rewritten(value.format("x" * 9_000_000))).what
    assert "cannot be read as xlsx" in refused(rewritten("<row", end="")).what
    monkeypatch.setattr("ingestion.workbook.MOST_PLACES", 30)
    error = refused(far(tmp_path / "many.xlsx", (5, 4)))
    assert "over 30 cells" in error.what and "save the table as CSV or Parquet" in error.next_step
    monkeypatch.setattr("ingestion.workbook.MOST_TEXT_BYTES", 100)
    assert "unpacks to over" in refused(made).what


def test_a_header_repeated_within_a_sheet_is_one_unreadable_row(tmp_path):
    line = ["c", TIME, 6, 2.55]
    path = workbook(tmp_path / "log.xlsx", [HEADER, line, HEADER, line])
    first, again, last = read(path, time_format="%d/%m/%Y")
    assert first == last == ("c", *ROW[1:])
    assert again == ("who", None, None, None, ["quantity=n", "unit_price=price", "invoiced_at=at"])


def test_files_of_one_name_are_told_apart_by_the_end_of_their_path(tmp_path, monkeypatch):
    def label(*names: str) -> list[str]:
        return labels([Path(name) for name in names])

    monkeypatch.chdir(tmp_path)
    assert label() == []
    assert label("a/jan.csv", "a/feb.csv") == ["jan.csv", "feb.csv"]
    assert label("a/jan.csv", "b/jan.csv", "b/feb.csv") == ["a/jan.csv", "b/jan.csv", "feb.csv"]
    deep = ["x/a/jan.csv", "y/a/jan.csv", "y/b/jan.csv"]
    assert label(*deep) == ["x/a/jan.csv", "y/a/jan.csv", "b/jan.csv"]
    assert label("jan.csv", "a/jan.csv") == [f"{tmp_path.name}/jan.csv", "a/jan.csv"]
    assert label("/jan.csv", "/a/jan.csv") == ["/jan.csv", "a/jan.csv"]


@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=9))
def test_no_two_files_have_one_label_and_each_is_the_end_of_its_path(names):
    paths = [Path("/", *parts) for parts in sorted(names)]
    found = labels(paths)
    assert len(set(found)) == len(paths)
    assert all(str(path).endswith(label) for path, label in zip(paths, found))


def test_patterns_and_lists_give_each_file_once_in_order(tmp_path, monkeypatch):
    for name in ("b.csv", "a.csv", "c [1].csv", "deep/d.csv", ".hidden.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text(LINE))
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path)

    def names(*paths: str) -> list[str]:
        return [str(path) for path in expand(source(*paths))]

    assert names("?.csv") == ["a.csv", "b.csv"]
    assert names("b.csv", "*.csv") == ["b.csv", "a.csv", "c [1].csv"]  # the link is a.csv again
    assert names("**/*.csv")[-1] == "deep/d.csv"
    assert names("c [1].csv") == ["c [1].csv"]
    assert names(str(tmp_path / "a.csv"), "a.csv") == [str(tmp_path / "a.csv")]
    assert names("c [1]*") == ["c [1].csv"]


def test_brackets_are_no_pattern_and_a_file_of_that_name_comes_first(tmp_path, caplog):
    (tmp_path / "a1.csv").write_text(text(LINE))
    with pytest.raises(UserError, match="does not exist"):
        expand(source(tmp_path / "a[1].csv"))
    (tmp_path / "a?.csv").write_text(text(LINE))
    assert expand(source(tmp_path / "a?.csv")) == [tmp_path / "a?.csv"]
    assert "1 files more" in caplog.text


@pytest.mark.parametrize(
    ("place", "what"),
    [("*.parquet", "no file matches"), ("gone.csv", "does not exist"), ("*", "is a folder")],
)
def test_what_is_named_must_be_there_and_be_a_log(tmp_path, place, what):
    (tmp_path / "a.csv").write_text(text(LINE))
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match=what):
        expand(source(tmp_path / "a.csv", tmp_path / place))


# --- the machine ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_disk_that_is_full_is_not_the_files_fault_and_leaves_nothing(tmp_path):
    """In a process that may write 64 KiB to a file."""
    with duckdb.connect() as connection:
        line = "md5(n::VARCHAR) AS who, DATE '2010-12-01' AS at, n, 2.5 AS price"
        path = tmp_path / "log.parquet"
        connection.execute(f"COPY (SELECT {line} FROM range(100000) t(n)) TO '{path}'")
    code = f"""
import resource, signal
from pathlib import Path
from common.errors import UserError
from configs.settings import Compute
from configs.source import Source
from ingestion.files import read_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
path = Path({str(path)!r})
made = Source(kind="files", path=str(path), columns={COLUMNS!r})
try:
    read_file(made, path, path.with_name("part.out"), Compute())
except UserError as error:
    print(error.what)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
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
        query = f"SELECT {line} FROM range(700000) t(n)"
        connection.execute(f"COPY ({query}) TO '{path}' (ROW_GROUP_SIZE 100000)")
    parts = []
    for threads in (1, 2, 4):
        target = tmp_path / f"{threads}.out"
        read_file(source(path), path, target, Compute(threads=threads))
        parts.append(target.read_bytes())
    assert parts[0] == parts[1] == parts[2]
    with duckdb.connect() as connection:
        part = connection.read_parquet(str(target))
        assert part.filter("source_row != CAST(customer_id AS BIGINT) + 1").fetchall() == []
