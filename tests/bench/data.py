"""The stages on data, beside pandas and Polars doing the same work in the same run.

Each measurement is a process of its own, one after the other. On the real file the best of three is
counted, with the libraries loaded. On thirty million lines one try is, and the peers may take
`PATIENCE` seconds and `ROOM` of memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    """Seconds and memory of all stages; or what came in the way."""
    made = (folder / "transactions.parquet", "default", folder / "table.parquet")
    try:
        first = run("tests.bench.peers", peer, log, folder, 1)
        second = run("tests.bench.peer_features", peer, *made)
    except subprocess.TimeoutExpired:
        return f"over {PATIENCE} s", ""
    except subprocess.CalledProcessError:
        return f"out of {ROOM / 1e9:.0f} GB", ""
    seconds = first["ingest"] + first["validate"] + second["seconds"]
    return round(seconds, 1), max(first["peak_memory_mb"], second["peak_memory_mb"])


def simulated(customers: int, folder: Path) -> Path:
    command = [sys.executable, "-m", "ingestion.simulation", str(folder)]
    done = subprocess.run(
        [*command, f"customers={customers}"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    print(f"simulated {done.stdout.strip()}")
    return Path(done.stdout.split(":")[0])


def run(module: str, *arguments: object) -> dict[str, Any]:
    """The JSON that a module prints, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM)),
    )
    return json.loads(done.stdout.splitlines()[-1])


def of(peers: dict[str, dict[str, Any]], stage: str) -> Peers:
    return {name: found[stage] for name, found in peers.items()}


def environment() -> dict[str, str]:
    from configs.environment import QUIET

    return os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
