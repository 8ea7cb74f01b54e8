"""Log a trial of a search as a closed run below the run of its family.

On SQLite the rows are inserted directly: through the client a trial takes a dozen queries and seven
commits, which is 20 s for 200 trials, and 0.7 s here. A test compares what comes of both.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from registry.runs import LONGEST_VALUE, PARENT, key, this_process, writing

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ClosedRun:
    name: str
    status: str
    start: int  # milliseconds since 1970, as is the end
    end: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]


def log_trial(client: MlflowClient, family_run: str, trial: dict[str, Any]) -> None:
    """Log a finished trial; `trial` is a `training.tuning.TrialResult` as a dict."""
    end = int(time.time() * 1000)
    metrics = {f"valid_{name}": value for name, value in trial["metrics"].items()}
    metrics["seconds"] = trial["seconds"]
    run = ClosedRun(
        name=f"trial {trial['number']}",
        status="FAILED" if trial["state"] == "failed" else "FINISHED",
        start=end - int(trial["seconds"] * 1000),
        end=end,
        tags={**this_process(), PARENT: family_run, "state": trial["state"]},
        params={key(name): str(value)[:LONGEST_VALUE] for name, value in trial["params"].items()},
        metrics={
            key(name): float(value)
            for name, value in metrics.items()
            if value is not None and math.isfinite(value)
        },
    )
    log_run = _insert if client.tracking_uri.startswith("sqlite:") else _send
    with writing:
        log_run(client, *_experiment_of(client, family_run), run)


def _send(client: MlflowClient, experiment: str, _: str, run: ClosedRun) -> None:
    """Log the run through the client, in three calls."""
    from mlflow.entities import Metric, Param

    run_id = client.create_run(experiment, run.start, run.tags, run.name).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, run.end, 0) for name, value in run.metrics.items()],
        params=[Param(name, value) for name, value in run.params.items()],
    )
    client.set_terminated(run_id, run.status, run.end)


def _insert(client: MlflowClient, experiment: str, artifacts: str, run: ClosedRun) -> None:
    """Insert the rows that MLflow's store would write, in one transaction."""
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import insert

    run_id = uuid.uuid4().hex
    row = {
        "run_uuid": run_id,
        "name": run.name,
        "experiment_id": int(experiment),
        "artifact_uri": f"{artifacts}/{run_id}/artifacts",
        "status": run.status,
        "start_time": run.start,
        "end_time": run.end,
        "user_id": "unknown",
        "source_type": "UNKNOWN",
        **dict.fromkeys(("source_name", "entry_point_name", "source_version"), ""),
    }
    point = {"timestamp": run.end, "step": 0}
    tables: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
        (models.SqlTag, {**run.tags, "mlflow.runName": run.name}, {}),
        (models.SqlParam, run.params, {}),
        (models.SqlMetric, run.metrics, point),
        (models.SqlLatestMetric, run.metrics, point),
    ]
    with _engine(client.tracking_uri).begin() as connection:
        connection.execute(insert(models.SqlRun.__table__), [row])
        for table, values, others in tables:
            rows = [
                {"run_uuid": run_id, "key": name, "value": value, **others}
                for name, value in values.items()
            ]
            if rows:
                connection.execute(insert(table.__table__), rows)


@cache
def _engine(uri: str) -> Any:
    from sqlalchemy import create_engine

    return create_engine(uri, connect_args={"timeout": 60})


@cache
def _experiment_of(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """A run's experiment, and where that keeps files."""
    experiment = client.get_run(run_id).info.experiment_id
    return experiment, client.get_experiment(experiment).artifact_location
