"""Source `files`: whatever the format, the same canonical rows; whatever is wrong, one message."""

from __future__ import annotations

import csv
import os
import zipfile
from datetime import date, datetime
from pathlib import Path

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_log import (
    COLUMNS_OF_FOUR,
    FOUR,
    HEADER,
    TIME,
    copy_parquet,
    files,
    query,
    read,
    read_four,
    refused,
    refused_four,
    save,
    text,
    workbook,
    write,
)
from made_log import LINE as LINE_OF_FOUR
from made_log import ROW as ROW_OF_FOUR

from common.errors import UserError
from configs.settings import Compute
from configs.source import Simulation, Source, Text
from ingestion.canonical import COLUMNS
from ingestion.sources import check_file, expand, labels, last_day
from simulator.simulator import ROWS, simulate_part

LINE = ["536365", "85123A", "MUG", 6, 2.55, TIME, "17850", "UK"]
LINES = [
    LINE,
    ["C536379", " 22423g ", 'TIN, "RED"\nBIG', -1, 0.0, datetime(2010, 12, 2), None, "Eire"],
    ["536367", "85048", None, 80995, -3.5, datetime(2011, 1, 1, 23, 59, 59), "13085", None],
]
CANONICAL = [
    (1, "536365", "85123A", "MUG", 6, 2.55, TIME, "17850", "UK", []),
    (2, "C536379", "22423G", 'TIN, "RED"\nBIG', -1, 0.0, datetime(2010, 12, 2), None, "Eire", []),
    (3, "536367", "85048", None, 80995, -3.5, datetime(2011, 1, 1, 23, 59, 59), "13085", None, []),
]
FORMATS = ["log.parquet", "log.csv", "log.xlsx"]
BINARY = ["log.parquet", "log.csv.gz", "log.xlsx"]

# --- the same rows from every format ----------------------------------------------------------


@pytest.mark.parametrize("name", [*FORMATS, "log.csv.gz", "LOG.CSV.GZ"])
def test_every_format_gives_the_same_canonical_rows_and_bytes(tmp_path, name):
    path = write(tmp_path / name, LINES)
    assert read(path) == CANONICAL
    part = tmp_path / "part.out"
    with duckdb.connect() as connection:
        described = connection.sql(f"DESCRIBE FROM read_parquet('{part}')").fetchall()
    schema = {column: kind for column, kind, *_ in described}
    assert schema == {
        **{"source": "VARCHAR", "source_row": "BIGINT"},
        **COLUMNS,
        "unreadable": "VARCHAR[]",
    }
    assert query(part, "DISTINCT source") == [(name,)]
    first = part.read_bytes()
    read(path)
    assert part.read_bytes() == first


@pytest.mark.parametrize("name", FORMATS)
def test_columns_are_found_through_the_mapping_in_any_order_and_others_left_out(tmp_path, name):
    """Whatever the others are called."""
    theirs = [f"Their {name}" for name in HEADER]
    extra = ["source_row", "unreadable", "raw_quantity"]
    lines = [[*line[::-1], "x", "y", "z"] for line in LINES]
    path = write(tmp_path / name, lines, [*theirs[::-1], *extra])
    assert read(path, columns=dict(zip(HEADER, theirs))) == CANONICAL
    declared = {c: t for c, t in zip(HEADER, theirs) if c not in ("description", "country")}
    assert read(path, columns=declared)[0] == (
        *(1, "536365", "85123A", None, 6, 2.55, TIME, "17850", None, []),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_named_like_a_column_stands_for_the_column_that_the_file_lacks(tmp_path, name):
    folder = tmp_path / "country=New%20Zealand"
    folder.mkdir()
    assert read(write(folder / name, LINES)) == CANONICAL  # the file's own comes first
    path = write(folder / name, [LINE[:-1]], HEADER[:-1])
    assert read(path) == [(*CANONICAL[0][:-2], "New Zealand", [])]


def test_a_folder_without_a_value_is_a_missing_value(tmp_path):
    folder = tmp_path / "country=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir()
    assert read(write(folder / "log.csv", [LINE[:-1]], HEADER[:-1]))[0][-2] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "decoy"),
    [
        ("log[1].csv", "log1.csv"),
        ("st*r.csv.gz", "star.csv.gz"),
        ("**.parquet", "a.parquet"),
        ("qm?.xlsx", "qma.xlsx"),
        ("l[!o]g[0-9]/log.parquet", "lag1/log.parquet"),
        ("~/it's+{a}.csv", "a.csv"),
        ('q".csv.gz', "a.csv.gz"),
    ],
)
def test_a_file_may_have_any_name_and_lie_in_any_folder(tmp_path, name, decoy):
    """DuckDB would take such a name for a pattern, and read what else matches it."""
    for other in (name, decoy):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        write(tmp_path / other, LINES if other == name else LINES[:1])
    assert read(tmp_path / name) == CANONICAL
    assert expand(files(tmp_path / name)) == [tmp_path / name]


def test_a_byte_order_mark_and_a_column_without_a_name_change_nothing(tmp_path):
    content = "\ufeff" + text([0, *LINE], header=["", *HEADER], lineterminator="\r\n")
    assert read(save(tmp_path / "log.csv", content)) == CANONICAL[:1]


@pytest.mark.slow
def test_source_row_counts_the_rows_below_the_header(tmp_path):
    lines = [[str(number), *LINE[1:]] for number in range(1, 10_001)]
    for name in ("log.csv", "log.parquet"):
        rows = read(write(tmp_path / name, lines), "source_row, invoice_id")
        assert all(str(number) == invoice for number, invoice in rows)


def test_a_parquet_file_may_have_a_column_of_row_numbers_of_its_own(tmp_path):
    line = "'c' AS who, DATE '2010-12-01' AS at, 1 AS n, 2.5 AS price, 7 AS File_Row_Number"
    path = copy_parquet(tmp_path / "log.parquet", f"SELECT {line} FROM range(3)")
    assert read(path, "source_row", columns=COLUMNS_OF_FOUR) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.xlsx"])
def test_a_header_and_nothing_else_is_a_log_of_no_rows(tmp_path, name):
    assert read(write(tmp_path / name, [])) == []


@pytest.mark.slow
@settings(max_examples=4)
@given(st.lists(st.lists(st.text(max_size=8), min_size=8, max_size=8), max_size=9))
def test_any_text_in_a_csv_is_read_as_it_is_in_parquet(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("any")
    lines = [["x" + first, *rest] for first, *rest in lines]
    lines = [[cell.replace("\0", "") for cell in line] for line in lines]
    table = [pa.array([line[i] for line in lines], pa.string()) for i in range(8)]
    pq.write_table(pa.Table.from_arrays(table, names=HEADER), folder / "log.parquet")
    content = text(*lines, header=HEADER, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    assert read(save(folder / "log.csv", content)) == read(folder / "log.parquet")


def test_simulated_rows_and_a_file_of_rows_have_one_form(tmp_path):
    simulation = Simulation(customers=60, days=200, products=30, lines_per_invoice=2.0)
    simulated = Source(simulation=simulation, time_format="%d/%m/%Y")
    simulate_part(simulated, 3, tmp_path, Compute())
    assert sorted(path.name for path in tmp_path.iterdir()) == [ROWS, "truth.json"]
    assert last_day(simulated) == date(2024, 7, 18) and last_day(files()) is None
    rows = query(tmp_path / ROWS, "* EXCLUDE (source)", "source_row")
    assert len(rows) > 100 and read(tmp_path / ROWS) == rows


# --- one value at a time ----------------------------------------------------------------------

READ = [
    ("customer_id", "13085.0", "13085"),
    ("customer_id", "13085", "13085"),
    ("customer_id", "13085.5", "13085.5"),
    ("customer_id", "A.0B", "A.0B"),
    ("customer_id", "  ", None),
    ("customer_id", "", None),
    ("invoice_id", "536365.0", "536365"),
    ("product_id", " 47503j ", "47503J"),
    ("product_id", "\t47503J\xa0\n", "47503J"),
    ("product_id", "85048.0", "85048"),
    ("description", " a  b ", "a  b"),
    ("quantity", "6.0", 6),
    ("quantity", "-6", -6),
    ("quantity", "1e3", 1000),
    ("quantity", " 7 ", 7),
    ("unit_price", "-0.5", -0.5),
    ("unit_price", "3", 3.0),
    ("invoiced_at", "2010-12-01", datetime(2010, 12, 1)),
    ("invoiced_at", "2010-12-01T08:26:30", datetime(2010, 12, 1, 8, 26, 30)),
    ("invoiced_at", "2010-12-01 08:26:00+01:00", datetime(2010, 12, 1, 7, 26)),
    ("invoiced_at", "2010-12-01T08:26:00Z", TIME),
]
KEPT = [
    *(("quantity", value) for value in ("2.5", "six", "1,000", "inf", "nan", "true")),
    *(("quantity", value) for value in ("9007199254740993000", "-9223372036854775808")),
    *(("unit_price", value) for value in ("2,55", "£2.55", "inf", "NaN", "1e999")),
    *(("invoiced_at", value) for value in ("01/12/2010 08:26", "10-12-01", "2010-02-30")),
    *(("invoiced_at", value) for value in ("infinity", " soon ")),
]


def test_a_value_is_read_or_kept_as_text_and_never_guessed(tmp_path):
    cases = [*READ, *((column, value, None) for column, value in KEPT)]
    lines = [[value if name == column else cell for name, cell in zip(HEADER, LINE)]
             for column, value, _ in cases]  # fmt: skip
    rows = read(write(tmp_path / "log.csv", lines))
    for row, (column, value, expected) in zip(rows, cases, strict=True):
        assert row[1 + HEADER.index(column)] == expected, (column, value)
        unreadable = [f"{column}={value}"] if (column, value) in KEPT else []
        assert row[-1] == unreadable, (column, value)


def test_every_unreadable_value_of_a_row_is_kept(tmp_path):
    line = [*LINE[:3], "many", "cheap", "later", *LINE[6:]]
    unreadable = read(write(tmp_path / "log.csv", [line]))[0][-1]
    assert unreadable == ["quantity=many", "unit_price=cheap", "invoiced_at=later"]


def test_a_time_format_reads_text_times_in_its_zone_and_nothing_else(tmp_path):
    times = ("13/12/2010 08:26 +0100", "2010-12-13 08:26")
    path = write(tmp_path / "log.csv", [[*LINE[:5], time, *LINE[6:]] for time in times])
    first, second = read(path, "invoiced_at, unreadable", time_format="%d/%m/%Y %H:%M %z")
    assert first == (datetime(2010, 12, 13, 7, 26), [])
    assert second == (None, ["invoiced_at=2010-12-13 08:26"])


def test_a_column_of_times_needs_no_time_format(tmp_path):
    assert read(write(tmp_path / "log.parquet", LINES), time_format="%d/%m/%Y") == CANONICAL


def test_numbers_of_any_type_are_read_the_same(tmp_path):
    columns = [pa.array([value]) for value in LINE]
    columns[3] = pa.array([6.0])
    columns[4] = pa.array(["2.55"]).cast(pa.decimal128(10, 2))
    columns[6] = pa.array([17850.0])
    pq.write_table(pa.Table.from_arrays(columns, names=HEADER), tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet") == CANONICAL[:1]


def test_nan_is_missing_whatever_the_statistics_of_the_file_say(tmp_path):
    """The least and the greatest value of a Parquet file leave NaN out."""
    nan = float("nan")
    lines = [[*LINE[:3], 6.0, 2.55, 1291191960.0, 17850.0, "UK"], [*LINE[:3], *[nan] * 4, "UK"]]
    good, bad = read(write(tmp_path / "log.parquet", lines), time_format="epoch_s")
    assert good[4:8] == (6, 2.55, TIME, "17850") and bad[4:8] == (None, None, None, None)


# --- workbooks --------------------------------------------------------------------------------

DATED = ["17850", TIME, 6, 2.55]  # a row of a workbook


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 2])
def test_sheets_of_one_header_are_one_log_and_others_are_left_out_and_logged(
    tmp_path, position, caplog
):
    """Letter case and blanks around the names make no other header."""
    caplog.set_level("INFO", logger="golden_path")
    sheets = [[FOUR, LINE_OF_FOUR], [["Who ", "AT", " n", "pRICE"], LINE_OF_FOUR, LINE_OF_FOUR]]
    sheets.insert(position, [["about", "this export"], ["who", "the customer"], ["n", "pieces"]])
    assert read_four(workbook(tmp_path / "log.xlsx", *sheets, [])) == [ROW_OF_FOUR] * 3
    (logged,) = [record.getMessage() for record in caplog.records]
    assert f"sheet 'Sheet{position or ''}' (3 rows)" in logged


@pytest.mark.parametrize(
    ("sheet", "position"),
    [
        ([["Orders of 2011"], FOUR, LINE_OF_FOUR], 0),
        ([["Orders of 2011"], [None], ["WHO ", "At", "n", "price", "more"], LINE_OF_FOUR], 1),
        ([LINE_OF_FOUR, LINE_OF_FOUR], 1),
        ([["who", "when", "pieces"], LINE_OF_FOUR], 0),
        ([["price"], ["2"]], 1),
    ],
    ids=["a title", "a title and a column more", "no header", "one column", "its only column"],
)
def test_a_sheet_that_looks_like_part_of_the_log_is_refused_and_not_skipped(
    tmp_path, sheet, position
):
    sheets = [[FOUR, LINE_OF_FOUR]]
    sheets.insert(position, sheet)
    error = refused_four(workbook(tmp_path / "log.xlsx", *sheets))
    title = f"Sheet{position or ''}"
    assert f"sheet '{title}' ({len(sheet)} rows)" in error.what
    assert title in error.where and "remove it" in error.next_step


def test_blanks_far_below_the_table_of_a_workbook_are_not_rows(tmp_path):
    blank = [None] * len(HEADER)
    between = [HEADER, LINES[0], blank, LINES[1], *[blank] * 50, [" ", *blank[1:]]]
    assert len(read(workbook(tmp_path / "log.xlsx", between))) == 3


def test_merged_cells_are_refused_because_all_but_the_first_would_be_missing(tmp_path):
    path = workbook(tmp_path / "log.xlsx", [HEADER, *LINES])
    book = openpyxl.load_workbook(path)
    book.active.merge_cells("H2:H3")
    book.save(path)
    error = refused(path)
    assert "are merged" in error.what and error.where.endswith("row 2")
    book.active.unmerge_cells("H2:H3")
    book.active.merge_cells("I1:K1")  # beside the header
    book.save(path)
    assert len(read(path)) == 3


@pytest.mark.parametrize("time_format", [None, "%d/%m/%Y"])
def test_cells_of_a_workbook_are_read_as_a_person_sees_them(tmp_path, time_format):
    days = [TIME, date(2010, 12, 2), "03/12/2010", "at", None]
    path = workbook(tmp_path / "log.xlsx", [FOUR, *([17850.0, day, 6.0, 2] for day in days)])
    rows = read_four(path, time_format=time_format)
    assert {(who, n, price) for who, _, n, price, _ in rows} == {("17850", 6, 2.0)}
    third = (datetime(2010, 12, 3), []) if time_format else (None, ["invoiced_at=03/12/2010"])
    assert [(row[1], row[4]) for row in rows] == [
        *[(TIME, []), (datetime(2010, 12, 2), []), third],
        *[(None, ["invoiced_at=at"]), (None, [])],
    ]


def far(path: Path, *cells: tuple[int, int]) -> Path:
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("more")):
        sheet.append(FOUR)
        for cell in cells:
            sheet.cell(*cell, value=1)
    book.save(path)
    return path


@pytest.mark.parametrize("cell", [(1_048_576, 16_384), (1_048_576, 2), (70, 16_384)])
def test_a_cell_far_away_is_refused_before_memory_is_taken_up_to_it(tmp_path, cell):
    what = refused_four(far(tmp_path / "log.xlsx", cell)).what
    assert f"the last of them in row {cell[0]:,} and column {max(cell[1], 4):,}" in what


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
    assert len(read_four(rewritten(f"<row>{cells}</row>" * 5), time_format="epoch_s")) == 5
    wide = f"<row>{cells * 500}</row>" + "<row><c><v>1</v></c></row>" * 2000
    assert "column 2,000" in refused_four(rewritten(wide)).what
    value = '<row r="2"><c r="A2" t="inlineStr"><is><t>{}</t></is></c></row>'
    assert "longer than 4,194,304" in refused_four(rewritten(value.format("x" * 9_000_000))).what
    assert "cannot be read as xlsx" in refused_four(rewritten("<row", end="")).what
    monkeypatch.setattr("ingestion.workbook.MOST_PLACES", 30)
    error = refused_four(far(tmp_path / "many.xlsx", (5, 4)))
    assert "over 30 cells" in error.what and "save the table as CSV or Parquet" in error.next_step
    monkeypatch.setattr("ingestion.workbook.MOST_TEXT_BYTES", 100)
    assert "unpacks to over" in refused_four(made).what


# --- refused, each with one message -----------------------------------------------------------


@pytest.mark.parametrize("name", [*FORMATS, "log.csv.gz"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    assert "is empty (0 bytes)" in refused(tmp_path / name).what


def test_what_is_not_a_file_of_a_known_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="no file is named"):
        expand(Source(kind="files"))
    error = refused(tmp_path / "nowhere.csv")
    assert "'nowhere.csv' does not exist" in error.what and str(tmp_path) in error.where
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.csv").what
    error = refused(save(tmp_path / "log.feather", "x"))
    assert "'.feather'" in error.what and ".parquet, .xlsx, .csv, .tsv, .tab, .txt" in error.what
    assert "any_suffix" in error.next_step
    save(tmp_path / "~$log.xlsx", b"\5user")
    (tmp_path / "gone.csv").symlink_to("gone.csv")  # to itself
    os.mkfifo(tmp_path / "pipe.csv")  # which nobody waits for
    for name, what in [
        ("~$log.xlsx", "while a workbook is open"),
        ("gone.csv", "leads nowhere"),
        ("pipe.csv", "regular file"),
    ]:
        with pytest.raises(UserError, match=what):
            check_file(tmp_path / name, Text())


@pytest.mark.parametrize("name", BINARY)
def test_a_format_under_the_name_of_another_is_refused(tmp_path, name):
    write(tmp_path / name, LINES).rename(tmp_path / "log.csv")
    error = refused(tmp_path / "log.csv")
    assert "not text" in error.what and name.rpartition(".")[2] in error.next_step
    (tmp_path / name).write_text("invoice_id,quantity\n1,2\n" * 20)
    error = refused(tmp_path / name)
    assert f"cannot be read as {name.partition('.')[2]}: " in error.what
    assert "truncated, damaged or of another format" in error.next_step


@pytest.mark.slow
@pytest.mark.parametrize("name", BINARY)
def test_a_truncated_file_is_refused(tmp_path, name):
    path = write(tmp_path / name, [[str(i), *LINE[1:]] for i in range(1000)])
    content = path.read_bytes()
    for share in (0.02, 0.5, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        assert "cannot be read as" in refused(path).what, share


def test_a_damaged_gzip_is_known_by_its_checksum(tmp_path):
    path = write(tmp_path / "log.csv.gz", LINES)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert "CRC check failed" in refused(path).what


@pytest.mark.slow
@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=6)
@given(st.data())
def test_damage_anywhere_is_read_or_refused_with_one_message(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = write(folder / name, [[str(i), *LINE[1:]] for i in range(200)])
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=8)):
        content[int(place * (len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        assert error.where and error.next_step and not (folder / "part.out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("position", "cells"), [(0, 9), (1, 3), (30_000, 9)])
def test_a_row_of_more_or_fewer_values_is_named_by_its_line(tmp_path, position, cells):
    """And the outcome of an earlier file stays whole."""
    path = write(tmp_path / "log.csv", LINES)
    read(path)
    before = (tmp_path / "part.out").read_bytes()
    lines = [LINE] * 40_000
    lines[position] = [*LINE, "extra"][:cells]
    what = refused(write(path, lines)).what
    assert f"Line: {position + 2} " in what
    assert f"Expected Number of Columns: 8 Found: {cells}" in what
    assert (tmp_path / "part.out").read_bytes() == before


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_column_is_named_with_the_nearest(tmp_path, name):
    at = HEADER.index("quantity")
    header = [*HEADER[:at], "quantitys", *HEADER[at + 1 :]]
    error = refused(write(tmp_path / name, LINES, header))
    assert "no column 'quantity'" in error.what and ", ".join(header) in error.where
    assert "did you mean 'quantitys'?" in error.next_step
    assert "below source.columns" in error.next_step


def test_a_mapping_that_does_not_fit_is_refused(tmp_path):
    path = write(tmp_path / "log.csv", LINES)
    error = refused(path, columns={name: name for name in HEADER} | {"country": "Land"})
    assert "no column 'Land'" in error.what and "country" in error.what
    assert "--source.columns.country COLUMN" in error.next_step
    error = refused(path, columns={"price": "unit_price"})
    assert "'price'" in error.what and error.where == "source.columns"
    assert "unit_price" in error.next_step
    error = refused(path, time_format="%Q")
    assert "'%Q'" in error.what and error.where == "source.time_format"


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("quantity", True, "BOOLEAN"),
        ("quantity", [1, 2], "BIGINT[]"),
        ("customer_id", {"id": "1"}, "STRUCT"),
        ("description", b"\x00", "BLOB"),
    ],
)
def test_a_column_of_another_type_is_refused(tmp_path, column, value, kind):
    line = [value if name == column else cell for name, cell in zip(HEADER, LINE)]
    error = refused(write(tmp_path / "log.parquet", [line]))
    assert f"column {column!r} is of type {kind}" in error.what and column in error.where


@pytest.mark.parametrize(("name", "second"), [("log.csv", "quantity"), ("log.xlsx", "QUANTITY")])
def test_a_name_that_stands_for_two_columns_is_refused(tmp_path, name, second):
    path = write(tmp_path / name, [[*LINE, 1]], [*HEADER, second])
    assert "more than one column called 'quantity'" in refused(path).what


def test_a_workbook_without_content_is_refused(tmp_path):
    assert "names no columns" in refused(workbook(tmp_path / "log.xlsx", [])).what


# --- several files ----------------------------------------------------------------------------


def test_files_of_one_name_are_labelled_by_the_end_of_their_path(tmp_path, monkeypatch):
    def label(*names: str) -> list[str]:
        return labels([Path(name) for name in names])

    monkeypatch.chdir(tmp_path)
    assert label("a/jan.csv", "b/jan.csv", "b/feb.csv") == ["a/jan.csv", "b/jan.csv", "feb.csv"]
    deep = ["x/a/jan.csv", "y/a/jan.csv", "y/b/jan.csv"]
    assert label(*deep) == ["x/a/jan.csv", "y/a/jan.csv", "b/jan.csv"]
    assert label("jan.csv", "a/jan.csv") == [f"{tmp_path.name}/jan.csv", "a/jan.csv"]
    assert label("/jan.csv", "/a/jan.csv") == ["/jan.csv", "a/jan.csv"]


@settings(max_examples=30)
@given(st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple), max_size=9))
def test_no_two_files_have_one_label_and_each_is_the_end_of_its_path(names):
    paths = [Path("/", *parts) for parts in sorted(names)]
    each = labels(paths)
    assert len(set(each)) == len(paths)
    assert all(str(path).endswith(label) for path, label in zip(paths, each))


def test_patterns_and_lists_give_each_file_once_in_order(tmp_path, monkeypatch):
    for name in ("b.csv", "a.csv", "c [1].csv", "deep/d.csv", ".hidden.csv"):
        save(tmp_path / name, text(LINE_OF_FOUR))
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path)
    for patterns, expected in [
        (["?.csv"], ["a.csv", "b.csv"]),
        (["b.csv", "*.csv"], ["b.csv", "a.csv", "c [1].csv"]),  # the link is a.csv again
        (["**/*.csv"], ["a.csv", "b.csv", "c [1].csv", "deep/d.csv"]),
        (["c [1].csv"], ["c [1].csv"]),
        (["c [1]*"], ["c [1].csv"]),
        ([str(tmp_path / "a.csv"), "a.csv"], [str(tmp_path / "a.csv")]),
    ]:
        assert [str(path) for path in expand(files(*patterns))] == expected


def test_brackets_are_not_a_pattern_and_a_file_of_the_patterns_name_comes_first(tmp_path, caplog):
    save(tmp_path / "a1.csv", text(LINE_OF_FOUR))
    with pytest.raises(UserError, match="does not exist"):
        expand(files(tmp_path / "a[1].csv"))
    save(tmp_path / "a?.csv", text(LINE_OF_FOUR))
    assert expand(files(tmp_path / "a?.csv")) == [tmp_path / "a?.csv"]
    assert "1 more files" in caplog.text


@pytest.mark.parametrize(
    ("place", "what"),
    [("*.parquet", "no file matches"), ("gone.csv", "does not exist"), ("*", "is a folder")],
)
def test_every_path_and_pattern_must_lead_to_files(tmp_path, place, what):
    save(tmp_path / "a.csv", text(LINE_OF_FOUR))
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match=what):
        expand(files(tmp_path / "a.csv", tmp_path / place))
