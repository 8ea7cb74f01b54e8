"""Source `database`: the same rows from SQLite and from a real PostgreSQL, only what is new, and
one message for whatever goes wrong, in which no password is ever shown.

What does not depend on the database is tested on SQLite alone."""

from __future__ import annotations

import errno
import json
import sqlite3
import sys
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import PASSWORD, Server, server
from sqlalchemy import event
from sqlalchemy.engine import Engine

from common.errors import UserError
from configs.command import run_command
from configs.load import load
from configs.settings import Compute
from configs.source import Source
from ingestion import chunks, database
from ingestion.canonical import COLUMNS
from ingestion.database import read_new

pytestmark = pytest.mark.slow

MAPPED = {
    "invoice_id": "invoice",
    "product_id": "code",
    "description": "What",
    "quantity": "pieces",
    "unit_price": "price",
    "invoiced_at": "sold at",
    "customer_id": "customer",
    "country": "country",
}
THREE = {"customer_id": "customer", "invoiced_at": "at", "amount": "amount"}
START = datetime(2011, 1, 1)
UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    with server() as postgres:
        yield postgres


@pytest.fixture
def postgres(started, monkeypatch) -> Server:
    monkeypatch.setenv("DATABASE_PASSWORD", PASSWORD)
    return started


@dataclass(frozen=True)
class Shop:
    """A database with a table of lines."""

    url: str
    server: Server | None = None

    def run(self, sql: str, rows: list[tuple] | None = None) -> list[tuple]:
        opened = self.server.connect() if self.server else sqlite3.connect(self.url[10:])
        with closing(opened) as connection, connection:
            cursor = connection.cursor()
            if rows is None:
                cursor.execute(sql)
            else:
                cursor.executemany(sql.replace("?", "%s") if self.server else sql, rows)
            return cursor.fetchall() if cursor.description else []

    def insert(self, stamps: list[int], table: str = "lines") -> None:
        """A line for each stamp, all of them different."""
        (count,) = self.run(f"SELECT count(*) FROM {table}")[0]
        self.run(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [line(stamp, count + at) for at, stamp in enumerate(stamps)],
        )


def line(stamp: int, number: int) -> tuple:
    when = (START + timedelta(hours=number)).isoformat(" ")
    customer = None if number % 5 == 4 else 12000 + number % 7
    return (stamp, f"{500000 + number}", " 22423g ", "MUG", 6, 2.55, when, customer, "UK")


BOTH = pytest.mark.parametrize("shop", ["sqlite", "postgres"], indirect=True)
ON_POSTGRES = pytest.mark.parametrize("shop", ["postgres"], indirect=True)


@pytest.fixture
def shop(request, tmp_path) -> Shop:
    if getattr(request, "param", "sqlite") == "sqlite":
        made = Shop(f"sqlite:///{tmp_path / 'shop.db'}")
    else:
        started = request.getfixturevalue("postgres")
        made = Shop(started.url, started)
        made.run("DROP SCHEMA public CASCADE")
        made.run("CREATE SCHEMA public")
    made.run(
        'CREATE TABLE lines (stamp INTEGER, invoice TEXT, code TEXT, "What" TEXT, pieces INTEGER,'
        ' price NUMERIC(10, 2), "sold at" TIMESTAMP, customer INTEGER, country TEXT)'
    )
    return made


def source(
    shop: Shop, columns: dict[str, str] = MAPPED, time_format: str | None = None, **database: Any
) -> Source:
    if "query" not in database:
        database.setdefault("table", "lines")
    database["url"] = shop.url
    return Source(kind="database", columns=columns, time_format=time_format, database=database)


def read(shop: Shop, store: Path, **options: Any) -> list[tuple]:
    """The whole log, without the column `source`, in the order of its rows."""
    parts = read_new(source(shop, **options), store, Compute())
    assert all(part.parent == store for part in parts)
    with duckdb.connect() as connection:
        each = [connection.read_parquet(str(part)) for part in parts]
        for part in each:
            types = [str(kind) for kind in part.types]
            assert part.columns == ["source", "source_row", *COLUMNS, "unreadable"]
            assert types == ["VARCHAR", "BIGINT", *COLUMNS.values(), "VARCHAR[]"]
        rows = [row for part in each for row in part.fetchall()]
    label = options.get("table", "query" if "query" in options else "lines")
    assert {row[0] for row in rows} <= {label}
    assert [row[1] for row in rows] == list(range(1, len(rows) + 1))
    return [row[1:] for row in rows]


def refused(shop: Shop, store: Path, **options: Any) -> UserError:
    """The one message; the store is what it was, and the password is nowhere."""
    before = contents(store)
    with pytest.raises(UserError) as caught:
        read_new(source(shop, **options), store, Compute())
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error)
    assert error.what and error.where and error.next_step
    assert PASSWORD not in shown and "SELECT" not in error.what
    assert contents(store) == before
    return error


def contents(store: Path) -> dict[str, bytes]:
    files = store.iterdir() if store.exists() else []
    return {file.name: file.read_bytes() for file in files if file.name != ".lock"}


# --- what is read -----------------------------------------------------------------------------


@BOTH
def test_a_table_gives_the_canonical_rows(shop, tmp_path):
    shop.insert([1, 2])
    first, second = read(shop, tmp_path / "store")
    when = datetime(2011, 1, 1, 1)
    assert second == (2, "500001", "22423G", "MUG", 6, 2.55, when, "12001", "UK", [])
    assert first[1] == "500000"


@pytest.mark.parametrize("rows", [0, 100, 301])
def test_any_number_of_chunks_gives_every_row_once_in_order(shop, tmp_path, rows):
    shop.insert(list(range(rows)))
    invoices = [row[1] for row in read(shop, tmp_path / "store", chunk_rows=100)]
    assert invoices == [f"{500000 + number}" for number in range(rows)]


@BOTH
def test_a_query_a_view_and_a_schema_are_read_as_they_stand(shop, tmp_path):
    shop.insert([1, 2, 3])
    query = (
        'SELECT invoice, code, "What", pieces, price, "sold at", customer, country || \':a%\' AS'
        " country FROM lines WHERE stamp > 1 AND code LIKE '%g%' -- not the first\n;"
    )
    rows = read(shop, tmp_path / "store", query=query)
    assert [(row[1], row[8]) for row in rows] == [("500001", "UK:a%"), ("500002", "UK:a%")]
    shop.run("CREATE VIEW sales AS SELECT * FROM lines")
    schema = "public" if shop.server else "main"
    assert len(read(shop, tmp_path / "view", table=f"{schema}.sales")) == 3


@ON_POSTGRES
def test_only_the_columns_that_are_declared_are_selected(shop, tmp_path):
    shop.insert([1])
    shop.run("ALTER TABLE lines ADD COLUMN secret BYTEA DEFAULT 'x'")
    columns = {"customer_id": "customer", "invoiced_at": "sold at", "amount": "price"}
    (row,) = read(shop, tmp_path / "store", columns=columns)
    assert row == (1, "2011-01-01 12000", None, None, 1, 2.55, START, "12000", None, [])


def test_no_more_than_a_chunk_is_held_at_once(shop, tmp_path):
    """The peak of a table ten times as long is the same, because a chunk is what is held."""
    peaks = []
    for rows in (200, 1_000):
        shop.insert(list(range(rows)))
        tracemalloc.start()
        read_new(source(shop, chunk_rows=100), tmp_path / "store", Compute())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_postgresql_keeps_the_rows_until_they_are_fetched(postgres, tmp_path):
    cursors = []

    def note(connection, cursor, statement, *_: Any) -> None:
        if "generate_series" in statement:
            cursors.append(type(cursor).__name__)

    event.listen(Engine, "before_cursor_execute", note)
    query = "SELECT n AS customer, n AS amount, now() AS at FROM generate_series(1, 250) AS n"
    try:
        rows = read(Shop(postgres.url), tmp_path, columns=THREE, query=query, chunk_rows=100)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert [row[7] for row in rows] == [str(n) for n in range(1, 251)]
    assert cursors[-1] == "ServerCursor"


# --- types ------------------------------------------------------------------------------------


VALUES = {  # column -> PostgreSQL type, value, what is read, and the text that is kept otherwise
    "customer": [
        ("NUMERIC(12, 2)", "17850.00", "17850", ""),
        ("DOUBLE PRECISION", "17850", "17850", ""),
        ("UUID", f"'{UUID}'", UUID, ""),
        ("CHAR(8)", "'17850'", "17850", ""),
        ("DATE", "'2011-02-03'", "2011-02-03", ""),
        ("NUMERIC(40)", "1" * 30, "1" * 30, ""),
    ],
    "sold at": [
        ("TIMESTAMPTZ", "'2011-01-01 12:00+03'", START + timedelta(hours=9), ""),
        ("DATE", "'2011-01-01'", START, ""),
        ("TEXT", "'2011-01-01T12:00Z'", START + timedelta(hours=12), ""),
        ("TEXT", "'soon'", None, "soon"),
    ],
    "pieces": [
        ("NUMERIC(8, 2)", "2.50", None, "2.50"),
        ("TEXT", "'six'", None, "six"),
        ("NUMERIC", "1e20", None, "1" + "0" * 20),
        ("BIGINT", "6", 6, ""),
    ],
    "price": [
        ("DOUBLE PRECISION", "'NaN'", None, "nan"),
        ("NUMERIC", "'NaN'", None, "NaN"),
        ("DATE", "'2011-02-03'", None, "2011-02-03"),
        ("REAL", "2.5", 2.5, ""),
    ],
}


def test_a_value_of_any_type_is_read_or_kept_as_text(postgres, tmp_path):
    names = {column: name for name, column in MAPPED.items()}
    for n in range(max(map(len, VALUES.values()))):
        cases = {column: each[n % len(each)] for column, each in VALUES.items()}
        row = one(postgres, tmp_path, {column: case[:2] for column, case in cases.items()})
        for column, (*_, value, _) in cases.items():
            assert row[names[column]] == value, cases[column]
        kept = {f"{names[column]}={text}" for column, (*_, text) in cases.items() if text}
        assert {*row["unreadable"]} == kept


def test_a_time_format_reads_numbers_and_texts(postgres, tmp_path):
    for kind in ("INTEGER", "NUMERIC", "DOUBLE PRECISION", "TEXT"):
        row = one(postgres, tmp_path, {"sold at": (kind, "20110101")}, time_format="%Y%m%d")
        assert (row["invoiced_at"], row["unreadable"]) == (START, []), kind


def test_a_column_of_another_type_is_refused(postgres, tmp_path):
    for kind, value, python in (
        ("BOOLEAN", "true", "bool"),
        ("BYTEA", "'x'", "bytes"),
        ("JSONB", "'{\"a\": 1}'", "dict"),
        ("INTEGER[]", "'{1}'", "list"),
        ("INTERVAL", "'1 day'", "timedelta"),
    ):
        with pytest.raises(UserError) as caught:
            one(postgres, tmp_path, {"customer": (kind, value)})
        assert f"'customer' holds values of type {python}" in caught.value.what
        assert "source.columns.customer_id" in caught.value.where
        assert "cast it" in caught.value.next_step


def one(postgres, folder, cells: dict[str, tuple[str, str]], **options) -> dict:
    """One line of PostgreSQL by name, in which some columns have another type and value."""
    usual = {"sold at": ("TIMESTAMP", "'2011-01-01'"), "pieces": ("INTEGER", "1")}
    usual |= {"price": ("NUMERIC", "2")} | cells
    text = ("TEXT", "'x'")
    chosen = {column: usual.get(column, text) for column in MAPPED.values()}
    query = ", ".join(f'CAST({v} AS {kind}) AS "{c}"' for c, (kind, v) in chosen.items())
    shop = Shop(postgres.url, postgres)
    (row,) = read(shop, folder / "store", query=f"SELECT {query}", **options)
    return dict(zip(["source_row", *COLUMNS, "unreadable"], row))


def test_a_column_of_sqlite_may_hold_values_of_any_type(tmp_path):
    shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}")
    shop.run("CREATE TABLE lines (customer, at, amount)")
    some = [(1, "2011-01-01", 2), ("A", "2011-01-02 10:00", 2.5), (None, 7, "much")]
    shop.run("INSERT INTO lines VALUES (?, ?, ?)", some)
    rows = read(shop, tmp_path / "store", columns=THREE)
    assert [row[7] for row in rows] == ["1", "A", None]
    assert [row[5] for row in rows] == [2.0, 2.5, None]
    assert rows[2][-1] == ["invoiced_at=7", "amount=much"]
    shop.run("INSERT INTO lines VALUES (?, ?, ?)", [some[0]] * 150 + [(b"\xff", "2011-01-01", 1)])
    error = refused(shop, tmp_path / "store", columns=THREE, chunk_rows=100)
    assert "'customer' holds values of type bytes" in error.what and "row 154" in error.where


def test_a_time_that_python_cannot_hold_is_unreadable_in_its_row_only(postgres, tmp_path):
    for kind, odd, time_format in (
        ("DATE", "infinity", None),
        ("TIMESTAMP", "-infinity", "%Y%m%d"),
        ("TIMESTAMPTZ", "0044-03-15 BC", None),
        ("TIMESTAMP", "10500-01-01", None),
        ("DATE", "0044-03-15 BC", "%Y%m%d"),
        ("TIMESTAMPTZ", "infinity", None),
    ):
        values = f"(VALUES (1, '2011-01-01'), (2, '{odd}'), (3, NULL), (4, '2011-01-02')) v (n, at)"
        query = (
            f"SELECT n AS customer, n AS amount, CAST(at AS {kind}) AS at FROM {values} ORDER BY n"
        )
        options = {"columns": THREE, "query": query, "time_format": time_format}
        rows = read(Shop(postgres.url), tmp_path / "store", **options)
        assert [row[6] for row in rows] == [START, None, None, START + timedelta(days=1)], kind
        assert [len(row[-1]) for row in rows] == [0, 1, 0, 0]
        assert rows[1][-1][0].startswith(f"invoiced_at={odd[:5]}")


# --- only what is new -------------------------------------------------------------------------


ASKED = ("max(", "sum(", "1 = 0")  # of the table as a whole


@pytest.fixture
def fetched() -> Iterator[list[str]]:
    """The statements that read rows; the server was asked for nothing else."""
    statements: list[str] = []

    def note(connection, cursor, statement, parameters, context, many) -> None:
        if "FROM lines" in statement and not any(part in statement for part in ASKED):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


def scratch(shop: Shop, tmp_path: Path, **options: Any) -> list[tuple]:
    return read(shop, tmp_path / "scratch", **options)


@BOTH
def test_a_second_run_reads_what_is_new_and_gives_the_rows_of_a_run_from_scratch(
    shop, tmp_path, fetched
):
    store = tmp_path / "store"
    shop.insert([1, 2, 3, 3])
    first = read_new(source(shop, watermark="stamp"), store, Compute())
    kept = contents(store)
    fetched.clear()
    shop.insert([3, 4, 5, 5])
    rows = read(shop, store, watermark="stamp")
    assert all("WHERE stamp " in statement for statement in fetched) and len(fetched) == 2
    assert len(rows) == 8 and rows == scratch(shop, tmp_path, watermark="stamp")
    assert contents(store)[first[0].name] == kept[first[0].name]  # the closed part was not touched


def test_a_run_without_new_rows_reads_the_rows_at_the_highest_and_leaves_every_file(
    shop, tmp_path, fetched
):
    shop.insert([1, 2, 2])
    before = read(shop, tmp_path, watermark="stamp"), contents(tmp_path)
    fetched.clear()
    assert (read(shop, tmp_path, watermark="stamp"), contents(tmp_path)) == before
    assert len(fetched) == 1 and "stamp = " in fetched[0]


@settings(max_examples=4)
@given(
    runs=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=4),
    kind=st.sampled_from(["INTEGER", "TEXT", "NUMERIC(6, 1)", "TIMESTAMP"]),
)
def test_the_log_is_that_of_a_run_from_scratch_however_the_rows_arrive(
    tmp_path_factory, runs, kind
):
    folder = tmp_path_factory.mktemp("runs")
    shop = Shop(f"sqlite:///{folder / 'shop.db'}")
    shop.run(f"CREATE TABLE lines (stamp {kind}, customer TEXT, at TEXT, amount REAL)")
    options = {"columns": THREE, "watermark": "stamp"}
    top = count = 0
    for new in runs:  # a watermark only grows: no row below the highest comes later
        stamps = [top + step for step in sorted(new)]
        top = max([top, *stamps])
        rows = [(f"{s:04}", f"c{count + n}", "2011-01-01", 1.0) for n, s in enumerate(stamps)]
        count += len(rows)
        shop.run("INSERT INTO lines VALUES (?, ?, ?, ?)", rows)
        found = read(shop, folder / "store", **options)
        assert sorted(row[7] for row in found) == sorted(f"c{n}" for n in range(count))
    assert found == read(shop, folder / "scratch", **options)


def test_late_or_deleted_rows_make_everything_be_read_again(shop, tmp_path):
    shop.insert([1, 2, 3, 3])
    read(shop, tmp_path / "store", watermark="stamp")
    for change in (
        lambda: shop.insert([2]),
        lambda: shop.run("DELETE FROM lines WHERE stamp = 3"),
    ):
        change()
        rows = read(shop, tmp_path / "store", watermark="stamp")
        assert rows == scratch(shop, tmp_path, watermark="stamp")


@pytest.mark.parametrize(
    ("shop", "kind"),
    # SQLite has the one type, for small numbers and for large ones.
    [("sqlite", "INTEGER"), ("sqlite", "BIGINT"), ("postgres", "BIGINT"), ("postgres", "NUMERIC")],
    indirect=["shop"],
)
def test_a_deleted_row_and_a_late_one_are_noticed_by_the_sum_of_the_watermark(shop, tmp_path, kind):
    if shop.server:
        shop.run(f"ALTER TABLE lines ALTER stamp TYPE {kind}")
    base = 2 if kind == "INTEGER" else 4 * 10**18 // 10**6  # times of a microsecond clock
    shop.insert([base, base + 2, base + 4, base + 5])
    for _ in range(2):
        read(shop, tmp_path / "store", watermark="stamp")
        shop.insert([base + 7])
    shop.run(f"DELETE FROM lines WHERE stamp = {base + 2}")
    shop.insert([base + 1])
    rows = read(shop, tmp_path / "store", watermark="stamp")
    assert rows == scratch(shop, tmp_path, watermark="stamp")


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_part_is_read_again_with_what_follows_it(shop, tmp_path, fetched, damaged):
    store = tmp_path / "store"
    for stamps in ([1, 2], [3, 4], [5, 6]):
        shop.insert(stamps)
        parts = read_new(source(shop, watermark="stamp"), store, Compute())
    assert len(parts) == 4  # three closed ones, and the open one
    parts[damaged].write_bytes(parts[damaged].read_bytes()[:-9])
    fetched.clear()
    assert read(shop, store, watermark="stamp") == scratch(shop, tmp_path, watermark="stamp")
    asked_again = [statement for statement in fetched if ">=" in statement]
    assert len(asked_again) == (damaged > 0)


def test_a_state_that_is_damaged_or_of_other_settings_is_not_trusted(shop, tmp_path):
    shop.insert([1, 2, 3])
    store = tmp_path / "store"
    read(shop, store, watermark="stamp")
    state = json.loads((store / "state.json").read_text())
    state["closed"] = state["closed"][1:]  # a part that nobody would miss
    for text in ('{"key": "', json.dumps(state)):
        (store / "state.json").write_text(text)
        assert len(read(shop, store, watermark="stamp")) == 3
    other = {**MAPPED, "description": "code"}
    assert read(shop, store, columns=other, watermark="stamp")[0][3] == "22423g"


def test_without_a_watermark_everything_is_read_and_the_same_rows_are_the_same_file(shop, tmp_path):
    shop.insert([1, 2])
    (first,) = read_new(source(shop), tmp_path, Compute())
    assert read_new(source(shop), tmp_path, Compute()) == [first]
    shop.insert([1])
    (second,) = read_new(source(shop), tmp_path, Compute())
    assert second != first and not first.exists() and len(read(shop, tmp_path)) == 3


@pytest.mark.parametrize(
    ("shop", "options"),
    [
        ("postgres", {"watermark": "sold at"}),
        ("sqlite", {"query": "SELECT * FROM lines WHERE stamp <> 2", "watermark": "stamp"}),
    ],
    ids=["of times", "of a query"],
    indirect=["shop"],
)
def test_a_watermark(shop, tmp_path, options):
    shop.insert([1, 3])
    assert len(read(shop, tmp_path / "store", **options)) == 2
    shop.insert([4])
    rows = read(shop, tmp_path / "store", **options)
    assert len(rows) == 3 and rows == scratch(shop, tmp_path, **options)


def test_one_run_at_a_time(shop, tmp_path, monkeypatch):
    shop.insert([1])
    inner = []

    def second(*args, **options):
        inner.append(refused(shop, tmp_path))
        raise KeyboardInterrupt

    opened = database.open_table
    monkeypatch.setattr("ingestion.database.open_table", second)
    with pytest.raises(KeyboardInterrupt):
        read_new(source(shop), tmp_path, Compute())
    assert "another run is reading the same source" in inner[0].what
    monkeypatch.setattr("ingestion.database.open_table", opened)
    assert len(read(shop, tmp_path)) == 1


# --- refused, each with one message -----------------------------------------------------------


WITHOUT_STAMP = "SELECT lines.*, NULLIF(stamp, 1) AS mark FROM lines"
REFUSED = [  # the settings, and the words of the message
    ({"table": "line"}, "no table or view 'line'", "'lines'"),
    (
        {"columns": {**MAPPED, "customer_id": "custommer"}},
        "'custommer'",
        "did you mean 'customer'?",
    ),
    (
        {"watermark": "stmp"},
        *("no column 'stmp', which source.database.watermark names", "'stamp'"),
        "--source.database.watermark",
    ),
    (
        {"query": WITHOUT_STAMP, "watermark": "mark"},
        "1 rows have no value in the watermark column",
    ),
    *(
        ({"query": query}, "database error", "source.database.query")
        for query in ("SELEC 1", "SELECT * FROM nowhere", "DROP TABLE lines", ";")
    ),
    *(
        ({"query": query, "table": table}, "is read by a table or by a query", "source.database")
        for table, query in ((None, None), (None, ""), ("lines", "SELECT 1"))
    ),
]


@BOTH
def test_settings_that_do_not_fit_the_database_are_refused_with_what_helps(shop, tmp_path):
    shop.insert([1, 2])
    for options, *words in REFUSED:
        error = refused(shop, tmp_path, **options)
        assert [word for word in words if word not in str(error)] == [], str(error)
        assert ("source.columns" in str(error)) == ("columns" in options)
    assert shop.run("SELECT count(*) FROM lines") == [(2,)]


URLS = [  # the URL, and the words of the message
    *(
        (url, "hold", "a password", "DATABASE_PASSWORD", "~/.pgpass")
        for url in (
            "postgresql://me:{password}@localhost/shop",
            "postgresql://me:@localhost/shop",
            "postgresql://me@localhost/shop?password={password}",
            "postgresql://me@localhost/shop?sslpassword={password}",
            "mysql+pymysql://me:{password}@localhost/shop",
            "postgresql://me:a/{password}@localhost/shop",
            "postgresql//me:{password}@localhost/shop",
            "me:{password}@localhost/shop",
            "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Dme%3BPWD%3D{password}",
            "mssql+pyodbc:///?odbc_connect=DRIVER%253Dx%253BPassword%2520%253D{password}",
        )
    ),
    *((url, "source.database.url") for url in (None, "", "shop.db", "://x")),
    ("mysql://me@localhost/shop", "is not installed", "driver"),
    ("nosuchdb://localhost/shop", "is not installed", "driver"),
    ("sqlite:///{folder}/none.db", "there is no database"),
    ("sqlite:///{folder}/text.db", "not a database"),
    ("postgresql://me@127.0.0.1:1/shop", "the database does not answer", "127.0.0.1:1"),
    ("{server}/nowhere", "the server has no such database", '"nowhere" does not exist', "name"),
]


@pytest.mark.parametrize(("url", "words"), [(url, words) for url, *words in URLS])
def test_a_url_that_leads_to_no_database_is_refused_with_what_helps(postgres, tmp_path, url, words):
    (tmp_path / "text.db").write_text("invoice,code\n" * 100)
    server = postgres.url.removesuffix("/postgres")
    url = url and url.format(password=PASSWORD, folder=tmp_path, server=server)
    error = refused(Shop(url), tmp_path / "store")
    assert [word for word in words if word not in str(error)] == [], str(error)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *(("database", way) for way in ("preset", "list", "section", "flag", "environment")),
        *(("simulated", "section"), ("files", "preset")),
    ],
)
def test_a_password_in_the_settings_is_shown_nowhere(
    tmp_path, capsys, monkeypatch, caplog, kind, way
):
    """Whatever the kind of source: not in a message, a log, or a file that a run leaves."""
    caplog.set_level(0)
    url = f"postgresql://me:{PASSWORD}@localhost/shop"
    preset, var = tmp_path / "shop.yaml", tmp_path / "var"
    arguments = ["--var", str(var), "--source.kind", kind]
    if way == "flag":
        arguments += ["--source.database.url", url]
    elif way == "environment":
        monkeypatch.setenv("GOLDEN_PATH_SOURCE__DATABASE__URL", url)
    database = {"preset": {"url": url}, "list": {"url": [url]}, "section": url}.get(way)
    preset.write_text(json.dumps({"source": {"database": database} if database else {}}))
    with pytest.raises(UserError) as caught:
        load(str(preset), arguments)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "database" in shown and PASSWORD not in shown
    ran: list[object] = []
    command = ["--config", str(preset), *arguments, "--print-config"]
    for words in (command, command[:-1]):
        assert run_command("flows.commands.train", "", ran.append, words) == 1
        printed = capsys.readouterr()
        assert not ran and "Error:" in printed.err
        assert PASSWORD not in printed.out + printed.err + caplog.text
    assert not var.exists()


@pytest.mark.parametrize("repeated", ["{0}", "a bad\nline with {0}", "x" * 385 + "{0}"])
def test_what_a_driver_says_is_shown_without_the_password(tmp_path, monkeypatch, repeated):
    import psycopg

    password = "two  blanks and " + PASSWORD

    def echo(*_: Any, **options: Any) -> None:
        assert options["password"] == password
        raise psycopg.OperationalError("no route: " + repeated.format(options["password"]))

    monkeypatch.setattr(psycopg, "connect", echo)
    monkeypatch.setenv("DATABASE_PASSWORD", password)
    error = refused(Shop("postgresql://me@localhost/shop"), tmp_path)
    assert "***" in error.what and "blanks" not in str(error) and PASSWORD[:4] not in str(error)


def test_the_extra_that_installs_a_driver_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    error = refused(Shop("postgresql://me@localhost/shop"), tmp_path)
    assert "is not installed" in error.what and "[postgres]" in error.next_step


@pytest.mark.parametrize("password", ["wrong-" + PASSWORD, None])
def test_a_login_that_is_refused(postgres, tmp_path, monkeypatch, password):
    monkeypatch.setenv("SHOP_PASSWORD", password or "")
    error = refused(Shop(postgres.url), tmp_path, password_variable="SHOP_PASSWORD")
    assert "the database refuses the login" in error.what and "wrong-" not in str(error)
    hint = "the password in SHOP_PASSWORD may be wrong" if password else "SHOP_PASSWORD is not set"
    assert hint in error.next_step


@ON_POSTGRES
def test_a_connection_that_is_lost_half_way_leaves_the_store_as_it_was(shop, tmp_path, monkeypatch):
    shop.insert(list(range(150)))
    options = {"watermark": "stamp", "chunk_rows": 100}
    before = read(shop, tmp_path / "store", **options)
    shop.insert(list(range(149, 1_000)))
    written = []
    canonical = chunks.select_canonical

    def cut_after_five(*args: Any, **named: Any) -> str:
        written.append(1)
        if len(written) == 6:
            shop.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND usename = 'shop'"
            )
        return canonical(*args, **named)

    monkeypatch.setattr(chunks, "select_canonical", cut_after_five)
    error = refused(shop, tmp_path / "store", **options)
    assert "the connection to the database was lost" in error.what
    assert "run the same command again" in error.next_step
    monkeypatch.setattr(chunks, "select_canonical", canonical)
    after = read(shop, tmp_path / "store", **options)
    assert len(after) == 1_001 and after[: len(before) - 1] == before[:-1]
    assert after == scratch(shop, tmp_path, **options)


def test_a_large_table_of_postgresql_is_read_in_the_same_order_each_time(postgres, tmp_path):
    query = "SELECT current_setting('synchronize_seqscans') AS customer, now() AS at, 1 AS amount"
    (row,) = read(Shop(postgres.url), tmp_path, columns=THREE, query=query)
    assert row[7] == "off"


def test_a_disk_that_is_full_leaves_the_store_as_it_was(shop, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    shop.insert([1])
    read(shop, tmp_path / "store")
    before = contents(tmp_path / "store")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        read_new(source(shop), tmp_path / "store", Compute())
    assert contents(tmp_path / "store") == before
