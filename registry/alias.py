"""Who is champion, or challenger, read straight from MLflow's tables: in a millisecond, without it.

The client takes three seconds and 200 MB to import, which is more than the whole service. A test
compares the two answers, so that a release of MLflow with other tables is noticed.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from common.errors import UserError
from configs.settings import Settings
from registry.models import CHAMPION, ModelVersion
from registry.store import artifact_root, database, model_name

QUERY = """
    SELECT versions.version, versions.source, versions.run_id, tags.value
    FROM registered_model_aliases AS aliases
    JOIN model_versions AS versions USING (workspace, name, version)
    LEFT JOIN model_version_tags AS tags
      ON (tags.workspace, tags.name, tags.version)
       = (versions.workspace, versions.name, versions.version) AND tags.key = 'bundle_sha256'
    WHERE aliases.workspace = 'default' AND aliases.name = ? AND aliases.alias = ?
"""
WAIT = 5.0  # seconds, while a run is writing


def read_champion(file: Path, name: str) -> ModelVersion | None:
    """The champion of model `name`. See `read_alias`."""
    return read_alias(file, name, CHAMPION)


def read_alias(file: Path, name: str, alias: str) -> ModelVersion | None:
    """The version of model `name` that has the alias now; None when there is none, or no database.

    Raises UserError for a database that cannot be read.
    """
    if not file.is_file():
        return None
    try:
        opened = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT)
        with closing(opened) as base:
            found = base.execute(QUERY, (name, alias)).fetchone()
    except sqlite3.Error as error:
        if "no such table" in str(error):  # a run is making it
            return None
        raise UserError(
            f"MLflow's database cannot be read: {error}",
            where=str(file),
            next_step="bring back a copy of it; without it the registered models are not known",
        ) from None
    if found is None:
        return None
    version, source, run_id, sha256 = found
    bundle = Path(unquote(urlparse(source).path))
    return ModelVersion(name, int(version), bundle, sha256 or "", run_id or "")


def champion_now(settings: Settings) -> ModelVersion | None:
    """The champion of these settings' model."""
    return read_champion(database(settings), model_name(settings))


def the_champion(settings: Settings) -> ModelVersion:
    """The same, for those who cannot do without. Raises UserError when there is none."""
    from configs.command import make  # a worker of the service has no use for it

    found = champion_now(settings)
    if found is None:
        raise UserError(
            "there is no champion yet",
            where=f"the registry in {settings.var}",
            next_step=f"train one: {make('train', settings)}",
        )
    if not found.bundle.is_relative_to(artifact_root(settings)):  # MLflow keeps absolute paths
        raise UserError(
            f"this state was made elsewhere: its champion is {found.bundle}",
            where=str(settings.var.absolute()),
            next_step="move it back, or start anew in an empty folder: --var FOLDER",
        )
    return found
