"""How good a champion's scores were, when it is worse; before labels, the estimate."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from common.statistics import NORMAL_95
from features.roc_auc import roc_auc_alone
from monitoring.labels import Outcomes
from monitoring.performance import (
    GAIN,
    ROC_AUC,
    Reference,
    detectable,
    estimate,
    estimate_from,
    judge_performance,
    performance_of,
    pooled,
    reference,
)
from tests.monitoring.made_scores import drawn, write_scores
from training.metrics import paired_difference, point

DATES = (date(2026, 5, 1), date(2026, 6, 1), date(2026, 7, 1))


def of(probability, bought, as_of=DATES[0], **fields) -> Outcomes:
    probability, bought = np.asarray(probability, np.float64), np.asarray(bought, np.int8)
    return Outcomes(as_of, 1, np.arange(len(bought)), probability, bought, **fields)


def rows_of(one: Outcomes, place) -> Outcomes:
    """These rows, in this order; the customers are numbered as before."""
    names = "probability", "bought", "baseline"
    return replace(one, **{name: getattr(one, name)[place] for name in names})


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=2
    ).filter(lambda rows: len({bought for _, bought in rows}) == 2)
)
@examples(max_examples=40, deadline=None)
def test_figures_equal_those_of_training_with_any_ties(rows):
    p, y = (np.array(column, dtype=float) for column in zip(*rows))
    found, expected = performance_of(of(p, y)), point(y, p)
    assert found.roc_auc == pytest.approx(expected["roc_auc"])
    assert found.log_loss == pytest.approx(expected["log_loss"])
    assert found.recalibrated_log_loss == pytest.approx(expected["recalibrated_log_loss"], abs=1e-6)
    assert (found.rows, found.positives) == (len(y), y.sum())
    assert (found.observed, found.predicted) == (pytest.approx(y.mean()), pytest.approx(p.mean()))


@pytest.mark.slow
def test_intervals_agree_with_a_bootstrap_of_customers_on_three_dates():
    """The same customers on all dates, so that resampling rows would be too sure."""
    rng = np.random.default_rng(4)
    n = 1500
    z, lasting = rng.normal(size=(2, n))
    dates = []
    for day in DATES:
        bought = (z + lasting + 0.3 * rng.normal(size=n) > 0).astype(np.int8)
        said = 1 / (1 + np.exp(-(1.5 * z + 0.2 * rng.normal(size=n))))
        single = z + 0.8 * rng.normal(size=n)
        dates.append(of(said, bought, as_of=day, baseline=single, baseline_name="orders_365d"))
    found = pooled(dates)
    drawn_again: dict[str, list[float]] = {"roc_auc": [], "gain": [], "log_loss": [], "gap": []}
    for _ in range(300):
        take = rng.integers(n, size=n)
        again = pooled([rows_of(one, take) for one in dates])
        for name in ("roc_auc", "gain", "log_loss"):
            drawn_again[name].append(getattr(again, name))
        drawn_again["gap"].append(again.observed - again.predicted)
    for name, values in drawn_again.items():
        half = (getattr(found, f"{name}_high") - getattr(found, f"{name}_low")) / 2
        assert half / NORMAL_95 == pytest.approx(np.std(values), rel=0.12)
    halves = [one.roc_auc_high - one.roc_auc for one in map(performance_of, dates)]
    rows_alone = np.sqrt(np.mean(np.square(halves)) / 3)
    assert found.roc_auc_high - found.roc_auc > 1.3 * rows_alone


def test_the_interval_is_that_of_the_leak_check_and_the_gain_the_paired_difference_of_training():
    one = drawn(600)
    found = performance_of(one)
    alone = roc_auc_alone(one.probability, one.bought, one.customer)
    assert found.roc_auc == pytest.approx(alone.score)
    assert found.roc_auc_low == pytest.approx(alone.low)
    ranks = np.unique(one.baseline, return_inverse=True)[1] / 1000
    paired = paired_difference(one.bought, one.probability, ranks, bootstrap=400, seed=1)["roc_auc"]
    assert found.gain == pytest.approx(paired["difference"])
    width = paired["high"] - paired["low"]
    assert found.gain_high - found.gain_low == pytest.approx(width, rel=0.15)


def test_a_month_with_more_buyers_does_not_make_the_ranking_better():
    """Pooling the rows would reward a score for knowing the season."""
    rng = np.random.default_rng(1)
    quiet = of(np.full(500, 0.2), rng.random(500) < 0.2, as_of=DATES[0])
    busy = of(np.full(500, 0.6), rng.random(500) < 0.6, as_of=DATES[1])
    assert pooled([quiet, busy]).roc_auc == 0.5


@given(st.permutations(range(30)))
@examples(max_examples=30, deadline=None)
def test_the_order_of_the_rows_changes_nothing(order):
    one, order = drawn(30, seed=3), np.array(order)
    other = replace(rows_of(one, order), customer=one.customer[order])
    for a, b in zip(vars(pooled([one])).values(), vars(pooled([other])).values()):
        assert a == (pytest.approx(b) if isinstance(a, float) else b)


@pytest.mark.parametrize("bought", [0, 1])
def test_where_nobody_or_everybody_bought_there_is_no_roc_auc(bought):
    found = performance_of(of([0.2, 0.8], [bought, bought]))
    assert (found.roc_auc, found.log_loss, found.gain) == (None, None, None)
    assert found.text.endswith("no ROC AUC, as nobody or everybody bought.")
    (gain, roc_auc) = judge_performance(pooled([of([0.5], [bought])]), TEST, "2026-08")
    assert gain.state == roc_auc.state == "too_few"
    one = drawn(300)  # in a pool such a date takes no part in the ranking
    alike = replace(drawn(300, as_of=DATES[1]), bought=np.full(300, bought, np.int8))
    both = pooled([one, alike])
    assert both.roc_auc == pytest.approx(pooled([one]).roc_auc)
    assert both.rows == 600 and both.customers == 300


def test_equal_scores_and_probabilities_of_0_and_1_have_finite_figures():
    one = drawn(200)
    flat = replace(one, probability=np.full(200, 0.5), baseline=np.full(200, -np.inf))
    found = performance_of(flat)
    assert (found.roc_auc, found.gain) == (0.5, 0)
    assert found.roc_auc_low == found.roc_auc_high == 0.5
    found = performance_of(of([0, 1, 0, 1], [0, 1, 1, 0]))
    assert np.isfinite([found.log_loss, found.recalibrated_log_loss]).all()
    assert pooled([]) is pooled([of([], [])]) is None


TEST = Reference(0.8, 0.008, "orders_365d", 0.05, 0.004)
BUNDLE = {
    "test": {"roc_auc": 0.8, "roc_auc_low": 0.784, "roc_auc_high": 0.816},
    "baseline": {
        **{"feature": "orders_365d", "direction": 1, "missing": "last", "roc_auc": 0.75},
        **{"difference": 0.05, "low": 0.042, "high": 0.058},
    },
}


def test_the_test_figures_of_a_bundle_are_read_with_their_errors():
    found = reference(BUNDLE)
    assert (found.roc_auc, found.baseline) == (0.8, "orders_365d")
    assert found.gain == pytest.approx(0.05)
    assert found.error == pytest.approx(0.008, abs=2e-4)
    assert found.gain_error == pytest.approx(0.004, abs=1e-4)
    nan = float("nan")
    assert reference({"test": {"roc_auc": 0.8}}) is None
    assert reference({"test": {**BUNDLE["test"], "roc_auc_low": nan}}) is None
    for lacks in (
        BUNDLE | {"baseline": BUNDLE["baseline"] | {"low": nan}},
        {"test": BUNDLE["test"], "baseline": {"feature": "orders_365d", "roc_auc": 0.75}},
    ):
        assert reference(lacks).gain_error == reference(lacks).error
    old = reference({"test": BUNDLE["test"]})  # from before the single feature was kept
    assert old.gain is None
    gain, roc_auc = judge_performance(pooled([drawn()]), old, "2026-08")
    assert (gain.state, roc_auc.state) == ("skipped", "ok")


def known_as(found) -> Reference:
    """The test of a champion that was as good as this."""
    return Reference(found.roc_auc, found.error, found.baseline, found.gain, found.gain_error)


def test_a_champion_as_good_as_in_its_test_is_not_worse():
    test = known_as(pooled([drawn(seed=9)]))
    gain, roc_auc = judge_performance(pooled([drawn(seed=10)]), test, "2026-08")
    assert (gain.sensor, roc_auc.sensor) == (GAIN, ROC_AUC)
    assert gain.state == roc_auc.state == "ok"
    assert gain.z == pytest.approx((gain.value - gain.expected) / gain.sd)
    assert "is found four times out of five" in gain.text


def test_shuffled_scores_are_an_alarm_and_a_harder_year_is_not():
    test = known_as(pooled([drawn(3000, seed=9)]))
    one, rng = drawn(3000, seed=10), np.random.default_rng(1)
    mixed = np.r_[rng.permutation(one.probability[:1000]), one.probability[1000:]]
    gain, _ = judge_performance(pooled([replace(one, probability=mixed)]), test, "2026-08")
    assert gain.state == "alarm" and gain.z < -gain.limit
    assert "significant" in gain.text

    harder = np.where(rng.random(3000) < 0.1, rng.random(3000) < 0.5, one.bought).astype(np.int8)
    gain, roc_auc = judge_performance(pooled([replace(one, bought=harder)]), test, "2026-08")
    assert gain.state == "ok" and roc_auc.value < test.roc_auc - 0.02


@pytest.mark.parametrize(
    ("n", "test", "states", "text"),
    [
        (0, TEST, ["learning"] * 2, "No label of this champion's scores is known before 2026-08."),
        (2000, None, ["skipped"] * 2, ""),
        (60, TEST, ["too_few"] * 2, "50 of each are needed"),
        (2000, replace(TEST, baseline="recency_days"), ["skipped", "ok"], ""),
        (2000, replace(TEST, roc_auc=0.55, gain=-0.2), ["ok", "ok"], ""),  # better than its test
    ],
)
def test_a_champion_that_cannot_be_judged_is_not_an_alarm(n, test, states, text):
    known = pooled([drawn(n)]) if n else None
    readings = judge_performance(known, test, "2026-08", until="2026-08" if not n else None)
    assert [one.state for one in readings] == states
    assert all(text in one.text for one in readings)
    assert {one.until for one in readings} == {None if n else "2026-08"}


@pytest.mark.slow
@examples(max_examples=10)
@given(st.floats(0.001, 0.02), st.floats(0, 0.05), st.floats(1, 5))
def test_the_detectable_effect_is_detected_with_80_percent_power(error, allowed, limit):
    fall = detectable(error, allowed, limit)
    found = np.random.default_rng(1).normal(-fall, error, 20_000) < -allowed - limit * error
    assert found.mean() == pytest.approx(0.8, abs=0.01)


# --- before labels are known: right if the probabilities are, and it says so ----------------------


@pytest.mark.slow
def test_the_estimated_interval_holds_95_of_100_figures_when_the_probabilities_are_right():
    one = drawn(1500)
    found = estimate_from("2026-05-01", 1, one.probability)
    rng, inside = np.random.default_rng(5), 0
    for _ in range(400):
        bought = (rng.random(len(one)) < one.probability).astype(np.int8)
        inside += found.low <= performance_of(replace(one, bought=bought)).roc_auc <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_the_estimate_reads_scores_and_says_what_it_assumes(tmp_path):
    one = drawn(1000)
    path = write_scores(
        tmp_path / "as_of=2026-05-01" / "part.parquet",
        [f"c{i}" for i in range(1000)],
        one.probability,
        as_of=DATES[0],
        version=3,
    )
    found = estimate(path)
    assert (found.as_of, found.version, found.rows) == ("2026-05-01", 3, 1000)
    assert found.low < found.roc_auc < found.high
    assert found.expected_buyers == pytest.approx(one.probability.sum())
    assert "if its probabilities are right" in found.text and "assumption" in found.text


@pytest.mark.parametrize(
    "p", [np.zeros(500), np.ones(500), np.full(40, 0.5), np.full(500, 0.01), np.empty(0)]
)
def test_too_few_expected_buyers_or_others_give_no_estimate(p):
    found = estimate_from("2026-05-01", 1, p)
    assert (found.roc_auc, found.low, found.high) == (None, None, None)
    assert "too few to estimate" in found.text
    assert estimate_from("2026-05-01", 1, np.full(500, 0.4)).roc_auc == pytest.approx(0.5)


def test_a_file_without_scores_has_no_estimate(tmp_path):
    path = write_scores(tmp_path / "empty.parquet", [], [], as_of=DATES[0])
    assert pq.read_table(path).schema.field("as_of").type == pa.date32()
    with pytest.raises(ValueError, match="has no scores"):
        estimate(path)
