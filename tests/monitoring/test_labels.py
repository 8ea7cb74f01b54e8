"""The label of monitoring is that of training, and only known ones are joined; the early label
shows whether fewer bought within four weeks than a year before."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from configs.settings import Features
from features.build import build_table
from features.catalogue import NAMES
from features.roc_auc import roc_auc_alone
from monitoring.facts import year_before
from monitoring.labels import EARLY_DAYS, early_label, read_outcomes, ripe
from monitoring.performance import performance_of, pooled
from tests.features.made_logs import Line, shop_log, write
from tests.monitoring.made_scores import drawn, write_scores

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)
LOG = shop_log(60, 260)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The training table of a log, and scores of its customers at each of its as-of dates."""
    folder = tmp_path_factory.mktemp("month=2024-01")  # as scores lie in folders named so
    log, target = write(LOG, folder / "log.parquet"), folder / "table.parquet"
    build_table(log, target, QUESTION)
    table = pq.read_table(target).to_pandas()
    rng = np.random.default_rng(3)
    table["probability"] = rng.random(len(table))
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


def test_the_label_and_the_single_feature_are_those_of_the_training_table(built):
    log, table, scores = built
    baseline = {"feature": "gap_days_mean", "direction": -1, "missing": "last"}
    found = read_outcomes(
        list(scores.values()), log, QUESTION, known_until=date.max, baseline=baseline
    )
    assert [one.as_of for one in found] == sorted(scores)
    for one in found:
        rows = table[table["as_of"] == one.as_of].sort_values("customer_id")
        assert one.bought.tolist() == rows["label"].tolist()
        assert one.probability.tolist() == rows["probability"].tolist()
        expected = np.where(rows["gap_days_mean"].isna(), -np.inf, -rows["gap_days_mean"])
        assert one.baseline.tolist() == expected.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_single_feature_ranks_as_it_did_when_it_was_chosen(built, name):
    log, table, scores = built
    day = max(scores)
    rows = table[table["as_of"] == day]
    label = rows["label"].to_numpy()
    alone = roc_auc_alone(rows[name].to_numpy(dtype=float), label, np.arange(len(rows)))
    baseline = {"feature": name, "direction": alone.direction, "missing": alone.missing}
    (found,) = read_outcomes([scores[day]], log, QUESTION, known_until=date.max, baseline=baseline)
    assert performance_of(found).baseline_roc_auc == pytest.approx(alone.score)


def test_one_customer_has_one_number_on_all_dates(built):
    log, _, scores = built
    found = read_outcomes(list(scores.values()), log, QUESTION, known_until=date.max)
    names: dict[int, str] = {}
    for one in found:
        customers = sorted(
            pq.read_table(scores[one.as_of], partitioning=None)["customer_id"].to_pylist()
        )
        for number, name in zip(one.customer.tolist(), customers, strict=True):
            assert names.setdefault(number, name) == name


def test_a_window_that_is_not_over_is_not_joined(built):
    log, _, scores = built
    day = max(scores)
    end = day + timedelta(days=QUESTION.horizon_days)
    assert ripe(day, 60, end) and not ripe(day, 60, end - DAY)
    with pytest.raises(ValueError, match="is not over"):
        read_outcomes([scores[day]], log, QUESTION, known_until=end - DAY)
    assert read_outcomes([scores[day]], log, QUESTION, known_until=end)
    assert read_outcomes([scores[day]], log, QUESTION, known_until=day + 30 * DAY, days=30)


def test_a_shorter_window_holds_fewer_buyers_and_the_same_single_feature(built):
    log, _, scores = built
    baseline = {"feature": "buy_probability", "direction": 1, "missing": "last"}
    how = {"known_until": date.max, "baseline": baseline}
    (long,) = read_outcomes([scores[max(scores)]], log, QUESTION, **how)
    (short,) = read_outcomes([scores[max(scores)]], log, QUESTION, days=20, **how)
    assert (short.bought <= long.bought).all() and short.bought.sum() < long.bought.sum()
    assert short.baseline.tolist() == long.baseline.tolist()  # it depends on the horizon too


@pytest.mark.parametrize(
    "baseline",
    [None, {}, {"feature": "gone", "direction": 1}, {"feature": "is_home", "direction": None}],
)
def test_a_single_feature_that_cannot_be_computed_is_left_out(built, baseline):
    log, _, scores = built
    (found,) = read_outcomes(
        [scores[max(scores)]], log, QUESTION, known_until=date.max, baseline=baseline
    )
    assert found.baseline is None
    assert performance_of(found).gain is None


def test_it_is_known_from_when_on_the_log_holds_all_active_customers(built):
    log, _, scores = built
    (found,) = read_outcomes([scores[max(scores)]], log, QUESTION, known_until=date.max)
    first = min(line.invoiced_at for line in LOG if line.quantity > 0).date()
    assert found.whole_from == first + timedelta(days=QUESTION.active_days)


def test_no_scores_have_no_outcomes(built):
    assert read_outcomes([], built[0], QUESTION, known_until=date.max) == []


def test_a_customer_who_is_scored_twice_or_a_file_of_two_dates_is_refused(built, tmp_path):
    log, _, scores = built
    day = max(scores)
    twice = write_scores(tmp_path / "twice.parquet", ["a", "a"], [0.1, 0.2], as_of=day)
    with pytest.raises(ValueError, match="2 rows of 1 customers"):
        read_outcomes([twice], log, QUESTION, known_until=date.max)
    both = tmp_path / "both.parquet"
    tables = [pq.read_table(scores[day], partitioning=None) for day in sorted(scores)[:2]]
    import pyarrow as pa

    pq.write_table(pa.concat_tables(tables), both)
    with pytest.raises(ValueError, match="1 files of scores hold 2"):
        read_outcomes([both], log, QUESTION, known_until=date.max)


def test_two_versions_of_one_date_are_two_results(built, tmp_path):
    log, _, scores = built
    day = max(scores)
    later = write_scores(tmp_path / "later.parquet", ["customer 1"], [0.5], as_of=day, version=2)
    found = read_outcomes([later, scores[day]], log, QUESTION, known_until=date.max)
    assert [(one.as_of, one.version) for one in found] == [(day, 1), (day, 2)]
    with pytest.raises(ValueError, match="not judged together"):
        pooled(found)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 70), st.integers(-5, 30)), max_size=30)
)
@examples(max_examples=15)
def test_what_is_bought_after_the_label_window_changes_no_figure(built, tmp_path_factory, later):
    log, _, scores = built
    day = sorted(scores)[-2]
    end = datetime.combine(day + timedelta(days=60), time())
    rewritten = [line for line in LOG if line.invoiced_at < end] + [
        Line(end + timedelta(days=days), f"customer {who}", f"later {days}", quantity=units or 1)
        for days, who, units in later
    ]
    other = write(rewritten, tmp_path_factory.mktemp("later") / "log.parquet")
    baseline = {"feature": "buy_probability", "direction": 1, "missing": "last"}
    how = {"known_until": date.max, "baseline": baseline}
    before, after = (
        performance_of(read_outcomes([scores[day]], one, QUESTION, **how)[0])
        for one in (log, other)
    )
    assert before == after


# --- the early label ------------------------------------------------------------------------------

NOW, BEFORE = date(2026, 7, 1), date(2025, 7, 1)


def two_years(share: float = 0.4, before: float = 0.4, n: int = 3000):
    """Of those who buy at all, the share who buy within four weeks."""
    return [
        drawn(n, seed=1, as_of=NOW, share=share),
        drawn(n, seed=2, as_of=BEFORE, share=before, first_customer=n // 3),
    ]


def test_the_same_as_a_year_before_is_ok():
    found = early_label(two_years(), "2026-07", as_of=NOW)
    assert (found.sensor, found.state, found.n) == ("early_label", "ok", 3000)
    assert abs(found.z) < 2.5
    assert found.z == pytest.approx((found.value - found.expected) / found.sd)
    assert "times what the scores imply" in found.text


@pytest.mark.parametrize(("share", "sign"), [(0.25, -1), (0.65, 1)])
def test_fewer_and_more_are_found(share, sign):
    found = early_label(two_years(share), "2026-07", as_of=NOW)
    assert found.state == "alarm" and np.sign(found.z) == sign


def test_two_months_running_beyond_three_quarters_of_the_limit_are_an_alarm():
    once = early_label(two_years(0.34), "2026-07", as_of=NOW)
    assert (once.state, once.z < 0) == ("pending", True)
    for z, state in ((-2.7, "alarm"), (2.7, "pending"), (-2.6, "pending"), (None, "pending")):
        again = early_label(two_years(0.34), "2026-07", as_of=NOW, previous=replace(once, z=z))
        assert again.state == state
    fine = early_label(two_years(), "2026-07", as_of=NOW, previous=replace(once, z=-3.4))
    assert fine.state == "ok"


def test_a_season_in_which_few_buy_at_once_is_no_alarm_if_the_year_before_was_so():
    assert early_label(two_years(0.2, 0.2), "2026-07", as_of=NOW).state == "ok"


def test_scores_that_are_too_high_in_both_years_are_no_alarm():
    high = [replace(one, probability=one.probability**0.5) for one in two_years()]
    assert early_label(high, "2026-07", as_of=NOW).state == "ok"


def test_without_scores_of_a_year_before_it_is_learning():
    found = early_label(two_years()[:1], "2026-07", as_of=NOW, until="2027-05")
    assert (found.state, found.until) == ("learning", "2027-05")
    assert "no scores as of 2025-07-01" in found.text
    assert early_label([], "2026-07", as_of=NOW).state == "learning"


def test_the_scores_of_another_version_are_not_compared():
    now, before = two_years()
    found = early_label([now, replace(before, version=2)], "2026-07", as_of=NOW)
    assert found.state == "learning"


def test_a_year_before_of_which_the_log_holds_a_part_of_the_customers_is_not_compared():
    """A log of ten months has only customers who bought lately, whatever the settings ask for."""
    young = [replace(one, whole_from=date(2025, 8, 5)) for one in two_years()]
    found = early_label(young, "2026-07", as_of=NOW)
    assert (found.state, found.until, found.z) == ("learning", "2026-09", None)
    just = [replace(one, whole_from=BEFORE) for one in two_years()]
    assert early_label(just, "2026-07", as_of=NOW).state == "ok"


def test_few_buyers_are_too_few():
    assert early_label(two_years(n=80), "2026-07", as_of=NOW).state == "too_few"
    nobody = [replace(one, bought=np.zeros_like(one.bought)) for one in two_years()]
    assert early_label(nobody, "2026-07", as_of=NOW).state == "too_few"


def test_four_weeks_are_over_before_the_next_first_of_a_month():
    firsts = [date(2026 + month // 12, month % 12 + 1, 1) for month in range(25)]
    assert min((b - a).days for a, b in pairwise(firsts)) >= EARLY_DAYS


def test_the_year_before_a_leap_day_ends_in_february():
    assert year_before(date(2028, 2, 29)) == date(2027, 2, 28)
    assert year_before(NOW) == BEFORE
