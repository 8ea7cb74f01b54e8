"""Features whose columns a source does not have drop out by declaration, and only those."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_logs import shop_log, write

from configs.settings import Features
from configs.source import CANONICAL
from features import engine
from features.build import build_table
from features.catalogue import ALL, CATALOGUE, GROUPS, NAMES, select
from features.contract import read_frame, table_checks
from ingestion.expectations import validate

pytestmark = pytest.mark.slow

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)
LOG = shop_log(60, 260)
LEAST = frozenset({"customer_id", "invoiced_at", "amount"})


def names(declared: frozenset[str]) -> set[str]:
    return {feature.name for feature in select(declared)}


def test_a_source_with_every_column_has_every_feature_in_order():
    assert select() == select(ALL) == CATALOGUE
    assert frozenset(CANONICAL) == ALL


@pytest.mark.parametrize(
    ("column", "gone"),
    [
        ("product_id", {"products_365d", "products_total"}),
        ("invoice_id", {"lines_per_order"}),
        ("quantity", {"units_per_line", "unit_price_mean"}),
        ("country", {"is_home"}),
        ("description", set()),
    ],
)
def test_without_a_column_these_features_are_gone(column, gone):
    without = set(NAMES) - names(ALL - {column})
    assert without >= gone
    assert all(column in feature.needs for feature in CATALOGUE if feature.name in without)


def test_customer_time_and_amount_leave_most_features():
    left = select(LEAST)
    assert [feature.name for feature in left] == [name for name in NAMES if name in names(LEAST)]
    assert len(left) > 25
    assert all(feature.needs <= ALL for feature in CATALOGUE)


@pytest.fixture(scope="module")
def poor(tmp_path_factory) -> Path:
    """The log as ingestion leaves it when only an amount is known: customer-days for invoices."""
    folder = tmp_path_factory.mktemp("poor")
    rows = pd.read_parquet(write(LOG, folder / "log.parquet"))
    amount = (rows["quantity"] * rows["unit_price"]).round(2)
    rows = rows.assign(
        invoice_id=rows["customer_id"] + rows["invoiced_at"].dt.strftime(" %Y%m%d"),
        product_id=pd.Series(None, index=rows.index, dtype="str"),
        country=pd.Series(None, index=rows.index, dtype="str"),
        quantity=(amount > 0) * 2 - 1,
        unit_price=amount.abs(),
    )
    rows.to_parquet(folder / "poor.parquet")
    return folder / "poor.parquet"


def test_the_table_of_such_a_log_has_the_declared_features_and_keeps_its_contract(poor, tmp_path):
    table = tmp_path / "table.parquet"
    facts = build_table(poor, table, QUESTION, LEAST)
    frame = read_frame(table)
    expected = [feature.name for feature in select(LEAST)]
    assert facts.names == tuple(expected) and facts.features == len(expected)
    assert list(frame.columns) == [
        *("customer_id", "as_of", "split"),
        *expected,
        *("label", "split_label"),
    ]
    assert [f.code for f in validate(frame, table_checks(select(LEAST))) if not f.success] == []


def test_money_and_days_are_those_of_the_log_with_every_column(poor, tmp_path):
    full, least = tmp_path / "full.parquet", tmp_path / "least.parquet"
    build_table(poor.with_name("log.parquet"), full, QUESTION)
    build_table(poor, least, QUESTION, LEAST)
    for name in ("customer_id", "recency_days", "revenue_365d", "gap_days_mean", "label"):
        one, other = (pd.read_parquet(path, columns=[name])[name] for path in (full, least))
        if name == "revenue_365d":  # each line is rounded on its own, to a hundredth
            assert (one - other).abs().max() < 0.011 * 100
        else:
            pd.testing.assert_series_equal(one, other)


def test_a_group_of_which_nothing_is_left_is_not_run(poor, tmp_path, monkeypatch):
    seen = []
    read = engine.read
    monkeypatch.setattr(engine, "read", lambda name: seen.append(name) or read(name))
    build_table(poor, tmp_path / "table.parquet", QUESTION, LEAST)
    left = {feature.name for feature in select(LEAST)}
    gone = {name for name, members in GROUPS.items() if not left & {f.name for f in members}}
    assert {"variety", "country"} <= gone
    assert not set(seen) & {*gone, "base/product_counts"}
    build_table(poor.with_name("log.parquet"), tmp_path / "full.parquet", QUESTION)
    assert {*GROUPS, "base/product_counts"} <= set(seen)
