"""Categorical features as numbers: one column of 0 and 1 per category, in every family alike.

In the table, in x and in the exported graph's input a categorical feature is a code: the index of
its category, NaN where missing, and the number of categories for one that was not there at
training ("other"). Other is all zeros in the columns made here. Where the contract allows a missing
value it has a column of its own, after those of the categories. The families see only numbers; the
graph gets the same step in front, so the service still sends codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

Schema = Sequence[dict[str, Any]]  # one dict of a `features.catalogue.Feature` per column


def width(schema: Schema) -> int:
    """Number of columns after `expand`."""
    return len(_columns(schema)[0])


def expand(x: np.ndarray, schema: Schema) -> np.ndarray:
    """Features float32 (n, f) as columns float32 (n, width); x itself without categories."""
    source, code, is_category, is_missing = _columns(schema)
    if not is_category.any():
        return x
    spread = x[:, source]
    flag = (spread == code) | (np.isnan(spread) & is_missing)
    return np.where(is_category, flag, spread).astype(np.float32)


def collect(contributions: np.ndarray, schema: Schema) -> np.ndarray:
    """Contributions (n, width + 1) of columns and the bias, as those (n, f + 1) of features: the
    columns of a category belong to one feature, and contributions add up."""
    source = _columns(schema)[0]
    collected = np.zeros((len(contributions), len(schema) + 1), dtype=contributions.dtype)
    np.add.at(collected.T, source, contributions[:, :-1].T)
    collected[:, -1] = contributions[:, -1]
    return collected


def prefix(graph: onnx.ModelProto, schema: Schema) -> onnx.ModelProto:
    """The graph of a family, which takes columns, with `expand` before it (`training/export.py`
    says what such a graph is)."""
    from onnx import TensorProto, helper, numpy_helper

    from training.export import INPUT, seal

    source, code, is_category, is_missing = _columns(schema)
    if not is_category.any():
        return graph
    model = type(graph)()
    model.CopyFrom(graph)
    for node in model.graph.node:
        node.input[:] = ["cat.columns" if name == INPUT else name for name in node.input]
    steps = [
        helper.make_node("Gather", [INPUT, "cat.source"], ["cat.spread"], axis=1),
        helper.make_node("Equal", ["cat.spread", "cat.code"], ["cat.same"]),
        helper.make_node("IsNaN", ["cat.spread"], ["cat.nan"]),
        helper.make_node("And", ["cat.nan", "cat.missing"], ["cat.none"]),
        helper.make_node("Or", ["cat.same", "cat.none"], ["cat.true"]),
        helper.make_node("Cast", ["cat.true"], ["cat.flag"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["cat.is", "cat.flag", "cat.spread"], ["cat.columns"]),
    ]
    nodes = [*steps, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    constants = {"source": source, "code": code, "is": is_category, "missing": is_missing}
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, f"cat.{name}"))
    return seal(model, len(schema))


def _columns(schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each column: the feature it comes from, int64; the code it stands for, float32 (-1 where
    it stands for none); whether it is of a category, bool; whether it stands for a missing one,
    bool. All (width,)."""
    source, code, is_category, is_missing = [], [], [], []
    for place, feature in enumerate(schema):
        codes = [*range(len(feature.get("categories") or ()))]
        missing = bool(codes and feature.get("missing"))
        columns = [*codes, *[-1] * missing] or [-1]
        source += [place] * len(columns)
        code += columns
        is_category += [bool(codes)] * len(columns)
        is_missing += [missing and value < 0 for value in columns]
    return (
        np.array(source, dtype=np.int64),
        np.array(code, dtype=np.float32),
        np.array(is_category, dtype=bool),
        np.array(is_missing, dtype=bool),
    )
