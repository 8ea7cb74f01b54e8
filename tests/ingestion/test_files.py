"""Source `files`: whatever the format, the same canonical rows; whatever is wrong, one message."""

from __future__ import annotations

import csv
import gzip
import os
from datetime import date, datetime
from pathlib import Path

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from configs.settings import Compute
from configs.source import Simulation, Source, Text
from ingestion.canonical import COLUMNS
from ingestion.files import read_file
from ingestion.sources import check_file, expand, last_day
from simulator.simulator import ROWS, simulate_part

HEADER = list(COLUMNS)
LINE = ["536365", "85123A", "MUG", 6, 2.55, datetime(2010, 12, 1, 8, 26), "17850", "UK"]
MAPPED = {
    "invoice_id": "Invoice",
    "product_id": "StockCode",
    "description": "Description",
    "quantity": "Quantity",
    "unit_price": "Price",
    "invoiced_at": "InvoiceDate",
    "customer_id": "Customer ID",
    "country": "Country",
}
LINES = [
    LINE,
    ["C536379", " 22423g ", 'TIN, "RED"\nBIG', -1, 0.0, datetime(2010, 12, 2), None, "Eire"],
    ["536367", "85048", None, 80995, -3.5, datetime(2011, 1, 1, 23, 59, 59), "13085", None],
]
CANONICAL = [
    (1, "536365", "85123A", "MUG", 6, 2.55, datetime(2010, 12, 1, 8, 26), "17850", "UK", []),
    (2, "C536379", "22423G", 'TIN, "RED"\nBIG', -1, 0.0, datetime(2010, 12, 2), None, "Eire", []),
    (3, "536367", "85048", None, 80995, -3.5, datetime(2011, 1, 1, 23, 59, 59), "13085", None, []),
]
assert len(CANONICAL) == len(LINES)


def write_csv(path: Path, lines: list[list], header: list[str] = HEADER, **dialect) -> Path:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file, **dialect).writerows([header, *lines])
    return path


def write_parquet(path: Path, lines: list[list], header: list[str] = HEADER) -> Path:
    columns = list(zip(*lines)) or [[]] * len(header)
    pq.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], names=header), path)
    return path


def write_xlsx(path: Path, *sheets: list[list]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for lines in sheets:
        sheet = book.create_sheet()
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def write(path: Path, lines: list[list], header: list[str] = HEADER) -> Path:
    if path.suffix == ".parquet":
        return write_parquet(path, lines, header)
    if path.suffix == ".xlsx":
        return write_xlsx(path, [header, *lines])
    return write_csv(path, lines, header)


def rows(path: Path, **source) -> list[tuple]:
    target = path.parent / "canonical.parquet"
    read_file(Source(kind="files", path=str(path), **source), path, target, Compute())
    with duckdb.connect() as connection:
        read = f"read_parquet('{quoted(str(target))}', hive_partitioning = false)"
        described = connection.sql(f"DESCRIBE FROM {read}").fetchall()
        assert [column[:2] for column in described] == [
            ("source", "VARCHAR"),
            ("source_row", "BIGINT"),
            *COLUMNS.items(),
            ("unreadable", "VARCHAR[]"),
        ]
        assert connection.sql(f"FROM {read} WHERE source != '{quoted(path.name)}'").fetchall() == []
        every = "SELECT * EXCLUDE (source) FROM"
        return connection.sql(f"{every} {read} ORDER BY source_row").fetchall()


def quoted(text: str) -> str:
    return text.replace("'", "''")


def row(folder: Path, **cells) -> dict:
    """One line through a CSV file, read back by name."""
    line = [cells.get(name, value) for name, value in zip(HEADER, LINE)]
    (read,) = rows(write_csv(folder / "one.csv", [line]))
    return dict(zip(("source_row", *HEADER, "unreadable"), read))


def refused(path: Path, **source) -> UserError:
    """The one clear message; and nothing is left that could be taken for the outcome."""
    folder = path.parent
    before = set(folder.iterdir())
    source = Source(kind="files", path=str(path), **source)
    with pytest.raises(UserError) as caught:
        read_file(source, path, folder / "canonical.parquet", Compute())
    assert set(folder.iterdir()) == before
    error = caught.value
    assert error.what and error.where and error.next_step
    assert not any(word in error.what for word in ("LINE 1", "SELECT", "read_csv", "Traceback"))
    return error


# --- the same rows from every format ----------------------------------------------------------


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.csv.gz", "LOG.CSV.GZ", "log.xlsx"])
def test_every_format_gives_the_same_canonical_rows(tmp_path, name):
    assert rows(write(tmp_path / name, LINES)) == CANONICAL


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.xlsx"])
def test_columns_are_found_through_the_mapping_in_any_order(tmp_path, name):
    header = [*MAPPED.values()][::-1]
    path = write(tmp_path / name, [line[::-1] for line in LINES], header)
    assert rows(path, columns=MAPPED) == CANONICAL


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_header(tmp_path, delimiter):
    assert rows(write_csv(tmp_path / "log.csv", LINES, delimiter=delimiter)) == CANONICAL


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    path = write_csv(tmp_path / "log.csv", [LINE], lineterminator="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert rows(path) == CANONICAL[:1]


def own_names(*left_out: str) -> dict[str, str]:
    return {name: name for name in HEADER if name not in left_out}


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.xlsx"])
def test_columns_that_are_not_declared_are_missing_even_where_the_file_has_them(tmp_path, name):
    path = write(tmp_path / name, [LINE])
    (read,) = rows(path, columns=own_names("description", "country"))
    assert read[1 + HEADER.index("description")] is read[1 + HEADER.index("country")] is None
    assert read[:3] == CANONICAL[0][:3]


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.xlsx"])
def test_columns_nobody_asked_for_are_left_out_whatever_they_are_called(tmp_path, name):
    extra = ["source_row", "unreadable", "raw_quantity"]
    path = write(tmp_path / name, [[*line, "x", "y", "z"] for line in LINES], [*HEADER, *extra])
    assert rows(path) == CANONICAL


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.xlsx"])
def test_a_folder_named_like_a_column_stands_for_the_column_that_the_file_lacks(tmp_path, name):
    folder = tmp_path / "country=Nowhere"
    folder.mkdir()
    assert rows(write(folder / name, LINES)) == CANONICAL  # the file's own comes first
    path = write(folder / name, [LINE[:-1]], HEADER[:-1])
    assert rows(path) == [(*CANONICAL[0][:-2], "Nowhere", [])]


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
    assert rows(tmp_path / name) == CANONICAL
    (found,) = expand(Source(kind="files", path=[str(tmp_path / name)]))
    assert found == tmp_path / name


def test_all_sheets_with_the_same_header_are_one_log_and_a_note_is_none(tmp_path):
    path = write_xlsx(tmp_path / "log.xlsx", [HEADER, *LINES[:2]], [["Notes"]], [HEADER, LINES[2]])
    assert rows(path) == CANONICAL


def test_a_sheet_with_part_of_the_columns_is_refused_not_skipped(tmp_path):
    other = ["Invoice", *HEADER[1:]]
    error = refused(write_xlsx(tmp_path / "log.xlsx", [HEADER, LINE], [other, LINE]))
    assert "Sheet1" in error.what and "Invoice" in error.what


def test_blanks_far_below_the_table_of_a_workbook_are_no_rows(tmp_path):
    blank = [None] * len(HEADER)
    between = [HEADER, LINES[0], blank, LINES[1], *[blank] * 50, [" ", *blank[1:]]]
    assert len(rows(write_xlsx(tmp_path / "log.xlsx", between))) == 3


def test_merged_cells_of_which_all_but_the_first_would_be_missing_are_refused(tmp_path):
    path = write_xlsx(tmp_path / "log.xlsx", [HEADER, *LINES])
    book = openpyxl.load_workbook(path)
    book.active.merge_cells("H2:H3")
    book.save(path)
    error = refused(path)
    assert "are merged" in error.what and error.where.endswith("row 2")
    book.active.unmerge_cells("H2:H3")
    book.active.merge_cells("I1:K1")  # beside the header
    book.save(path)
    assert len(rows(path)) == 3


def test_the_numbers_of_a_workbook_are_read_as_a_person_sees_them(tmp_path):
    line = [536365, 85048, 7, 6.0, 2, date(2010, 12, 1), 13085.0, "UK"]
    read = rows(write_xlsx(tmp_path / "log.xlsx", [HEADER, line]))
    day = datetime(2010, 12, 1)
    assert read == [(1, "536365", "85048", "7", 6, 2.0, day, "13085", "UK", [])]


@pytest.mark.slow
def test_source_row_counts_the_rows_below_the_header(tmp_path):
    lines = [[str(number), *LINE[1:]] for number in range(1, 60_001)]
    for name in ("log.csv", "log.parquet"):
        assert all(str(read[0]) == read[1] for read in rows(write(tmp_path / name, lines)))


def test_the_same_file_gives_the_same_bytes(tmp_path):
    path = write_csv(tmp_path / "log.csv", LINES * 500)
    rows(path)
    first = (tmp_path / "canonical.parquet").read_bytes()
    rows(path)
    assert (tmp_path / "canonical.parquet").read_bytes() == first


# --- one value at a time ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
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
        ("invoiced_at", "2010-12-01T08:26:00Z", datetime(2010, 12, 1, 8, 26)),
    ],
)
def test_a_value_is_read(tmp_path, column, text, value):
    read = row(tmp_path, **{column: text})
    assert read[column] == value and read["unreadable"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("quantity", "2.5"),
        ("quantity", "six"),
        ("quantity", "1,000"),
        ("quantity", "inf"),
        ("quantity", "nan"),
        ("quantity", "9007199254740993000"),
        ("quantity", "-9223372036854775808"),
        ("quantity", "true"),
        ("unit_price", "2,55"),
        ("unit_price", "£2.55"),
        ("unit_price", "inf"),
        ("unit_price", "NaN"),
        ("unit_price", "1e999"),
        ("invoiced_at", "01/12/2010 08:26"),
        ("invoiced_at", "10-12-01"),
        ("invoiced_at", "2010-02-30"),
        ("invoiced_at", "infinity"),
        ("invoiced_at", " soon "),
    ],
)
def test_a_value_that_does_not_parse_is_kept_as_text_never_guessed(tmp_path, column, text):
    read = row(tmp_path, **{column: text})
    assert read[column] is None and read["unreadable"] == [f"{column}={text}"]


def test_every_unreadable_value_of_a_row_is_kept(tmp_path):
    read = row(tmp_path, quantity="many", unit_price="cheap", invoiced_at="later")
    assert read["unreadable"] == ["quantity=many", "unit_price=cheap", "invoiced_at=later"]


def test_a_time_format_reads_text_times_and_nothing_else(tmp_path):
    lines = [[*LINE[:5], when, *LINE[6:]] for when in ("13/12/2010 08:26", "2010-12-13 08:26")]
    path = write_csv(tmp_path / "log.csv", lines)
    first, second = rows(path, time_format="%d/%m/%Y %H:%M")
    assert first[6] == datetime(2010, 12, 13, 8, 26)
    assert second[6] is None and second[-1] == ["invoiced_at=2010-12-13 08:26"]


def test_a_time_format_with_a_zone_gives_utc(tmp_path):
    line = [*LINE[:5], "13/12/2010 08:26 +0100", *LINE[6:]]
    path = write_csv(tmp_path / "log.csv", [line])
    assert rows(path, time_format="%d/%m/%Y %H:%M %z")[0][6] == datetime(2010, 12, 13, 7, 26)


@pytest.mark.parametrize("name", ["log.parquet", "log.xlsx"])
def test_a_column_of_times_needs_no_time_format(tmp_path, name):
    assert rows(write(tmp_path / name, LINES), time_format="%d/%m/%Y") == CANONICAL


def test_numbers_of_any_type_are_read_alike(tmp_path):
    columns = [pa.array([value]) for value in LINE]
    columns[3] = pa.array([6.0])
    columns[4] = pa.array(["2.55"]).cast(pa.decimal128(10, 2))
    columns[6] = pa.array([17850.0])
    pq.write_table(pa.Table.from_arrays(columns, names=HEADER), tmp_path / "log.parquet")
    assert rows(tmp_path / "log.parquet") == CANONICAL[:1]


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(st.lists(st.text(max_size=8), min_size=8, max_size=8), max_size=5))
def test_any_text_in_a_csv_is_read_as_it_is_in_parquet(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("any")
    lines = [
        ["x" + line[0].replace("\0", ""), *(c.replace("\0", "") for c in line[1:])]
        for line in lines
    ]
    table = [pa.array([line[i] for line in lines], pa.string()) for i in range(8)]
    pq.write_table(pa.Table.from_arrays(table, names=HEADER), folder / "log.parquet")
    path = write_csv(folder / "log.csv", lines, quoting=csv.QUOTE_ALL)
    assert rows(path) == rows(folder / "log.parquet")


# --- refused, each with one message -----------------------------------------------------------


def test_no_file_named():
    with pytest.raises(UserError, match="no file is named"):
        expand(Source(kind="files"))


def test_a_missing_file(tmp_path):
    error = refused(tmp_path / "nowhere.csv")
    assert "'nowhere.csv' does not exist" in error.what and str(tmp_path) in error.where


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.csv.gz", "log.xlsx"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert "is empty (0 bytes)" in refused(tmp_path / name).what


def test_a_folder_and_an_unknown_kind_of_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.csv").what
    (tmp_path / "log.feather").write_text("x")
    error = refused(tmp_path / "log.feather")
    assert "'.feather'" in error.what and ".parquet, .xlsx, .csv, .tsv, .tab, .txt" in error.what
    assert "any_suffix" in error.next_step
    with pytest.raises(UserError):
        check_file(tmp_path / "log.feather", Text())


@pytest.mark.parametrize("name", ["log.parquet", "log.csv.gz", "log.xlsx"])
def test_text_under_another_name(tmp_path, name):
    (tmp_path / name).write_text("invoice_id,quantity\n1,2\n" * 20)
    error = refused(tmp_path / name)
    assert f"cannot be read as {name.partition('.')[2]}: " in error.what
    assert "truncated, damaged or of another format" in error.next_step


@pytest.mark.parametrize("name", ["log.parquet", "log.csv.gz", "log.xlsx"])
def test_another_format_under_the_name_of_text_is_named(tmp_path, name):
    """And not taken for text in another encoding."""
    write(tmp_path / name, LINES).rename(tmp_path / "log.csv")
    error = refused(tmp_path / "log.csv")
    assert "not text" in error.what and name.rpartition(".")[2] in error.next_step


def test_what_else_a_pattern_may_match(tmp_path):
    for name, what in (("~$log.xlsx", "workbook that is open"), ("gone.csv", "leads nowhere")):
        if name == "gone.csv":
            (tmp_path / name).symlink_to(name)  # to itself
        else:
            (tmp_path / name).write_bytes(b"\5user")
        with pytest.raises(UserError) as caught:
            check_file(tmp_path / name, Text())
        assert what in caught.value.what and caught.value.next_step


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(UserError, match="is no regular file"):
        check_file(tmp_path / "log.csv", Text())


def test_nan_is_missing_whatever_the_statistics_of_the_file_say(tmp_path):
    """The least and the greatest value of a Parquet file leave NaN out."""
    lines = [[*LINE[:3], 6.0, 2.55, 1291191960.0, 17850.0, "UK"]]
    lines += [[*LINE[:3], nan, nan, nan, nan, "UK"] for nan in (float("nan"),)]
    path = write_parquet(tmp_path / "log.parquet", lines)
    good, bad = rows(path, time_format="epoch_s")
    assert good[4:8] == (6, 2.55, datetime(2010, 12, 1, 8, 26), "17850")
    assert bad[4:8] == (None, None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log.parquet", "log.csv.gz", "log.xlsx"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path, name, share):
    path = write(tmp_path / name, [[str(i), *LINE[1:]] for i in range(3000)])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read as" in refused(path).what


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log.parquet", "log.csv.gz", "log.xlsx"])
@settings(max_examples=15)
@given(st.data())
def test_damage_anywhere_is_read_or_refused_with_one_message(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = write(folder / name, [[str(i), *LINE[1:]] for i in range(200)])
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=8)):
        content[int(place * (len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        rows(path)
    except UserError as error:
        assert error.where and error.next_step and not (folder / "canonical.parquet").exists()


def test_a_damaged_gzip_is_found_by_its_checksum(tmp_path):
    path = write_csv(tmp_path / "log.csv.gz", LINES)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert "CRC check failed" in refused(path).what


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 30_000])
@pytest.mark.parametrize(("change", "cells"), [("too long", 9), ("too short", 3)])
def test_a_ragged_row_is_named_by_its_line(tmp_path, position, change, cells):
    lines = [LINE] * 40_000
    lines[position] = [*LINE, "extra"][:cells]
    error = refused(write_csv(tmp_path / "log.csv", lines))
    assert f"Line: {position + 2} " in error.what
    assert f"Expected Number of Columns: 8 Found: {cells}" in error.what


def test_a_quote_that_never_ends(tmp_path):
    path = write_csv(tmp_path / "log.csv", [LINE] * 100)
    path.write_text(path.read_text() + '1,2,"3,4')
    assert "unterminated quote" in refused(path).what


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.xlsx"])
@pytest.mark.parametrize("missing", ["quantity", "customer_id"])
def test_a_missing_column(tmp_path, name, missing):
    at = HEADER.index(missing)
    header = [*HEADER[:at], f"{missing}s", *HEADER[at + 1 :]]
    error = refused(write(tmp_path / name, LINES, header))
    assert f"no column '{missing}'" in error.what
    assert ", ".join(header) in error.where
    assert f"did you mean '{missing}s'?" in error.next_step
    assert "below source.columns" in error.next_step


def test_a_column_that_only_the_mapping_names(tmp_path):
    columns = own_names() | {"country": "Land"}
    error = refused(write(tmp_path / "log.csv", LINES), columns=columns)
    assert "no column 'Land'" in error.what and "country" in error.what
    assert "--source.columns.country COLUMN" in error.next_step


def test_a_mapping_of_what_is_no_canonical_column(tmp_path):
    error = refused(write(tmp_path / "log.csv", LINES), columns={"price": "unit_price"})
    assert "'price'" in error.what and error.where == "source.columns"
    assert "unit_price" in error.next_step


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("quantity", True, "BOOLEAN"),
        ("quantity", [1, 2], "BIGINT[]"),
        ("customer_id", {"id": "1"}, "STRUCT"),
        ("description", b"\x00", "BLOB"),
    ],
)
def test_a_column_of_lists_structs_bytes_or_booleans(tmp_path, column, value, kind):
    line = [value if name == column else cell for name, cell in zip(HEADER, LINE)]
    error = refused(write_parquet(tmp_path / "log.parquet", [line]))
    assert f"column {column!r} is of type {kind}" in error.what and column in error.where


@pytest.mark.parametrize("name", ["log.csv", "log.xlsx"])
@pytest.mark.parametrize("second", ["quantity", "QUANTITY"])
def test_a_name_that_stands_for_two_columns(tmp_path, name, second):
    path = write(tmp_path / name, [[*LINE, 1]], [*HEADER, second])
    assert "more than one column called 'quantity'" in refused(path).what


def test_a_column_without_a_name_is_no_fault(tmp_path):
    path = write_csv(tmp_path / "log.csv", [[0, *LINE]], ["", *HEADER])
    assert rows(path) == CANONICAL[:1]


@pytest.mark.parametrize("text", [",,\n1,2,3\n", "\ufeff\n", "\n\n"])
def test_a_first_row_that_names_nothing(tmp_path, text):
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    assert "the first row names no columns" in refused(tmp_path / "log.csv").what


def test_a_workbook_without_content(tmp_path):
    assert "names no columns" in refused(write_xlsx(tmp_path / "log.xlsx", [])).what


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.xlsx"])
def test_a_header_and_nothing_else_is_a_log_of_no_rows(tmp_path, name):
    assert rows(write(tmp_path / name, [])) == []


def test_a_time_format_that_is_none(tmp_path):
    error = refused(write(tmp_path / "log.csv", LINES), time_format="%Q")
    assert "'%Q'" in error.what and error.where == "source.time_format"


def test_an_earlier_outcome_stays_whole_when_a_later_file_is_refused(tmp_path):
    rows(write(tmp_path / "log.csv", LINES))
    before = (tmp_path / "canonical.parquet").read_bytes()
    refused(write_csv(tmp_path / "log.csv", [LINE, LINE[:2]]))
    assert (tmp_path / "canonical.parquet").read_bytes() == before


# --- whichever source -------------------------------------------------------------------------


def test_simulated_rows_and_a_file_of_rows_have_one_form(tmp_path):
    simulation = Simulation(customers=60, days=200, products=30, lines_per_invoice=2.0)
    simulated = Source(simulation=simulation, time_format="%d/%m/%Y")
    simulate_part(simulated, 3, tmp_path, Compute())
    assert sorted(path.name for path in tmp_path.iterdir()) == [ROWS, "truth.json"]
    assert last_day(simulated) == date(2024, 7, 18)
    again = tmp_path / "again"
    again.mkdir()
    copy = Source(kind="files", path=str(tmp_path / ROWS))
    read_file(copy, tmp_path / ROWS, again / ROWS, Compute())
    kept = f"source_row, {', '.join(HEADER)}"
    with duckdb.connect() as connection:
        first, second = (
            connection.sql(f"SELECT {kept} FROM '{folder / ROWS}' ORDER BY 1").fetchall()
            for folder in (tmp_path, again)
        )
    assert len(first) > 100 and first == second
    assert last_day(Source(kind="files")) is None
