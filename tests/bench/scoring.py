"""`make bench-scoring`: seconds and memory of `make score` for a million customers.

    python -m tests.bench.scoring [--customers N] [--families xgboost,tabm]

The first family's champion is the headline; of the others it is said what they take. The real
command is run, as a process of its own: from the file (ten million lines, which it reads and
validates), and with that done before, as in `make operate`. The peer makes the same features with
Polars from the same valid rows and asks the same ONNX graph, in the same run, and writes both
files. Writes var/bench/scoring.json. Takes about five minutes; the models are trained once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from configs.load import load
from configs.settings import Settings
from flows import log_stages
from registry import champion
from registry.bundle import MODEL, load_bundle, write_bundle
from registry.champion import register, the_champion
from registry.evidence import question
from registry.runs import open_run
from registry.tracking import open_store
from serving.batch import PARQUET
from tests.bench.data import environment
from tests.bench.figures import figure, show
from tests.bench.scoring_log import AS_OF, write_log
from tests.bench.serving_champion import Registry

ROOT = Path(__file__).parents[2]
OUT = ROOT / "var" / "bench" / "scoring.json"
FOLDER = ROOT / "var" / "bench" / "scoring"
MEMORY_MB = 1500
CLOSE = 1e-6
TRIALS = 3  # of the search for the model's parameters
FIRST_SALE = "2015-01-01"  # before any of the log: what a bundle trained on it would say


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.scoring", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--families", default="xgboost,tabm", help="as a,b")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / f"log-{options.customers}.parquet"
    if not log.exists():
        aside = log.with_suffix(".unfinished")
        print(f"{write_log(aside, options.customers):,} lines of {options.customers:,} customers")
        aside.rename(log)
    first, *others = options.families.split(",")
    figures = measure(log, first, others)
    figures += [
        figure("load average of a minute, before", before, ""),
        figure("load average of a minute, after", os.getloadavg()[0], ""),
    ]
    OUT.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    show(figures)
    print(f"written to {OUT.relative_to(ROOT)}")
    return 0


def measure(log: Path, first: str, others: list[str]) -> list[dict[str, Any]]:
    settings = preset(log)
    promote(settings, first)
    scores = settings.var / "scores"
    for left in (scores, settings.var / "stages", settings.var / "batches"):
        shutil.rmtree(left, ignore_errors=True)
    whole = score(settings)
    shutil.rmtree(scores)
    work = score(settings)
    found = score(settings)
    ours = scored(settings)

    (transactions,) = (settings.var / "stages").glob("validate-*/transactions.parquet")
    bundle, target = the_champion(settings).bundle, FOLDER / "polars"
    polars = timed("tests.bench.scoring_polars", transactions, bundle, AS_OF, target)
    far = difference(ours, target)

    size = f"{pq.read_metadata(ours / PARQUET).num_rows / 1e6:.2g} M customers"
    name = f"{size}: make score"
    figures = [
        figure(name, work["seconds"], peers={"polars": polars["seconds"]}),
        figure(f"{name}: CPU of all cores", work["cpu"], peers={"polars": polars["cpu"]}),
        figure(
            f"{name}: peak memory",
            work["memory_mb"],
            "MB",
            MEMORY_MB,
            peers={"polars": polars["memory_mb"]},
        ),
        figure(f"{name}, of a file that it reads and validates first", whole["seconds"]),
        figure(
            f"{name}, of a file that it reads and validates first: peak memory",
            whole["memory_mb"],
            "MB",
            MEMORY_MB,
        ),
        figure(f"{name} again, which finds them", found["seconds"]),
        figure(
            f"{size}: probabilities that Polars with the same model makes, to {CLOSE:g}",
            100 * float((far <= CLOSE).mean()),
            "%",
            99.99,
            "higher",
        ),
    ]
    for family in others:
        promote(settings, family)
        shutil.rmtree(scores)
        one = score(settings)
        figures += [
            figure(f"{name} with a champion of {family}", one["seconds"]),
            figure(
                f"{name} with a champion of {family}: peak memory",
                one["memory_mb"],
                "MB",
                MEMORY_MB,
            ),
        ]
    return figures


def preset(log: Path) -> Settings:
    """The default preset on this file, in a var/ of its own."""
    tree = yaml.safe_load((ROOT / "configs" / "default.yaml").read_text(encoding="utf-8"))
    tree["source"] = {"kind": "files", "path": str(log)}
    file = FOLDER / f"{log.stem}.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return load(str(file), ["--var", str(FOLDER / log.stem)], {})


def promote(settings: Settings, family: str) -> None:
    """Make a model of this family champion. It was trained on the default preset's shop; what its
    bundle says of the question and the log is made to fit these settings."""
    trained = Registry(FOLDER / f"model-{family}", [family], TRIALS).versions[0]
    opened = load_bundle(trained.bundle)
    section = {
        **opened.description["transactions"],
        "contract": log_stages.dated(settings).model_dump(mode="json"),
        "log_start": FIRST_SALE,
    }
    told = {**opened.description, "question": question(settings), "transactions": section}
    folder, client = FOLDER / "bundle", open_store(settings)
    sha256 = write_bundle(folder, (trained.bundle / MODEL).read_bytes(), told, opened.examples)
    run = open_run(client, "run")
    version = register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha256, tags={})
    champion.promote(client, version)


def score(settings: Settings) -> dict[str, float]:
    words = ("--config", settings.file, "--var", settings.var, "--as-of", AS_OF)
    return timed("flows.score", *words)


def scored(settings: Settings) -> Path:
    (folder,) = (settings.var / "scores").glob(f"*/as_of={AS_OF}")
    return folder


def timed(module: str, *arguments: object) -> dict[str, float]:
    """Seconds, CPU and peak memory of a process: all of it, from its start to its end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    memory = used.ru_maxrss * 1024 / 1e6
    cpu = used.ru_utime + used.ru_stime
    print(f"{module}: {seconds:.1f} s, CPU {cpu:.1f} s, {memory:,.0f} MB", flush=True)
    return {"seconds": seconds, "cpu": cpu, "memory_mb": memory}


def difference(ours: Path, theirs: Path) -> np.ndarray:
    """Of the probabilities of each customer. Raises AssertionError for other customers."""
    one, other = (pq.read_table(at / PARQUET).sort_by("customer_id") for at in (ours, theirs))
    assert one["customer_id"].to_pylist() == other["customer_id"].to_pylist(), "other customers"
    return np.abs(one["probability"].to_numpy() - other["probability"].to_numpy())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
