"""Registered versions, and which of them is champion: the one that MLflow's alias names.

Commands that use MLflow's client anyway look it up with that (`find_champion`, `versions`,
`register`). The service, and commands that need nothing else of MLflow, use `read_alias`, which
does without (`registry/alias.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from configs.settings import Settings
from registry.alias import ABSENT, SHA256_TAG, Registered, look_up
from registry.bundle import BundleRefused, verify_bundle
from registry.chain import Record
from registry.download import download
from registry.location import artifact_root, bundle_cache, local_path, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
RETRY_SECONDS = 60.0  # between two tries to download the same bundle


@dataclass(frozen=True)
class ModelVersion:
    """A registered version.

    bundle: its folder on this machine, to be verified against bundle_sha256 before use.
    source, server: where `fetch` downloads it from; "" for one that MLflow keeps on this machine.
    """

    name: str
    version: int
    bundle: Path
    bundle_sha256: str
    run_id: str
    source: str = ""
    server: str = ""


def model_name(settings: Settings) -> str:
    """One registered model per preset: champions of different data are never compared."""
    return f"golden-path-{settings.name}"


def fetch(version: ModelVersion, retry_seconds: float = 0.0) -> None:
    """Download the bundle of a version that is on a server, unless it is here and whole.

    retry_seconds: see `download`. Raises BundleRefused when it cannot be downloaded, or is not what
    was registered.
    """
    if version.source:
        download(
            version.bundle, version.bundle_sha256, version.source, version.server, retry_seconds
        )


# --- without MLflow's client --------------------------------------------------------------------


def champion_now(settings: Settings) -> ModelVersion | None:
    """The champion of these settings' model, its bundle fetched; None when there is none."""
    return alias_now(settings, CHAMPION)


def alias_now(settings: Settings, alias: str) -> ModelVersion | None:
    """The version that has the alias now. Raises UserError as `read_alias`."""
    name = model_name(settings)
    return read_alias(tracking_uri(settings), bundle_cache(settings), name, alias)


def the_champion(settings: Settings) -> ModelVersion:
    """The champion, where there must be one. Raises UserError when there is none."""
    from configs.make_command import make  # a worker of the service has no use for it

    champion = champion_now(settings)
    if champion is None:
        raise UserError(
            "there is no champion yet",
            where=settings.tracking.uri or f"the registry in {settings.var}",
            next_step=f"train one: {make('train', settings)}",
        )
    elsewhere = not champion.bundle.is_relative_to(artifact_root(settings))
    if elsewhere and not settings.tracking.uri:  # SQLite keeps absolute paths
        raise UserError(
            f"this state was made elsewhere: its champion is {champion.bundle}",
            where=str(settings.var.absolute()),
            next_step="move it back, or start anew in an empty folder: --var FOLDER",
        )
    return champion


def read_alias(uri: str, bundles: Path, name: str, alias: str) -> ModelVersion | None:
    """The version of model `name` that has the alias now, its bundle on this machine.

    uri, bundles: see `tracking_uri` and `bundle_cache`. None when there is no such version, or no
    database yet. Raises UserError for a database or a server that cannot be used, and BundleRefused
    for a bundle that cannot be downloaded whole.
    """
    registered = look_up(uri, name, alias)
    if registered is None:
        return None
    version = _version(name, registered, "" if uri.startswith("sqlite:") else uri, bundles)
    fetch(version, RETRY_SECONDS)
    return version


# --- with MLflow's client -----------------------------------------------------------------------


def find_champion(client: MlflowClient, settings: Settings) -> ModelVersion | None:
    """The version that serves now, or None when none has been promoted yet."""
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(model_name(settings), CHAMPION)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise
    return _of_mlflow(version, settings)


def champion_number(client: MlflowClient, settings: Settings) -> int | None:
    champion = find_champion(client, settings)
    return champion.version if champion else None


def find_version(client: MlflowClient, settings: Settings, number: int) -> ModelVersion | None:
    """This version of the preset's model, or None when there is none."""
    return next((one for one in versions(client, settings) if one.version == number), None)


def versions(client: MlflowClient, settings: Settings) -> list[ModelVersion]:
    """Every version of the preset's model, the newest first; see `fetch` for their bundles."""
    pages = pages_of(client.search_model_versions, f"name = '{model_name(settings)}'")
    return sorted((_of_mlflow(one, settings) for one in pages), key=lambda one: -one.version)


def pages_of(search: Any, *arguments: Any) -> list[Any]:
    """All results of one of MLflow's searches, which come in pages."""
    page = search(*arguments, max_results=1000)
    results = list(page)
    while page.token:
        page = search(*arguments, max_results=1000, page_token=page.token)
        results += page
    return results


def aliases(client: MlflowClient, settings: Settings) -> dict[int, list[str]]:
    """The aliases of each version that has one."""
    from mlflow.exceptions import MlflowException

    names: dict[int, list[str]] = {}
    try:
        model = client.get_registered_model(model_name(settings))
    except MlflowException as error:
        if error.error_code in ABSENT:
            return names
        raise
    for alias, version in sorted(model.aliases.items()):
        names.setdefault(int(version), []).append(alias)
    return names


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
    version = client.create_model_version(
        name, source=source, run_id=run_id, tags={SHA256_TAG: bundle_sha256, **tags}
    )
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    return _of_mlflow(version, settings)


def promote(client: MlflowClient, version: ModelVersion) -> None:
    """Move the alias `champion`: from this moment the service's next look finds this version.

    Nothing but the alias: `registry/decisions.py` checks, `registry/carry_out.py` locks and writes
    the decision down.
    """
    client.set_registered_model_alias(version.name, CHAMPION, str(version.version))


def _of_mlflow(version: Any, settings: Settings) -> ModelVersion:
    registered = Registered(
        int(version.version), version.source, version.run_id, version.tags.get(SHA256_TAG)
    )
    return _version(version.name, registered, settings.tracking.uri or "", bundle_cache(settings))


def _version(name: str, registered: Registered, server: str, bundles: Path) -> ModelVersion:
    sha256, run_id = registered.bundle_sha256 or "", registered.run_id or ""
    bundle = local_path(registered.source)
    if bundle is not None:
        return ModelVersion(name, registered.version, bundle, sha256, run_id)
    # The server's text becomes a path: nothing but a hash does.
    folder = bundles / (sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else "unknown")
    return ModelVersion(name, registered.version, folder, sha256, run_id, registered.source, server)


def verify_version(version: ModelVersion, known: Iterable[Record]) -> None:
    """Check that the bundle is the one that was registered, and the one in these records of the
    ledger. A record that is yet to be carried out must name its bundle.

    Raises BundleRefused.
    """
    fetch(version)
    verify_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    for entry in known:
        if entry.to_version != version.version or entry.bundle_sha256 == version.bundle_sha256:
            continue
        if entry.bundle_sha256 or entry.open:
            raise BundleRefused(
                f"the model bundle is refused: version {version.version} is registered with another"
                f" hash than record {entry.sequence} of the ledger has",
                where=str(version.bundle),
                next_step="train again (make train); do not edit a bundle",
            )
