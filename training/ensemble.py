"""Build one more candidate: a weighted mean of the families' probabilities, as one ONNX graph.

The weights are found by greedy selection with replacement (Caruana et al. 2004, ICML): twenty
times the member is added that makes the validation figure best. They are the only thing chosen
here, on predictions that each member made for dates it had not seen.

Its own validation score would flatter it, because the weights were chosen on the same rows. So the
score that enters the model comparison is cross-fitted: each date is predicted with the weights
chosen on the other dates (on halves of the rows, where a table has no dates).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.statistics import recalibrated_log_loss
from features.table import Rows, read_rows
from training.export import INPUT, OUTPUT, max_difference, run_onnx, seal
from training.folds import draw_parts, take
from training.metrics import point

if TYPE_CHECKING:
    import onnx

NAME = "ensemble"
ROUNDS = 20


def build_ensemble(
    table: Path, features: tuple[str, ...], families: dict[str, Path], seed: int, output: Path
) -> dict[str, Any]:
    """Write the ensemble's folder, with the files of a family's (see `training/fit.py`), into the
    empty folder `output`; returns what result.json holds.

    families: name -> folder of the fitted family, at least two.
    """
    started = time.perf_counter()
    valid = read_rows(table, ("valid",), features)
    names = list(families)
    p = _stack(families, "valid_native.npy")
    parts = _parts(valid, seed)
    weights = choose_weights(p, valid, parts)
    raw = _stack(families, "valid_raw.npy")
    crossed, crossed_raw = np.empty(len(valid)), np.empty(len(valid))
    for part in np.unique(parts):
        inside = parts == part
        rest = choose_weights(p[:, ~inside], take(valid, ~inside), parts[~inside])
        crossed[inside], crossed_raw[inside] = rest @ p[:, inside], rest @ raw[:, inside]
    tuning = time.perf_counter() - started

    members = {name: float(w) for name, w in zip(names, weights, strict=True) if w > 0}
    graph = merge({n: (families[n] / "model.onnx", w) for n, w in members.items()}, len(features))
    (output / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    for file, of in (("test_native.npy", "native"), ("test_raw.npy", "raw")):
        np.save(output / file, weights @ _stack(families, f"test_{of}.npy"))
    np.save(output / "valid_native.npy", crossed)
    np.save(output / "valid_raw.npy", crossed_raw)
    exported = run_onnx(output / "model.onnx", valid.x)
    expected = sum(w * run_onnx(families[n] / "model.onnx", valid.x) for n, w in members.items())
    folds = [_fold(valid, crossed, parts == part) for part in np.unique(parts)]
    results = {name: _read(folder) for name, folder in families.items()}
    result = {
        "family": NAME,
        "params": {"weights": members},
        "baseline": {},
        "valid_metrics": {
            name: float(np.mean([fold["metrics"][name] for fold in folds]))
            for name in folds[0]["metrics"]
        },
        "folds": folds,
        "calibration": {"kind": "of its members"},
        "best_trial": 0,
        "trials": [],
        "ended_by": "trials",
        "seconds": {
            "tuning": tuning,
            "refit": 0.0,
            "export": time.perf_counter() - started - tuning,
        },
        "rows": results[names[0]]["rows"],
        "export_difference_on_fitted_rows": max_difference(np.asarray(expected), exported),
        "seed": seed,
        "threads": 1,
        "versions": {k: v for one in results.values() for k, v in one["versions"].items()},
    }
    (output / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def choose_weights(p: np.ndarray, valid: Rows, parts: np.ndarray) -> np.ndarray:
    """Weights (k,) that sum to 1, for predictions p (k, n) of the validation rows.

    Minimised is the mean over the parts (n,) of the recalibrated log loss, as in the search of each
    family: a level that differs from date to date counts for nothing.
    """
    assert valid.y is not None
    rows = [np.flatnonzero(parts == part) for part in np.unique(parts)]
    rows = [r for r in rows if len(set(valid.y[r].tolist())) == 2]
    counts = np.zeros(len(p))
    total = np.zeros(p.shape[1])
    for taken in range(1, ROUNDS + 1):
        tried = [np.clip((total + one) / taken, 0, 1) for one in p]
        scores = [np.mean([recalibrated_log_loss(valid.y[r], t[r]) for r in rows]) for t in tried]
        best = int(np.argmin(scores))
        counts[best] += 1
        total = total + p[best]
    return counts / ROUNDS


def merge(members: dict[str, tuple[Path, float]], n_features: int) -> onnx.ModelProto:
    """One graph that runs these graphs on the same input and gives the weighted sum."""
    import onnx
    from onnx import compose, helper, numpy_helper

    nodes, constants, terms = [], [], []
    opsets: dict[str, onnx.OperatorSetIdProto] = {}
    for name, (path, weight) in members.items():
        part = compose.add_prefix(onnx.load(str(path)), f"{name}.", rename_inputs=False)
        nodes.extend(part.graph.node)
        constants.extend(part.graph.initializer)
        opsets |= {item.domain: item for item in part.opset_import}
        factor, term = f"{name}.weight_of_member", f"{name}.share"
        constants.append(numpy_helper.from_array(np.array(weight, np.float32), factor))
        nodes.append(helper.make_node("Mul", [f"{name}.{OUTPUT}", factor], [term]))
        terms.append(term)
    nodes.append(helper.make_node("Sum", terms, [OUTPUT]))
    of = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        NAME,
        [of(INPUT, onnx.TensorProto.FLOAT, ["batch", n_features])],
        [of(OUTPUT, onnx.TensorProto.FLOAT, ["batch"])],
        constants,
    )
    return seal(helper.make_model(graph, opset_imports=list(opsets.values())), n_features)


def _parts(valid: Rows, seed: int) -> np.ndarray:
    """The as-of date of each row as a number (n,); halves by chance where there is one date."""
    parts = np.unique(valid.as_of, return_inverse=True)[1]
    if parts.max(initial=0) > 0:
        return parts
    return draw_parts(valid, 2, seed)


def _fold(valid: Rows, p: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    assert valid.y is not None
    day = valid.as_of[rows][0]
    return {
        "as_of": None if np.isnat(day) else str(day),
        "rows": int(rows.sum()),
        "metrics": point(valid.y[rows], np.clip(p[rows], 0, 1)),
    }


def _stack(families: dict[str, Path], file: str) -> np.ndarray:
    return np.stack([np.load(folder / file, allow_pickle=False) for folder in families.values()])


def _read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))
