"""The label of monitoring is the label of training, and only known ones are joined."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

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
from monitoring.labels import read_outcomes, ripe
from monitoring.performance import performance_of, pooled
from tests.features.made_logs import Line, shop_log, write
from tests.monitoring.made_scores import write_scores

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
