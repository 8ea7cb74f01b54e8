"""Where MLflow keeps its state: SQLite and a folder under var/, or a server (`tracking.uri`).

Nothing here imports MLflow: the service uses it too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from common.errors import UserError
from configs.settings import Settings


def tracking_uri(settings: Settings) -> str:
    """MLflow's address: `tracking.uri`, or SQLite under var/."""
    return settings.tracking.uri or f"sqlite:///{database(settings)}"


def database(settings: Settings) -> Path:
    return settings.var.absolute() / "mlflow" / "mlflow.db"


def artifact_root(settings: Settings) -> Path:
    """Where the embedded MLflow keeps files."""
    return database(settings).with_name("artifacts")


def bundle_cache(settings: Settings) -> Path:
    """Where bundles downloaded from a server are kept on this machine."""
    return database(settings).with_name("bundles")


def local_path(uri: str) -> Path | None:
    """The path of a file:// URI, or of a plain path; None for files that lie elsewhere."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def tls() -> Any:
    """How the server's certificate is checked, by MLflow's usual variables."""
    import ssl

    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
        return False
    file = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=file) if file else True


def database_failed(file: Path | str, reason: object) -> UserError:
    return UserError(
        f"MLflow's database cannot be read: {reason}",
        where=str(file),
        next_step="restore it from a copy; without it the registered models are not known",
    )


def server_failed(uri: str, reason: object) -> UserError:
    text = (str(reason) or type(reason).__name__).splitlines()[0]
    return UserError(
        f"the MLflow server cannot be used: {text}",
        where=f"tracking.uri ({uri})",
        next_step="start it (mlflow server), or correct tracking.uri or the login in"
        " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    )
