"""The label of monitoring is that of training, and only known ones are joined; the early label
shows whether fewer bought within four weeks than a year before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from configs.settings import Features
from features.build import build_table
from features.roc_auc import roc_auc_alone
from monitoring.facts import year_before
from monitoring.labels import EARLY_DAYS, early_label, read_outcomes, ripe
from monitoring.performance import performance_of, pooled
from tests.features.made_logs import Line, shop_log, write
from tests.monitoring.made_scores import drawn, write_scores

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)
LOG = shop_log(60, 260)
DAY = timedelta(days=1)
GAP = {"feature": "gap_days_mean", "direction": -1, "missing": "last"}
BUY = {"feature": "buy_probability", "direction": 1, "missing": "last"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The training table of a log, and scores of its customers at each of its as-of dates."""
    folder = tmp_path_factory.mktemp("month=2024-01")  # as scores lie in folders named so
    log, target = write(LOG, folder / "log.parquet"), folder / "table.parquet"
    build_table(log, target, QUESTION)
    table = pq.read_table(target).to_pandas()
    table["probability"] = np.random.default_rng(3).random(len(table))
    scores = {
        day: write_scores(
            folder / f"as_of={day}" / "part.parquet",
            rows["customer_id"],
            rows["probability"],
            as_of=day,
        )
        for day, rows in table.groupby("as_of")
    }
    return log, table, scores


@pytest.fixture
def read(built):
    """The outcomes of some dates, of the last one where none is named."""
    log, _, scores = built

    def read(*days, files=None, log=log, known_until=date.max, **others):
        files = files or [scores[day] for day in days or [max(scores)]]
        return read_outcomes(files, log, QUESTION, known_until=known_until, **others)

    return read


def test_the_label_and_the_single_feature_are_those_of_the_training_table(built, read):
    _, table, scores = built
    found = read(*scores, baseline=GAP)
    assert [one.as_of for one in found] == sorted(scores)
    names: dict[int, str] = {}
    for one in found:
        rows = table[table["as_of"] == one.as_of].sort_values("customer_id")
        assert one.bought.tolist() == rows["label"].tolist()
        assert one.probability.tolist() == rows["probability"].tolist()
        expected = np.where(rows["gap_days_mean"].isna(), -np.inf, -rows["gap_days_mean"])
        assert one.baseline.tolist() == expected.tolist()
        for number, name in zip(one.customer.tolist(), rows["customer_id"], strict=True):
            assert names.setdefault(number, name) == name, "one number on all dates"
        first = min(line.invoiced_at for line in LOG if line.quantity > 0).date()
        assert one.whole_from == first + timedelta(days=QUESTION.active_days)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recency_days", "gap_days_mean", "is_home", "year_sin"])
def test_a_single_feature_ranks_as_it_did_when_it_was_chosen(built, read, name):
    _, table, scores = built
    rows = table[table["as_of"] == max(scores)]
    values, label = rows[name].to_numpy(dtype=float), rows["label"].to_numpy()
    alone = roc_auc_alone(values, label, np.arange(len(rows)))
    baseline = {"feature": name, "direction": alone.direction, "missing": alone.missing}
    (found,) = read(baseline=baseline)
    assert performance_of(found).baseline_roc_auc == pytest.approx(alone.score)


@pytest.mark.parametrize(
    "baseline",
    [None, {}, {"feature": "gone", "direction": 1}, {"feature": "is_home", "direction": None}],
)
def test_a_single_feature_that_cannot_be_computed_is_left_out(read, baseline):
    (found,) = read(baseline=baseline)
    assert found.baseline is None and performance_of(found).gain is None


def test_a_window_that_is_not_over_is_not_joined_and_a_shorter_one_holds_fewer_buyers(built, read):
    day = max(built[2])
    end = day + timedelta(days=QUESTION.horizon_days)
    assert ripe(day, 60, end) and not ripe(day, 60, end - DAY)
    with pytest.raises(ValueError, match="is not over"):
        read(known_until=end - DAY)
    assert read(known_until=end)
    (long,) = read(baseline=BUY)
    (short,) = read(known_until=day + 30 * DAY, days=20, baseline=BUY)
    assert (short.bought <= long.bought).all() and short.bought.sum() < long.bought.sum()
    assert short.baseline.tolist() == long.baseline.tolist(), "it depends on the horizon too"


def test_a_customer_who_is_scored_twice_or_a_file_of_two_dates_is_refused(built, read, tmp_path):
    scores = built[2]
    assert read_outcomes([], built[0], QUESTION, known_until=date.max) == []
    day = max(scores)
    twice = write_scores(tmp_path / "twice.parquet", ["a", "a"], [0.1, 0.2], as_of=day)
    with pytest.raises(ValueError, match="2 rows of 1 customers"):
        read(files=[twice])
    tables = [pq.read_table(scores[day], partitioning=None) for day in sorted(scores)[:2]]
    pq.write_table(pa.concat_tables(tables), tmp_path / "both.parquet")
    with pytest.raises(ValueError, match="1 files of scores hold 2"):
        read(files=[tmp_path / "both.parquet"])
    later = write_scores(tmp_path / "later.parquet", ["customer 1"], [0.5], as_of=day, version=2)
    found = read(files=[later, scores[day]])
    assert [(one.as_of, one.version) for one in found] == [(day, 1), (day, 2)]
    with pytest.raises(ValueError, match="not judged together"):
        pooled(found)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 70), st.integers(-5, 30)), max_size=30)
)
@examples(max_examples=10)
def test_purchases_after_the_label_window_change_no_figure(built, tmp_path_factory, later):
    log, _, scores = built
    day = sorted(scores)[-2]
    end = datetime.combine(day + timedelta(days=60), time())
    rewritten = [line for line in LOG if line.invoiced_at < end] + [
        Line(end + timedelta(days=days), f"customer {who}", f"later {days}", quantity=units or 1)
        for days, who, units in later
    ]
    other = write(rewritten, tmp_path_factory.mktemp("later") / "log.parquet")
    how = {"known_until": date.max, "baseline": BUY}
    before, after = (
        performance_of(read_outcomes([scores[day]], one, QUESTION, **how)[0])
        for one in (log, other)
    )
    assert before == after


# --- the early label ------------------------------------------------------------------------------

NOW, BEFORE = date(2026, 7, 1), date(2025, 7, 1)


def two_years(share: float = 0.4, before: float = 0.4, n: int = 3000, **changes):
    """Of those who buy at all, the share who buy within four weeks."""
    years = (
        drawn(n, seed=1, as_of=NOW, share=share),
        drawn(n, seed=2, as_of=BEFORE, share=before, first_customer=n // 3),
    )
    return [replace(one, **changes) for one in years]


def early(outcomes, **others):
    return early_label(outcomes, "2026-07", as_of=NOW, **others)


@pytest.mark.parametrize(
    ("share", "before", "state", "sign"),
    [
        (0.4, 0.4, "ok", 0),
        (0.2, 0.2, "ok", 0),  # a season in which few buy at once
        (0.25, 0.4, "alarm", -1),
        (0.65, 0.4, "alarm", 1),
        (0.34, 0.4, "pending", -1),
    ],
)
def test_the_share_of_early_buyers_is_compared_with_the_year_before(share, before, state, sign):
    found = early(two_years(share, before))
    assert (found.sensor, found.state, found.n) == ("early_label", state, 3000)
    assert found.z == pytest.approx((found.value - found.expected) / found.sd)
    assert np.sign(found.z) == sign if sign else abs(found.z) < 2.5
    assert "times what the scores imply" in found.text


def test_two_months_running_beyond_three_quarters_of_the_limit_are_an_alarm():
    once = early(two_years(0.34))
    for z, state in ((-2.7, "alarm"), (2.7, "pending"), (-2.6, "pending"), (None, "pending")):
        assert early(two_years(0.34), previous=replace(once, z=z)).state == state
    assert early(two_years(), previous=replace(once, z=-3.4)).state == "ok"


def test_scores_that_are_too_high_in_both_years_are_not_an_alarm():
    high = [replace(one, probability=one.probability**0.5) for one in two_years()]
    assert early(high).state == "ok"


def test_years_that_cannot_be_compared_are_learning_or_too_few():
    """A log of ten months has only customers who bought lately, whatever the settings ask for."""
    alone = early(two_years()[:1], until="2027-05")
    assert (alone.state, alone.until) == ("learning", "2027-05")
    assert "no scores as of 2025-07-01" in alone.text
    now, before = two_years()
    for incomparable in ([], [now, replace(before, version=2)]):
        assert early(incomparable).state == "learning"
    young = early(two_years(whole_from=date(2025, 8, 5)))
    assert (young.state, young.until, young.z) == ("learning", "2026-09", None)
    assert early(two_years(whole_from=BEFORE)).state == "ok"
    nobody = two_years(bought=np.zeros(3000, dtype=np.int8))
    assert early(two_years(n=80)).state == early(nobody).state == "too_few"


def test_four_weeks_and_a_year_before_fit_the_calendar():
    firsts = [date(2026 + month // 12, month % 12 + 1, 1) for month in range(25)]
    assert min((b - a).days for a, b in pairwise(firsts)) >= EARLY_DAYS
    assert year_before(date(2028, 2, 29)) == date(2027, 2, 28)
    assert year_before(NOW) == BEFORE
