"""Open MLflow through its public client: SQLite and a folder under var/, or an MLflow server."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import make_once
from common.full_disk import full_disk
from configs.settings import Settings
from registry.location import (
    artifact_root,
    database,
    database_failed,
    local_path,
    server_failed,
    tls,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

EXPERIMENT = "golden-path"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its page shows runs, not traces
TIMEOUT = 10.0  # seconds, for the first response of a server


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
                raise server_failed(server, reason) from error
            file = database(settings)
            raise full_disk(error, file) or database_failed(file, reason) from error
    if not server:
        _refuse_moved(experiment.artifact_location, settings)
    return client


def ensure_experiment(
    client: MlflowClient, settings: Settings, name: str, folder: str = ""
) -> Experiment:
    """Find this experiment, or make it. folder: of its files, below those of all; a server has a
    place of its own for them."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        place = None if settings.tracking.uri else (artifact_root(settings) / folder).as_uri()
        experiment = client.get_experiment(client.create_experiment(name, place, tags=KIND))
    return experiment


def experiment_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "open_store makes it"
    return experiment.experiment_id


def _check_server(uri: str) -> None:
    """Check that the server answers: MLflow's client would try again for minutes."""
    import httpx

    try:
        response = httpx.get(f"{uri.rstrip('/')}/health", timeout=TIMEOUT, verify=tls())
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise server_failed(uri, error) from None
    if response.status_code != 200:
        raise server_failed(uri, f"it answers {response.status_code}")


def _make_database(settings: Settings, file: Path) -> None:
    """Make a database of MLflow's with the experiment in it. MLflow makes some forty tables in as
    many steps, and cannot use what a kill leaves half-way, so this is not done in place."""
    from mlflow import MlflowClient

    new = MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}")
    ensure_experiment(new, settings, EXPERIMENT)


def _refuse_moved(location: str, settings: Settings) -> None:
    """Refuse a copied folder: MLflow keeps absolute paths, and would write into the first one."""
    made_at, now_at = local_path(location), settings.var.absolute()
    if made_at != artifact_root(settings):
        raise UserError(
            f"this state was made at {made_at and made_at.parents[1]}, and is at {now_at} now",
            where=str(database(settings).parent),
            next_step="move it back, or start anew in an empty folder: --var FOLDER",
        )
