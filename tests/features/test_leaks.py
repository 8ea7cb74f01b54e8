"""The check in every training: a planted leak is found and named, a clean table passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_logs import Line, shop_log, write
from sklearn.metrics import roc_auc_score

from common.duck import connect, literal
from common.errors import UserError
from configs.settings import Features
from features import engine, leaks, rebuild
from features.build import build_table
from features.catalogue import NAMES
from features.leak_report import Leak, stop_on_leaks
from features.leaks import check_leaks
from features.roc_auc import RocAuc, roc_auc_alone

QUESTION = Features(horizon_days=60, active_days=365, min_history_days=90, train_dates=6)


def find_leaks(*arguments) -> list[Leak]:
    return list(check_leaks(*arguments).leaks)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    return write(shop_log(250, 1500), folder / "log.parquet")


@pytest.fixture(scope="module")
def clean(log) -> Path:
    build_table(log, log.with_name("table.parquet"), QUESTION)
    return log.with_name("table.parquet")


def rewritten(clean: Path, folder: Path, query: str) -> Path:
    """The clean table as the query of `clean` makes it."""
    target = folder / "table.parquet"
    with connect(ordered=True) as connection:
        connection.execute(f"CREATE VIEW clean AS FROM {literal(clean)}")
        connection.execute(f"COPY ({query}) TO {literal(target)} (FORMAT parquet)")
    return target


def named(found: list[Leak]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for leak in found:
        reasons.setdefault(leak.name, []).append(leak.kind)
    return reasons


@pytest.mark.slow
def test_a_clean_table_has_no_leak_and_the_report_says_what_was_checked(log, clean):
    report = check_leaks(log, clean, QUESTION)
    stop_on_leaks(report.leaks)
    rows = pd.read_parquet(clean, columns=["split", "as_of"])
    last = [rows["as_of"][rows["split"] == split].max() for split in ("train", "test")]
    assert report.dates == tuple(day.isoformat() for day in last)
    assert report.rows_rebuilt == rows["as_of"].isin(last).sum()
    assert report.rows_scored == (rows["split"] == "train").sum()
    assert (report.leaks, report.limit) == ((), 0.85)
    assert report.strongest is not None
    assert report.strongest[0] in NAMES and 0.5 < report.strongest[1] < 0.85
    assert json.loads(json.dumps(asdict(report)))["dates"] == list(report.dates)


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


def test_every_column_that_knows_the_future_or_that_nobody_declared_is_named(log, clean, tmp_path):
    """Whatever its direction, and wherever it stands in the table."""
    one_row = """split = 'test' AND customer_id = (SELECT max(customer_id) FROM clean WHERE as_of =
                 (SELECT max(as_of) FROM clean))"""
    query = f"""
        SELECT label + 0.0 AS early,
               * REPLACE (gap_days_last + label AS gap_days_last,
                          recency_days + CAST({one_row} AS INTEGER) AS recency_days),
               random() AS luck, -3.0 * label + random() AS "next purchase",
               CASE WHEN label = 0 THEN 1.0 END AS gaps
        FROM clean
    """
    assert named(find_leaks(log, rewritten(clean, tmp_path, query), QUESTION)) == {
        "early": ["strong", "unknown"],
        "gap_days_last": ["changed"],
        "recency_days": ["changed"],
        "luck": ["unknown"],
        "next purchase": ["strong", "unknown"],
        "gaps": ["strong", "unknown"],  # it is the missing value that tells
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("FROM clean WHERE NOT (label = 0 AND orders_365d > 3)", {"spine": ["changed"]}),
        (
            "FROM clean UNION ALL BY NAME"
            " SELECT DISTINCT ON (as_of) * REPLACE ('nobody' AS customer_id) FROM clean",
            {"spine": ["changed"]},
        ),
        (
            "SELECT customer_id, as_of, split, recency_days AS r, label FROM clean",
            {"r": ["unknown"]},
        ),
    ],
    ids=["rows are gone", "rows are added", "no column is of the catalogue"],
)
def test_a_leak_of_the_whole_table_is_named(log, clean, tmp_path, query, expected):
    assert named(find_leaks(log, rewritten(clean, tmp_path, query), QUESTION)) == expected


LOOKAHEAD: dict[str, tuple[str, Callable[[str], str], set[str]]] = {
    "the cut is a day late": (
        "base/past_orders",
        lambda sql: sql.replace("WHERE day < as_of", "WHERE day <= as_of"),
        {"orders_total", "revenue_total", "orders_30d"},
    ),
    "a group reads what still holds the future": (
        "country",
        lambda sql: (
            """
            SELECT row_id, count(*) AS is_home
            FROM spine_part JOIN order_parts USING (customer_id) GROUP BY row_id
        """
        ),
        {"is_home"},
    ),
    "products are counted from the whole log": (
        "base/past_products",
        lambda sql: sql.replace("WHERE seen_from <= date_number", ""),
        {"products_total"},
    ),
    "cancellations of the future count": (
        "base/past_cancellations",
        lambda sql: sql.replace("WHERE day < as_of", ""),
        {"cancelled_lines_365d", "cancelled_share"},
    ),
    "one row in fifty": (
        "baskets",
        lambda sql: sql.replace(
            "sum(units) / sum(lines) AS units_per_line",
            """sum(units) / sum(lines) + (
                SELECT count(*) FILTER (hash(row_id) % 50 = 0 AND day >= as_of)
                FROM spine_part AS a JOIN order_parts USING (customer_id)
                WHERE a.row_id = past_orders.row_id
            ) AS units_per_line""",
        ),
        {"units_per_line"},
    ),
    "a parameter is fitted to the whole log": (
        "alive",
        lambda sql: sql.replace("0.243 AS r", "(SELECT count(*) FROM order_parts) / 4e3 AS r"),
        {"buy_probability"},
    ),
    "only who comes back is asked about": (
        "base/spine",
        lambda sql: sql.replace(
            "ON day < as_of",
            """ON day < as_of AND customer_id IN (
                SELECT customer_id FROM order_parts GROUP BY ALL HAVING count(*) >= 6)""",
        ),
        {"spine"},
    ),
}


def change_sql(folder: Path, monkeypatch, name: str, change: Callable[[str], str]) -> None:
    shutil.copytree(engine.SQL, folder / "sql")
    file = folder / "sql" / f"{name}.sql"
    before = file.read_text("utf-8")
    file.write_text(change(before), "utf-8")
    assert file.read_text("utf-8") != before
    monkeypatch.setattr(engine, "SQL", folder / "sql")


@pytest.mark.slow
@pytest.mark.parametrize("case", LOOKAHEAD)
def test_sql_that_looks_ahead_is_caught_and_its_features_are_named(
    case, log, tmp_path, monkeypatch
):
    name, change, expected = LOOKAHEAD[case]
    change_sql(tmp_path, monkeypatch, name, change)

    build_table(log, tmp_path / "table.parquet", QUESTION)
    found = find_leaks(log, tmp_path / "table.parquet", QUESTION)

    assert expected <= set(named(found))
    with pytest.raises(UserError) as caught:
        stop_on_leaks(found)
    assert "knows the future" in caught.value.what
    assert "features/sql/" in caught.value.next_step


def test_the_limit_is_a_setting(log, clean):
    strict = QUESTION.model_copy(update={"max_feature_roc_auc": 0.5})
    found = find_leaks(log, clean, strict)
    assert {leak.limit for leak in found} == {0.5}
    assert found
    assert [leak.name for leak in found] == [n for n in NAMES if n in {x.name for x in found}]


@pytest.mark.slow
def test_an_honest_feature_may_use_all_customers_of_the_table(log, tmp_path, monkeypatch):
    def rank(sql: str) -> str:
        ranks = "percent_rank() OVER (PARTITION BY any_value(as_of) ORDER BY sum(cents))"
        sql = sql.replace("sum(cents) / sum(units) / 100", ranks)
        return sql.replace("FROM past_orders", "FROM past_orders JOIN spine_part USING (row_id)")

    change_sql(tmp_path, monkeypatch, "baskets", rank)
    build_table(log, tmp_path / "table.parquet", QUESTION)
    assert find_leaks(log, tmp_path / "table.parquet", QUESTION) == []


def test_of_a_large_log_one_date_is_worked_out_again_and_a_large_table_is_sampled(
    log, clean, monkeypatch
):
    monkeypatch.setattr(leaks, "ROWS_SCORED", 100)
    monkeypatch.setattr(leaks, "ROWS_OF_A_CLASS", 5)
    monkeypatch.setattr(rebuild, "LARGE_LOG", 100)
    report = check_leaks(log, clean, QUESTION)
    assert len(report.dates) == 1 and report.leaks == ()
    assert 0 < report.rows_scored < 500


def grocer_log(customers: int = 600) -> list[Line]:
    """Honest, and easy to foretell: three in ten come weekly, most others came once."""
    rng = np.random.default_rng(3)
    lines = []
    for customer in range(customers):
        weekly = rng.random() < 0.3
        days = np.arange(rng.integers(7), 700, 7) if weekly else rng.integers(0, 700, 1)
        for day in days[rng.random(len(days)) < 0.7] if weekly else days:
            moment = datetime(2023, 1, 1, 9) + timedelta(days=int(day))
            lines.append(Line(moment, f"c{customer}", str(len(lines)), unit_price=2.5))
    return lines


@pytest.mark.slow
def test_an_honest_log_that_is_easy_is_called_suspicious_and_no_more(tmp_path):
    log, table = write(grocer_log(), tmp_path / "log.parquet"), tmp_path / "table.parquet"
    build_table(log, table, QUESTION)
    found = find_leaks(log, table, QUESTION)
    assert len(found) > 3 and {leak.kind for leak in found} == {"strong"}
    with pytest.raises(UserError) as caught:
        stop_on_leaks(found)
    what, next_step = caught.value.what, caught.value.next_step
    assert "is suspiciously good by itself: " in what and "knows the future" not in what
    assert what.endswith(f"and {len(found) - 3} more; nothing changed when the future was removed")
    assert len(what) < 400 and what.count("ROC AUC") == 3
    limit = float(next_step.rpartition("--features.max_feature_roc_auc ")[2])
    assert find_leaks(log, table, QUESTION.model_copy(update={"max_feature_roc_auc": limit})) == []


@pytest.mark.slow
def test_an_honest_log_of_rare_events_raises_no_alarm(tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        Line(
            datetime(2023, 1, 1) + timedelta(days=int(rng.integers(700))),
            f"c{number if number < 150 else rng.integers(150)}",
            str(number),
            product_id=str(rng.integers(50)),
            unit_price=float(rng.integers(1, 9)),
        )
        for number in range(175)
    ]
    log, table = write(lines, tmp_path / "log.parquet"), tmp_path / "table.parquet"
    question = QUESTION.model_copy(update={"train_dates": 1})
    build_table(log, table, question)
    report = check_leaks(log, table, question)
    assert report.leaks == ()
    assert (report.rows_scored, report.strongest) == (0, None)  # too few buy again to say anything


def test_proven_leaks_are_named_first_and_none_twice():
    found = [
        Leak("a", "strong", 1.0, 1.0, 0.85),
        Leak("a", "changed", 0.5, 0.5, 0),
        Leak("b", "strong", 0.995, 0.992, 0.85),
    ]
    with pytest.raises(UserError) as caught:
        stop_on_leaks(found)
    first, second = caught.value.what.split("; ")
    assert "knows the future" in first and first.endswith("a (50 % of its rows)")
    assert "suspiciously good by itself: b (ROC AUC 0.995" in second
    assert "features/sql/" in caught.value.next_step
    with pytest.raises(UserError) as caught:
        stop_on_leaks(found[2:])
    assert caught.value.next_step.endswith("--features.max_feature_roc_auc 1")


def test_roc_auc_alone_is_the_better_of_both_directions_with_missing_values_at_either_end():
    rng = np.random.default_rng(5)
    for ties in (3, 10_000):
        values = rng.integers(ties, size=500).astype(float)
        label = (rng.random(500) < 0.3 + 0.3 * (values > ties / 2)).astype(int)
        values[rng.random(500) < 0.2] = np.nan
        scores = [roc_auc_score(label, np.nan_to_num(values, nan=nan)) for nan in (-1, 20_000)]
        expected = max(max(score, 1 - score) for score in scores)
        found = roc_auc_alone(values, label, np.arange(500))
        assert found.score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "label"),
    [([np.nan] * 4, [0, 1, 0, 1]), ([1.0] * 4, [0, 1, 0, 1]), ([1.0, 2.0], [1, 1])],
    ids=["no value", "one value", "one class"],
)
def test_a_column_that_says_nothing_scores_half(values, label):
    rows = (np.array(values), np.array(label), np.arange(len(label)))
    assert roc_auc_alone(*rows) == RocAuc(0.5, 0.5)


@pytest.mark.parametrize("copies", [1, 6])
def test_the_interval_holds_the_true_score_19_times_in_20_however_alike_a_customers_rows_are(
    copies,
):
    """Normal values, one class shifted: the ROC AUC is Phi(shift / sqrt 2). One-sided: 97.5 %."""
    rng = np.random.default_rng(6)
    true, held, lows = 0.8555778, 0, []  # a shift of 1.5
    for _ in range(200):
        label = (rng.random(150) < 0.3).astype(int)
        values = rng.normal(size=150) + 1.5 * label
        rows = [np.repeat(column, copies) for column in (values, label, np.arange(150))]
        found = roc_auc_alone(*rows)
        lows.append(found.score - found.low)
        held += found.low < true
    assert 0.95 < held / 200 <= 1
    assert 0.05 < np.mean(lows) < 0.08  # copies of a row make it no narrower
