"""The tree of a run in MLflow: one parent, a child per family, a child of that per trial."""

from __future__ import annotations

import hashlib
import json
import math
import os
import posixpath
import re
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.store import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
PROCESS = "golden_path.process"
# Characters, of MLflow's.
LONGEST_KEY, LONGEST_VALUE, LONGEST_SCHEMA = 250, 6000, 1_000_000
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
                Metric(key(k), float(v), now, 0)
                for k, v in (metrics or {}).items()
                if v is not None
            ],
            params=[Param(key(k), str(v)[:LONGEST_VALUE]) for k, v in (params or {}).items()],
            tags=[RunTag(k, str(v)[:LONGEST_VALUE]) for k, v in (tags or {}).items()],
        )


def key(name: str) -> str:
    """The name as MLflow takes it. One with other characters than it allows, or too long, keeps
    what can be kept of it, and a hash, so that two names stay two."""
    kept = re.sub(r"[^\w.\- /]", "_", name)
    is_path = posixpath.normpath(name) != name or name.startswith(("/", "."))
    if kept == name and len(name) <= LONGEST_KEY and not is_path:
        return name
    kept = kept.replace("/", "_").strip(". ")[: LONGEST_KEY - 10]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{kept} {digest}".strip()


def log_trial(client: MlflowClient, family_run: str, trial: dict[str, Any]) -> None:
    """One finished trial as a closed run; `trial` is a `training.tuning.TrialResult` as a dict."""
    log_trials(client, family_run, [trial])


def log_trials(client: MlflowClient, family_run: str, trials: Iterable[dict[str, Any]]) -> None:
    """Finished trials as closed runs, in one transaction.

    A run takes three calls of MLflow's client (create, log, close), a dozen queries and seven
    commits: four times the work. So the rows are written as its SQL store would write them; a test
    reads them back through the client.
    """
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import insert, select

    place = (
        select(models.SqlExperiment.experiment_id, models.SqlExperiment.artifact_location)
        .join(models.SqlRun)
        .where(models.SqlRun.run_uuid == family_run)
    )
    with _writing, client._tracking_client.store.ManagedSessionMaker(read_only=False) as session:
        experiment, artifacts = session.execute(place).one()
        rows = _rows(family_run, trials, experiment, artifacts)
        tables = {
            models.SqlRun: rows["runs"],  # first: the others refer to it
            models.SqlTag: rows["tags"],
            models.SqlParam: rows["params"],
            models.SqlMetric: rows["metrics"],
            models.SqlLatestMetric: rows["metrics"],
        }
        for table, values in tables.items():
            if values:
                session.execute(insert(table), values)


def _rows(
    family_run: str, trials: Iterable[dict[str, Any]], experiment: int, artifacts: str
) -> dict[str, list[dict[str, Any]]]:
    """What MLflow's store keeps of closed runs, by kind."""
    now = int(time.time() * 1000)
    rows: dict[str, list[dict[str, Any]]] = {"runs": [], "tags": [], "params": [], "metrics": []}
    for trial in trials:
        run, name = uuid.uuid4().hex, f"trial {trial['number']}"
        rows["runs"].append(
            {
                "run_uuid": run,
                "name": name,
                "experiment_id": experiment,
                "artifact_uri": f"{artifacts}/{run}/artifacts",
                "status": "FAILED" if trial["state"] == "failed" else "FINISHED",
                "start_time": now - int(trial["seconds"] * 1000),
                "end_time": now,
                "user_id": "unknown",
                "source_type": "UNKNOWN",
                "source_name": "",
                "entry_point_name": "",
                "source_version": "",
            }
        )
        tags = {PARENT: family_run, "state": trial["state"], PROCESS: os.getpid(), RUN_NAME: name}
        rows["tags"] += _pairs(run, tags)
        rows["params"] += _pairs(run, trial["params"])
        metrics = {f"valid_{k}": v for k, v in trial["metrics"].items()}
        rows["metrics"] += [
            {"run_uuid": run, "key": key(k), "value": float(value), "timestamp": now, "step": 0}
            for k, value in {**metrics, "seconds": trial["seconds"]}.items()
            if value is not None and math.isfinite(value)
        ]
    return rows


def _pairs(run: str, values: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"run_uuid": run, "key": key(k), "value": str(v)[:LONGEST_VALUE]} for k, v in values.items()
    ]


def log_files(
    client: MlflowClient, run_id: str, files: Iterable[Path], folder: str | None = None
) -> None:
    with _writing:
        for file in files:
            client.log_artifact(run_id, str(file), folder)


def log_dataset(
    client: MlflowClient,
    run_id: str,
    *,
    name: str,
    file: Path,
    sha256: str,
    rows: int,
    columns: list[dict[str, Any]] | None = None,
) -> None:
    """A file that the run learnt from, for MLflow's page. Not by a frame: MLflow would go through
    all of its rows for a digest, and the file's is known.

    columns: MLflow's column schema (`registry/signature.py`), left out where it is too long.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    schema = json.dumps({"mlflow_colspec": columns}) if columns else ""
    dataset = Dataset(
        name=name[:500],
        digest=sha256[:36],
        source_type="local",
        source=json.dumps({"uri": file.as_uri()}),
        schema=schema if len(schema) < LONGEST_SCHEMA else None,
        profile=json.dumps({"num_rows": rows}),
    )
    tags = [InputTag("mlflow.data.context", "training")]
    with _writing:
        client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])


def children(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Name -> id of the runs right below this one."""
    wanted = f"tags.`{PARENT}` = '{run_id}'"
    found = client.search_runs([experiment_id(client)], wanted)
    return {run.info.run_name or "": run.info.run_id for run in found}


def close_run(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    with _writing:
        client.set_terminated(run_id, status)


def under_way(client: MlflowClient, run_id: str) -> bool:
    """Whether this run is not over, as far as can be seen."""
    from mlflow.exceptions import MlflowException

    try:
        return _alive(client.get_run(run_id))
    except MlflowException:  # it was deleted
        return False


def name_of(client: MlflowClient, run_id: str) -> str:
    """The name of this run of MLflow's: the project's own run id, for one that `make train` opened.
    "" when it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.run_name or ""
    except MlflowException:
        return ""


def _alive(run: MlflowRun) -> bool:
    import psutil

    process = run.data.tags.get(PROCESS, "")
    known = process.isascii() and process.isdigit() and len(process) < 10
    return run.info.status == "RUNNING" and known and psutil.pid_exists(int(process))


def close_dead_runs(client: MlflowClient) -> None:
    """Mark as KILLED what says it is running while its process is gone."""
    for run in _running(client):
        if not _alive(run):
            close_run(client, run.info.run_id, "KILLED")


def close_own_runs(client: MlflowClient) -> None:
    """Mark as KILLED what this process has under way: it is about to end. Takes no lock, as what
    holds it may be waiting for that end."""
    for run in _running(client):
        if run.data.tags.get(PROCESS) == str(os.getpid()):
            client.set_terminated(run.info.run_id, "KILLED")


def _running(client: MlflowClient) -> list[MlflowRun]:
    return client.search_runs([experiment_id(client)], "attributes.status = 'RUNNING'")
