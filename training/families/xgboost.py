"""Gradient-boosted trees (Chen & Guestrin 2016, arXiv:1603.02754), the family to beat on tables.

Missing values need no preparation: every split learns the side they go to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import optuna

    from features.table import Rows
    from training.families import Params, Report

PACKAGES = ("xgboost-cpu",)
MAX_ROUNDS = 600
# The validation figure is looked at every five rounds: at each, that took as long as the trees,
# and let a lucky single round win.
LOOK_EVERY = 5
PATIENCE = 30  # rounds without a better one
# One step for the pruner, as an epoch is for a network: rounds times learning rate. Half the rate
# needs about twice the trees for the same fit (Friedman 2001): compared at equal rounds, the slow
# learners that win in the end would all be pruned.
REPORT_EVERY = 1.25
# Fixed by QuantileDMatrix, so not searched. As good as 256 (Zhang, Si & Hsieh 2017,
# arXiv:1706.08359, table 3) and faster by a third, because deep trees look at every bin.
MAX_BIN = 64

# Hastie, Tibshirani & Friedman 2009, sections 10.11 and 10.12: trees of 4 to 8 leaves, shrinkage
# below .1, half of the rows for each tree. The rest are XGBoost's defaults.
BASELINE: Params = {
    "learning_rate": 0.05,
    "max_depth": 3,
    "min_child_weight": 1.0,
    "subsample": 0.5,
    "colsample_bytree": 1.0,
    "reg_lambda": 1.0,
}


@dataclass(frozen=True)
class Model:
    """`params["rounds"]` is the number of trees in the booster."""

    params: Params
    booster: Any


def suggest(trial: optuna.Trial) -> Params:
    """The space of Gorishniy et al. 2021 (arXiv:2106.11959, supplement), narrowed to what a
    few thousand customers support and what fits in a second or two a trial. Learning rates above
    .1 need few trees and rank worse (Friedman 2001, section 5); below .02 the search would spend
    its time on trees that a few more rounds make up for."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.1, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 8),
        "min_child_weight": trial.suggest_float("min_child_weight", 1.0, 200.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 100.0, log=True),
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
    """See `Family.fit`."""
    import xgboost

    from common.statistics import recalibrated_log_loss

    if valid is None and "rounds" not in params:
        raise ValueError("params['rounds'] is missing: a fit without validation rows needs it")
    settings = {key: value for key, value in params.items() if key != "rounds"}
    settings |= {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        "device": "cpu",
        "nthread": threads,
        "seed": seed,
    }
    matrix, watched = _quantised(train, valid, threads)
    if valid is None:
        booster = xgboost.train(settings, matrix, params["rounds"], verbose_eval=False)
        return Model(dict(params), booster)

    assert valid.y is not None
    booster = xgboost.Booster(settings, [matrix, watched])
    best, rounds, reported = float("inf"), 0, 0
    for done in range(1, MAX_ROUNDS + 1):
        booster.update(matrix, done - 1)
        if done % LOOK_EVERY:
            continue
        value = recalibrated_log_loss(valid.y, booster.predict(watched))
        if report and done * params["learning_rate"] >= REPORT_EVERY * (reported + 1):
            reported += 1
            report(reported, value)
        if value < best:
            best, rounds = value, done
        elif done - rounds >= PATIENCE:
            break
    # The booster keeps the rounds after the best one: cut them, or predict and export use them.
    return Model({**params, "rounds": rounds}, booster[:rounds])


def predict(model: Model, x: np.ndarray) -> np.ndarray:
    """See `Family.predict`."""
    return np.asarray(model.booster.inplace_predict(x), dtype=np.float64)


def contributions(model: Model, x: np.ndarray) -> np.ndarray:
    """See `Family.contributions`: SHAP values of trees (Lundberg et al. 2020, Nature Machine
    Intelligence), which XGBoost computes itself."""
    import xgboost

    return np.asarray(model.booster.predict(xgboost.DMatrix(x), pred_contribs=True), np.float32)


def to_onnx(model: Model, n_features: int) -> onnx.ModelProto:
    """See `Family.to_onnx`."""
    import onnx
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    from training.export import INPUT, ML_OPSET, OPSET, OUTPUT, seal

    if all(line.startswith("0:leaf") for line in _lines(model.booster)):
        # No tree has a split, as with very few rows. The converter loses the level then.
        return _constant(
            float(predict(model, np.zeros((1, n_features), np.float32))[0]), n_features
        )
    converted = onnxmltools.convert_xgboost(
        model.booster,
        name="xgboost",
        initial_types=[(INPUT, FloatTensorType([None, n_features]))],
        target_opset=15,  # the newest it knows; only the trees are kept: the same in 18
    )
    # The converter gives a label and [batch, 2]: keep the trees and take the second column.
    (trees,) = (node for node in converted.graph.node if node.op_type == "TreeEnsembleClassifier")
    both = trees.output[1]
    graph = onnx.helper.make_graph(
        [
            trees,
            onnx.helper.make_node("Gather", [both, "second"], [OUTPUT], axis=1),
        ],
        "xgboost",
        [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, ["batch", n_features])],
        [onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch"])],
        [onnx.numpy_helper.from_array(np.array(1, dtype=np.int64), "second")],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return seal(onnx.helper.make_model(graph, opset_imports=opsets), n_features)


_kept: list[tuple[Rows, Rows | None, Any, Any]] = []


def _lines(booster: Any) -> list[str]:
    return [
        line.strip() for tree in booster.get_dump() for line in tree.splitlines() if line.strip()
    ]


def _constant(probability: float, n_features: int) -> onnx.ModelProto:
    """The graph of a model that says the same of every row."""
    import onnx

    from training.export import IR_VERSION, OPSET, seal

    graph = onnx.parser.parse_model(f"""
        <ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>
        constant (float[batch, {n_features}] features) => (float[batch] probability) {{
            rows = Shape<start=0, end=1>(features)
            probability = Expand(level, rows)
        }}""")
    graph.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([probability], np.float32), "level")
    )
    return seal(graph, n_features)


def _quantised(train: Rows, valid: Rows | None, threads: int) -> tuple[Any, Any]:
    """Quantised rows, kept from one trial to the next for every fold: a third of a short fit goes
    into them. A byte a value: all folds together are smaller than the rows."""
    import xgboost

    for known in _kept:
        if known[0] is train and (valid is None or known[1] is valid):
            return known[2], known[3]
    matrix = xgboost.QuantileDMatrix(train.x, train.y, max_bin=MAX_BIN, nthread=threads)
    watched = None
    if valid is not None:
        watched = xgboost.QuantileDMatrix(
            valid.x, valid.y, ref=matrix, max_bin=MAX_BIN, nthread=threads
        )
        _kept.append((train, valid, matrix, watched))
    return matrix, watched
