"""Export models: every family becomes one ONNX graph with the same inputs and outputs.

The contract: one input `features` float32 [batch, f], raw feature values, NaN where missing; one
output `probability` float32 [batch]; any batch size; preprocessing inside. `seal` makes a graph
keep it, `run_onnx` and `max_difference` show whether it says what the original model said.

Categories are columns of 0 and 1, one for each category, in every family alike. In the table, in x
and in the exported graph's input a categorical feature is a code: the index of its category, NaN
where missing, and the number of categories for one that was not there at training ("other"). Other
is all zeros in the columns made by `expand`. Where the contract allows a missing value it has a
column of its own, after those of the categories. The families see only numbers; `prefix` puts the
same step in front of the graph, so the service still sends codes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "features", "probability"
OPSET, ML_OPSET, IR_VERSION = 18, 3, 10  # ONNX Runtime >= 1.18 and every converter here know these
Schema = Sequence[dict[str, Any]]  # one dict of a `features.catalogue.Feature` per column


def seal(model: onnx.ModelProto, n_features: int) -> onnx.ModelProto:
    """A copy of `model` that keeps the contract, checked, and byte for byte the same every time.

    Converters leave file paths, stack traces, and random graph names behind: with them, neither the
    hash of a bundle nor its size would say anything. Raises ValueError when the graph's one input
    and one output are not those of the contract.
    """
    import onnx

    sealed = onnx.ModelProto()
    sealed.CopyFrom(model)
    graph = sealed.graph
    if [i.name for i in graph.input] != [INPUT] or [o.name for o in graph.output] != [OUTPUT]:
        raise ValueError(
            f"the graph's inputs are {[i.name for i in graph.input]} and its outputs "
            f"{[o.name for o in graph.output]}; the contract is [{INPUT!r}] and [{OUTPUT!r}]"
        )
    float32 = onnx.TensorProto.FLOAT
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info(INPUT, float32, ["batch", n_features])
    )
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(OUTPUT, float32, ["batch"]))
    graph.name = "model"
    del graph.value_info[:]
    for part in (sealed, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    sealed.ir_version = IR_VERSION
    sealed.producer_name, sealed.producer_version = "golden-path", ""
    sealed.domain, sealed.model_version = "", 1
    used = {node.domain for node in graph.node}
    versions = {item.domain: item.version for item in sealed.opset_import if item.domain in used}
    del sealed.opset_import[:]
    sealed.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())
    )
    onnx.checker.check_model(sealed, full_check=True)
    return sealed


def run_onnx(model: Path | bytes, x: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """Probabilities float64 (n,) of features float32 (n, f), from a model file or its bytes."""
    session = _session(model, threads)
    (probability,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(x, dtype=np.float32)})
    return np.asarray(probability, dtype=np.float64)


def latency(model: Path | bytes, x: np.ndarray, calls: int = 200) -> dict[str, float]:
    """Milliseconds of one row through the graph on one thread: {p50_ms, p99_ms}.

    Six rounds of `calls` rows of x float32 (n, f); the first warms up, of the others the one with
    the lowest p99 counts. The time is that of the thread on its core: other work of the machine
    must not decide whether a model becomes champion.
    """
    session = _session(model, 1)
    rows = [np.ascontiguousarray(x[i % len(x)][None], dtype=np.float32) for i in range(calls)]
    rounds = []
    for _ in range(6):
        spent = np.empty(calls)
        for i, row in enumerate(rows):
            began = time.thread_time()
            session.run([OUTPUT], {INPUT: row})
            spent[i] = 1000 * (time.thread_time() - began)
        p50, p99 = np.quantile(spent, [0.5, 0.99])
        rounds.append({"p50_ms": float(p50), "p99_ms": float(p99)})
    return min(rounds[1:], key=lambda percentiles: percentiles["p99_ms"])


def _session(model: Path | bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def max_difference(native: np.ndarray, exported: np.ndarray) -> float:
    """Largest absolute difference of two (n,) arrays of probabilities; infinite when one side has
    a value that is not finite. Raises ValueError when their shapes differ."""
    if native.shape != exported.shape:
        raise ValueError(f"original {native.shape} and exported {exported.shape} differ in shape")
    if len(native) == 0:
        return 0.0
    difference = np.abs(native - exported)
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


# --- categories as columns of 0 and 1 ------------------------------------------------------------


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
    """The graph of a family, which takes columns, with `expand` before it."""
    from onnx import TensorProto, helper, numpy_helper

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
