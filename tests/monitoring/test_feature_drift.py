"""Drift of features and of scores, beside a year before: an explanation in figures and words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.settings import Features
from features.catalogue import NAMES
from monitoring.drift import compare, feature_drift, psi, score_drift
from tests.features.made_logs import Line, ask, shop_log, write
from tests.monitoring.made_scores import write_scores

AS_OF = date(2024, 11, 1)
QUESTION = Features()
values = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5, 1e9, float("nan")]), min_size=1, max_size=60)


@cache
def log() -> tuple[Line, ...]:
    """Twice as many invoices in the second year."""
    year = timedelta(days=365)
    later = [
        replace(line, invoiced_at=line.invoiced_at + year, invoice_id=f"later {line.invoice_id}")
        for line in shop_log(300, 1400, seed=2, days=305)
    ]
    return (*shop_log(300, 700, days=365), *later)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = write(log(), tmp_path_factory.mktemp("log") / "log.parquet")
    return feature_drift(path, AS_OF, NAMES, QUESTION)


def test_every_feature_is_compared_with_the_year_before_and_the_most_moved_comes_first(found):
    assert {one.feature for one in found} == set(NAMES)
    assert {(one.month, one.beside) for one in found} == {("2024-10", "2023-10")}
    moved = [one.moved for one in found]
    assert moved == sorted(moved, reverse=True)


def test_a_drift_that_was_there_before_the_alarm_comes_after_one_that_is_new(tmp_path):
    """Everybody's tenure grows with the log; from September on all buy twice as much at a time."""
    start = datetime(2022, 1, 1)
    lines = [
        Line(
            start + timedelta(days=day, hours=9),
            f"c{(day * 7 + place) % 150}",
            f"{day} {place}",
            quantity=2 if day >= 973 else 1,  # 2024-08-31
        )
        for day in range(1005)
        for place in range(4)
    ]
    path = write(lines, tmp_path / "log.parquet")
    names = ["tenure_days", "orders_30d", "revenue_30d"]
    found = feature_drift(path, date(2024, 10, 1), names, QUESTION, since=date(2024, 8, 31))
    assert found[0].feature == "revenue_30d"
    tenure = next(one for one in found if one.feature == "tenure_days")
    assert tenure.psi > 1 and tenure.moved < 0.1
    assert "as of 2024-08-31" in found[0].text


def test_where_the_log_is_too_short_for_the_day_before_the_largest_psi_comes_first(tmp_path):
    path = write([line for line in log() if line.invoiced_at.year < 2024], tmp_path / "log.parquet")
    as_of, since = date(2024, 4, 1), date(2024, 2, 1)  # by February 2023 fewer than 100 had bought
    found = feature_drift(path, as_of, NAMES, QUESTION, since=since)
    assert {one.moved for one in found} == {None}
    psis = [one.psi for one in found]
    assert psis == sorted(psis, reverse=True) and psis[0] > psis[-1]


def test_means_are_those_of_the_features_of_training_and_are_told_in_words(found):
    earlier = date(2023, 11, 1)
    rows = ask(log(), [AS_OF, earlier]).features
    drifts = {one.feature: one for one in found}
    for name in ("orders_90d", "gap_days_mean", "season_orders"):
        for day, mean in ((AS_OF, drifts[name].mean), (earlier, drifts[name].mean_before)):
            of_day = [row[name] for (_, as_of), row in rows.items() if as_of == day]
            known = [value for value in of_day if value is not None]
            assert mean == (pytest.approx(np.mean(known)) if known else None)
    orders = drifts["orders_90d"]
    assert orders.mean > orders.mean_before
    assert orders.text.startswith("orders_90d (invoices): mean ")
    assert ", a year before " in orders.text and f"PSI {orders.psi:.2f}." in orders.text
    season = drifts["season_orders"]  # the log begins less than a year before the earlier date
    assert (season.missing, season.missing_before) == (0, 1)
    assert (season.mean_before, season.ks) == (None, None)
    assert "missing for 0.0%, a year before for 100.0%" in season.text


@pytest.mark.slow
def test_rows_from_the_as_of_date_on_change_nothing(found, tmp_path):
    end = datetime.combine(AS_OF, time())
    before = [line for line in log() if line.invoiced_at < end]
    later = [Line(end, "customer 1", "9"), Line(end + timedelta(days=3), "new", "10")]
    path = write([*before, *later], tmp_path / "log.parquet")
    assert feature_drift(path, AS_OF, NAMES, QUESTION) == found


def test_a_log_that_does_not_reach_back_a_year_says_so(tmp_path):
    path = write(shop_log(300, 700, days=200), tmp_path / "log.parquet")
    (one,) = feature_drift(path, date(2023, 7, 1), ["orders_90d", "gone"], QUESTION)
    assert (one.feature, one.psi, one.ks) == ("orders_90d", None, None)
    assert one.text == "orders_90d: there are no customers a year before to compare with."
    assert feature_drift(path, date(2023, 7, 1), ["gone"], QUESTION) == []


NOTHING = np.full(300, np.nan)


@pytest.mark.parametrize(
    ("feature", "now", "before", "psi_and_ks", "text"),
    [
        (
            "orders_90d",
            np.ones(99),
            np.ones(500),
            (None, None),
            "orders_90d: too few to compare: 99 customers, a year before 500; 100 of each are"
            " needed.",
        ),
        (
            "overdue_ratio",
            NOTHING,
            NOTHING,
            (0, None),
            "overdue_ratio (ratio): missing for all customers in both; PSI 0.00.",
        ),
        ("is_home", np.ones(500), np.ones(500), (pytest.approx(0), 0), "is_home"),
    ],
)
def test_what_cannot_drift_or_cannot_be_compared(feature, now, before, psi_and_ks, text):
    one = compare(feature, now, before, "2026-07", "2025-07")
    assert (one.psi, one.ks) == psi_and_ks and one.text.startswith(text)
    for changed in (2.0, 0.5) if feature == "is_home" else ():
        drifted = compare(feature, np.full(500, changed), before, "2026-07", "2025-07")
        assert drifted.psi > 1 and drifted.ks == 1


@given(values, values)
def test_psi_is_finite_never_negative_and_zero_for_the_same_values(now, before):
    now, before = np.array(now), np.array(before)
    assert 0 <= psi(now, before) < 50
    assert psi(before, before) == pytest.approx(0)


def test_psi_of_shifted_deciles_is_the_textbooks():
    before = np.arange(10_000) / 10_000
    now = np.concatenate([before[:5000], before[:5000]])  # nothing in the upper half
    shares = np.full(10, 0.1), np.r_[np.full(5, 0.2), np.zeros(5)]
    a, b = ((share * 10_000 + 0.5) / 10_005 for share in shares)
    assert psi(now, before) == pytest.approx(np.sum((a - b) * np.log(a / b)), rel=0.01)


def test_scores_are_compared_with_last_year_or_else_the_month_before_of_the_same_version(tmp_path):
    def scores(as_of: date, level: float, version: int = 1):
        p = np.clip(np.random.default_rng(1).normal(level, 0.1, 500), 0, 1)
        names, file = [f"c{i}" for i in range(500)], tmp_path / f"{as_of} {version}.parquet"
        return write_scores(file, names, p, as_of=as_of, version=version)

    months = date(2026, 8, 1), date(2026, 7, 1)
    now, previous = (scores(month, 0.5) for month in months)
    other, other_previous = (scores(month, 0.5, version=2) for month in months)
    last_year = scores(date(2025, 8, 1), 0.4)
    found = score_drift(now, last_year=last_year, previous=previous)
    assert (found.feature, found.month, found.beside) == ("probability", "2026-07", "2025-07")
    assert found.psi > 0.2 and ", a year before 0.396;" in found.text
    found = score_drift(now, previous=previous)
    assert (found.beside, found.psi) == ("2026-06", 0)
    assert ", in 2026-06 0.496;" in found.text
    assert score_drift(other) is score_drift(other, last_year=last_year) is None
    assert score_drift(other, last_year=last_year, previous=other_previous).beside == "2026-06"
