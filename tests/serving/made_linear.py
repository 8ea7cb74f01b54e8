"""A small bundle whose every feature counts, without a training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from features.catalogue import CATALOGUE, Feature
from registry.bundle import write_bundle


def linear_graph(features: int, seed: int = 0, nan_above: float = 1e30) -> bytes:
    """probability = sigmoid(Σ wᵢ·log(1 + |xᵢ|)), a missing value counting as zero; NaN where the
    first feature is larger than `nan_above`."""
    weights = np.random.default_rng(seed).normal(0, 0.3, (features, 1))
    weights = np.float32(weights - weights.mean())  # probabilities around one half
    constants = [
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(1), "one"),
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"),
        numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        numpy_helper.from_array(np.float32([nan_above]), "limit"),
    ]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("Abs", ["filled"], ["size"]),
        helper.make_node("Add", ["size", "one"], ["positive"]),
        helper.make_node("Log", ["positive"], ["small"]),
        helper.make_node("MatMul", ["small", "weights"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["column"]),
        helper.make_node("Gather", ["filled", "first"], ["value"], axis=1),
        helper.make_node("Sub", ["limit", "value"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["real"]),
        helper.make_node("Mul", ["real", "zero"], ["nothing"]),
        helper.make_node("Add", ["column", "nothing"], ["sum"]),
        helper.make_node("Reshape", ["sum", "flat"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return made.SerializeToString()


def reference(features: int, rows: int = 9) -> list[list[float]]:
    return np.random.default_rng(1).integers(0, 50, (rows, features)).astype(float).tolist()


def write_linear_bundle(
    folder: Path,
    features: tuple[Feature, ...] = CATALOGUE,
    seed: int = 0,
    threshold: float | None = 0.5,
    nan_above: float = 1e30,
    examples: bool = True,
    **described: Any,
) -> str:
    """A bundle of `linear_graph`; returns its SHA-256."""
    description = {
        "family": "linear",
        "threshold": threshold,
        "features": [asdict(feature) for feature in features],
        **described,
    }
    rows = {"reference": reference(len(features)), "samples": []} if examples else None
    return write_bundle(
        folder, linear_graph(len(features), seed, nan_above), description, examples=rows
    )
