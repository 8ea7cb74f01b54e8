"""Our statistics agree with those of scipy and scikit-learn, or with their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ks_2samp, rankdata
from sklearn.metrics import log_loss, roc_auc_score

from common.statistics import (
    clustered_error,
    components,
    ks,
    log_losses,
    percentile_interval,
    rank,
    ranks,
    recalibrated_log_loss,
    resamples,
    roc_auc_of_ties,
    wilson,
)

pytestmark = pytest.mark.slow  # the imports take seconds


def drawn(n: int, seed: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and a score that knows something of them; few decimals make many ties."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(int)
    y[:2] = 0, 1
    return y, (y + rng.normal(size=n)).round(decimals)


samples = st.builds(
    drawn, st.integers(2, 200), st.integers(0, 10_000), st.sampled_from([0, 1, 2, 12])
)


@settings(max_examples=60, deadline=None)
@given(samples)
def test_roc_auc_is_that_of_scikit_learn_ties_included(sample):
    y, values = sample
    assert rank(values, y).roc_auc == pytest.approx(roc_auc_score(y, values), abs=1e-12)


def test_there_is_no_roc_auc_of_one_class():
    assert rank(np.arange(3.0), np.ones(3)) is None and rank(np.arange(3.0), np.zeros(3)) is None


def test_outcomes_may_be_probabilities():
    """Each row then counts as positive with its weight, and as negative with the rest."""
    y = np.array([0.2, 0.7, 1.0, 0.0])
    both = np.r_[np.ones(4), np.zeros(4)]
    expected = roc_auc_score(both, np.r_[y, y], sample_weight=np.r_[y, 1 - y])
    assert rank(y, y).roc_auc == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(samples)
def test_roc_auc_of_weighted_rows_is_that_of_scikit_learn(sample):
    y, values = sample
    weights = np.random.default_rng(1).integers(0, 4, (3, len(y)))
    weights[:, :2] = 1  # both classes occur
    _, place = np.unique(values, return_inverse=True)
    hits, misses = (
        np.stack([np.bincount(place, w * of) for w in weights]) for of in (y == 1, y == 0)
    )
    expected = [roc_auc_score(y, values, sample_weight=w) for w in weights]
    assert roc_auc_of_ties(hits, misses) == pytest.approx(expected, abs=1e-12)


def test_the_error_of_the_roc_auc_is_what_it_varies_by():
    found, errors = [], []
    for seed in range(400):
        y, values = drawn(300, seed)
        ranked = rank(values, y)
        found.append(ranked.roc_auc)
        errors.append(clustered_error(components(ranked, y), np.arange(300)))
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.15)


def test_copies_of_a_customers_rows_add_no_certainty():
    y, values = drawn(200, 3)
    once = clustered_error(components(rank(values, y), y), np.arange(200))
    y, values = np.repeat(y, 9), np.repeat(values, 9)
    parts = components(rank(values, y), y)
    assert clustered_error(parts, np.repeat(np.arange(200), 9)) == pytest.approx(once)
    assert clustered_error(parts, np.arange(1800)) < once / 2.5


@settings(max_examples=40, deadline=None)
@given(samples)
def test_ranks_are_those_of_scipy_and_a_missing_value_stands_in_the_middle(sample):
    _, values = sample
    assert (ranks(values) == rankdata(values)).all()
    with_gap = ranks(np.r_[values, np.nan])
    assert (with_gap[:-1] == rankdata(values)).all() and with_gap[-1] == (len(values) + 1) / 2


@settings(max_examples=40, deadline=None)
@given(samples, samples)
def test_the_distance_of_two_samples_is_that_of_scipy(one, other):
    expected = ks_2samp(one[1], other[1], method="asymp").statistic
    assert ks(one[1], other[1]) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=40, deadline=None)
def test_the_interval_of_a_share_is_that_of_scipy(case):
    hits, n = case
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 3))
def test_recalibrated_log_loss_does_not_depend_on_the_level_and_is_never_above_the_plain_one(
    seed, shift
):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=200)
    y = (rng.random(200) < 1 / (1 + np.exp(-z))).astype(int)
    y[:2] = 0, 1
    p, moved = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-(z + shift)))
    assert recalibrated_log_loss(y, moved) == pytest.approx(recalibrated_log_loss(y, p), abs=1e-6)
    assert np.mean(log_losses(y, p)) == pytest.approx(log_loss(y, p))
    assert recalibrated_log_loss(y, p) <= log_loss(y, p) + 1e-9


def test_recalibrated_log_loss_rewards_probabilities_that_are_told_apart():
    rng = np.random.default_rng(1)
    z = rng.normal(size=4000) * 2
    y = (rng.random(4000) < 1 / (1 + np.exp(-z))).astype(int)
    timid = 1 / (1 + np.exp(-z / 10))  # the same ranking
    assert recalibrated_log_loss(y, timid) > recalibrated_log_loss(y, 1 / (1 + np.exp(-z))) + 0.1


def test_a_resample_draws_as_many_rows_or_whole_groups():
    rows = np.concatenate(list(resamples(50, 20, 1, None)))
    assert rows.shape == (20, 50) and (rows.sum(axis=1) == 50).all()
    groups = np.repeat(["a", "b", "c", "d", "e"], 10)
    drawn_groups = np.concatenate(list(resamples(50, 20, 1, groups)))
    assert (drawn_groups.reshape(20, 5, 10) == drawn_groups.reshape(20, 5, 10)[:, :, :1]).all()
    assert (drawn_groups.sum(axis=1) == 50).all()
    with pytest.raises(ValueError, match="groups must have shape"):
        next(resamples(10, 10, 1, np.arange(9)))


def test_resamples_without_a_figure_do_not_count():
    assert percentile_interval(np.array([np.nan, 2.0, 2.0])) == (2.0, 2.0)
    assert percentile_interval(np.array([math.nan])) is None
