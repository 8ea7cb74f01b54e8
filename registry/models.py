"""Registered versions and who is champion: MLflow's registry and its aliases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from configs.settings import Settings
from registry.store import model_name, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class ModelVersion:
    name: str
    version: int
    bundle: Path  # the folder, to be verified against bundle_sha256 before use
    bundle_sha256: str
    run_id: str


def champion(settings: Settings) -> ModelVersion | None:
    """The version that serves now, or None when none has been promoted yet."""
    return _by_alias(open_store(settings), model_name(settings), CHAMPION)


def find_champion(client: MlflowClient, settings: Settings) -> ModelVersion | None:
    """The same with a client at hand."""
    return _by_alias(client, model_name(settings), CHAMPION)


def register(
    client: MlflowClient,
    settings: Settings,
    *,
    run_id: str,
    bundle: Path,
    bundle_sha256: str,
    tags: dict[str, str],
) -> ModelVersion:
    """Log the bundle with the run, make it a new version, and call it `challenger`."""
    from mlflow.exceptions import MlflowException

    name = model_name(settings)
    client.log_artifacts(run_id, str(bundle), "bundle")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
    made = client.create_model_version(
        name, source=source, run_id=run_id, tags={"bundle_sha256": bundle_sha256, **tags}
    )
    client.set_registered_model_alias(name, CHALLENGER, made.version)
    return _plain(made)


def find_version(client: MlflowClient, settings: Settings, number: int) -> ModelVersion | None:
    """This version of the preset's model, or None when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return _plain(client.get_model_version(model_name(settings), str(number)))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def versions(client: MlflowClient, settings: Settings) -> list[ModelVersion]:
    """Every version of the preset's model, the newest first."""
    found: list[Any] = []
    token = None
    while token is None or token:
        page = client.search_model_versions(
            f"name = '{model_name(settings)}'", max_results=1000, page_token=token
        )
        found += page
        token = page.token or ""
    return sorted((_plain(version) for version in found), key=lambda v: -v.version)


def aliases(client: MlflowClient, settings: Settings) -> dict[int, list[str]]:
    """The aliases of each version that has one."""
    from mlflow.exceptions import MlflowException

    found: dict[int, list[str]] = {}
    try:
        model = client.get_registered_model(model_name(settings))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return found
        raise
    for alias, version in sorted(model.aliases.items()):
        found.setdefault(int(version), []).append(alias)
    return found


def promote(client: MlflowClient, version: ModelVersion) -> None:
    """Move the alias `champion`: from this moment the service's next look finds this version.

    Nothing but the alias: `registry/promotion.py` asks, locks and writes the ledger.
    """
    client.set_registered_model_alias(version.name, CHAMPION, str(version.version))


def _by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return _plain(client.get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None  # no such model yet, or none with this alias
        raise


def _plain(version: Any) -> ModelVersion:
    return ModelVersion(
        name=version.name,
        version=int(version.version),
        bundle=Path(unquote(urlparse(version.source).path)),
        bundle_sha256=version.tags.get("bundle_sha256", ""),
        run_id=version.run_id or "",
    )
