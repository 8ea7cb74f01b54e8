"""`make bench`: seconds and memory of the road, beside their limits, on this machine.

Every run starts from nothing (a var/ of its own), because a second one would reuse its stages.
Writes var/bench/road.json: a list of {name, value, unit, limit, better, peer, peer_value}.
The peer of validation and features is the same work in pandas, in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.peer import pandas_features_seconds, pandas_quarantine_seconds

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "online_retail_ii.parquet"
OUT = ROOT / "var" / "bench" / "road.json"


def main() -> int:
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        summary = train(Path(folder) / "default")
        figures += [
            figure("default: seconds in all", summary["seconds"]["total"], "s", 120),
            figure("default: seconds besides tuning and fitting", overhead(summary), "s", 30),
            figure("default: peak memory", summary["peak_memory_mb"], "MB", None),
            *scores("default", summary),
        ]
        if REAL.exists():
            figures += real_file(Path(folder))
        else:
            print(f"{REAL} is absent: the real file is not measured")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    show(figures)
    return 0


def real_file(folder: Path) -> list[dict[str, Any]]:
    summary = train(folder / "real", "--config", "online_retail", "--source.path", str(REAL))
    seconds = summary["seconds"]
    (transactions,) = (folder / "real" / "stages").glob("validate-*/transactions.parquet")
    (rows,) = (folder / "real" / "stages").glob("ingest-*/rows.parquet")
    cleaning, validation, features = stage_seconds(transactions)
    name = "real file: "
    return [
        figure(name + "seconds in all", seconds["total"], "s", 240),
        figure(name + "seconds besides tuning and fitting", overhead(summary), "s", None),
        figure(name + "peak memory", summary["peak_memory_mb"], "MB", 3000),
        figure(
            name + "validation and quarantine",
            validation,
            "s",
            5,
            peer=("pandas, quarantine alone", pandas_quarantine_seconds(rows)),
        ),
        figure(
            name + "features",
            features,
            "s",
            None,
            peer=("pandas, order features alone", pandas_features_seconds(transactions)),
        ),
        figure(name + "cleaning (into canonical form) and features", cleaning + features, "s", 2),
        *scores(name.rstrip(": "), summary),
    ]


def stage_seconds(transactions: Path) -> tuple[float, float, float]:
    """Cleaning, validation and features alone, in a process where the libraries are loaded."""
    code = f"""
import json, tempfile, time
from datetime import datetime
from pathlib import Path
import great_expectations
from configs.load import load
from features.build import build_table
from ingestion.files import read_file
from ingestion.validate import validate_batch
settings = load("online_retail", ["--source.path", {str(REAL)!r}])
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    begun = time.perf_counter()
    read_file(settings.source, folder / "rows.parquet")
    cleaned = time.perf_counter()
    validate_batch(folder / "rows.parquet", folder, settings.contract, now=datetime.now())
    validated = time.perf_counter()
    build_table(Path({str(transactions)!r}), folder / "table.parquet", settings.features)
    ends = [begun, cleaned, validated, time.perf_counter()]
    print(json.dumps([after - before for before, after in zip(ends, ends[1:])]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=_environment(), capture_output=True, text=True
    )
    done.check_returncode()
    cleaning, validation, features = json.loads(done.stdout.splitlines()[-1])
    return cleaning, validation, features


def train(var: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows.train", *arguments, "--var", str(var)]
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((var / "runs" / "latest" / "summary.json").read_text())
    kept = OUT.parent / "summaries" / f"{summary['config']}.json"  # `make docs` reads them
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return summary


def overhead(summary: dict[str, Any]) -> float:
    """What is not tuning or fitting: imports, Prefect, MLflow, Great Expectations, export.

    Families run side by side, so the longest search and refit is what the rest waits for.
    """
    longest = max(family["fit_seconds"] for family in summary["families"].values())
    return round(summary["seconds"]["total"] - longest, 1)


def scores(name: str, summary: dict[str, Any]) -> list[dict[str, Any]]:
    oracle = summary["oracle"]
    peer = ("oracle", oracle["roc_auc"]) if oracle else None
    best = max(family["test"]["roc_auc"] for family in summary["families"].values())
    winner = summary["families"][summary["winner"]]["test"]["roc_auc"]
    return [
        figure(f"{name}: test ROC AUC, best family", best, "", None, better="higher", peer=peer),
        figure(f"{name}: test ROC AUC, winner", winner, "", None, better="higher", peer=peer),
    ]


def figure(
    name: str,
    value: float,
    unit: str,
    limit: float | None,
    *,
    better: str = "lower",
    peer: tuple[str, float] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "limit": limit,
        "better": better,
        "peer": peer[0] if peer else None,
        "peer_value": round(peer[1], 4) if peer else None,
    }


def show(figures: list[dict[str, Any]]) -> None:
    table = Table("figure", "value", "limit", "peer", title=f"on {os.cpu_count()} cores", box=None)
    for item in figures:
        over = item["limit"] is not None and item["value"] > item["limit"]
        peer = f"{item['peer']}: {item['peer_value']:g}" if item["peer"] else ""
        limit = "" if item["limit"] is None else f"{item['limit']:g}"
        value = f"{item['value']:g} {item['unit']}" + ("  OVER" if over else "")
        table.add_row(item["name"], value, limit, peer)
    Console(width=120).print(table)
    print(f"written to {OUT.relative_to(ROOT)}")


def _environment() -> dict[str, str]:
    from configs.environment import QUIET

    return os.environ | QUIET | {"PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    sys.exit(main())
