"""The runs of a training in MLflow: one parent run, a child per family, a child of that per trial
(`registry/trials.py`)."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import is_running
from registry.tracking import experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

PARENT = "mlflow.parentRunId"
PROCESS, HOST = "golden_path.process", "golden_path.host"
# Characters, of MLflow's.
LONGEST_KEY, LONGEST_VALUE, LONGEST_SCHEMA = 250, 6000, 1_000_000
# SQLite takes one writer at a time: families report from threads of their own.
writing = threading.Lock()


def open_run(
    client: MlflowClient,
    name: str,
    *,
    parent: str | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """Start a run, and return its id."""
    all_tags = {**this_process(), **(tags or {}), **({PARENT: parent} if parent else {})}
    with writing:
        return client.create_run(experiment_id(client), run_name=name, tags=all_tags).info.run_id


def this_process() -> dict[str, str]:
    """The tags that name this process: several machines may use one server."""
    return {PROCESS: str(os.getpid()), HOST: socket.gethostname()}


def log(
    client: MlflowClient,
    run_id: str,
    *,
    params: dict[str, Any] | None = None,
    metrics: dict[str, float | None] | None = None,
    tags: dict[str, str] | None = None,
) -> None:
    """Log parameters, metrics and tags in one call: one at a time is thirty times slower."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    with writing:
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
    """A name that MLflow accepts. One that is too long, or has characters that MLflow refuses, is
    shortened and gets a hash, so that two names stay two."""
    kept = re.sub(r"[^\w.\- /]", "_", name)
    is_path = posixpath.normpath(name) != name or name.startswith(("/", "."))
    if kept == name and len(name) <= LONGEST_KEY and not is_path:
        return name
    kept = kept.replace("/", "_").strip(". ")[: LONGEST_KEY - 10]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{kept} {digest}".strip()


def log_files(
    client: MlflowClient, run_id: str, files: Iterable[Path], folder: str | None = None
) -> None:
    with writing:
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
    """Log a file that the run learnt from, for MLflow's page. Not as a data frame: MLflow would
    read all of its rows for a digest, and the file's hash is known.

    columns: MLflow's column schema (`registry/mlmodel.py`), left out where it is too long.
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
    with writing:
        client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])


def children(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Name -> id of the runs directly below this one."""
    below = f"tags.`{PARENT}` = '{run_id}'"
    runs = client.search_runs([experiment_id(client)], below)
    return {run.info.run_name or "": run.info.run_id for run in runs}


def close_run(client: MlflowClient, run_id: str, status: str = "FINISHED") -> None:
    with writing:
        client.set_terminated(run_id, status)


def under_way(client: MlflowClient, run_id: str) -> bool:
    """Whether this run still goes on, as far as can be seen from here."""
    from mlflow.exceptions import MlflowException

    try:
        return _alive(client.get_run(run_id))
    except MlflowException:  # it was deleted
        return False


def name_of(client: MlflowClient, run_id: str) -> str:
    """The name of a run in MLflow, which is the project's own run id where `make train` opened it;
    "" when it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.run_name or ""
    except MlflowException:
        return ""


def _alive(run: MlflowRun) -> bool:
    """Whether a run goes on. Of another machine's run only its status is known."""
    if run.info.status != "RUNNING":
        return False
    process, host = run.data.tags.get(PROCESS, ""), run.data.tags.get(HOST)
    if host not in (None, socket.gethostname()):
        return True
    return bool(re.fullmatch("[0-9]{1,9}", process)) and is_running(int(process))


def close_dead_runs(client: MlflowClient) -> None:
    """Mark as KILLED the runs whose status is RUNNING and whose process is gone."""
    for run in _running(client):
        if not _alive(run):
            close_run(client, run.info.run_id, "KILLED")


def close_own_runs(client: MlflowClient) -> None:
    """Mark as KILLED what this process has under way: it is about to end. Takes no lock, as its
    holder may be waiting for that end."""
    for run in _running(client):
        if this_process().items() <= run.data.tags.items():
            client.set_terminated(run.info.run_id, "KILLED")


def _running(client: MlflowClient) -> list[MlflowRun]:
    return client.search_runs([experiment_id(client)], "attributes.status = 'RUNNING'")
