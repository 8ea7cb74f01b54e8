"""Small graphs, versions and decisions for a real MLflow store."""

from __future__ import annotations

from itertools import count
from typing import Any

import onnx
from onnx import TensorProto, helper

from registry import runs
from registry.bundle import write_bundle
from registry.champion import champion_number, register
from registry.decisions import conclude
from registry.gate import Decision

PROMOTE = Decision("promote", ("held: it is better",))
REJECT = Decision("reject", ("broken: it is worse",))
numbers = count()


def graph(*nodes: Any, initializers: Any = (), domain: str = "") -> onnx.ModelProto:
    """Probability = sigmoid of the features, which are one column; and these nodes."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"])
        for name in ("features", "probability")
    ]
    last = helper.make_node("Sigmoid", ["features"], ["probability"], domain=domain)
    made = helper.make_graph([*nodes, last], "tiny", ends[:1], ends[1:], list(initializers))
    opsets = [helper.make_opsetid(name, 18) for name in dict.fromkeys(["", domain])]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


GRAPH = graph().SerializeToString()


def new_version(client, settings, **description):
    """A registered version whose run goes on."""
    number = next(numbers)
    folder = settings.var / f"bundle{number}"
    content = {"test": {"roc_auc": 0.7}, "data_sha256": "d", "run_id": "r", "number": number}
    sha256 = write_bundle(folder, GRAPH, {**content, **description})
    run = runs.open_run(client, "run")
    return register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha256, tags={})


def decided(client, settings, version, decision=PROMOTE, expected=None):
    """The gate's decision, carried out. expected: the champion it was compared with."""
    return conclude(
        client,
        settings,
        version=version,
        decision=decision,
        expected_champion=expected,
        figures={"roc_auc": 0.7, "against_champion": {"roc_auc": {"low": float("inf")}}},
        data_sha256="data",
        code_revision="code",
        run_id="run",
    )


def champions(client, settings, number: int) -> None:
    """So many versions, each promoted by the gate in turn."""
    for _ in range(number):
        now = champion_number(client, settings)
        decided(client, settings, new_version(client, settings), PROMOTE, now)
