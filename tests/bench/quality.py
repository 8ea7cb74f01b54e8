"""`make bench-quality`: our models beside AutoGluon and FLAML, and beside the oracle.

On the real file our pipeline runs from nothing; then each peer gets the same training table and as
many seconds as our families took, one after the other, on all cores. All are scored on the same
test rows, whose labels no peer sees, with paired intervals over customers. On simulated data the
winner's distance to the oracle is measured for three seeds.

The peers need packages that the project does not: they get an environment of their own under var/,
or the one whose interpreter is given by `--peers PYTHON`. Writes var/bench/quality.json, from which
`make docs` makes docs/quality.md. Takes about half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.markdown import Markdown

from reports.measured import quality_page
from tests.places import HOW_TO_GET_IT, real_log
from training.metrics import paired_difference, score

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "var" / "bench"
OUT = BENCH / "quality.json"
PINNED = Path(__file__).with_name("quality_peers.txt")
SEED = 7
SEEDS = (7, 8, 9)  # of the simulated shops; the first is the preset's
BOOTSTRAP = 1000
WAYS = [  # peer, who chooses its validation rows, what it optimises
    *((peer, way, "roc_auc") for peer in ("autogluon", "flaml") for way in ("own", "dates")),
    *((peer, "dates", "log_loss") for peer in ("autogluon", "flaml")),
    *(("autogluon", "grouped", metric) for metric in ("roc_auc", "log_loss")),
]
FOLDS = 8  # of the grouped way: as many as AutoGluon's best_quality makes by itself
OFFLINE = {  # whoever tries to reach a network finds nobody
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    **{name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy")},
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.quality", description=__doc__)
    parser.add_argument("--peers", type=Path, help="Python of an environment with the peers")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {"cores": cores(), "real": None, "oracle": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = real_log()
        if log is not None:
            figures["real"] = real_file(log, folder, options.peers or peers_python())
            keep(figures)
        else:
            print(HOW_TO_GET_IT)
        for seed in SEEDS:
            figures["oracle"].append(beside_the_oracle(folder / f"seed-{seed}", seed))
    keep(figures)
    Console(width=150).print(Markdown(quality_page(figures)))
    print(f"written to {OUT.relative_to(ROOT)}; `make docs` brings it into docs/quality.md")
    return 0


def keep(figures: dict[str, Any]) -> None:
    BENCH.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2), encoding="utf-8")


def peers_python() -> Path:
    """The interpreter of the peers' environment, which is made when absent or out of date."""
    venv = BENCH / "peers-venv"
    python, kept = venv / "bin" / "python", venv / PINNED.name
    wanted = PINNED.read_text(encoding="utf-8")
    if not kept.exists() or kept.read_text(encoding="utf-8") != wanted:
        print(f"installing the peers into {venv.relative_to(ROOT)}: some minutes, once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", PINNED], check=True)
        kept.write_text(wanted, encoding="utf-8")  # last: an interrupted one is done again
    return python


def real_file(log: Path, folder: Path, python: Path) -> dict[str, Any]:
    var = folder / "real"
    summary = train(var, "--config", "online_retail", "--source.path", str(log))
    seconds = summary["seconds"]["fit"] + summary["seconds"].get("ensemble", 0.0)
    table = var / json.loads((var / "runs" / "latest" / "data.json").read_text())["table"]
    y, groups = hand_over(table, folder / "peers")
    ours = {name: candidate(var, name) for name in summary["families"]}
    found = {
        "rows": summary["table"]["rows"],
        "features": summary["table"]["features"],
        "positive_rate": float(np.mean(y)),
        "seconds": seconds,
        "winner": summary["winner"],
        "ours": [
            {
                "name": name,
                "seconds": summary["families"][name]["fit_seconds"],
                "scores": scores(y, p, groups),
            }
            for name, p in ours.items()
        ],
        "peers": [],
    }
    for peer, way, metric in WAYS:
        entry: dict[str, Any] = {"name": peer, "way": way, "metric": metric}
        try:
            p, facts = run_peer(python, peer, way, metric, seconds, folder / "peers")
        except subprocess.SubprocessError as error:
            entry["failed"] = str(error)  # the others are still worth comparing with
        else:
            entry |= facts | compare(y, ours[summary["winner"]], p, groups)
        found["peers"].append(entry)
        print(json.dumps(entry), flush=True)
    return found


def train(var: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows.commands.train", *arguments, "--var", str(var)]
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return json.loads((var / "runs" / "latest" / "summary.json").read_text(encoding="utf-8"))


def hand_over(table: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the splits for the peers; returns labels and customers of the test rows.

    Dates and customers are not features of ours, so the peers do not get them either; of labelled
    rows they get `fold`, which is the same for all rows of a customer, to validate by.
    """
    folder.mkdir()
    rows = pq.read_table(table)
    test = rows.filter(pc.equal(rows["split"], "test"))
    for split in ("train", "valid", "test"):
        part = rows.filter(pc.equal(rows["split"], split))
        hidden = ["customer_id", "as_of", "split"]
        if split == "test":
            hidden.append("label")
        else:
            folds = [zlib.crc32(str(name).encode()) % FOLDS for name in part["customer_id"]]
            part = part.append_column("fold", pa.array(folds, pa.int64()))
        part = part.drop_columns(hidden)
        pq.write_table(part, folder / f"{split}.parquet")
    return test["label"].to_numpy(), np.asarray(test["customer_id"].to_pylist())


def candidate(var: Path, name: str) -> np.ndarray:
    """Probabilities (n_test,) of one of ours. The run began from nothing: it has one stage each."""
    (found,) = (var / "stages").glob(f"{name}-*/test_native.npy")
    return np.load(found)


def run_peer(
    python: Path, peer: str, way: str, metric: str, seconds: float, folder: Path
) -> tuple[np.ndarray, dict[str, Any]]:
    """Its probabilities (n_test,) and facts. Raises SubprocessError when it fails or hangs."""
    output = folder / f"{peer}-{way}-{metric}"
    output.mkdir()
    job = {
        "peer": peer,
        "way": way,
        "metric": metric,
        "seconds": seconds,
        "seed": SEED,
        "threads": cores(),
        "folder": str(folder),
        "output": str(output),
    }
    job_file = output / "job.json"
    job_file.write_text(json.dumps(job), encoding="utf-8")
    print(f"{peer}, {way} validation rows, {metric}: {seconds:.0f} s", flush=True)
    with (output / "log.txt").open("wb") as log:
        subprocess.run(
            [python, Path(__file__).with_name("quality_peer.py"), job_file],
            cwd=output,  # they leave folders of their own where they stand
            env={**os.environ, **OFFLINE},
            stdout=log,
            stderr=log,
            check=True,
            timeout=10 * seconds + 600,
        )
    return np.load(output / "p.npy"), json.loads((output / "facts.json").read_text())


def compare(y: np.ndarray, ours: np.ndarray, p: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """The peer's scores, and ours − theirs: above 0 is in our favour for ROC AUC, below 0 for
    log loss."""
    paired = paired_difference(y, ours, p, bootstrap=BOOTSTRAP, seed=SEED, groups=groups)
    return {
        "scores": scores(y, p, groups),
        "difference": {name: paired[name] for name in ("roc_auc", "log_loss")},
    }


def scores(y: np.ndarray, p: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    found = score(y, p, bootstrap=BOOTSTRAP, seed=SEED, groups=groups)
    return {**found, "mean_predicted": float(np.mean(p))}


def beside_the_oracle(var: Path, seed: int) -> dict[str, Any]:
    summary = train(var, "--seed", str(seed))
    winner = summary["winner"]
    return {
        "seed": seed,
        "winner": winner,
        "roc_auc": summary["families"][winner]["test"]["roc_auc"],
        "oracle": summary["oracle"]["roc_auc"],
        "families": {name: f["test"]["roc_auc"] for name, f in summary["families"].items()},
    }


def cores() -> int:
    mine = getattr(os, "sched_getaffinity", None)  # what this process may use, where that is known
    return len(mine(0)) if mine else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
