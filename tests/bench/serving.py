"""`make bench-serving`: the service beside its peers, and its limits, on this machine.

    python -m tests.bench.serving [--soak MINUTES] [--rounds N] [--seconds S] [--families a,b]

The peers answer with the same model in the same run: a plain typed FastAPI application, a plain
typed BentoML service, MLflow's scoring server, and ONNX Runtime alone, in this process. All are
asked in turn, in short rounds (A B C A B C …), and the median of the rounds counts: a machine that
others use too is unfair to all of them alike. The load is `tests/bench/serving_load.py`: wrk finds
the same figures. Writes var/bench/serving.json. Takes about fifteen minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from statistics import median
from typing import Any

from registry.bundle import load_bundle
from tests.bench import serving_processes as processes
from tests.bench.figures import figure, show
from tests.bench.serving_alone import others, swaps, two_workers
from tests.bench.serving_champion import Registry
from tests.bench.serving_peers import beside_peers
from tests.bench.serving_processes import ROOT
from tests.bench.serving_rounds import CONNECTIONS, MEMORY_MB, Figures
from tests.bench.serving_shadow import shadowed
from tests.bench.serving_soak import soak

FOLDER = ROOT / "var" / "bench"
STARTS = 3
TRIALS = 3  # of the search for the model's parameters


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.serving", description=__doc__)
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round")
    parser.add_argument("--families", default="xgboost", help="of the model, as a,b")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the servers, as Ctrl-C does
    before = os.getloadavg()[0]
    name = options.families.replace(",", "-")
    registry = Registry(FOLDER / "serving" / name, options.families.split(","), TRIALS)
    try:
        figures = measure(registry, options)
    finally:
        registry.promote(registry.versions[0])
    figures += [
        figure("load average of a minute, before", before, ""),
        figure("load average of a minute, after", os.getloadavg()[0], ""),
    ]
    file = FOLDER / ("serving.json" if name == "xgboost" else f"serving-{name}.json")
    file.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    show(figures)
    limits = [item for item in figures if item["limit"] is not None]
    missed = [item["name"] for item in limits if _missed(item)]
    print(f"{len(limits) - len(missed)} of {len(limits)} limits met")
    for one in missed:
        print(f"  missed: {one}")
    print(f"written to {file.relative_to(ROOT)}")
    return 0


def measure(registry: Registry, options: argparse.Namespace) -> Figures:
    bundle = load_bundle(registry.versions[0].bundle)
    family = bundle.description["family"]
    print(
        f"model: {family}, {len(bundle.features)} features; {os.cpu_count()} cores,"
        f" load average {os.getloadavg()[0]:.1f}; own load generator, {CONNECTIONS} connections",
        flush=True,
    )
    starts = []
    for _ in range(STARTS - 1):
        with processes.service(registry.settings) as one:
            starts.append(one.ready_seconds)
    with processes.service(registry.settings) as ours:
        starts.append(ours.ready_seconds)
        figures = [figure("start to ready", median(starts), "s", 5)]
        figures.append(figure("memory of a worker, before it is asked", ours.memory_mb(), "MB"))
        figures += beside_peers(ours, registry, bundle, options.rounds, options.seconds)
        figures += others(ours, bundle, options.seconds)
        figures += swaps(ours, registry, bundle)
        figures += two_workers(ours, registry, bundle, options.rounds, options.seconds)
        memory = ours.memory_mb()
        figures.append(figure("memory of a worker, after all that", memory, "MB", MEMORY_MB))
        if options.soak:
            figures += soak(ours, registry, bundle, options.soak)
    return figures + shadowed(registry, bundle, options.rounds, options.seconds)


def _missed(item: dict[str, Any]) -> bool:
    value, limit = item["value"], item["limit"]
    return value > limit if item["better"] == "lower" else value < limit


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
