"""A tiny bundle, and the real service on it: one process tree for the whole room."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from configs.load import load
from configs.source import CANONICAL
from features.catalogue import CATALOGUE, NAMES
from registry.bundle import Bundle, load_bundle, write_bundle

ROOT = Path(__file__).resolve().parents[2]
MAX_ROWS = 50
AS_OF = date(2025, 6, 24)
FEATURES = {"horizon_days": 90, "active_days": 365, "invoice_days": 7}
SECTION = {
    "declared": sorted(CANONICAL),
    "contract": load("default", [], {}).contract.model_dump(mode="json"),
    "features": FEATURES | {"home_country": "United Kingdom"},
    "log_start": "2024-01-01",
}

# The launcher as it is, with a champion that no registry had to be filled for.
SERVE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when tests run in the background
import msgspec
from common.errors import UserError
from configs.load import load
from serving.__main__ import serve, served_of
from serving.served import Fixed
folder, sha256, *overrides = sys.argv[1:]
settings = load("smoke", overrides)
try:
    served = msgspec.structs.replace(
        served_of(settings, "golden-path-default"),
        tracking_uri=None,
        fixed=Fixed(folder, 3, sha256),
    )
    serve(settings, served, f"version 3 (bundle {sha256[:12]})")
except UserError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Running:
    url: str
    port: int
    launcher: psutil.Process
    bundle: Bundle
    var: Path
    log: Path
    ready_seconds: float


def line(
    invoice: str, days: int, quantity: int | None = 2, price: float | None = 1.5, **changes: Any
) -> dict[str, Any]:
    """An invoice line, `days` before AS_OF."""
    return {
        "invoice_id": invoice,
        "product_id": "22423",
        "description": "cake stand",
        "quantity": quantity,
        "unit_price": price,
        "invoiced_at": f"{AS_OF - timedelta(days=days)}T10:00:00",
        "country": "United Kingdom",
    } | changes


SAMPLES = [
    {
        "name": "sample 1",
        "as_of": str(AS_OF),
        "lines": [line("1", 80), line("C2", 60, -1), line("3", 20, 3), line("4", 9, 5, 0.0)],
    },
    {"name": "sample 2", "as_of": str(AS_OF), "lines": [line("5", 5, 4, 1.0)]},
]


def reference(n: int = 8) -> list[list[float | None]]:
    """Customers to explain against, (n, features): values within range, now and then none."""
    spread = np.random.default_rng(7)
    rows = []
    for _ in range(n):
        values = [spread.uniform(f.low or 0, 9 if f.high is None else f.high) for f in CATALOGUE]
        gone = [f.missing and spread.random() < 0.2 for f in CATALOGUE]
        rows.append([None if lost else round(v, 3) for lost, v in zip(gone, values)])
    return rows


def make_bundle(folder: Path) -> str:
    """probability = sigmoid(Σ wᵢ·xᵢ), a missing value counting as one, of a transaction log.

    NaN beyond 1e30 recency days, to see what becomes of values without an answer.
    """
    weights = np.linspace(-0.02, 0.03, len(NAMES), dtype=np.float32)
    constants = [
        numpy_helper.from_array(np.float32(1).reshape(1), "one"),
        numpy_helper.from_array(weights.reshape(-1, 1), "weights"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat"),
        numpy_helper.from_array(np.array([NAMES.index("recency_days")], dtype=np.int64), "which"),
        numpy_helper.from_array(np.float32([1e30]), "limit"),
        numpy_helper.from_array(np.float32([0]), "zero"),
    ]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "one", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["column"]),
        helper.make_node("Gather", ["filled", "which"], ["recency"], axis=1),
        helper.make_node("Sub", ["limit", "recency"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["real"]),
        helper.make_node("Mul", ["real", "zero"], ["nothing"]),
        helper.make_node("Add", ["column", "nothing"], ["sum"]),
        helper.make_node("Reshape", ["sum", "flat"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(NAMES)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    description = {
        "family": "tiny",
        "threshold": 0.5,
        "features": [asdict(feature) for feature in CATALOGUE],
        "question": FEATURES,
        "transactions": SECTION,
    }
    examples = {"reference": reference(), "samples": SAMPLES}
    return write_bundle(folder, model.SerializeToString(), description, examples=examples)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("served")) as running:
        yield running


@contextmanager
def started(
    folder: Path,
    *overrides: str,
    make: Callable[[Path], str] = make_bundle,
    **environment: str,
) -> Iterator[Running]:
    """A service of its own on the tiny bundle, or on what `make` makes, with these settings."""
    sha256 = make(folder / "bundle")
    port, var, log = free_port(), folder / "var", folder / "service.log"
    began = time.monotonic()
    usual = ["--serving.port", str(port), "--var", str(var), "--serving.max_rows", str(MAX_ROWS)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder / "bundle"), sha256, *usual, *overrides],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None and time.monotonic() - began < 120, log.read_text()
            time.sleep(0.05)
        yield Running(
            url=f"http://127.0.0.1:{port}",
            port=port,
            launcher=psutil.Process(process.pid),
            bundle=load_bundle(folder / "bundle"),
            var=var,
            log=log,
            ready_seconds=time.monotonic() - began,
        )
    finally:
        end(process)


def end(
    process: subprocess.Popen[Any], how: signal.Signals = signal.SIGTERM
) -> list[psutil.Process]:
    """The signal to the launcher alone; returns what of its family is still there, and kills it."""
    if process.poll() is not None:
        return []
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    process.wait(60)
    _, left = psutil.wait_procs(family, timeout=10)
    for one in left:
        one.kill()
    return left


@pytest.fixture(scope="session")
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
        yield client
