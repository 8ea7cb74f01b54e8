"""Seconds of the search and of its record in MLflow, for `make bench`.

The searches are the pipeline's own, on the state that its run on the real file left: the training
table is there already, one family has all cores, and only the family's own seconds are counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.load import load
from registry import runs
from registry.location import tracking_uri
from registry.tracking import experiment_id, open_store
from registry.trials import log_trial
from tests.bench.figures import figure

ROOT = Path(__file__).parents[2]
TRIALS, METRICS, PARAMS = 200, 10, 8


def real_file(real: Path, var: Path) -> list[dict[str, Any]]:
    """var: where the pipeline has run on the real file before."""
    xgboost = search(real, var, "xgboost", 40)
    tabm = search(real, var, "tabm", 1)
    # Without the process's start and the libraries: the clock runs in the search itself.
    return [
        figure(
            "real file: 40 trials of XGBoost, two workers", xgboost["seconds"]["tuning"], limit=30
        ),
        figure("real file: one trial of TabM", tabm["trials"][0]["seconds"], limit=20),
    ]


def search(real: Path, var: Path, family: str, trials: int) -> dict[str, Any]:
    """The family's result.json."""
    command = [sys.executable, "-m", "flows.commands.train", "--config", "online_retail"]
    command += ["--source.path", str(real), "--var", str(var), "--training.ensemble", "false"]
    command += ["--training.families", json.dumps([family]), "--tuning.trials", str(trials)]
    # Two processes with a thread each: two threads of one small fit mostly wait for each other.
    command += ["--tuning.workers", "1" if trials == 1 else "2"]
    command += ["--tuning.seconds", "600"]  # trials end it, also on a machine that is too slow
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    results = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in (var / "stages").glob(f"{family}-*/result.json")
    ]
    (found,) = [result for result in results if len(result["trials"]) == trials]
    return found


def logging(folder: Path) -> list[dict[str, Any]]:
    """200 trials with 10 metrics each, beside MLflow's own way, each in a store of its own."""
    ours, peer = timed(log_ours, folder / "ours"), timed(log_fluent, folder / "fluent")
    name = f"MLflow: {TRIALS} trials, {METRICS} metrics each"
    return [figure(name, ours, limit=5, peers={"mlflow.start_run, nested": peer})]


def timed(log: Callable[[Any, Any], None], var: Path) -> float:
    settings = load("default", ["--var", str(var)])
    client = open_store(settings)  # the database takes seconds to make: not counted
    began = time.perf_counter()
    log(client, settings)
    seconds = time.perf_counter() - began
    runs = client.search_runs([experiment_id(client)], max_results=2 * TRIALS)
    logged = [run for run in runs if len(run.data.metrics) >= METRICS]
    assert len(logged) == TRIALS and all(run.info.status == "FINISHED" for run in logged)
    return seconds


def log_ours(client: Any, _: Any) -> None:
    family_run = runs.open_run(client, "family", parent=runs.open_run(client, "run"))
    for number in range(TRIALS):
        trial = {"number": number, "state": "complete", "seconds": 1.0}
        trial |= {"params": params(number), "metrics": metrics(number)}
        log_trial(client, family_run, trial)


def log_fluent(client: Any, settings: Any) -> None:
    """As MLflow's documentation shows it: nested runs, one call for all metrics of a trial."""
    import mlflow

    mlflow.set_tracking_uri(tracking_uri(settings))
    mlflow.set_experiment(experiment_id=experiment_id(client))
    with mlflow.start_run(run_name="run"), mlflow.start_run(run_name="family", nested=True):
        for number in range(TRIALS):
            with mlflow.start_run(run_name=f"trial {number}", nested=True):
                mlflow.log_params(params(number))
                mlflow.log_metrics(metrics(number))


def params(number: int) -> dict[str, float]:
    return {f"param_{i}": number + i / PARAMS for i in range(PARAMS)}


def metrics(number: int) -> dict[str, float]:
    return {f"metric_{i}": number + i / METRICS for i in range(METRICS)}
