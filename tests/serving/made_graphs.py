"""Bundles that say one probability to everyone, and those that would never come to say anything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from real_service import SECTION

from features.catalogue import CATALOGUE, Feature
from registry.bundle import write_bundle

Graph = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]  # nodes, constants


def bundle_of(
    folder: Path,
    probability: float,
    features: tuple[Feature, ...] = CATALOGUE,
    graph: Graph | None = None,
) -> str:
    """A model that says this probability to everyone. graph: what it makes of a zero for each
    customer, `zeros` (n, 1), before that: nodes from `zeros` to `more`, and their constants."""
    more, given = graph or ([helper.make_node("Identity", ["zeros"], ["more"])], [])
    constants = [
        numpy_helper.from_array(np.zeros((len(features), 1), dtype=np.float32), "nothing"),
        numpy_helper.from_array(np.float32([probability]), "said"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"),
        *given,
    ]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Cast", ["missing"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "nothing"], ["zeros"]),
        *more,
        helper.make_node("Add", ["more", "said"], ["column"]),
        helper.make_node("Reshape", ["column", "flat"], ["probability"]),
    ]
    whole = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(features)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
        constants,
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    reference = [[1.0] * len(features)] * 3
    return write_bundle(
        folder,
        model.SerializeToString(),
        {
            "family": "constant",
            "threshold": 0.5,
            "features": [asdict(one) for one in features],
            "transactions": SECTION,
        },
        {"reference": reference, "samples": []},
    )


def endless(beyond: float | None = None) -> Graph:
    """A loop of 2^62 rounds. beyond: only when one of the values is larger than that."""
    inner = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["on"]),
            helper.make_node("Mul", ["value", "half"], ["halved"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("halved", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(np.float32(0.5), "half")],
    )
    constants = [
        numpy_helper.from_array(np.int64(2**62), "rounds"),
        numpy_helper.from_array(np.bool_(True), "yes"),
    ]
    if beyond is None:
        return [
            helper.make_node("Loop", ["rounds", "yes", "zeros"], ["more"], body=inner)
        ], constants
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "limit"], ["go"]),
        helper.make_node("Loop", ["rounds", "go", "zeros"], ["more"], body=inner),
    ]
    return nodes, [constants[0], numpy_helper.from_array(np.float32(beyond), "limit")]


def growing(kind: str) -> Graph:
    """A gigabyte on the way, or three: from a constant, which ONNX Runtime computes when it opens
    the graph, or from what it is asked."""
    size = numpy_helper.from_array(np.array([1, 250_000_000], dtype=np.int64), "size")
    grown = {
        "ConstantOfShape": helper.make_node("ConstantOfShape", ["size"], ["grown"]),
        "Expand": helper.make_node("Expand", ["zeros", "size"], ["grown"]),
        "Tile": helper.make_node("Tile", ["zeros", "size"], ["grown"]),
    }[kind]
    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")
    total = helper.make_node("ReduceSum", ["grown", "axes"], ["total"], keepdims=1)
    return [grown, total, helper.make_node("Add", ["zeros", "total"], ["more"])], [size, axes]


def of_feature(place: int, scale: float) -> Graph:
    """The value of this feature times the scale; a missing one counts as none."""
    constants = [
        numpy_helper.from_array(np.array([place], dtype=np.int64), "which"),
        numpy_helper.from_array(np.float32([scale]), "scale"),
        numpy_helper.from_array(np.float32([0]), "none"),
    ]
    nodes = [
        helper.make_node("Gather", ["features", "which"], ["value"], axis=1),
        helper.make_node("IsNaN", ["value"], ["gone"]),
        helper.make_node("Where", ["gone", "none", "value"], ["known"]),
        helper.make_node("Mul", ["known", "scale"], ["scaled"]),
        helper.make_node("Add", ["zeros", "scaled"], ["more"]),
    ]
    return nodes, constants


def slow(width: int = 400_000) -> Graph:
    """About two milliseconds of computing for each customer."""
    constants = [
        numpy_helper.from_array(np.array([1, width], dtype=np.int64), "size"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("Expand", ["zeros", "size"], ["wide"]),
        helper.make_node("Erf", ["wide"], ["erf"]),
        helper.make_node("Tanh", ["erf"], ["tanh"]),
        helper.make_node("ReduceSum", ["tanh", "axes"], ["more"], keepdims=1),
    ]
    return nodes, constants
