"""Importance finds what matters and nothing else; contributions are told as they are."""

from __future__ import annotations

import numpy as np
import pytest
from made_outcomes import sigmoid

from features.table import Rows
from training.importance import (
    CORRELATED,
    contribution_rows,
    permutation_importance,
    summarise_contributions,
)

NAMES = ("used", "copy", "unused", "gaps", "season")


def made(n: int = 1500) -> Rows:
    rng = np.random.default_rng(3)
    used = rng.normal(size=n)
    gaps = np.where(rng.random(n) < 0.5, rng.normal(size=n), np.nan)
    as_of = np.array(["2025-01-01", "2025-06-01"], dtype="datetime64[D]")[np.arange(n) % 2]
    season = (np.arange(n) % 2).astype(float)
    x = np.column_stack([used, used * 2 + 1, rng.normal(size=n), gaps, season])
    y = (rng.random(n) < sigmoid(2 * used + season)).astype(np.int8)
    return Rows(x.astype(np.float32), y, np.arange(n).astype(str), as_of)


def model(x: np.ndarray) -> np.ndarray:
    return sigmoid(2 * x[:, 0] + x[:, 4])


def by_name(found: dict) -> dict:
    return {one["name"]: one for one in found["features"]}


def test_it_finds_the_feature_that_matters_and_gives_zero_to_the_others():
    found = permutation_importance(model, made(), NAMES, seed=1)
    assert found["features"][0]["name"] == "used"
    features = by_name(found)
    assert features["used"]["roc_auc_loss"] > 0.25
    assert features["used"]["roc_auc_loss"] > 20 * features["used"]["roc_auc_error"] > 0
    # Without `used` only the season is left to rank by: .5 within a date.
    assert found["roc_auc"] - features["used"]["roc_auc_loss"] == pytest.approx(0.57, abs=0.06)
    for name in ("copy", "unused", "gaps"):
        figures = features[name]
        assert all(
            value == 0 for key, value in figures.items() if key not in ("name", "correlated")
        )


def test_values_are_shuffled_within_their_date_and_nowhere_else():
    """A feature that is the same for all of a date stays as it was."""
    rows, seen = made(), []

    def watch(x: np.ndarray) -> np.ndarray:
        seen.append(x.copy())
        return model(x)

    found = permutation_importance(watch, rows, NAMES, seed=1, repeats=2)
    assert by_name(found)["season"]["roc_auc_loss"] == 0
    assert len(seen) == 5  # the whole, and once for each feature that can be shuffled
    late = rows.as_of == rows.as_of.max()
    of_late = seen[1][seen[1][:, 4] == 1]
    assert set(of_late[:, 0]) <= set(rows.x[late, 0])


def test_features_that_can_replace_each_other_are_named():
    features = by_name(permutation_importance(model, made(), NAMES, seed=1, repeats=1))
    assert features["used"]["correlated"] == ["copy"] and features["copy"]["correlated"] == ["used"]
    assert features["unused"]["correlated"] == [] and CORRELATED > 0.5
    assert features["used"]["roc_auc_error"] == 0  # of one repeat nothing is known


def test_it_repeats_and_takes_rows_evenly_spaced():
    one, two = (permutation_importance(model, made(), NAMES, seed=4) for _ in range(2))
    assert one == two
    assert permutation_importance(model, made(), NAMES, seed=5) != one
    few = permutation_importance(model, made(), NAMES, seed=4, most_rows=200)
    assert (few["rows"], one["rows"]) == (200, 1500)


def test_a_table_without_dates_is_one_group():
    rows = made()
    undated = Rows(rows.x, rows.y, rows.customer_id, np.full(len(rows), np.datetime64("NaT", "D")))
    features = by_name(permutation_importance(model, undated, NAMES, seed=1))
    assert features["season"]["roc_auc_loss"] > 0  # it is shuffled among all rows now


def test_contributions_are_summed_up_by_size_and_direction():
    x = np.array([[1, 0], [2, 1], [3, 0], [4, 1], [np.nan, np.nan]], dtype=np.float32)
    given = np.array([[-2, 0.1], [-1, -0.1], [1, 0.1], [2, -0.1], [0, 0.3]])
    given = np.column_stack([given, np.full(5, 9.0)])
    schema = ({"name": "up"}, {"name": "kind", "categories": ("a", "b")})
    up, kind = summarise_contributions(given, x, schema)
    assert (up["name"], up["mean_size"], up["direction"]) == ("up", 1.2, pytest.approx(1.0))
    assert kind["mean_size"] == pytest.approx(0.14) and kind["direction"] is None
    assert [(b["label"], b["rows"]) for b in kind["bins"]] == [("a", 2), ("b", 2), ("missing", 1)]
    assert [b["mean"] for b in kind["bins"]] == pytest.approx([0.1, -0.1, 0.3])
    assert [b["label"] for b in up["bins"]] == ["1", "2", "3", "4", "missing"]


def test_bins_hold_every_row_once_and_the_mean_of_their_rows():
    rng = np.random.default_rng(1)
    x = rng.lognormal(5, 1, size=(500, 1)).astype(np.float32)
    x[:40] = np.nan
    given = np.column_stack([np.log(np.nan_to_num(x[:, 0], nan=1)), np.zeros(500)])
    (one,) = summarise_contributions(given, x, ({"name": "f"},))
    assert sum(b["rows"] for b in one["bins"]) == 500 and len(one["bins"]) == 9
    means = [b["mean"] for b in one["bins"][:-1]]
    assert means == sorted(means) and one["direction"] == pytest.approx(1.0)
    assert one["bins"][-1] == {"label": "missing", "rows": 40, "mean": 0.0, "low": 0.0, "high": 0.0}


def test_contributions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        summarise_contributions(np.zeros((3, 2)), np.zeros((4, 1)), ({"name": "f"},))


def test_the_rows_of_contributions_are_those_that_the_fit_took():
    assert contribution_rows(10, 4).tolist() == [0, 3, 6, 9]
    assert contribution_rows(3, 3).tolist() == [0, 1, 2]
