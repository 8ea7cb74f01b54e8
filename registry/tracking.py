"""MLflow: where its state is kept, and the tree of a training run in it.

One parent run, a child per family, a child of that per trial. MLflow is reached through its public
client. By default that opens SQLite and a folder under var/; with `tracking.uri` it speaks to an
MLflow server, which keeps the files too. `log_trials` has a short cut for SQLite.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import posixpath
import re
import socket
import sqlite3
import threading
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import make_once
from common.full_disk import full_disk
from configs.settings import Settings
from registry.champion import artifact_root, database, local_path, tls, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as MlflowRun

EXPERIMENT = "golden-path"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its page shows runs, not traces
PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
PROCESS, HOST = "golden_path.process", "golden_path.host"
# Characters, of MLflow's.
LONGEST_KEY, LONGEST_VALUE, LONGEST_SCHEMA = 250, 6000, 1_000_000
ANSWER_SECONDS = 10.0
# SQLite takes one writer at a time: families report from threads of their own.
_writing = threading.Lock()


# --- where the state is kept --------------------------------------------------------------------


def open_store(settings: Settings) -> MlflowClient:
    """Open MLflow's client, with the experiment made; a new database takes 2 to 3 s.

    Raises UserError for a database that cannot be read or was moved, and for a server that does not
    answer or refuses the login.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger(name).addHandler(logging.NullHandler())  # where there is no log
    server, uri = settings.tracking.uri, tracking_uri(settings)
    if server:
        _check_server(server)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError

        try:
            if not server:
                make_once(database(settings), partial(_make_database, settings))
            client = MlflowClient(uri, uri)
            experiment = ensure_experiment(client, settings, EXPERIMENT)
        except (DatabaseError, sqlite3.DatabaseError, MlflowException) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            if server:
                raise UserError(
                    f"the MLflow server refuses to answer: {reason}",
                    where=f"tracking.uri ({server})",
                    next_step=LOGIN,
                ) from error
            raise full_disk(error, database(settings)) or UserError(
                f"MLflow's database cannot be read: {reason}",
                where=str(database(settings)),
                next_step="bring back a copy of it; without it the registered models are not known",
            ) from error
    if not server:
        _refuse_moved(experiment.artifact_location, settings)
    return client


LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to what"
    " the server asks for"
)


def _check_server(uri: str) -> None:
    """Check that the server answers: MLflow's client would try again for minutes."""
    import httpx

    try:
        answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=ANSWER_SECONDS, verify=tls())
        fault = "" if answer.status_code == 200 else f"it answers {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        fault = str(error) or type(error).__name__
    if fault:
        raise UserError(
            f"there is no MLflow server here: {fault}",
            where=f"tracking.uri ({uri})",
            next_step="start it (mlflow server), or correct the address; without tracking.uri"
            " SQLite under var/ is used",
        )


def ensure_experiment(
    client: MlflowClient, settings: Settings, name: str, folder: str = ""
) -> Experiment:
    """Find this experiment, or make it. folder: of its files, below those of all; a server has a
    place of its own for them."""
    found = client.get_experiment_by_name(name)
    if found is None:
        place = None if settings.tracking.uri else (artifact_root(settings) / folder).as_uri()
        found = client.get_experiment(client.create_experiment(name, place, tags=KIND))
    return found


def _make_database(settings: Settings, file: Path) -> None:
    """Make a database of MLflow's with the experiment in it. MLflow makes some forty tables in as
    many steps, and cannot use what a kill leaves half-way, so this is not done in place."""
    from mlflow import MlflowClient

    new = MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}")
    ensure_experiment(new, settings, EXPERIMENT)


def _refuse_moved(location: str, settings: Settings) -> None:
    """Refuse a copied folder: MLflow keeps absolute paths, and would write into the first one."""
    made_at, here = local_path(location), settings.var.absolute()
    if made_at != artifact_root(settings):
        raise UserError(
            f"this state was made at {made_at and made_at.parents[1]}, and is at {here} now",
            where=str(database(settings).parent),
            next_step="move it back, or start anew in an empty folder: --var FOLDER",
        )


def experiment_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "open_store makes it"
    return experiment.experiment_id


# --- the tree of runs ---------------------------------------------------------------------------


def open_run(
    client: MlflowClient,
    name: str,
    *,
    parent: str | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """A new running run; returns its id."""
    all_tags = {**_here(), **(tags or {}), **({PARENT: parent} if parent else {})}
    with _writing:
        return client.create_run(experiment_id(client), run_name=name, tags=all_tags).info.run_id


def _here() -> dict[str, str]:
    """Which process it is: several machines may use one server."""
    return {PROCESS: str(os.getpid()), HOST: socket.gethostname()}


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
    """Log a finished trial as a closed run; `trial` is a `training.tuning.TrialResult` as a
    dict."""
    log_trials(client, family_run, [trial])


def log_trials(client: MlflowClient, family_run: str, trials: Iterable[dict[str, Any]]) -> None:
    """Log finished trials as closed runs below the run of their family."""
    runs = [_closed_run(family_run, trial) for trial in trials]
    with _writing:
        if client.tracking_uri.startswith("sqlite:"):
            _insert(client, family_run, runs)
        else:
            _send(client, family_run, runs)


@dataclass(frozen=True)
class _ClosedRun:
    name: str
    status: str
    start: int  # milliseconds since 1970, as is the end
    end: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]


def _closed_run(family_run: str, trial: dict[str, Any]) -> _ClosedRun:
    now = int(time.time() * 1000)
    metrics = {f"valid_{name}": v for name, v in trial["metrics"].items()}
    metrics["seconds"] = trial["seconds"]
    return _ClosedRun(
        name=f"trial {trial['number']}",
        status="FAILED" if trial["state"] == "failed" else "FINISHED",
        start=now - int(trial["seconds"] * 1000),
        end=now,
        tags={**_here(), PARENT: family_run, "state": trial["state"]},
        params={key(name): str(v)[:LONGEST_VALUE] for name, v in trial["params"].items()},
        metrics={
            key(name): float(v) for name, v in metrics.items() if v is not None and math.isfinite(v)
        },
    )


def _send(client: MlflowClient, family_run: str, runs: Iterable[_ClosedRun]) -> None:
    """Log the runs through the client: three calls each."""
    from mlflow.entities import Metric, Param

    experiment, _ = _place_of(client, family_run)
    for run in runs:
        made = client.create_run(experiment, run.start, run.tags, run.name).info.run_id
        client.log_batch(
            made,
            metrics=[Metric(name, v, run.end, 0) for name, v in run.metrics.items()],
            params=[Param(name, v) for name, v in run.params.items()],
        )
        client.set_terminated(made, run.status, run.end)


def _insert(client: MlflowClient, family_run: str, runs: Iterable[_ClosedRun]) -> None:
    """The same in one transaction of an SQLite database, as MLflow's store would write the rows.

    Through the client a trial takes a dozen queries and seven commits: 200 trials take some 20 s,
    and 0.7 s here. A test compares what comes of both.
    """
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import insert

    experiment, artifacts = _place_of(client, family_run)
    rows: dict[Any, list[dict[str, Any]]] = {models.SqlRun: []}  # first: others refer to it
    values: Mapping[str, str | float]
    for run in runs:
        made = uuid.uuid4().hex
        rows[models.SqlRun].append(
            {
                "run_uuid": made,
                "name": run.name,
                "experiment_id": int(experiment),
                "artifact_uri": f"{artifacts}/{made}/artifacts",
                "status": run.status,
                "start_time": run.start,
                "end_time": run.end,
                "user_id": "unknown",
                "source_type": "UNKNOWN",
                **dict.fromkeys(("source_name", "entry_point_name", "source_version"), ""),
            }
        )
        for table, values, others in (
            (models.SqlTag, {**run.tags, RUN_NAME: run.name}, {}),
            (models.SqlParam, run.params, {}),
            (models.SqlMetric, run.metrics, {"timestamp": run.end, "step": 0}),
            (models.SqlLatestMetric, run.metrics, {"timestamp": run.end, "step": 0}),
        ):
            rows.setdefault(table, []).extend(
                {"run_uuid": made, "key": name, "value": v, **others} for name, v in values.items()
            )
    with _engine(client.tracking_uri).begin() as connection:
        for table, content in rows.items():
            if content:
                connection.execute(insert(table.__table__), content)


@cache
def _engine(uri: str) -> Any:
    from sqlalchemy import create_engine

    return create_engine(uri, connect_args={"timeout": 60})


@cache
def _place_of(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """A run's experiment, and where that keeps files."""
    experiment = client.get_run(run_id).info.experiment_id
    return experiment, client.get_experiment(experiment).artifact_location


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
    """Whether a run goes on; one of another machine is taken at its word."""
    import psutil

    process, host = run.data.tags.get(PROCESS, ""), run.data.tags.get(HOST)
    if host not in (None, socket.gethostname()):
        return run.info.status == "RUNNING"
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
        if _here().items() <= run.data.tags.items():
            client.set_terminated(run.info.run_id, "KILLED")


def _running(client: MlflowClient) -> list[MlflowRun]:
    return client.search_runs([experiment_id(client)], "attributes.status = 'RUNNING'")
