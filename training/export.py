"""The exchange format: every family leaves as one ONNX graph with the same face.

The contract: one input `features` float32 [batch, f], raw feature values, NaN where missing; one
output `probability` float32 [batch]; any batch size; preprocessing inside. `seal` makes a graph
keep it, `run_onnx` and `max_difference` show whether it says what the original model said.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "features", "probability"
OPSET, ML_OPSET, IR_VERSION = 18, 3, 10  # ONNX Runtime >= 1.18 and every converter here know these


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

    Six rounds of `calls` rows of x float32 (n, f); the first warms up, of the others the quietest
    counts. The time is that of the thread on its core: what else the machine does is not the
    model's doing, and is not to decide whether it becomes champion.
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
    return min(rounds[1:], key=lambda found: found["p99_ms"])


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
