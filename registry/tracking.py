"""The tree of a run in MLflow: one parent, a child per family, a child of that per trial."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.store import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"
PROCESS = "golden_path.process"
# SQLite takes one writer at a time: families report from threads of their own.
_writing = threading.Lock()


def open_run(
    client: MlflowClient,
    name: str,
    *,
    parent: str | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """A new running run; returns its id."""
    all_tags = {PROCESS: str(os.getpid()), **(tags or {}), **({PARENT: parent} if parent else {})}
    with _writing:
        return client.create_run(experiment_id(client), run_name=name, tags=all_tags).info.run_id


def log(
    client: MlflowClient,
    run_id: str,
    *,
    params: dict[str, Any] | None = None,
    metrics: dict[str, float | None] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Parameters, metrics and tags in one call: one at a time is thirty times slower."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    with _writing:
        client.log_batch(
            run_id,
            metrics=[
                Metric(k, float(v), now, 0) for k, v in (metrics or {}).items() if v is not None
            ],
            params=[Param(k, str(v)[:6000]) for k, v in (params or {}).items()],
            tags=[RunTag(k, str(v)) for k, v in (tags or {}).items()],
        )


def log_trial(client: MlflowClient, family_run: str, trial: dict[str, Any]) -> None:
    """One finished trial as a closed run; `trial` is a `training.tuning.TrialResult` as a dict."""
    now = int(time.time() * 1000)
    with _writing:
        run = client.create_run(
            experiment_id(client),
            start_time=now - int(trial["seconds"] * 1000),
            run_name=f"trial {trial['number']}",
            tags={PARENT: family_run, "state": trial["state"], PROCESS: str(os.getpid())},
        )
    log(
        client,
        run.info.run_id,
        params=trial["params"],
        metrics={f"valid_{k}": v for k, v in trial["metrics"].items()}
        | {"seconds": trial["seconds"]},
    )
    close_run(client, run.info.run_id, "FAILED" if trial["state"] == "failed" else "FINISHED")


def log_files(
    client: MlflowClient, run_id: str, files: Iterable[Path], folder: str | None = None
) -> None:
    with _writing:
        for file in files:
            client.log_artifact(run_id, str(file), folder)


def close_run(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    with _writing:
        client.set_terminated(run_id, status)


def close_dead_runs(client: MlflowClient) -> list[str]:
    """Mark as KILLED what says it is running while its process is gone. Returns their names."""
    import psutil

    running = client.search_runs([experiment_id(client)], "attributes.status = 'RUNNING'")
    dead = [
        run for run in running if not psutil.pid_exists(int(run.data.tags.get(PROCESS, "0") or 0))
    ]
    for run in dead:
        close_run(client, run.info.run_id, "KILLED")
    return [run.info.run_name or "" for run in dead]
