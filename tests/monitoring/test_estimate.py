"""The ROC AUC before labels: right if the probabilities are, and it says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.statistics import rank
from monitoring.performance import estimate, estimate_from, performance_of
from tests.monitoring.made_scores import drawn, write_scores

DAY = date(2026, 5, 1)


def test_it_is_the_mean_over_all_labels_that_the_probabilities_allow():
    p = np.array([0.1, 0.4, 0.4, 0.8])
    wins, pairs = 0.0, 0.0
    for i in range(4):
        for j in range(4):
            weight = p[i] * (1 - p[j])
            wins += weight * ((p[i] > p[j]) + (p[i] == p[j]) / 2)
            pairs += weight
    assert rank(p, p).roc_auc == pytest.approx(wins / pairs)


@pytest.mark.slow
def test_the_interval_holds_95_of_100_figures_when_the_probabilities_are_right():
    one = drawn(1500)
    found = estimate_from("2026-05-01", 1, one.probability)
    rng, inside = np.random.default_rng(5), 0
    for _ in range(400):
        bought = (rng.random(len(one)) < one.probability).astype(np.int8)
        inside += found.low <= performance_of(replace(one, bought=bought)).roc_auc <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_it_reads_scores_and_says_what_it_assumes(tmp_path):
    one = drawn(1000)
    path = write_scores(
        tmp_path / "as_of=2026-05-01" / "part.parquet",
        [f"c{i}" for i in range(1000)],
        one.probability,
        as_of=DAY,
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


def test_equal_probabilities_rank_nobody():
    found = estimate_from("2026-05-01", 1, np.full(500, 0.4))
    assert found.roc_auc == pytest.approx(0.5)


def test_no_score_is_an_error(tmp_path):
    path = write_scores(tmp_path / "empty.parquet", [], [], as_of=DAY)
    assert pq.read_table(path).schema.field("as_of").type == pa.date32()
    with pytest.raises(ValueError, match="has no scores"):
        estimate(path)
