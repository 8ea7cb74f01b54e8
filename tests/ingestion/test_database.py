"""Source `database`, on a real PostgreSQL and on SQLite: the same rows, only what is new, and one
message for whatever goes wrong, in which no password is ever shown."""

from __future__ import annotations

import errno
import json
import socket
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
from ingestion.database import check_database, read_new

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


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request, tmp_path) -> Shop:
    if request.param == "sqlite":
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


def test_only_the_columns_that_are_declared_are_selected(shop, tmp_path):
    shop.insert([1])
    if shop.server:
        shop.run("ALTER TABLE lines ADD COLUMN secret BYTEA DEFAULT 'x'")
    columns = {"customer_id": "customer", "invoiced_at": "sold at", "amount": "price"}
    (row,) = read(shop, tmp_path / "store", columns=columns)
    assert row == (1, "2011-01-01 12000", None, None, 1, 2.55, START, "12000", None, [])


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)  # what libpq holds is not seen here
def test_no_more_than_a_chunk_is_held_at_once(shop, tmp_path):
    """The peak of a table ten times as long is the same, because a chunk is what is held."""
    peaks = []
    for rows in (200, 1_600):
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
        found = read(Shop(postgres.url), tmp_path, columns=THREE, query=query, chunk_rows=100)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len(found) == 250 and cursors[-1] == "ServerCursor"


# --- types ------------------------------------------------------------------------------------


TYPED = [  # column, PostgreSQL type, value, time format; the canonical column and what is read
    ("customer", "NUMERIC(12, 2)", "17850.00", None, "customer_id", "17850"),
    ("customer", "DOUBLE PRECISION", "17850", None, "customer_id", "17850"),
    ("customer", "UUID", f"'{UUID}'", None, "customer_id", UUID),
    ("customer", "CHAR(8)", "'17850'", None, "customer_id", "17850"),
    ("customer", "DATE", "'2011-02-03'", None, "customer_id", "2011-02-03"),
    ("customer", "NUMERIC(40)", "1" * 30, None, "customer_id", "1" * 30),
    (
        "sold at",
        "TIMESTAMPTZ",
        "'2011-01-01 12:00+03'",
        None,
        "invoiced_at",
        START + timedelta(hours=9),
    ),
    ("sold at", "DATE", "'2011-01-01'", None, "invoiced_at", START),
    ("sold at", "TEXT", "'2011-01-01T12:00Z'", None, "invoiced_at", START + timedelta(hours=12)),
    *(
        ("sold at", kind, "20110101", "%Y%m%d", "invoiced_at", START)
        for kind in ("INTEGER", "NUMERIC", "DOUBLE PRECISION", "TEXT")
    ),
]
KEPT = [  # column, PostgreSQL type, value; the canonical column and the text that is kept
    ("pieces", "NUMERIC(8, 2)", "2.50", "quantity", "2.50"),
    ("pieces", "TEXT", "'six'", "quantity", "six"),
    ("pieces", "NUMERIC", "1e20", "quantity", "1" + "0" * 20),
    ("price", "DOUBLE PRECISION", "'NaN'", "unit_price", "nan"),
    ("price", "NUMERIC", "'NaN'", "unit_price", "NaN"),
    ("price", "DATE", "'2011-02-03'", "unit_price", "2011-02-03"),
    ("sold at", "TEXT", "'soon'", "invoiced_at", "soon"),
]


def test_a_value_of_any_type_is_read_or_kept_as_text(postgres, tmp_path):
    for column, kind, value, time_format, name, read_as in TYPED:
        row = one(postgres, tmp_path, column, kind, value, time_format=time_format)
        assert (row[name], row["unreadable"]) == (read_as, []), (kind, value)
    for column, kind, value, name, text in KEPT:
        row = one(postgres, tmp_path, column, kind, value)
        assert (row[name], row["unreadable"]) == (None, [f"{name}={text}"]), (kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "python"),
    [
        ("BOOLEAN", "true", "bool"),
        ("BYTEA", "'x'", "bytes"),
        ("JSONB", "'{\"a\": 1}'", "dict"),
        ("INTEGER[]", "'{1}'", "list"),
        ("INTERVAL", "'1 day'", "timedelta"),
    ],
)
def test_a_column_of_another_type_is_refused(postgres, tmp_path, kind, value, python):
    with pytest.raises(UserError) as caught:
        one(postgres, tmp_path, "customer", kind, value)
    assert f"'customer' holds values of type {python}" in caught.value.what
    assert "source.columns.customer_id" in caught.value.where
    assert "cast it" in caught.value.next_step


def one(postgres, folder, column, kind, value, **options) -> dict:
    """One line of PostgreSQL in which a column has another type, by name."""
    shop = Shop(postgres.url, postgres)
    kinds = {"sold at": "TIMESTAMP", "pieces": "INTEGER", "price": "NUMERIC", column: kind}
    values = {"sold at": "'2011-01-01'", "pieces": "1", "price": "2", column: value}
    text = "'x'"
    cells = ", ".join(
        f'CAST({values.get(name, text)} AS {kinds.get(name, "TEXT")}) AS "{name}"'
        for name in MAPPED.values()
    )
    (row,) = read(shop, folder / "store", query=f"SELECT {cells}", **options)
    return dict(zip(["source_row", *COLUMNS, "unreadable"], row))


def test_a_column_of_sqlite_may_hold_values_of_any_type(tmp_path):
    shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}")
    shop.run("CREATE TABLE lines (customer, at, amount)")
    shop.run(
        "INSERT INTO lines VALUES (?, ?, ?)",
        [(1, "2011-01-01", 2), ("A", "2011-01-02 10:00", 2.5), (None, 7, "much")],
    )
    found = read(shop, tmp_path / "store", columns=THREE)
    assert [row[7] for row in found] == ["1", "A", None]
    assert [row[5] for row in found] == [2.0, 2.5, None]
    assert found[2][-1] == ["invoiced_at=7", "amount=much"]


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


def test_a_second_run_reads_what_is_new_and_gives_the_rows_of_a_run_from_scratch(
    shop, tmp_path, fetched
):
    store = tmp_path / "store"
    shop.insert([1, 2, 3, 3])
    first = read_new(source(shop, watermark="stamp"), store, Compute())
    kept = contents(store)
    fetched.clear()
    shop.insert([3, 4, 5, 5])
    found = read(shop, store, watermark="stamp")
    assert all("WHERE stamp " in statement for statement in fetched) and len(fetched) == 2
    assert len(found) == 8 and found == scratch(shop, tmp_path, watermark="stamp")
    assert contents(store)[first[0].name] == kept[first[0].name]  # the closed part was not touched


def test_a_run_without_new_rows_leaves_every_file_as_it_was(shop, tmp_path, fetched):
    shop.insert([1, 2, 2])
    with_watermark = source(shop, watermark="stamp")
    parts, before = read_new(with_watermark, tmp_path, Compute()), contents(tmp_path)
    fetched.clear()
    assert read_new(with_watermark, tmp_path, Compute()) == parts
    assert contents(tmp_path) == before
    assert len(fetched) == 1 and "stamp = " in fetched[0]  # only the rows at the highest


@settings(max_examples=6)
@given(
    runs=st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=5),
    kind=st.sampled_from(["INTEGER", "TEXT", "NUMERIC(6, 1)", "TIMESTAMP"]),
)
def test_however_rows_arrive_the_log_is_that_of_a_run_from_scratch(tmp_path_factory, runs, kind):
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


def test_rows_that_came_late_or_went_make_everything_be_read_again(shop, tmp_path):
    shop.insert([1, 2, 3, 3])
    read(shop, tmp_path / "store", watermark="stamp")
    for change in (
        lambda: shop.insert([2]),
        lambda: shop.run("DELETE FROM lines WHERE stamp = 1"),
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
@pytest.mark.parametrize("runs", [2])
def test_one_row_that_went_and_one_that_came_late_are_noticed_by_their_sum(
    shop, tmp_path, kind, runs
):
    if shop.server:
        shop.run(f"ALTER TABLE lines ALTER stamp TYPE {kind}")
    base = 2 if kind == "INTEGER" else 4 * 10**18 // 10**6  # times of a microsecond clock
    shop.insert([base, base + 2, base + 4, base + 5])
    for _ in range(runs):
        read(shop, tmp_path / "store", watermark="stamp")
        shop.insert([base + 5 + runs])
    shop.run(f"DELETE FROM lines WHERE stamp = {base + 2}")
    shop.insert([base + 1])
    found = read(shop, tmp_path / "store", watermark="stamp")
    assert found == scratch(shop, tmp_path, watermark="stamp")


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
    "options",
    [
        {"watermark": "sold at"},
        {"query": "SELECT * FROM lines WHERE stamp <> 2", "watermark": "stamp"},
    ],
    ids=["of times", "of a query"],
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


def test_a_watermark_that_some_rows_lack(shop, tmp_path):
    shop.insert([1, 2])
    shop.run("UPDATE lines SET stamp = NULL WHERE stamp = 1")
    error = refused(shop, tmp_path, watermark="stamp")
    assert "1 rows have no value in the watermark column" in error.what


def test_an_unknown_table_column_and_watermark(shop, tmp_path):
    error = refused(shop, tmp_path, table="line")
    assert "no table or view 'line'" in error.what and "'lines'" in error.next_step
    error = refused(shop, tmp_path, columns={**MAPPED, "customer_id": "custommer"})
    assert "'custommer'" in error.what and "did you mean 'customer'?" in error.next_step
    error = refused(shop, tmp_path, watermark="stmp")
    assert "no column 'stmp', which source.database.watermark names" in error.what
    assert "'stamp'" in error.next_step and "--source.database.watermark" in error.next_step
    assert "source.columns" not in str(error)


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT * FROM nowhere", "DROP TABLE lines", ";"])
def test_a_query_that_is_none(shop, tmp_path, query):
    error = refused(shop, tmp_path, query=query)
    assert "database error" in error.what and "source.database.query" in error.where
    assert shop.run("SELECT count(*) FROM lines") == [(0,)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:{0}@localhost/shop",
        "postgresql://me:@localhost/shop",
        "postgresql://me@localhost/shop?password={0}",
        "postgresql://me@localhost/shop?sslpassword={0}",
        "mysql+pymysql://me:{0}@localhost/shop",
        "postgresql://me:a/{0}@localhost/shop",
        "postgresql//me:{0}@localhost/shop",
        "me:{0}@localhost/shop",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Dme%3BPWD%3D{0}",
        "mssql+pyodbc:///?odbc_connect=DRIVER%253Dx%253BPassword%2520%253D{0}",
    ],
)
def test_a_password_in_the_url_is_refused_and_never_shown(tmp_path, url):
    error = refused(Shop(url.format(PASSWORD)), tmp_path)
    assert "may hold a password" in error.what or "the URL holds a password" in error.what
    assert "DATABASE_PASSWORD" in error.next_step and "~/.pgpass" in error.next_step


@pytest.mark.parametrize("kind", ["simulated", "files", "database"])
@pytest.mark.parametrize("way", ["preset", "list", "section", "flag", "environment"])
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


@pytest.mark.parametrize("url", [None, "", "shop.db", "://x", f"postgresql//me:{PASSWORD}@host"])
def test_what_is_no_url(tmp_path, url):
    with pytest.raises(UserError) as caught:
        check_database(
            Source(kind="database", columns=MAPPED, database={"url": url, "table": "lines"})
        )
    assert caught.value.where == "source.database.url"
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_not_a_sqlite_database_is_refused_and_not_made(tmp_path):
    error = refused(Shop(f"sqlite:///{tmp_path / 'none.db'}"), tmp_path)
    assert "there is no database" in error.what and not (tmp_path / "none.db").exists()
    (tmp_path / "shop.db").write_text("invoice,code\n" * 100)
    error = refused(Shop(f"sqlite:///{tmp_path / 'shop.db'}"), tmp_path / "store")
    assert "not a database" in error.what


def test_a_driver_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for url, word in [
        ("mysql://me@localhost/shop", "driver"),
        ("nosuchdb://localhost/shop", "driver"),
        ("postgresql://me@localhost/shop", "[postgres]"),
    ]:
        error = refused(Shop(url), tmp_path)
        assert "is not installed" in error.what and word in error.next_step


@pytest.mark.parametrize("both", [{}, {"query": ""}, {"table": "lines", "query": "SELECT 1"}])
def test_neither_or_both_of_table_and_query(both):
    database = {"url": "sqlite:///x.db", **both}
    with pytest.raises(UserError, match="by a table or by a query"):
        check_database(Source(kind="database", columns=MAPPED, database=database))


def test_a_database_that_is_down(tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DATABASE_PASSWORD", PASSWORD)
        port = closed.getsockname()[1]
        error = refused(Shop(f"postgresql://me@127.0.0.1:{port}/shop"), tmp_path)
    assert "the database does not answer" in error.what and str(port) in error.where


@pytest.mark.parametrize("password", ["wrong-" + PASSWORD, None])
def test_a_login_that_is_refused(postgres, tmp_path, monkeypatch, password):
    monkeypatch.setenv("SHOP_PASSWORD", password or "")
    error = refused(Shop(postgres.url), tmp_path, password_variable="SHOP_PASSWORD")
    assert "the database refuses the login" in error.what and "wrong-" not in str(error)
    hint = "the password in SHOP_PASSWORD may be wrong" if password else "SHOP_PASSWORD is not set"
    assert hint in error.next_step


def test_a_database_name_that_is_not_there(postgres, tmp_path):
    error = refused(Shop(postgres.url.replace("/postgres", "/nowhere")), tmp_path)
    assert "the server has no such database" in error.what
    assert '"nowhere" does not exist' in error.what and "name" in error.next_step


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_connection_that_is_lost_half_way_leaves_the_store_as_it_was(shop, tmp_path, monkeypatch):
    shop.insert(list(range(300)))
    options = {"watermark": "stamp", "chunk_rows": 100}
    before = read(shop, tmp_path / "store", **options)
    shop.insert(list(range(299, 1_500)))
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
    assert len(after) == 1_501 and after[: len(before) - 1] == before[:-1]
    assert after == scratch(shop, tmp_path, **options)


@pytest.mark.parametrize(
    ("kind", "odd", "time_format"),
    [
        ("DATE", "infinity", None),
        ("TIMESTAMP", "-infinity", "%Y%m%d"),
        ("TIMESTAMPTZ", "0044-03-15 BC", None),
        ("TIMESTAMP", "10500-01-01", None),
        ("DATE", "0044-03-15 BC", "%Y%m%d"),
        ("TIMESTAMPTZ", "infinity", None),
    ],
)
def test_a_time_that_python_cannot_hold_is_unreadable_in_its_row_alone(
    postgres, tmp_path, kind, odd, time_format
):
    values = f"(VALUES (1, '2011-01-01'), (2, '{odd}'), (3, NULL), (4, '2011-01-02')) AS v (n, at)"
    query = f"SELECT n AS customer, n AS amount, CAST(at AS {kind}) AS at FROM {values} ORDER BY n"
    options = {"columns": THREE, "query": query, "time_format": time_format}
    rows = read(Shop(postgres.url), tmp_path / "store", **options)
    assert [row[6] for row in rows] == [START, None, None, START + timedelta(days=1)]
    assert [row[-1] for row in rows[::2]] == [[], []] and rows[3][-1] == []
    assert rows[1][-1][0].startswith(f"invoiced_at={odd[:5]}")


def test_a_blob_in_one_cell_of_sqlite_is_named_by_column_and_row(tmp_path):
    shop = Shop(f"sqlite:///{tmp_path / 'shop.db'}")
    shop.run("CREATE TABLE lines (customer, at, amount)")
    rows = [("c", "2011-01-01", 1)] * 150
    shop.run("INSERT INTO lines VALUES (?, ?, ?)", [*rows, (b"\xff", "2011-01-01", 1)])
    error = refused(shop, tmp_path / "store", columns=THREE, chunk_rows=100)
    assert "'customer' holds values of type bytes" in error.what and "row 151" in error.where


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
