"""Where MLflow keeps its state, and the client for it: SQLite and a folder, both under var/."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from common.errors import UserError
from common.files import make_once
from common.full_disk import full_disk
from configs.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "golden-path"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its page shows runs, not traces


def tracking_uri(settings: Settings) -> str:
    return f"sqlite:///{database(settings)}"


def database(settings: Settings) -> Path:
    return _folder(settings) / "mlflow.db"


def artifact_root(settings: Settings) -> Path:
    return _folder(settings) / "artifacts"


def model_name(settings: Settings) -> str:
    """One registered model per preset: champions of different data are never compared."""
    return f"golden-path-{settings.name}"


def open_store(settings: Settings) -> MlflowClient:
    """The client; makes the database (2 to 3 s when new), with the experiment in it."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger(name).addHandler(logging.NullHandler())  # where there is no log
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError

        try:
            make_once(database(settings), partial(_make_database, settings), _is_whole)
            client = MlflowClient(tracking_uri(settings), tracking_uri(settings))
            experiment = client.get_experiment_by_name(EXPERIMENT)
        except (DatabaseError, sqlite3.DatabaseError, MlflowException) as error:
            reason = getattr(error, "orig", None) or error
            raise full_disk(error, database(settings)) or UserError(
                f"MLflow's database cannot be read: {str(reason).splitlines()[0]}",
                where=str(database(settings)),
                next_step="bring back a copy of it; without it the registered models are not known",
            ) from error
        if experiment is None:  # taken away on MLflow's page
            client.create_experiment(EXPERIMENT, artifact_root(settings).as_uri(), tags=KIND)
        else:
            _refuse_moved(experiment.artifact_location, settings)
    return client


def _make_database(settings: Settings, file: Path) -> None:
    """A database of MLflow's with the experiment in it. MLflow makes some forty tables in as many
    steps, and cannot use what a kill leaves half-way, so this is not done in place."""
    from mlflow.entities import ExperimentTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # The location is fixed when the experiment is made, so it must be absolute.
    root = artifact_root(settings).as_uri()
    store = SqlAlchemyStore(f"sqlite:///{file}", root)
    tags = [ExperimentTag(key, value) for key, value in KIND.items()]
    store.create_experiment(EXPERIMENT, root, tags)
    store.engine.dispose()


def _is_whole(file: Path) -> bool:
    """Whether the database was made to its end. Earlier versions of the project made it in place: a
    kill left one that holds neither the experiment nor any run or model."""
    query = "SELECT EXISTS (SELECT 1 FROM experiments WHERE name = ?)"
    query += " OR EXISTS (SELECT 1 FROM runs) OR EXISTS (SELECT 1 FROM registered_models)"
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        try:
            return bool(connection.execute(query, [EXPERIMENT]).fetchall()[0][0])
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
            raise


def _refuse_moved(location: str, settings: Settings) -> None:
    """MLflow keeps absolute paths: a copied folder would write into the one it came from."""
    made_at = Path(unquote(urlparse(location).path))
    if made_at != artifact_root(settings):
        raise UserError(
            f"this state was made at {made_at.parents[1]}, and is at {settings.var.absolute()} now",
            where=str(_folder(settings)),
            next_step="move it back, or start anew in an empty folder: --var FOLDER",
        )


def experiment_id(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None, "open_store makes it"
    return experiment.experiment_id


def _folder(settings: Settings) -> Path:
    return settings.var.absolute() / "mlflow"
