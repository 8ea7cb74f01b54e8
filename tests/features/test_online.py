"""One prepared statement gives the features that training gives, to the last bit."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import pytest
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made_logs import SCHEMA, Line, as_table, ask, shop_log

from common.duck import connect
from configs.settings import Compute, Features
from features import engine
from features.catalogue import ALL, NAMES, select
from features.online import select_features

AS_OF = (date(2023, 3, 1), date(2024, 3, 1), date(2024, 9, 1))
START = date(2023, 1, 1)
Bits = dict[tuple[str, date], bytes]


class Online:
    """The statement, prepared once; its tables are filled for each question."""

    def __init__(self, connection, settings: Features, declared: frozenset[str]) -> None:
        self.connection = connection
        connection.register("schema", SCHEMA.empty_table())
        connection.execute("CREATE TABLE transactions AS FROM schema")
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        query = select_features(settings, START, select(declared))
        connection.execute(f"PREPARE answer AS {query}")

    def ask(self, log: Iterable[Line]) -> Bits:
        self.connection.execute("DELETE FROM transactions; DELETE FROM as_of_dates")
        self.connection.register("given", as_table(log))
        self.connection.execute("INSERT INTO transactions FROM given")
        self.connection.executemany("INSERT INTO as_of_dates VALUES (?)", [[day] for day in AS_OF])
        rows = self.connection.execute("EXECUTE answer").fetchall()
        return {row[1:3]: bits(row[3:]) for row in rows}


@contextmanager
def prepared(settings: Features | None = None, declared: frozenset[str] = ALL) -> Iterator[Online]:
    with connect(compute=Compute(threads=1)) as connection:
        yield Online(connection, settings or Features(), declared)


@pytest.fixture(scope="module")
def online() -> Iterator[Online]:
    with prepared() as made:
        yield made


def bits(values: Iterable[float | None]) -> bytes:
    """-0.0 is not 0.0, and missing is missing."""
    numbers = [float("nan") if value is None else value for value in values]
    return struct.pack(f"<{len(numbers)}d", *numbers)


def trained(log: Iterable[Line], settings: Features | None = None, names=NAMES) -> Bits:
    features = ask(log, AS_OF, settings, log_start=START).features
    return {key: bits(values[name] for name in names) for key, values in features.items()}


def test_many_customers_at_several_dates_and_each_by_itself(online):
    log = shop_log(12, 300, seed=5)
    expected = trained(log)
    assert len(expected) > 24
    assert online.ask(log) == expected
    for customer in ("customer 3", "customer 7"):
        own = [line for line in log if line.customer_id == customer]
        wanted = {key: value for key, value in expected.items() if key[0] == customer}
        assert wanted and online.ask(own) == wanted


MIDNIGHTS = [
    datetime(day.year, day.month, day.day) - timedelta(days=days)
    for day in AS_OF
    for days in (0, 1, 30, 90, 365)
]
LINE = st.builds(
    Line,
    invoiced_at=st.datetimes(datetime(2022, 1, 1), datetime(2025, 1, 1))
    | st.sampled_from(MIDNIGHTS)
    | st.sampled_from(MIDNIGHTS).map(lambda moment: moment - timedelta(microseconds=1)),
    customer_id=st.sampled_from(["anna", "bruno", "o'brien"]),
    invoice_id=st.sampled_from(["1", "2", "3", "C4"]),
    product_id=st.sampled_from(["P1", "P2", "P3"]),
    quantity=st.integers(-50, 50_000).filter(bool),
    unit_price=st.sampled_from([0.001, 0.05, 1.15, 9.99, 5_000.0]),
    country=st.sampled_from(["United Kingdom", "France", None]),
)


@pytest.mark.slow
@given(lines=st.lists(LINE, min_size=0, max_size=25))
@hypothesis_settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_random_logs(online, lines):
    assert online.ask(lines) == trained(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "declared"),
    [
        (Features(horizon_days=1, active_days=30, invoice_days=0, home_country="it's here"), ALL),
        (Features(horizon_days=365, active_days=1095, invoice_days=365), ALL - {"country"}),
        (Features(), ALL - {"product_id"}),
        (Features(), ALL - {"invoice_id", "quantity"}),
    ],
)
def test_settings_and_declared_columns_are_those_of_training(settings, declared):
    names, log = [feature.name for feature in select(declared)], shop_log(20, 300, seed=3)
    expected = trained(log, settings, names)
    assert expected != trained(log)
    with prepared(settings, declared) as online:
        assert online.ask(log) == expected


def test_files_of_which_no_feature_is_wanted_are_not_read(monkeypatch):
    seen, read = set[str](), engine.read
    monkeypatch.setattr(engine, "read", lambda name: seen.add(name) or read(name))
    select_features(Features(), START, select(ALL - {"product_id"}))
    assert "base/product_counts" not in seen and "variety" not in seen
    select_features(Features(), START)
    assert {"base/product_counts", "variety"} <= seen


def test_a_change_of_a_file_changes_training_and_service_alike(tmp_path, monkeypatch):
    """Neither has SQL of its own."""
    log = shop_log(20, 300)
    before = trained(log)
    shutil.copytree(engine.SQL, tmp_path / "sql")
    changes = {
        "base/moments": ("quantity * unit_price * 100", "quantity * unit_price * 200"),
        "base/past_orders": ("as_of - order_day AS", "as_of - order_day + 1 AS"),
        "windows": ("days_ago <= 30", "days_ago <= 40"),
        "base/spine": ("day < as_of", "day < as_of - 100"),
    }
    for name, (old, new) in changes.items():
        file = tmp_path / "sql" / f"{name}.sql"
        assert old in file.read_text("utf-8")
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    monkeypatch.setattr(engine, "SQL", tmp_path / "sql")
    with prepared() as changed:
        expected = trained(log)
        assert expected != before
        assert changed.ask(log) == expected


def test_nothing_is_left_that_would_be_planned_at_each_execution():
    assert "getvariable" not in select_features(Features(), START)
