"""Minutes of mixed load on one worker: does its memory go on growing?

Rows, invoice lines, explanations, requests that are refused, and a swap every half minute. What
counts is the least memory of each half minute, the floor to which the worker comes back: peaks
depend on which requests meet. Its slope is taken by least squares over the second half: in the
first one caches fill and allocators find their size.
"""

from __future__ import annotations

import math
import time
from typing import Any

from scipy.stats import linregress

from registry.bundle import Bundle
from tests.bench import serving_requests as requests
from tests.bench.figures import figure
from tests.bench.serving_champion import Registry
from tests.bench.serving_processes import Server, loading, result
from tests.bench.serving_rounds import CONNECTIONS, MEMORY_MB

EVERY, SWAP_EVERY = 5.0, 30.0  # seconds
STEADY = 1.0  # MB per minute


def soak(
    server: Server, registry: Registry, bundle: Bundle, minutes: float
) -> list[dict[str, Any]]:
    print(f"{minutes:g} minutes of mixed load", flush=True)
    times, memory, swaps = [0.0], [server.memory_mb()], 0
    with loading(server, requests.mixed(bundle), CONNECTIONS, 60 * minutes) as process:
        began = time.monotonic()
        while process.poll() is None:
            time.sleep(EVERY)
            if time.monotonic() - began > (swaps + 1) * SWAP_EVERY:
                registry.swap(server)
                swaps += 1
            times.append((time.monotonic() - began) / 60)
            memory.append(server.memory_mb())
            if len(memory) % 12 == 0:
                print(f"  {times[-1]:4.1f} min  {memory[-1]:6.1f} MB", flush=True)
        found = result(process)
    half = len(times) // 2
    slope, error = _slope(times[half:], memory[half:])
    statuses = found["statuses"]
    name = f"{minutes:g} minutes of mixed load: "
    return [
        figure(
            name + "growth of memory in the second half",
            slope,
            "MB/min",
            STEADY,
            peers={"standard error": error},
        ),
        figure(name + "memory at the start", memory[0], "MB"),
        figure(name + "memory half-way", memory[half], "MB"),
        figure(name + "most memory", max(memory), "MB", MEMORY_MB),
        figure(name + "requests", sum(statuses.values()), "", better="higher", peers=statuses),
        figure(name + "answers of a fault (5xx)", _faults(statuses), "", 0),
        figure(name + "swaps", swaps, "", better="higher"),
    ]


def _slope(times: list[float], memory: list[float]) -> tuple[float, float]:
    """MB per minute of the least memory of each half minute, and its standard error. times: in
    minutes."""
    several = round(SWAP_EVERY / EVERY)
    parts = [slice(start, start + several) for start in range(0, len(times), several)]
    floor = [min(memory[part]) for part in parts]
    middle = [sum(times[part]) / len(times[part]) for part in parts]
    if len(floor) < 3:
        return 0.0, math.inf
    line = linregress(middle, floor)
    return float(line.slope), float(line.stderr)


def _faults(statuses: dict[str, int]) -> int:
    return sum(count for status, count in statuses.items() if status >= "500")
