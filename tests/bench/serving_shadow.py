"""What a challenger in shadow costs those who ask: the service with and without one, in turn.

    python -m tests.bench.serving_shadow [--rounds N] [--seconds S]

Both services log requests, as a shadow needs it, and have the same champion. The challenger is one
of many trees, which takes far longer than there is time for: it may drop rows, and must not be
noticed. A second one, whose bundle is the champion's, says whether seconds in the shadow's log can
be compared with those of the champion.

The services have one half of the cores and the load the other one, as if it came from elsewhere:
what the challenger's process takes is the worker's. Meanwhile that process stands still in the
rounds without it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import psutil

from registry.bundle import Bundle, load_bundle, write_bundle
from registry.champion import CHALLENGER, ModelVersion, find_version, register
from registry.runs import open_run
from tests.bench import serving_processes as processes
from tests.bench import serving_requests as requests
from tests.bench.figures import figure, show
from tests.bench.serving_champion import Registry
from tests.bench.serving_processes import ROOT, Server
from tests.bench.serving_requests import Requests
from tests.bench.serving_rounds import CONNECTIONS, Figures, Found, in_turn, medians

TREES, DEPTH, ROWS = 2000, 8, 4000
MOST = 1.2  # times the p99 without a shadow
ROUNDS = 30  # at least: a p99 varies more from round to round than a median
LOGGED = ("--serving.log_requests", "true")
SHADOWED = (*LOGGED, "--serving.shadow", "challenger")
WITH, WITHOUT, AGAIN = "with a shadow", "without", "without, again"


def shadowed(registry: Registry, bundle: Bundle, rounds: int, seconds: float) -> Figures:
    """Rows alone and in hundreds; the slow challenger first, then the champion's own bundle."""
    slow, same = slow_version(registry, bundle), registry.versions[1]
    rounds = max(rounds, ROUNDS)
    figures: Figures = []
    shutil.rmtree(registry.settings.var / "serving", ignore_errors=True)
    with service(registry, LOGGED) as without:
        challenge(registry, slow)
        with service(registry, SHADOWED) as both:
            wait_for_shadow(both, slow)
            servers = {WITHOUT: without, WITH: both, AGAIN: without}
            for rows in (1, 100):
                asked = requests.predict(bundle, rows)
                name = "one row" if rows == 1 else f"{rows} rows"
                found = beside(servers, asked, rounds, seconds)
                figures += of_rounds(f"{name}, a slow challenger in shadow: ", found)
            figures.append(
                figure("answers that differ with a shadow", differ(servers, bundle), "", 0)
            )
            figures += of_shadow(both, without)
        challenge(registry, same)
        with service(registry, SHADOWED) as both:
            wait_for_shadow(both, same)
            servers = {WITHOUT: without, WITH: both, AGAIN: without}
            found = beside(servers, requests.predict(bundle, 1), rounds, seconds)
            figures += of_rounds("one row, the champion's twin in shadow: ", found)
            figures += of_shadow(both, without)
    return figures + timed(registry, same)


@contextmanager
def service(registry: Registry, options: tuple[str, ...]) -> Iterator[Server]:
    with ExitStack() as running:
        with half_of_the_cores(0):
            server = running.enter_context(processes.service(registry.settings, *options))
        yield server


@contextmanager
def half_of_the_cores(which: int) -> Iterator[None]:
    """What is started within has the first (0) or the second (1) half of them, on Linux."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    all_cores = os.sched_getaffinity(0)
    middle = len(all_cores) // 2
    if middle:
        ordered = sorted(all_cores)
        os.sched_setaffinity(0, ordered[middle:] if which else ordered[:middle])
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


def beside(servers: dict[str, Server], asked: Requests, rounds: int, seconds: float) -> Found:
    """Rounds of each server, those without a shadow while its process stands still."""
    scorer = scorer_of(servers[WITH])

    @contextmanager
    def round_of(name: str) -> Iterator[None]:
        (scorer.resume if name == WITH else scorer.suspend)()
        with half_of_the_cores(1):
            yield

    try:
        return in_turn(servers, dict.fromkeys(servers, asked), rounds, seconds, round_of)
    finally:
        scorer.resume()  # a process that stands still does not end with its worker


def scorer_of(server: Server) -> psutil.Process:
    """The process of the challenger."""
    (found,) = (one for one in server.family() if "serving.shadow_scorer" in one.cmdline())
    return found


def of_rounds(name: str, found: Found) -> Figures:
    """Medians of the rounds: a p99 has a heavy tail, in which single pairs of rounds say little."""
    p99, rate = medians(found, "p99"), medians(found, "per_second")
    times = p99[WITH] / median(one["p99"] for one in [*found[WITHOUT], *found[AGAIN]])
    noise = max(p99[WITHOUT], p99[AGAIN]) / min(p99[WITHOUT], p99[AGAIN])
    return [
        figure(f"{name}p99", p99[WITH], "ms", peers={WITHOUT: p99[WITHOUT], AGAIN: p99[AGAIN]}),
        figure(
            f"{name}p99 over that without", times, "times", MOST, peers={"the two without": noise}
        ),
        figure(
            f"{name}throughput",
            rate[WITH],
            "requests/s",
            better="higher",
            peers={WITHOUT: rate[WITHOUT], AGAIN: rate[AGAIN]},
        ),
    ]


def of_shadow(server: Server, without: Server) -> Figures:
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=30).text

    def count(name: str) -> float:
        lines = [
            one for one in metrics.splitlines() if one.startswith(f"golden_path_shadow_{name}")
        ]
        return sum(float(line.split()[-1]) for line in lines)

    scored, dropped = count("rows_total"), count("dropped_rows_total")
    child = scorer_of(server)
    return [
        figure("  rows that it scored", scored, "rows", better="higher"),
        figure("  rows that were dropped", dropped, "rows"),
        figure("  rows without an answer", count("errors_total"), "rows", 0),
        figure("  memory of its process", child.memory_info().rss / 2**20, "MB"),
        figure(
            "  memory of a worker", server.memory_mb(), "MB", peers={WITHOUT: without.memory_mb()}
        ),
    ]


def differ(servers: dict[str, Server], bundle: Bundle) -> int:
    """How many answers are not the same bytes in both."""
    asked = requests.predict(bundle, 1) + requests.predict(bundle, 100)
    asked += requests.transactions(bundle, 20, 100)
    different = 0
    for one in asked:
        said = {
            httpx.post(
                server.url + one["path"], content=one["body"], trust_env=False, timeout=30
            ).content
            for server in servers.values()
        }
        different += len(said) > 1
    return different


def timed(registry: Registry, twin: ModelVersion) -> Figures:
    """Seconds a row of one model as champion and in shadow, where both had calls of one row."""
    import pyarrow.dataset as ds

    logged = ds.dataset(registry.settings.var / "serving" / "shadow").to_table(
        filter=(ds.field("version") == twin.version)
        & (ds.field("call_rows") == 1)
        & (ds.field("champion_call_rows") == 1)
    )
    figures = []
    for name, share in (("median", 0.5), ("p99", 0.99)):
        theirs, ours = (
            1e6 * float(np.quantile(logged[column].to_numpy(), share))
            for column in ("seconds", "champion_seconds")
        )
        figures += [
            figure(f"  {name} of its seconds a row", theirs, "µs", peers={"as champion": ours})
        ]
    return [*figures, figure("  calls compared", logged.num_rows, "calls", better="higher")]


def wait_for_shadow(server: Server, version: ModelVersion) -> None:
    import time

    until = time.monotonic() + 60
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        while (client.get("/model").json()["shadow"] or {}).get("version") != version.version:
            if time.monotonic() > until:
                raise RuntimeError("the challenger was not put in shadow within a minute")
            time.sleep(0.1)


def challenge(registry: Registry, version: ModelVersion) -> None:
    client: Any = registry.client
    client.set_registered_model_alias(version.name, CHALLENGER, str(version.version))


def slow_version(registry: Registry, bundle: Bundle) -> ModelVersion:
    """Version 3: thousands of deep trees fitted to noise, of the champion's features."""
    found = find_version(registry.client, registry.settings, 3)
    if found is not None:
        return found
    import xgboost

    from training.families.xgboost import Model, to_onnx

    features = len(bundle.features)
    reference = np.array(bundle.examples["reference"], dtype=np.float32)
    draw = np.random.default_rng(7)
    x = reference[draw.integers(len(reference), size=ROWS)]
    x = x * draw.uniform(0.5, 1.5, size=x.shape).astype(np.float32)
    matrix = xgboost.QuantileDMatrix(x, draw.integers(2, size=ROWS))
    params = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.01, "nthread": 1}
    print(f"once, a challenger of {TREES} trees", flush=True)
    booster = xgboost.train(params, matrix, TREES)
    model = to_onnx(Model({}, booster), features).SerializeToString()
    folder = registry.settings.var / "slow-bundle"
    sha256 = write_bundle(folder, model, bundle.description, bundle.examples)
    return register(
        registry.client,
        registry.settings,
        run_id=open_run(registry.client, "run"),
        bundle=folder,
        bundle_sha256=sha256,
        tags={},
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.serving_shadow", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the servers, as Ctrl-C does
    folder = ROOT / "var" / "bench"
    registry = Registry(folder / "serving" / "xgboost", ["xgboost"], 3)
    figures = shadowed(
        registry, load_bundle(registry.versions[0].bundle), options.rounds, options.seconds
    )
    Path(folder / "serving-shadow.json").write_text(json.dumps(figures, indent=2), "utf-8")
    show(figures)
    print(f"{CONNECTIONS} connections; written to var/bench/serving-shadow.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
