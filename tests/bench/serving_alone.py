"""What only the service does: invoice lines, explanations, swaps under load, two workers."""

from __future__ import annotations

import os
import time
from statistics import median

from registry.bundle import Bundle
from tests.bench import serving_processes as processes
from tests.bench import serving_requests as requests
from tests.bench.figures import figure
from tests.bench.serving_champion import Registry
from tests.bench.serving_processes import Server, ask, loading, result
from tests.bench.serving_rounds import (
    CONNECTIONS,
    MEMORY_MB,
    Figures,
    compared,
    in_turn,
    medians,
    ratio,
)

SPARE_CORES = 4  # from so many on, two workers and the load do not share cores
SWAPS = 4


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
    name = "memory of a worker, after invoice lines"
    return [*figures, figure(name, ours.memory_mb(), "MB", MEMORY_MB)]


def swaps(ours: Server, registry: Registry, bundle: Bundle) -> Figures:
    """The slowest request while the champion changes, and in some seconds without a change."""
    asked, took = requests.predict(bundle, 1), []
    still = ask(ours, asked, CONNECTIONS, 2 * SWAPS)
    with loading(ours, asked, CONNECTIONS, 600) as process:
        time.sleep(1)  # the generator starts
        for _ in range(SWAPS):
            took.append(registry.swap(ours))
            time.sleep(1)
        process.terminate()
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
    rates, name = medians(found, "per_second"), "two workers: "
    peers: dict[str, float | str] = {"one": rates["one"]}
    return [
        figure(name + "throughput", rates["two"], "requests/s", better="higher", peers=peers),
        figure(name + "throughput over one's" + said, ratio(found, "two", "one"), "times", limit)
        | {"better": "higher"},
        compared(name + "CPU of a request", medians(found, "cpu"), "µs", first="two"),
        compared(name + "p99", medians(found, "p99"), "ms", first="two"),
        figure(name + "work of the busier one", 100 * max(shares) / sum(shares), "%"),
        figure(name + "memory of the larger one", memory, "MB"),
    ]
