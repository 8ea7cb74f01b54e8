"""The check in every training: a planted leak is found and named, a clean table passes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_logs import shop_log, write
from sklearn.metrics import roc_auc_score

from configs.duck import connect, literal, quoted
from configs.errors import UserError
from configs.settings import Features
from features import engine, leaks
from features.build import build_table
from features.catalogue import ALL, NAMES
from features.leaks import Leak, find_leaks, roc_auc_alone, stop_on_leaks

QUESTION = Features(horizon_days=60, active_days=365, min_history_days=90, train_dates=6)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    return write(shop_log(150, 900), folder / "log.parquet")


@pytest.fixture(scope="module")
def clean(log) -> Path:
    build_table(log, log.with_name("table.parquet"), QUESTION)
    return log.with_name("table.parquet")


def planted(clean: Path, target: Path, name: str, values: str) -> Path:
    """The table with a column more, or another one, before the label."""
    with connect(ordered=True) as connection:
        columns = connection.sql(f"FROM {literal(clean)}").columns
        kept = ", ".join(quoted(c) for c in columns if c not in (name, "label"))
        connection.execute(f"""
            COPY (SELECT {kept}, {values} AS {quoted(name)}, label FROM {literal(clean)})
            TO {literal(target)} (FORMAT parquet)
        """)
    return target


def named(found: list[Leak]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for leak in found:
        reasons.setdefault(leak.name, []).append(leak.why.split(" ")[0])
    return reasons


def test_a_clean_table_has_no_leak(log, clean):
    assert find_leaks(log, clean, QUESTION) == []
    stop_on_leaks([])


def test_a_log_in_two_files_without_products_and_invoices_has_no_leak(log, tmp_path):
    rows = pd.read_parquet(log).assign(product_id=None, invoice_id=None, country=None)
    rows["invoice_id"] = rows["invoiced_at"].dt.strftime("%Y%m%d")
    types = {"product_id": "str", "country": "str"}
    parts = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    rows[::2].astype(types).to_parquet(parts[0])
    rows[1::2].astype(types).to_parquet(parts[1])
    declared = frozenset({"customer_id", "invoiced_at", "amount", "unit_price", "quantity"})
    facts = build_table(parts, tmp_path / "table.parquet", QUESTION, declared)
    assert not set(facts.names) & {"products_total", "lines_per_order", "is_home"}
    assert find_leaks(parts, tmp_path / "table.parquet", QUESTION, declared) == []


@pytest.mark.parametrize(
    "values",
    [
        "CAST(label AS DOUBLE)",
        "-3.0 * label + random()",  # the other way round
        "CASE WHEN label = 0 THEN 1.0 END",  # it is the missing value that tells
    ],
)
def test_a_column_that_is_too_good_alone_is_named_whatever_its_direction(
    log, clean, tmp_path, values
):
    table = planted(clean, tmp_path / "table.parquet", "next purchase", values)
    found = named(find_leaks(log, table, QUESTION))
    assert list(found) == ["next purchase"]
    assert found["next purchase"] == ["ROC", "no"]  # too good, and nobody declared it


def test_a_column_that_nobody_declared_is_named_even_when_it_is_noise(log, clean, tmp_path):
    table = planted(clean, tmp_path / "table.parquet", "luck", "random()")
    assert named(find_leaks(log, table, QUESTION)) == {"luck": ["no"]}


def test_a_known_feature_that_was_overwritten_is_named(log, clean, tmp_path):
    table = planted(clean, tmp_path / "table.parquet", "gap_days_last", "gap_days_last + label")
    assert named(find_leaks(log, table, QUESTION)) == {"gap_days_last": ["share"]}


LOOKAHEAD: dict[str, tuple[str, Callable[[str], str], set[str]]] = {
    "the cut is a day late": (
        "base/asked",
        lambda sql: sql.replace("WHERE day < as_of", "WHERE day <= as_of"),
        {"orders_total", "revenue_total", "orders_30d"},
    ),
    "the cut is gone": (
        "base/asked",
        lambda sql: sql.replace("WHERE day < as_of", ""),
        {"recency_days", "orders_total", "orders_30d", "gap_days_last"},
    ),
    "a group reads what still holds the future": (
        "country",
        lambda sql: (
            """
            SELECT row_id, count(*) AS is_home
            FROM asked JOIN order_parts USING (customer_id) GROUP BY row_id
        """
        ),
        {"is_home"},
    ),
    "products are counted from the whole log": (
        "base/products",
        lambda sql: sql.replace("WHERE seen_from <= date_number", ""),
        {"products_total"},
    ),
    "cancellations of the future count": (
        "base/cancellations",
        lambda sql: sql.replace("WHERE day < as_of", ""),
        {"cancelled_lines_365d", "cancelled_share"},
    ),
}


@pytest.mark.parametrize("case", LOOKAHEAD)
def test_sql_that_looks_ahead_is_caught_and_its_features_are_named(
    case, log, tmp_path, monkeypatch
):
    name, change, expected = LOOKAHEAD[case]
    folder = tmp_path / "sql"
    shutil.copytree(engine.SQL, folder)
    file = folder / f"{name}.sql"
    before = file.read_text("utf-8")
    file.write_text(change(before), "utf-8")
    assert file.read_text("utf-8") != before
    monkeypatch.setattr(engine, "SQL", folder)

    build_table(log, tmp_path / "table.parquet", QUESTION)
    found = find_leaks(log, tmp_path / "table.parquet", QUESTION)

    assert expected <= set(named(found))
    with pytest.raises(UserError) as caught:
        stop_on_leaks(found)
    assert all(feature in caught.value.what for feature in expected)
    assert caught.value.where and caught.value.next_step


def test_the_limit_is_a_setting(log, clean):
    strict = QUESTION.model_copy(update={"max_feature_roc_auc": 0.5})
    found = find_leaks(log, clean, strict)
    assert {leak.limit for leak in found} == {0.5}
    assert 10 < len(found) <= len(NAMES)
    assert [leak.name for leak in found] == [n for n in NAMES if n in {x.name for x in found}]


def test_a_table_of_which_nothing_is_declared_has_every_column_named(log, clean, tmp_path):
    with connect(ordered=True) as connection:
        connection.execute(f"""
            COPY (SELECT customer_id, as_of, split, recency_days AS r, label FROM {literal(clean)})
            TO {literal(tmp_path / "table.parquet")} (FORMAT parquet)
        """)
    assert named(find_leaks(log, tmp_path / "table.parquet", QUESTION)) == {"r": ["no"]}


def test_a_large_table_is_sampled(log, clean, monkeypatch):
    monkeypatch.setattr(leaks, "ROWS_SCORED", 100)
    monkeypatch.setattr(leaks, "ROWS_REBUILT", 20)
    assert find_leaks(log, clean, QUESTION) == []


def test_roc_auc_alone_is_the_better_of_both_directions_with_missing_values_at_either_end():
    rng = np.random.default_rng(5)
    for ties in (3, 10_000):
        values = rng.integers(ties, size=500).astype(float)
        label = (rng.random(500) < 0.3 + 0.3 * (values > ties / 2)).astype(int)
        values[rng.random(500) < 0.2] = np.nan
        scores = [roc_auc_score(label, np.nan_to_num(values, nan=nan)) for nan in (-1, 20_000)]
        expected = max(max(score, 1 - score) for score in scores)
        assert roc_auc_alone(values, label) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("values", [[np.nan] * 4, [1.0] * 4])
def test_a_column_that_says_nothing_scores_half(values):
    assert roc_auc_alone(np.array(values), np.array([0, 1, 0, 1])) == 0.5


def test_with_one_class_there_is_nothing_to_score():
    assert roc_auc_alone(np.array([1.0, 2.0]), np.array([1, 1])) == 0.5


def test_every_column_is_declared_by_default():
    assert {"invoice_id", "product_id", "country", "quantity"} <= ALL
