"""The rounds of `make bench-serving`: who is asked what, in which order, and what is made of it."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from registry.bundle import Bundle
from tests.bench import serving_processes as processes
from tests.bench import serving_requests as requests
from tests.bench.figures import figure
from tests.bench.serving_champion import Registry, save_for_mlflow
from tests.bench.serving_processes import Server, ask, loading, result

CONNECTIONS = 8
SPARE_CORES = 4  # from so many on, two workers and the load do not share cores
SWAPS = 4
OURS = "ours"
Found = dict[str, list[dict[str, Any]]]  # server -> what its rounds found
Figures = list[dict[str, Any]]


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
            found = in_turn(servers, asked, rounds, seconds)
            figures += of_rows(rows, found, onnx_runtime(bundle, rows))
            busy = max(busy, *(one["busy"] for all_ in found.values() for one in all_))
        memory = {name: one.memory_mb() for name, one in servers.items()}
    return [
        *figures,
        figure("most of its core that the load generator took", 100 * busy, "%"),
        _compared("memory of a worker, after rows", memory, "MB"),
    ]


def in_turn(
    servers: dict[str, Server], asked: dict[str, requests.Requests], rounds: int, seconds: float
) -> Found:
    found: Found = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            found[name].append(ask(server, asked[name], CONNECTIONS, seconds))
    return found


def of_rows(rows: int, found: Found, alone: float) -> Figures:
    """alone: microseconds of ONNX Runtime by itself."""
    single = rows == 1
    name = "one row: " if single else f"{rows} rows: "
    rates = {server: rate * rows for server, rate in _medians(found, "per_second").items()}
    times = _ratio(found, OURS, "FastAPI")
    return [
        _compared(
            name + "throughput",
            rates | {"ONNX Runtime": 1e6 / alone * rows},
            "requests/s" if single else "rows/s",
            better="higher",
        ),
        figure(name + "throughput over FastAPI's", times, "times", 1 if single else 2, "higher"),
        _compared(name + "p50", _medians(found, "p50"), "ms"),
        _compared(name + "p99", _medians(found, "p99"), "ms", 10 if single else None),
        _compared(
            name + "CPU of a request",
            _medians(found, "cpu") | {"ONNX Runtime": alone},
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


def others(ours: Server, bundle: Bundle, seconds: float) -> Figures:
    """Invoice lines and explanations, which no peer answers."""
    one, twenty = requests.transactions(bundle, 1, 200), requests.transactions(bundle, 20, 100)
    rounds = {
        "200 invoice lines of a customer": (one, 1, 25.0),
        "200 invoice lines of a customer, 8 connections": (one, CONNECTIONS, None),
        "20 customers of 100 invoice lines": (twenty, 1, None),
        "an explanation": (requests.explain(bundle), 1, None),
    }
    figures = []
    for name, (asked, connections, limit) in rounds.items():
        found = ask(ours, asked, connections, 3 * seconds)
        figures += [
            figure(f"{name}: p50", found["p50"], "ms", limit),
            figure(f"{name}: p99", found["p99"], "ms"),
            figure(f"{name}: throughput", found["per_second"], "requests/s", better="higher"),
        ]
    return [*figures, figure("memory of a worker, after invoice lines", ours.memory_mb(), "MB")]


def swaps(ours: Server, registry: Registry, bundle: Bundle) -> Figures:
    """The slowest request while the champion changes, and in as many seconds without a change."""
    asked, seconds, took = requests.predict(bundle, 1), 2.0 * SWAPS, []
    still = ask(ours, asked, CONNECTIONS, seconds)
    with loading(ours, asked, CONNECTIONS, seconds) as process:
        time.sleep(1)  # the generator starts
        for _ in range(SWAPS):
            took.append(registry.swap(ours))
            time.sleep(1)
        assert process.poll() is None, "the load ended before the swaps"
        found = result(process)
    lost = sum(count for status, count in found["statuses"].items() if status != "200")
    name = f"{SWAPS} swaps under load: "
    return [
        figure(name + "slowest request", found["slowest"], "ms", peers={"none": still["slowest"]}),
        figure(name + "p99", found["p99"], "ms", peers={"none": still["p99"]}),
        figure(name + "requests lost", lost, "", 0),
        figure(name + "from /reload to the new one", 1000 * median(took), "ms"),
    ]


def two_workers(
    ours: Server, registry: Registry, bundle: Bundle, rounds: int, seconds: float
) -> Figures:
    """Beside one. With two cores, the load takes a part of what the second worker would need: then
    the ratio has no limit, and CPU of a request says whether workers are in each other's way."""
    cores = os.cpu_count() or 1
    asked = requests.predict(bundle, 1)
    with processes.service(registry.settings, "--serving.workers", "2") as two:
        servers = {"two": two, "one": ours}
        found = in_turn(servers, dict.fromkeys(servers, asked), rounds, seconds)
        shares = [sum(worker.cpu_times()[:2]) for worker in two.workers()]
        memory = two.memory_mb()
    limit = 1.6 if cores >= SPARE_CORES else None
    said = "" if limit else f" (no cores to spare: {cores} for two workers and the load)"
    rates, name = _medians(found, "per_second"), "two workers: "
    peers: dict[str, float | str] = {"one": rates["one"]}
    return [
        figure(name + "throughput", rates["two"], "requests/s", better="higher", peers=peers),
        figure(name + "throughput over one's" + said, _ratio(found, "two", "one"), "times", limit)
        | {"better": "higher"},
        _compared(name + "CPU of a request", _medians(found, "cpu"), "µs", first="two"),
        _compared(name + "p99", _medians(found, "p99"), "ms", first="two"),
        figure(name + "work of the busier one", 100 * max(shares) / sum(shares), "%"),
        figure(name + "memory of the larger one", memory, "MB"),
    ]


def _medians(found: Found, key: str) -> dict[str, float]:
    return {server: median(one[key] for one in rounds) for server, rounds in found.items()}


def _ratio(found: Found, of: str, to: str) -> float:
    """Of throughput, of each round with its neighbour: others on the machine slow down both."""
    pairs = zip(found[of], found[to], strict=True)
    return median(ours["per_second"] / theirs["per_second"] for ours, theirs in pairs)


def _compared(
    name: str,
    values: dict[str, float],
    unit: str,
    limit: float | None = None,
    better: str = "lower",
    first: str = OURS,
) -> dict[str, Any]:
    peers: dict[str, float | str] = {k: v for k, v in values.items() if k != first}
    return figure(name, values[first], unit, limit, better, peers)
