"""Models as ONNX graphs: those that say one probability to everyone, and those that would never
come to say anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from configs.load import load
from configs.source import CANONICAL
from features.catalogue import CATALOGUE, Feature
from registry.bundle import write_bundle

FEATURES = {"horizon_days": 90, "active_days": 365, "invoice_days": 7}
SECTION = {
    "declared": sorted(CANONICAL),
    "contract": load("default", [], {}).contract.model_dump(mode="json"),
    "features": FEATURES | {"home_country": "United Kingdom"},
    "log_start": "2024-01-01",
}
Graph = tuple[str, dict[str, Any]]  # lines of ONNX's text, and constants


def graph_of(features: int, lines: str, opset: int = 17, **constants: Any) -> bytes:
    """A model in ONNX's text: `features` (n, features) to `probability` (n). The constant `flat`
    reshapes a column to it."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["": {opset}]>
        made (float[n, {features}] features) => (float[n] probability) {{ {lines} }}"""
    )
    for name, value in ({"flat": np.array([-1])} | constants).items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def bundle_of(
    folder: Path,
    probability: float,
    features: tuple[Feature, ...] = CATALOGUE,
    graph: Graph = ("more = Identity(zeros)", {}),
) -> str:
    """A model that says this probability to everyone. graph: what it makes of a zero for each
    customer, `zeros` (n, 1), before that, as `more`."""
    lines, constants = graph
    model = graph_of(
        len(features),
        f"""missing = IsNaN(features)
        numbers = Cast<to = 1>(missing)
        zeros = MatMul(numbers, nothing)
        {lines}
        column = Add(more, said)
        probability = Reshape(column, flat)""",
        nothing=np.zeros((len(features), 1), dtype=np.float32),
        said=np.float32([probability]),
        **constants,
    )
    description = {
        "family": "constant",
        "threshold": 0.5,
        "features": [asdict(one) for one in features],
        "transactions": SECTION,
    }
    examples = {"reference": [[1.0] * len(features)] * 3, "samples": []}
    return write_bundle(folder, model, description, examples)


def endless(beyond: float | None = None) -> Graph:
    """A loop of 2^62 rounds. beyond: only when one of the values is larger than that."""
    when, limit = "go = Identity(limit)", np.bool_(True)
    if beyond is not None:
        when = "largest = ReduceMax<keepdims = 0>(features) go = Greater(largest, limit)"
        limit = np.float32(beyond)
    loop = """more = Loop <body = round (int64 number, bool go_on, float value)
        => (bool on, float halved) { on = Identity(go_on) halved = Mul(value, half) }>
        (rounds, go, zeros)"""
    constants = {"rounds": np.int64(2**62), "half": np.float32(0.5), "limit": limit}
    return f"{when} {loop}", {name: np.array(value) for name, value in constants.items()}


def growing(kind: str) -> Graph:
    """A gigabyte on the way, or three: from a constant, which ONNX Runtime computes when it opens
    the graph, or from what it is asked."""
    grown = "ConstantOfShape(size)" if kind == "ConstantOfShape" else f"{kind}(zeros, size)"
    lines = f"""grown = {grown}
        total = ReduceSum<keepdims = 1>(grown, axes)
        more = Add(zeros, total)"""
    return lines, {"size": np.array([1, 250_000_000]), "axes": np.array([1])}


def of_feature(place: int, scale: float) -> Graph:
    """The value of this feature times the scale; a missing one counts as none."""
    lines = """value = Gather<axis = 1>(features, which)
        gone = IsNaN(value)
        known = Where(gone, none, value)
        scaled = Mul(known, scale)
        more = Add(zeros, scaled)"""
    constants = {"which": np.array([place]), "scale": np.float32([scale]), "none": np.float32([0])}
    return lines, constants


def slow(width: int = 400_000) -> Graph:
    """About two milliseconds of computing for each customer."""
    lines = """wide = Expand(zeros, size)
        erf = Erf(wide)
        tanh = Tanh(erf)
        more = ReduceSum<keepdims = 1>(tanh, axes)"""
    return lines, {"size": np.array([1, width]), "axes": np.array([1])}
