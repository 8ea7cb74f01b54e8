"""Slices are what they say they are, and their figures are those of the rows alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from made_outcomes import PLAIN, RETAIL, made_rows
from sklearn.metrics import log_loss, roc_auc_score

from common.statistics import resamples
from features import catalogue
from training.metrics import paired_difference, score
from training.slices import Slice, score_slices, slice_rows, worst


def drawn(n: int, seed: int, decimals: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    p, other = (1 / (1 + np.exp(-(y + s * rng.normal(size=n)))) for s in (1, 2))
    return y.astype(np.int8), p.round(decimals), other.round(decimals)


def test_the_retail_slices_are_parts_of_the_whole():
    x = made_rows(2000, 4, ("2025-01-01",)).x
    slices = slice_rows(x, RETAIL)
    for feature in ("recency_days", "tenure_days", "orders_365d", "is_home"):
        parts = [one.rows for one in slices if one.feature == feature]
        assert len(parts) >= 2 and (np.sum(parts, axis=0) == 1).all(), feature
    by_name = {one.name: one.rows for one in slices}
    assert (by_name["recency 31 to 90 days"] == ((x[:, 0] >= 31) & (x[:, 0] <= 90))).all()
    assert (by_name["abroad"] == (x[:, 3] == 0)).all()
    assert (by_name["10 or more orders in 365 days"] == (x[:, 2] >= 10)).all()
    assert all(one.rows.any() for one in slices)
    without_country = {one.feature for one in slice_rows(x[:, :3], RETAIL[:3])}
    assert without_country == {"recency_days", "tenure_days", "orders_365d"}


def test_another_kind_of_log_brings_its_slices_in_its_catalogue(monkeypatch):
    monkeypatch.setattr(catalogue, "NAMES", ("calls_30d", "roams"))
    monkeypatch.setattr(catalogue, "SLICES", {"roams": (("at home", 0, 0), ("abroad", 1, np.inf))})
    x = np.float32([[3, 0], [9, 1], [4, 2]])
    found = slice_rows(x, [{"name": "calls_30d"}, {"name": "roams"}])
    assert [(one.name, one.rows.tolist()) for one in found] == [
        ("at home", [True, False, False]),
        ("abroad", [False, True, True]),
    ]


def test_another_table_is_cut_by_category_and_by_quarters():
    x = made_rows(2000, 4, ("NaT",), plain=True).x
    slices = {one.name: one.rows for one in slice_rows(x, PLAIN)}
    assert (slices["contract = month"] == (x[:, 0] == 0)).all()
    assert (slices["contract: another value"] == (x[:, 0] == 2)).all()
    assert (slices["contract: missing"] == np.isnan(x[:, 0])).all()
    assert (slices["senior = 1"] == (x[:, 2] == 1)).all()
    quarters = [rows for name, rows in slices.items() if name.startswith("charge ")]
    assert [int(rows.sum()) for rows in quarters] == [500] * 4
    assert (np.sum(quarters, axis=0) == 1).all()


def test_rare_categories_constants_and_a_fifth_number_make_no_slice():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 7)).astype(np.float32)
    x[:, 0] = np.r_[np.zeros(995), np.ones(5)]
    x[:, 1], x[:, 2] = 3.0, np.nan
    schema = [{"name": "kind", "categories": ("often", "rare")}]
    schema += [{"name": f"number {i}", "categories": ()} for i in range(1, 7)]
    names = {one.feature for one in slice_rows(x, schema)}
    assert names == {"kind", "number 3", "number 4", "number 5", "number 6"}
    assert [one.name for one in slice_rows(x, schema) if one.feature == "kind"] == ["kind = often"]
    wider = np.column_stack([x, x[:, -1]])
    features = {one.feature for one in slice_rows(wider, [*schema, {"name": "late"}])}
    assert "late" not in features


@pytest.mark.parametrize("decimals", [1, 12], ids=["ties", "no ties"])
def test_the_figures_are_those_of_the_slice_and_of_whole_groups_drawn_one_by_one(decimals):
    """Brute force: customers drawn with replacement, and scikit-learn on the rows they bring."""
    y, p, other = drawn(120, 3, decimals)
    groups = np.array([f"c{i // 3}" for i in range(120)], dtype=object)
    rows = np.arange(120) % 4 < 3
    found = score_slices(
        y, p, [Slice("some", "f", rows)], bootstrap=60, seed=5, groups=groups, champion=other,
        min_rows=10,
    )[0]  # fmt: skip
    assert found["rows"] == rows.sum() and found["positives"] == y[rows].sum() and found["judged"]
    assert found["roc_auc"] == pytest.approx(roc_auc_score(y[rows], p[rows]))
    assert found["log_loss"] == pytest.approx(log_loss(y[rows], p[rows]))
    assert found["mean_predicted"] == pytest.approx(p[rows].mean())
    assert found["observed"] == pytest.approx(y[rows].mean())
    difference = roc_auc_score(y[rows], p[rows]) - roc_auc_score(y[rows], other[rows])
    assert found["against_champion"]["difference"] == pytest.approx(difference)
    own, gap = [], []
    for weights in np.concatenate(list(resamples(120, 60, 5, groups))):
        assert all(len(set(weights[groups == g])) == 1 for g in set(groups))
        kept = np.repeat(np.flatnonzero(rows), weights[rows].astype(int))
        a, b = (roc_auc_score(y[kept], side[kept]) for side in (p, other))
        own.append(a)
        gap.append(a - b)
    assert (found["roc_auc_low"], found["roc_auc_high"]) == pytest.approx(
        tuple(np.quantile(own, [0.025, 0.975]))
    )
    ends = (found["against_champion"]["low"], found["against_champion"]["high"])
    assert ends == pytest.approx(tuple(np.quantile(gap, [0.025, 0.975])))


def test_a_slice_of_all_rows_is_scored_as_the_evaluation_scores_them():
    y, p, other = drawn(500, 7)
    draw = {"bootstrap": 100, "seed": 9, "groups": np.arange(500) // 2}
    everything = Slice("all", "f", np.ones(500, dtype=bool))
    (one,) = score_slices(y, p, [everything], champion=other, min_rows=20, **draw)
    whole = score(y, p, **draw)
    for name in ("roc_auc", "roc_auc_low", "roc_auc_high", "log_loss"):
        assert one[name] == pytest.approx(whole[name])
    versus = paired_difference(y, p, other, **draw)["roc_auc"]
    assert one["against_champion"] == pytest.approx(versus)


def test_small_slices_and_slices_of_one_class_are_not_judged():
    y, p, _ = drawn(300, 2)
    y[:50] = 0
    few, one_class = np.arange(300) >= 290, np.arange(300) < 50
    slices = [Slice("few", "f", few), Slice("one class", "f", one_class)]
    scored = score_slices(y, p, slices, bootstrap=50, seed=1, groups=None, min_rows=20)
    assert [one["judged"] for one in scored] == [False, False]
    assert scored[1]["roc_auc"] is scored[1]["roc_auc_low"] is None
    assert scored[1]["log_loss"] > 0 and scored[1]["observed"] == 0
    assert all(one["against_champion"] is None for one in scored)
    assert worst(scored) == []


def test_the_worst_are_the_lowest_of_those_judged():
    scored = [
        {"slice": f"{auc} {judged}", "roc_auc": auc, "judged": judged}
        for auc, judged in product((0.9, 0.6, 0.7, 0.8), (True, False))
    ]
    assert [one["slice"] for one in worst(scored, 2)] == ["0.6 True", "0.7 True"]
