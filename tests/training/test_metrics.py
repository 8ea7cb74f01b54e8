from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from training.metrics import METRICS, paired_difference, point, score


def drawn(n: int, seed: int, decimals: int = 12):
    """Labels and probabilities that know something; few decimals make many ties."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    y[:2] = 0, 1
    p = 1 / (1 + np.exp(-(y * 1.0 + rng.normal(size=n) - 0.5)))
    return y.astype(np.int8), p.round(decimals)


tables = st.builds(
    drawn, st.integers(2, 300), st.integers(0, 10_000), st.sampled_from([0, 1, 2, 12])
)


@pytest.mark.slow
@settings(max_examples=25)
@given(tables, st.integers(0, 100))
def test_the_figures_are_those_of_scikit_learn_in_any_order_of_the_rows(table, seed):
    y, p = table
    ours, order = point(y, p), np.random.default_rng(seed).permutation(len(y))
    assert point(y[order], p[order]) == pytest.approx(ours, abs=1e-12)
    assert math.isclose(ours["roc_auc"], roc_auc_score(y, p), abs_tol=1e-12)
    assert math.isclose(ours["average_precision"], average_precision_score(y, p), abs_tol=1e-12)
    assert math.isclose(ours["brier"], brier_score_loss(y, p), abs_tol=1e-12)
    assert math.isclose(ours["log_loss"], log_loss(y, p), rel_tol=1e-9)


def test_calibration_error_by_hand():
    y, p = drawn(1003, 1)
    bins = np.argsort(np.argsort(-p)) * 10 // len(p)
    gaps = [abs(y[bins == b].mean() - p[bins == b].mean()) * np.mean(bins == b) for b in range(10)]
    assert math.isclose(point(y, p)["calibration_error"], sum(gaps), abs_tol=1e-12)


def test_lift_by_hand():
    y = np.repeat([1, 0, 1, 0], [10, 10, 20, 60])
    p = np.repeat([0.9, 0.6, 0.5, 0.1], [10, 10, 20, 60])
    assert math.isclose(point(y, p)["lift_top_decile"], 1.0 / 0.3)
    assert math.isclose(point(y, np.full(100, 0.3))["lift_top_decile"], 1.0)  # all tied: no lift


def test_every_metric_has_its_interval_around_it_which_follows_from_the_seed():
    result = score(*drawn(800, 2), bootstrap=300, seed=1)
    assert result == score(*drawn(800, 2), bootstrap=300, seed=1)
    assert result != score(*drawn(800, 2), bootstrap=300, seed=2)
    every = {m + end for m in METRICS for end in ("", "_low", "_high")}
    assert set(result) == every | {"recalibrated_log_loss"}
    for name in set(METRICS) - {"calibration_error"}:
        assert result[name + "_low"] < result[name] < result[name + "_high"]


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth = 0.5 * (1 + math.erf(1.0 / 2))  # two normals one apart: Phi(1 / sqrt 2)
    hits = 0
    for seed in range(200):
        result = score(*drawn(300, seed), bootstrap=200, seed=seed)
        hits += result["roc_auc_low"] <= truth <= result["roc_auc_high"]
    assert 0.89 <= hits / 200 <= 0.99


def test_rows_of_one_customer_are_not_taken_for_independent():
    y, p = (np.repeat(column, 9) for column in drawn(200, 5))
    customer = np.repeat(np.arange(200), 9).astype(str)

    def width(result):
        return result["roc_auc_high"] - result["roc_auc_low"]

    rows = width(score(y, p, bootstrap=500, seed=1))
    customers = width(score(y, p, bootstrap=500, seed=1, groups=customer))
    assert 2.4 < customers / rows < 3.6  # nine copies: three times as wide


def test_a_difference_is_known_better_than_its_two_sides():
    y, p = drawn(1000, 6)
    worse = np.clip(p + np.random.default_rng(1).normal(0, 0.1, 1000), 0.001, 0.999)
    result = paired_difference(y, p, worse, bootstrap=500, seed=1)
    assert set(result) == set(METRICS)
    auc = result["roc_auc"]
    assert auc["low"] < auc["difference"] < auc["high"]
    assert math.isclose(auc["difference"], roc_auc_score(y, p) - roc_auc_score(y, worse))
    own = score(y, p, bootstrap=500, seed=1)
    assert auc["high"] - auc["low"] < (own["roc_auc_high"] - own["roc_auc_low"]) / 2
    same = paired_difference(y, p, p, bootstrap=100, seed=1)
    assert all(value == {"difference": 0, "low": 0, "high": 0} for value in same.values())


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0.5], "one length"),
        ([0, 1], [0.5, 1.2], r"p must lie in \[0, 1\]; 1 values"),
        ([0, 1], [0.5, float("nan")], r"p must lie in \[0, 1\]; 1 values"),
        ([1, 1], [0.5, 0.6], "both 0 and 1"),
        ([0, 2], [0.5, 0.6], "both 0 and 1"),
        ([], [], "both 0 and 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(y, p, message):
    with pytest.raises(ValueError, match=message):
        point(np.array(y), np.array(p))
