"""The stages on data, beside pandas and Polars doing the same work in the same run.

Each measurement is a process of its own, one after the other. On the real file the best of three is
counted, with the libraries loaded. On thirty million lines one try is, and the peers may take
`PATIENCE` seconds and `ROOM` of memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from tests.bench.figures import Peers, figure

ROOT = Path(__file__).parents[2]
PATIENCE, ROOM = 200, 16_000_000_000
# Customers of a simulated log -> its lines, about.
SIZES = {10_500: "1 M", 105_000: "10 M", 315_000: "30 M"}


def real_file(log: Path, folder: Path) -> list[dict[str, Any]]:
    """Cleaning and features, validation and quarantine of the published log."""
    ours = run("tests.bench.stages", "online_retail", log, folder, 3)
    peers = {name: run("tests.bench.peers", name, log, folder, 3) for name in ("pandas", "polars")}
    for name, found in peers.items():
        assert found["reasons"] == ours["reasons"], f"{name} finds other rows: {found['reasons']}"
    made = (folder / "transactions.parquet", "online_retail", folder / "table.parquet")
    for name, found in peers.items():
        features = run("tests.bench.peer_features", name, *made, 3)
        assert features["difference"] < 1e-6, f"{name} makes other features"
        found["features"] = features["seconds"]
    whole = {name: found["ingest"] + found["features"] for name, found in peers.items()}
    cleaning = ours["ingest"] + ours["features"]
    name = "real file: "
    return [
        figure(f"{name}cleaning (into canonical form)", ours["ingest"], peers=of(peers, "ingest")),
        figure(f"{name}features", ours["features"], peers=of(peers, "features")),
        figure(f"{name}cleaning and features", cleaning, limit=1.0, peers=dict(whole)),
        figure(
            f"{name}cleaning and features, pandas over ours",
            whole["pandas"] / cleaning,
            "times",
            limit=3.0,
            better="higher",
        ),
        figure(
            f"{name}validation and quarantine",
            ours["validate"],
            limit=3.0,
            peers=of(peers, "validate"),
        ),
        figure(f"{name}leak check", ours["leaks"]),
    ]


def large(folder: Path) -> list[dict[str, Any]]:
    """Ingestion, validation, quarantine and features on up to thirty million simulated lines."""
    figures = []
    for customers, size in SIZES.items():
        log = simulated(customers, folder)
        ours = run("tests.bench.stages", "default", log, folder, 1)
        stages = ("ingest", "validate", "features")
        seconds = sum(ours[stage] for stage in stages)
        shown = ", ".join(f"{stage} {ours[stage]:.1f}" for stage in (*stages, "leaks"))
        print(f"{ours['rows']:,} lines: {seconds:.1f} s, {ours['peak_memory_mb']:,} MB ({shown})")
        last = size == "30 M"
        peers: Peers = {}
        memory: Peers = {}
        if last:
            for peer in ("pandas", "polars"):
                peers[peer], memory[peer] = whole_peer(peer, log, folder)
        name = f"{size} lines: ingestion, validation, features"
        figures += [
            figure(name, seconds, limit=90 if last else None, peers=peers),
            figure(
                f"{size} lines: peak memory",
                ours["peak_memory_mb"],
                "MB",
                limit=4000 if last else None,
                peers=memory,
            ),
            figure(f"{size} lines: seconds per million", seconds / ours["rows"] * 1e6),
        ]
        log.unlink()
    return figures


def whole_peer(peer: str, log: Path, folder: Path) -> tuple[float | str, float | str]:
    """Seconds and memory of all stages; or how far it came, and what came in the way."""
    made = (folder / "transactions.parquet", "default", folder / "table.parquet")
    done, peak = 0.0, 0.0
    steps = (("tests.bench.peers", peer, log, folder), ("tests.bench.peer_features", peer, *made))
    for stage, (module, *arguments) in zip(("validation", "features"), steps, strict=True):
        try:
            found = run(module, *arguments)
        except TooMuch as reason:
            before = f", after {done:.0f} s" if done else ""
            return f"{reason} in {stage}{before}", str(reason)
        done += sum(found.get(name, 0.0) for name in ("ingest", "validate", "seconds"))
        peak = max(peak, found["peak_memory_mb"])
    return done, peak


def simulated(customers: int, folder: Path) -> Path:
    command = [sys.executable, "-m", "simulator", str(folder)]
    done = subprocess.run(
        [*command, f"customers={customers}"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    print(f"simulated {done.stdout.strip()}")
    return Path(done.stdout.split(":")[0])


class TooMuch(Exception):
    """A process took more seconds or memory than it may."""


def run(module: str, *arguments: object) -> dict[str, Any]:
    """The JSON that a module prints, run in a process of its own.

    Raises TooMuch when it takes more than PATIENCE or ROOM.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    out = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=out, text=True) as process:
        watched, begun, reason = psutil.Process(process.pid), time.monotonic(), ""
        while process.poll() is None and not reason:
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                if watched.memory_info().rss > ROOM:
                    reason = f"over {ROOM / 1e9:.0f} GB"
                elif time.monotonic() - begun > PATIENCE:
                    reason = f"over {PATIENCE} s"
        if reason:
            process.kill()
            raise TooMuch(reason)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return json.loads(said.splitlines()[-1])


def of(peers: dict[str, dict[str, Any]], stage: str) -> Peers:
    return {name: found[stage] for name, found in peers.items()}


def environment() -> dict[str, str]:
    from configs.environment import QUIET

    return os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
