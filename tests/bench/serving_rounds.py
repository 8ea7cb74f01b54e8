"""Rounds: several servers asked in turn, again and again, and the medians of what was found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any

from tests.bench.figures import figure
from tests.bench.serving_processes import Server, ask
from tests.bench.serving_requests import Requests

CONNECTIONS = 8
MEMORY_MB = 400  # of a worker
OURS = "ours"
Found = dict[str, list[dict[str, Any]]]  # server -> what its rounds found
Figures = list[dict[str, Any]]


def in_turn(
    servers: dict[str, Server],
    asked: dict[str, Requests],
    rounds: int,
    seconds: float,
    around: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> Found:
    """around: given a server's name, what its round happens within."""
    found: Found = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            with around(name):
                found[name].append(ask(server, asked[name], CONNECTIONS, seconds))
    return found


def medians(found: Found, key: str) -> dict[str, float]:
    return {server: median(one[key] for one in rounds) for server, rounds in found.items()}


def ratio(found: Found, of: str, to: str) -> float:
    """Of throughput, of each round with its neighbour: others on the machine slow down both."""
    pairs = zip(found[of], found[to], strict=True)
    return median(ours["per_second"] / theirs["per_second"] for ours, theirs in pairs)


def compared(
    name: str,
    values: dict[str, float],
    unit: str,
    limit: float | None = None,
    better: str = "lower",
    first: str = OURS,
) -> dict[str, Any]:
    peers: dict[str, float | str] = {k: v for k, v in values.items() if k != first}
    return figure(name, values[first], unit, limit, better, peers)
