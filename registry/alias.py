"""Look up an MLflow alias without MLflow's client.

Importing the client takes 4 s and 180 MB, more than the whole service, for one row every two
seconds. This queries a server over its REST API, and SQLite by SQL. Tests compare the result with
the client's.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from registry.location import database_failed, server_failed, tls

if TYPE_CHECKING:
    import httpx

SHA256_TAG = "bundle_sha256"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model, or no such alias
TIMEOUT = 5.0  # seconds: for SQLite, while a run is writing; for a response of the server
QUERY = f"""
    SELECT versions.version, versions.source, versions.run_id, tags.value
    FROM registered_model_aliases AS aliases
    JOIN model_versions AS versions USING (workspace, name, version)
    LEFT JOIN model_version_tags AS tags
      ON (tags.workspace, tags.name, tags.version)
       = (versions.workspace, versions.name, versions.version) AND tags.key = '{SHA256_TAG}'
    WHERE aliases.workspace = 'default' AND aliases.name = ? AND aliases.alias = ?
"""


class Registered(NamedTuple):
    """What MLflow knows of a version."""

    version: int
    source: str
    run_id: str | None
    bundle_sha256: str | None


def look_up(uri: str, name: str, alias: str) -> Registered | None:
    """The version of model `name` that has the alias; None when there is none, or no database yet.

    Raises UserError for a database or a server that cannot be used.
    """
    if uri.startswith("sqlite:///"):
        return _from_sqlite(Path(uri.removeprefix("sqlite:///")), name, alias)
    return _from_server(uri, name, alias)


def _from_sqlite(file: Path, name: str, alias: str) -> Registered | None:
    if not file.is_file():
        return None
    try:
        opened = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=TIMEOUT)
        with closing(opened) as connection:
            row = connection.execute(QUERY, (name, alias)).fetchone()
    except sqlite3.Error as error:
        if "no such table" in str(error):  # a run is making it
            return None
        raise database_failed(file, error) from None
    return Registered(*row) if row else None


def _from_server(uri: str, name: str, alias: str) -> Registered | None:
    import httpx

    try:
        response = _connection().get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/registered-models/alias",
            params={"name": name, "alias": alias},
        )
        content = response.json() if response.status_code in (200, 400, 404) else {}
        if content.get("error_code") in ABSENT:
            return None
        response.raise_for_status()
        version = content["model_version"]
        tags = {tag["key"]: tag["value"] for tag in version.get("tags", ())}
        number, source = int(version["version"]), version["source"]
        return Registered(number, source, version.get("run_id"), tags.get(SHA256_TAG))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise server_failed(uri, error) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise server_failed(uri, "its response is not one of MLflow's") from None


@cache
def _connection() -> httpx.Client:
    """One for the process, as making one takes longer than a request; with MLflow's usual login."""
    import httpx

    user, password = (os.environ.get(f"MLFLOW_TRACKING_{x}") for x in ("USERNAME", "PASSWORD"))
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return httpx.Client(
        auth=(user, password) if user and password else None,
        headers={"Authorization": f"Bearer {token}"} if token and not user else {},
        verify=tls(),
        timeout=TIMEOUT,
    )
