"""The step behind a model: levels per season, Platt's curve, and the same numbers in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.table import Rows
from training.calibration import Calibration, fit_calibration, resolve, validate
from training.export import run_onnx
from training.families import logistic
from training.folds import Fold, make_folds
from training.tuning import Tuned

SEASON = (1, 2)  # the columns of the time of the year


def made_rows(months: list[int], rate: dict[int, float], rows: int = 800, seed: int = 1) -> Rows:
    """Rows on the first of each month (0 is January 2024), with a share of buyers per month."""
    rng = np.random.default_rng(seed)
    month = np.repeat(months, rows)
    angle = 2 * np.pi * (month % 12) / 12
    value = rng.normal(size=len(month))
    x = np.column_stack([value, np.sin(angle), np.cos(angle)]).astype(np.float32)
    level = np.array([rate[m % 12] for m in month])
    y = (rng.random(len(month)) < level).astype(np.int8)
    as_of = (np.datetime64("2024-01") + month).astype("datetime64[D]")
    return Rows(x, y, np.arange(len(month)).astype(str), as_of)


FLAT = {month: 0.3 for month in range(12)}


def test_a_season_that_the_model_missed_is_given_back_a_year_later():
    rate = FLAT | {8: 0.6}
    train, later = made_rows(list(range(3, 12)), rate), made_rows([20], rate, seed=2)
    flat = np.full(len(train), train.y.mean())
    season = fit_calibration("season", flat, train, flat, train, SEASON)
    plain = np.full(len(later), train.y.mean())
    after = season.apply(plain, later.x)
    assert abs(plain.mean() - later.y.mean()) > 0.2
    assert abs(after.mean() - later.y.mean()) < 0.05


def test_a_season_that_no_training_row_saw_is_left_alone():
    train = made_rows([4, 5, 6], FLAT | {5: 0.8})
    flat = np.full(len(train), 0.4)
    season = fit_calibration("season", flat, train, flat, train, SEASON)
    far = made_rows([11], FLAT)
    assert season.apply(np.full(len(far), 0.4), far.x) == pytest.approx(0.4, abs=0.02)


def test_a_date_of_one_class_moves_little_and_stays_finite():
    train = made_rows([4], {4: 0.0}, rows=20)
    flat = np.full(20, 0.4)
    ((_, _, offset),) = fit_calibration("season", flat, train, flat, train, SEASON).anchors
    assert -2 < offset < 0


def test_platt_undoes_an_overconfident_model():
    rng = np.random.default_rng(3)
    z = rng.normal(size=5000)
    rows = Rows(
        np.zeros((5000, 3), np.float32),
        (rng.random(5000) < 1 / (1 + np.exp(-z))).astype(np.int8),
        np.arange(5000).astype(str),
        np.full(5000, np.datetime64("NaT", "D")),
    )
    overconfident = 1 / (1 + np.exp(-3 * z - 1))
    platt = fit_calibration("platt", overconfident, rows, overconfident, rows, ())
    assert platt.slope == pytest.approx(1 / 3, abs=0.03)
    assert platt.apply(overconfident, rows.x).mean() == pytest.approx(rows.y.mean(), abs=0.005)


def test_platt_never_turns_a_ranking_around():
    rows = made_rows([4], {4: 0.5})
    worse = np.where(rows.y == 1, 0.2, 0.8)
    platt = fit_calibration("platt", worse, rows, worse, rows, SEASON)
    assert (platt.slope, platt.intercept) == (1.0, 0.0)


@pytest.mark.parametrize("kind", ["season", "platt", "none"])
def test_the_graph_says_what_apply_says(kind):
    train = made_rows(list(range(3, 12)), FLAT | {8: 0.6})
    train.x[::9, 0] = np.nan
    model = logistic.fit({"C": 1.0, "log": True}, train, None, seed=1, threads=1)
    p = logistic.predict(model, train.x)
    calibration = fit_calibration(kind, p, train, p, train, SEASON)
    graph = calibration.append(logistic.to_onnx(model, 3), 3)
    exported = run_onnx(graph.SerializeToString(), train.x)
    assert np.abs(exported - calibration.apply(p, train.x)).max() < 1e-6


# --- what is judged is calibrated by other rows ---------------------------------------------------

# A family whose model is a function of the features.
FAMILY = SimpleNamespace(predict=lambda model, x: model(x))


def calibrated(kind: str, folds: Sequence[Fold], model) -> np.ndarray:
    tuned = Tuned({}, {}, (), {}, 0, (), "trials", 0.0, models=(model,) * len(folds))
    return validate(FAMILY, tuned, folds, folds, kind, SEASON, seed=1, threads=1).calibrated


@pytest.mark.parametrize("kind", ["season", "platt"])
def test_no_fold_is_calibrated_by_its_own_labels(kind):
    train, valid = made_rows([0, 1, 2], FLAT, rows=100), made_rows([4, 5, 6], FLAT, rows=100)
    folds = make_folds(train, valid, 30)
    before = calibrated(kind, folds, lambda x: 1 / (1 + np.exp(-x[:, 0])))
    for position, fold in enumerate(folds):
        turned = replace(fold, valid=replace(fold.valid, y=1 - fold.valid.y))
        others = [*folds[:position], turned, *folds[position + 1 :]]
        after = calibrated(kind, others, lambda x: 1 / (1 + np.exp(-x[:, 0])))
        assert np.array_equal(after[fold.place], before[fold.place])
        assert np.array_equal(after, before) == (kind == "season")  # which looks at train alone


def test_a_single_fold_is_not_calibrated_by_its_own_labels():
    """Noise says nothing about rows that were not looked at: calibrated by the rows that are
    judged, it would look better than it is."""

    def model(x):
        return 1 / (1 + np.exp(-x[:, 0] / 20))

    def loss(p, y):
        return -np.mean(np.log(np.where(y == 1, p, 1 - p)))

    flattered = []
    for seed in range(6):
        rows = made_rows([4], {4: 0.5}, rows=40, seed=seed)
        undated = replace(rows, as_of=np.full(40, np.datetime64("NaT", "D")))
        p = model(rows.x)
        own = fit_calibration("platt", p, undated, p, undated, SEASON).apply(p, rows.x)
        crossed = calibrated("platt", make_folds(undated, undated, 30), model)
        flattered.append(loss(crossed, rows.y) - loss(own, rows.y))
    assert np.mean(flattered) > 0.01


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=20),
    st.floats(0.1, 5),
    st.floats(-3, 3),
)
def test_any_calibration_keeps_the_order_of_the_rows_of_a_date(p, slope, intercept):
    x = np.tile(np.float32([[0, 1, 0]]), (len(p), 1))
    calibration = Calibration(
        "season", slope, intercept, anchors=((1.0, 0.0, 0.4),), columns=(1, 2)
    )
    ranked = np.sort(np.array(p))
    after = calibration.apply(ranked, x)
    assert (np.diff(after) >= -1e-12).all() and ((after >= 0) & (after <= 1)).all()


def test_auto_asks_the_table():
    names, season = ("value", "sin", "cos"), ("sin", "cos")
    assert resolve("auto", names, season) == ("season", (1, 2))
    assert resolve("auto", ("value",), season) == resolve("auto", names, ()) == ("platt", ())
    assert resolve("none", names, season)[0] == "none"
    with pytest.raises(ValueError, match="needs the feature sin"):
        resolve("season", ("value", "cos"), season)
