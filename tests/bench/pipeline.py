"""`make bench`: seconds and memory of the pipeline, beside their limits, on this machine.

Every run starts from nothing (a var/ of its own), because a second one would reuse its stages.
Writes var/bench/pipeline.json: a list of {name, value, unit, limit, better, peers}. The peers are
the same work in pandas and in Polars, in the same run. Takes about a quarter of an hour.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import data, search
from tests.bench.figures import Peers, figure, show
from tests.places import HOW_TO_GET_IT, real_log_as_parquet

ROOT = Path(__file__).parents[2]
OUT = ROOT / "var" / "bench" / "pipeline.json"


def main() -> int:
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        summary = train(Path(folder) / "default")
        figures += [
            figure("default: seconds in all", summary["seconds"]["total"], limit=120),
            figure("default: seconds besides tuning and fitting", overhead(summary), limit=30),
            figure("default: peak memory", summary["peak_memory_mb"], "MB"),
            *scores("default", summary),
        ]
        log = real_log_as_parquet(Path(folder))
        if log is not None:
            figures += real_file(log, Path(folder))
        else:
            print(HOW_TO_GET_IT)
        figures += search.logging(Path(folder))
        figures += data.large(Path(folder))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    show(figures)
    print(f"written to {OUT.relative_to(ROOT)}")
    return 0


def real_file(log: Path, folder: Path) -> list[dict[str, Any]]:
    summary = train(folder / "real", "--config", "online_retail", "--source.path", str(log))
    seconds = summary["seconds"]
    name = "real file: "
    return [
        figure(name + "seconds in all", seconds["total"], limit=240),
        figure(name + "seconds besides tuning and fitting", overhead(summary)),
        figure(name + "peak memory", summary["peak_memory_mb"], "MB", 3000),
        *scores(name.rstrip(": "), summary),
        *data.real_file(log, folder),
        *search.real_file(log, folder / "real"),
    ]


def train(var: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows.commands.train", *arguments, "--var", str(var)]
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
    peers: Peers = {"oracle": oracle["roc_auc"]} if oracle else {}
    best = max(family["test"]["roc_auc"] for family in summary["families"].values())
    winner = summary["families"][summary["winner"]]["test"]["roc_auc"]
    return [
        figure(f"{name}: test ROC AUC, best family", best, "", better="higher", peers=peers),
        figure(f"{name}: test ROC AUC, winner", winner, "", better="higher", peers=peers),
    ]


if __name__ == "__main__":
    sys.exit(main())
