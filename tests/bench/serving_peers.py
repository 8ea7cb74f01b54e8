"""Rows: the service beside its peers, which answer with the same model."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx
import numpy as np

from registry.bundle import Bundle
from tests.bench import serving_processes as processes
from tests.bench import serving_requests as requests
from tests.bench.figures import figure
from tests.bench.serving_champion import Registry, save_for_mlflow
from tests.bench.serving_processes import Server
from tests.bench.serving_rounds import OURS, Figures, Found, compared, in_turn, medians, ratio


def beside_peers(
    ours: Server, registry: Registry, bundle: Bundle, rounds: int, seconds: float
) -> Figures:
    names = [feature["name"] for feature in bundle.features]
    figures, busy = [], 0.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = save_for_mlflow(registry.versions[0], names, folder / "model")
        servers = {
            OURS: ours,
            "FastAPI": stack.enter_context(processes.fastapi(bundle.folder)),
            "BentoML": stack.enter_context(processes.bentoml(bundle.folder, folder)),
            "MLflow": stack.enter_context(processes.mlflow(model)),
        }
        for rows in (1, 100):
            asked = {name: requests.predict(bundle, rows) for name in servers}
            asked["MLflow"] = requests.invocations(bundle, rows)
            agree(servers, asked)
            found = in_turn(servers, asked, rounds, seconds)
            figures += of_rows(rows, found, onnx_runtime(bundle, rows))
            busy = max(busy, *(one["busy"] for all_ in found.values() for one in all_))
        memory = {name: one.memory_mb() for name, one in servers.items()}
    return [
        *figures,
        figure("most of its core that the load generator took", 100 * busy, "%"),
        compared("memory of a worker, after rows", memory, "MB"),
    ]


def agree(servers: dict[str, Server], asked: dict[str, requests.Requests]) -> None:
    """Raises RuntimeError unless all say the same of the same customers."""
    said = {}
    for name, server in servers.items():
        first = asked[name][0]
        answer = httpx.post(
            server.url + first["path"],
            content=first["body"],
            headers={"content-type": "application/json"},
            trust_env=False,
        ).json()
        found = answer if isinstance(answer, list) else answer["predictions"]
        found = found["probability"] if isinstance(found, dict) else found  # MLflow's, by output
        said[name] = [one["probability"] if isinstance(one, dict) else one for one in found]
    for name, found in said.items():
        if len(found) != len(said[OURS]) or not np.allclose(found, said[OURS], atol=1e-6):
            raise RuntimeError(f"{name} says {found[:3]}, ours {said[OURS][:3]}")


def of_rows(rows: int, found: Found, alone: float) -> Figures:
    """alone: microseconds of ONNX Runtime by itself."""
    single = rows == 1
    name = "one row: " if single else f"{rows} rows: "
    rates = {server: rate * rows for server, rate in medians(found, "per_second").items()}
    times = ratio(found, OURS, "FastAPI")
    return [
        compared(
            name + "throughput",
            rates | {"ONNX Runtime": 1e6 / alone * rows},
            "requests/s" if single else "rows/s",
            better="higher",
        ),
        figure(name + "throughput over FastAPI's", times, "times", 1 if single else 2, "higher"),
        compared(name + "p50", medians(found, "p50"), "ms"),
        compared(name + "p99", medians(found, "p99"), "ms", 10 if single else None),
        compared(
            name + "CPU of a request",
            medians(found, "cpu") | {"ONNX Runtime": alone},
            "µs",
        ),
    ]


def onnx_runtime(bundle: Bundle, rows: int, seconds: float = 1.0) -> float:
    """Microseconds of the median call in this process: what no server can be faster than."""
    reference = np.array(bundle.examples["reference"], dtype=np.float32)
    x = np.resize(reference, (rows, reference.shape[1]))
    took, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        bundle.predict(x)
        took.append(time.perf_counter() - began)
    return 1e6 * median(took)
