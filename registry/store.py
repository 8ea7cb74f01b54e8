"""Where MLflow keeps its state, and the client for it: SQLite and a folder, both under var/."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from configs.errors import UserError
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
    """The client; makes the database (2 to 3 s when new) and the experiment when absent."""
    _folder(settings).mkdir(parents=True, exist_ok=True)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError

        try:
            client = MlflowClient(tracking_uri(settings), tracking_uri(settings))
            experiment = client.get_experiment_by_name(EXPERIMENT)
        except DatabaseError as error:
            raise UserError(
                f"MLflow's database cannot be read: {str(error.orig or error).splitlines()[0]}",
                where=str(database(settings)),
                next_step="bring back a copy of it; without it the registered models are not known",
            ) from error
        if experiment is not None:
            _refuse_moved(experiment.artifact_location, settings)
        else:
            try:
                # The location is fixed when the experiment is made, so it must be absolute.
                client.create_experiment(EXPERIMENT, artifact_root(settings).as_uri(), tags=KIND)
            except MlflowException:  # another run made it a moment ago
                if client.get_experiment_by_name(EXPERIMENT) is None:
                    raise
    return client


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
