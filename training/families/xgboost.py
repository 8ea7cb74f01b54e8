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

MAX_ROUNDS = 1000
PATIENCE = 50  # rounds without a better validation ROC AUC
REPORT_EVERY = 25  # rounds: one step for the pruner, as an epoch is for a network
MAX_BIN = 256  # fixed by QuantileDMatrix, so not searched

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
    few thousand customers support and what fits in a second or two a trial."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
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

    if valid is None and "rounds" not in params:
        raise ValueError("params['rounds'] is missing: a fit without validation rows needs it")
    settings = {key: value for key, value in params.items() if key != "rounds"}
    settings |= {
        "objective": "binary:logistic",
        # The last metric stops the search. Log loss would stop far too soon: the validation date
        # has another base rate than the months before it, and each tree pulls the level away.
        "eval_metric": ["logloss", "auc"],
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

    callbacks: list[Any] = [_reporter(report)] if report else []
    booster = xgboost.train(
        settings,
        matrix,
        MAX_ROUNDS,
        evals=[(watched, "valid")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
        callbacks=callbacks,
    )
    rounds = booster.best_iteration + 1
    # The booster keeps the rounds after the best one: cut them, or predict and export use them.
    return Model({**params, "rounds": rounds}, booster[:rounds])


def predict(model: Model, x: np.ndarray) -> np.ndarray:
    """See `Family.predict`."""
    return np.asarray(model.booster.inplace_predict(x), dtype=np.float64)


def to_onnx(model: Model, n_features: int) -> onnx.ModelProto:
    """See `Family.to_onnx`."""
    import onnx
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    from training.export import INPUT, ML_OPSET, OPSET, OUTPUT, seal

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


def _reporter(report: Report) -> Any:
    """A callback made on demand: its base class is imported in this family's process only."""
    import xgboost

    class Reporter(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            if (epoch + 1) % REPORT_EVERY == 0:
                report((epoch + 1) // REPORT_EVERY, evals_log["valid"]["auc"][-1])
            return False

    return Reporter()


_last: tuple[Any, ...] = (None, None, None, None)


def _quantised(train: Rows, valid: Rows | None, threads: int) -> tuple[Any, Any]:
    """Quantised rows, kept from one trial to the next: a third of a short fit goes into them."""
    import xgboost

    global _last
    if _last[0] is not train or _last[1] is not valid:
        matrix = xgboost.QuantileDMatrix(train.x, train.y, max_bin=MAX_BIN, nthread=threads)
        watched = None
        if valid is not None:
            watched = xgboost.QuantileDMatrix(
                valid.x, valid.y, ref=matrix, max_bin=MAX_BIN, nthread=threads
            )
        _last = (train, valid, matrix, watched)
    return _last[2], _last[3]
