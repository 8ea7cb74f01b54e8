"""Logistic regression on signed logarithms: the candidate that can be checked with a calculator.

Money and counts are skewed, so a value x enters as sign(x) log(1 + |x|), clipped to what training
saw, centred and scaled; a missing value enters as the median, with an indicator of its own.
Fits in milliseconds, and on the two years of the worked example comes within .005 of the others'
ROC AUC.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    import optuna

    from features.table import Rows
    from training.families import Params, Report

# C = 1 is scikit-learn's default; the log is what RFM models take of recency, frequency and money.
BASELINE: Params = {"C": 1.0, "log": True}


@dataclass(frozen=True)
class Model:
    """probability = sigmoid(z @ weight + missing @ missing_weight + bias), with z the prepared
    values. All arrays float32 (f,), so that the graph holds the very same numbers."""

    params: Params
    low: np.ndarray
    high: np.ndarray
    median: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    missing_weight: np.ndarray
    bias: np.ndarray  # ()


def suggest(trial: optuna.Trial) -> Params:
    """C over the range that scikit-learn's LogisticRegressionCV searches, 1e-4 to 1e4."""
    return {
        "C": trial.suggest_float("C", 1e-4, 1e4, log=True),
        "log": trial.suggest_categorical("log", [True, False]),
    }


def fit(
    params: Params,
    train: Rows,
    valid: Rows | None,
    *,
    seed: int,
    threads: int,
    report: Report | None = None,
) -> Model:
    """See `Family.fit`. Nothing is random and nothing stops early, so `valid`, `seed`, `threads`
    and `report` change nothing."""
    from sklearn.linear_model import LogisticRegression

    z, missing = _transform(train.x, params["log"]), np.isnan(train.x)
    known = ~missing.all(axis=0)  # a column without a value has no median: it becomes all zeros
    low, high, median = np.zeros((3, z.shape[1]), dtype=np.float32)
    low[known], high[known] = np.nanmin(z[:, known], axis=0), np.nanmax(z[:, known], axis=0)
    median[known] = np.nanmedian(z[:, known], axis=0)
    z = np.where(missing, median, z)
    centre, scale = z.mean(axis=0, dtype=np.float64), z.std(axis=0, dtype=np.float64)
    # A constant column's deviation is not zero but a rounding error: dividing by it would blow up.
    centre = centre.astype(np.float32)
    scale = np.where(low == high, 1.0, scale).astype(np.float32)
    both = np.hstack([(z - centre) / scale, missing], dtype=np.float64)
    regression = LogisticRegression(C=params["C"], max_iter=1000).fit(both, train.y)
    weight, missing_weight = np.split(np.float32(regression.coef_[0]), 2)
    bias = np.asarray(regression.intercept_[0], dtype=np.float32)
    return Model(dict(params), low, high, median, centre, scale, weight, missing_weight, bias)


def predict(model: Model, x: np.ndarray) -> np.ndarray:
    """See `Family.predict`."""
    missing = np.isnan(x)
    z = np.clip(_transform(x, model.params["log"]), model.low, model.high)
    z = (np.where(missing, model.median, z) - model.centre) / model.scale
    logit = z @ model.weight + missing @ model.missing_weight + model.bias
    return 1 / (1 + np.exp(-logit.astype(np.float64)))


def to_onnx(model: Model, n_features: int) -> onnx.ModelProto:
    """See `Family.to_onnx`. Written out by hand: skl2onnx converts no signed logarithm."""
    import onnx

    from training.export import IR_VERSION, OPSET, seal

    steps = """
            sign = Sign(features)
            size = Abs(features)
            above_one = Add(one, size)
            order = Log(above_one)
            z = Mul(sign, order)"""
    graph = onnx.parser.parse_model(f"""
        <ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>
        logistic (float[batch, {n_features}] features) => (float[batch] probability) {{
            {steps if model.params["log"] else "z = Identity(features)"}
            above = Max(z, low)
            clipped = Min(above, high)
            missing = IsNaN(features)
            filled = Where(missing, median, clipped)
            centred = Sub(filled, centre)
            scaled = Div(centred, scale)
            indicator = Cast<to=1>(missing)
            from_values = MatMul(scaled, weight)
            from_missing = MatMul(indicator, missing_weight)
            logit = Sum(from_values, from_missing, bias)
            probability = Sigmoid(logit)
        }}""")
    constants = {
        field.name: getattr(model, field.name) for field in fields(model) if field.name != "params"
    }
    if model.params["log"]:
        constants["one"] = np.ones((), dtype=np.float32)
    graph.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    return seal(graph, n_features)


def _transform(x: np.ndarray, log: bool) -> np.ndarray:
    return np.sign(x) * np.log1p(np.abs(x)) if log else x
