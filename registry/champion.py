"""Who is champion: registered versions, MLflow's aliases, and where a version's bundle lies.

There are two ways to ask. Commands that have MLflow's client use it (`find_champion`, `versions`,
`register`). The service, and commands that need nothing else of MLflow, use `read_alias`: importing
the client takes 4 s and 180 MB, more than the whole service, for one row every two seconds. It asks
a server over its REST API, and SQLite by a query.

The bundle of a version on a server is kept on this machine under its SHA-256 (`fetch`).
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from common.errors import UserError
from configs.settings import Settings
from registry.bundle import BundleRefused, verify_bundle

if TYPE_CHECKING:
    import httpx
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
SHA256_TAG = "bundle_sha256"
ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model, or no such alias
ALIAS_QUERY = """
    SELECT versions.version, versions.source, versions.run_id, tags.value
    FROM registered_model_aliases AS aliases
    JOIN model_versions AS versions USING (workspace, name, version)
    LEFT JOIN model_version_tags AS tags
      ON (tags.workspace, tags.name, tags.version)
       = (versions.workspace, versions.name, versions.version) AND tags.key = 'bundle_sha256'
    WHERE aliases.workspace = 'default' AND aliases.name = ? AND aliases.alias = ?
"""
WAIT_SECONDS = 5.0  # for SQLite, while a run is writing; for an answer of the server
FETCH_SECONDS, RETRY_SECONDS = 300.0, 60.0


@dataclass(frozen=True)
class ModelVersion:
    """A registered version.

    bundle: its folder on this machine, to be verified against bundle_sha256 before use.
    source, server: where `fetch` gets it from; "" for one that MLflow keeps on this machine.
    """

    name: str
    version: int
    bundle: Path
    bundle_sha256: str
    run_id: str
    source: str = ""
    server: str = ""


# --- where it is kept ---------------------------------------------------------------------------


def tracking_uri(settings: Settings) -> str:
    """MLflow's address: `tracking.uri`, or SQLite under var/."""
    return settings.tracking.uri or f"sqlite:///{database(settings)}"


def database(settings: Settings) -> Path:
    return settings.var.absolute() / "mlflow" / "mlflow.db"


def artifact_root(settings: Settings) -> Path:
    """Where the embedded MLflow keeps files."""
    return database(settings).with_name("artifacts")


def bundle_cache(settings: Settings) -> Path:
    """Where bundles of a server are kept on this machine."""
    return database(settings).with_name("bundles")


def model_name(settings: Settings) -> str:
    """One registered model per preset: champions of different data are never compared."""
    return f"golden-path-{settings.name}"


def local_path(uri: str) -> Path | None:
    """The path of a file:// URI, or of a plain path; None for files that lie elsewhere."""
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


# --- without MLflow -----------------------------------------------------------------------------


def champion_now(settings: Settings) -> ModelVersion | None:
    """The champion of these settings' model, its bundle fetched; None when there is none."""
    return alias_now(settings, CHAMPION)


def alias_now(settings: Settings, alias: str) -> ModelVersion | None:
    """The version that has the alias now. Raises UserError as `read_alias`."""
    name = model_name(settings)
    return read_alias(tracking_uri(settings), bundle_cache(settings), name, alias)


def the_champion(settings: Settings) -> ModelVersion:
    """The same, for those who cannot do without. Raises UserError when there is none."""
    from configs.command import make  # a worker of the service has no use for it

    found = champion_now(settings)
    if found is None:
        raise UserError(
            "there is no champion yet",
            where=settings.tracking.uri or f"the registry in {settings.var}",
            next_step=f"train one: {make('train', settings)}",
        )
    elsewhere = not found.bundle.is_relative_to(artifact_root(settings))
    if elsewhere and not settings.tracking.uri:  # SQLite keeps absolute paths
        raise UserError(
            f"this state was made elsewhere: its champion is {found.bundle}",
            where=str(settings.var.absolute()),
            next_step="move it back, or start anew in an empty folder: --var FOLDER",
        )
    return found


def read_alias(uri: str, bundles: Path, name: str, alias: str) -> ModelVersion | None:
    """The version of model `name` that has the alias now, its bundle on this machine.

    uri, bundles: see `tracking_uri` and `bundle_cache`. None when there is no such version, or no
    database yet. Raises UserError for a database or a server that cannot be asked, and
    BundleRefused for a bundle that cannot be downloaded whole.
    """
    if uri.startswith("sqlite:///"):
        return _from_sqlite(Path(uri.removeprefix("sqlite:///")), bundles, name, alias)
    found = _from_server(uri, bundles, name, alias)
    if found is not None:
        fetch(found, RETRY_SECONDS)
    return found


def _from_sqlite(file: Path, bundles: Path, name: str, alias: str) -> ModelVersion | None:
    """Read MLflow's tables; a test compares it with the client's answer."""
    if not file.is_file():
        return None
    try:
        opened = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)
        with closing(opened) as base:
            found = base.execute(ALIAS_QUERY, (name, alias)).fetchone()
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
    return _version(name, version, source, run_id, sha256, "", bundles)


def _from_server(uri: str, bundles: Path, name: str, alias: str) -> ModelVersion | None:
    """Ask MLflow's REST API."""
    import httpx

    try:
        answer = _connection().get(
            f"{uri.rstrip('/')}/api/2.0/mlflow/registered-models/alias",
            params={"name": name, "alias": alias},
        )
        content = answer.json() if answer.status_code in (200, 400, 404) else {}
        if content.get("error_code") in ABSENT:
            return None
        answer.raise_for_status()
        found = content["model_version"]
        tags = {tag["key"]: tag["value"] for tag in found.get("tags", ())}
        arguments = found["version"], found["source"], found.get("run_id"), tags.get(SHA256_TAG)
        return _version(name, *arguments, uri, bundles)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        fault = str(error) or type(error).__name__
    except (ValueError, LookupError, TypeError, AttributeError):
        fault = "it answers something else than MLflow does"
    raise UserError(
        f"the MLflow server cannot be asked: {fault.splitlines()[0]}",
        where=f"tracking.uri ({uri})",
        next_step="start it (mlflow server), or correct tracking.uri or the login in"
        " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    )


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
        timeout=WAIT_SECONDS,
    )


def tls() -> Any:
    """How the server's certificate is checked, by MLflow's usual variables."""
    import ssl

    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
        return False
    file = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    return ssl.create_default_context(cafile=file) if file else True


def fetch(version: ModelVersion, retry_seconds: float = 0.0) -> None:
    """Have the bundle of a version on this machine, and whole, if it lies on a server.

    retry_seconds: after a failure the same is said for so long, without another try. Raises
    BundleRefused when it cannot be downloaded, or is not what was registered.
    """
    if not version.source or _whole(version):
        return
    failed_at, failure = _failures.get(version.bundle, (-math.inf, None))
    if failure is not None and time.monotonic() - failed_at < retry_seconds:
        raise failure
    version.bundle.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=version.bundle.parent) as folder:
        try:
            new = _download(version, folder)
            verify_bundle(new, expected_sha256=version.bundle_sha256)
        except BundleRefused as error:
            failure = BundleRefused(error.what, where=version.source, next_step=error.next_step)
        except Exception as error:  # each kind of storage has errors of its own
            why = (str(error) or type(error).__name__).splitlines()[-1]
            failure = BundleRefused(
                f"the model bundle is refused: it cannot be downloaded: {why}",
                where=version.source,
                next_step=f"see to {version.server} and to where it keeps files, then try again",
            )
        else:
            shutil.rmtree(version.bundle, ignore_errors=True)
            with suppress(OSError):  # another worker of the service was first
                new.rename(version.bundle)
            return
    _failures[version.bundle] = time.monotonic(), failure
    raise failure


_verified: set[Path] = set()  # by this process: the service asks every two seconds
_failures: dict[Path, tuple[float, BundleRefused]] = {}


def _whole(version: ModelVersion) -> bool:
    if version.bundle not in _verified or not version.bundle.is_dir():
        try:
            verify_bundle(version.bundle, expected_sha256=version.bundle_sha256)
        except BundleRefused:
            return False
        _verified.add(version.bundle)
    return True


def _download(version: ModelVersion, folder: str) -> Path:
    """By MLflow's client: in this process where it is loaded already, otherwise in one that ends,
    with its memory, when it is done. Returns the folder of the bundle."""
    arguments = version.server, version.source, folder
    if "mlflow" in sys.modules:
        return Path(download_here(*arguments))
    done = subprocess.run(
        [sys.executable, "-m", "registry.champion", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
    )
    if done.returncode:
        raise OSError(done.stderr.strip() or f"exit code {done.returncode}")
    return Path(done.stdout.splitlines()[-1])


def download_here(server: str, source: str, folder: str) -> str:
    from mlflow.artifacts import download_artifacts

    return download_artifacts(source, dst_path=folder, tracking_uri=server)


# --- with MLflow's client -----------------------------------------------------------------------


def find_champion(client: MlflowClient, settings: Settings) -> ModelVersion | None:
    """The version that serves now, or None when none has been promoted yet."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version_by_alias(model_name(settings), CHAMPION)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise
    return _of_mlflow(found, settings)


def champion_number(client: MlflowClient, settings: Settings) -> int | None:
    found = find_champion(client, settings)
    return found.version if found else None


def find_version(client: MlflowClient, settings: Settings, number: int) -> ModelVersion | None:
    """This version of the preset's model, or None when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return _of_mlflow(client.get_model_version(model_name(settings), str(number)), settings)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise


def versions(client: MlflowClient, settings: Settings) -> list[ModelVersion]:
    """Every version of the preset's model, the newest first; see `fetch` for their bundles."""
    found: list[Any] = []
    token = None
    while token is None or token:
        page = client.search_model_versions(
            f"name = '{model_name(settings)}'", max_results=1000, page_token=token
        )
        found += page
        token = page.token or ""
    return sorted((_of_mlflow(one, settings) for one in found), key=lambda v: -v.version)


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
        name, source=source, run_id=run_id, tags={SHA256_TAG: bundle_sha256, **tags}
    )
    client.set_registered_model_alias(name, CHALLENGER, made.version)
    return _of_mlflow(made, settings)


def promote(client: MlflowClient, version: ModelVersion) -> None:
    """Move the alias `champion`: from this moment the service's next look finds this version.

    Nothing but the alias: `registry/decisions.py` asks, locks and writes the decision down.
    """
    client.set_registered_model_alias(version.name, CHAMPION, str(version.version))


def _of_mlflow(version: Any, settings: Settings) -> ModelVersion:
    sha256, server = version.tags.get(SHA256_TAG), settings.tracking.uri or ""
    arguments = version.version, version.source, version.run_id, sha256, server
    return _version(version.name, *arguments, bundle_cache(settings))


def _version(
    name: str,
    version: int | str,
    source: str,
    run_id: str | None,
    sha256: str | None,
    server: str,
    bundles: Path,
) -> ModelVersion:
    bundle = local_path(source)
    if bundle is not None:
        return ModelVersion(name, int(version), bundle, sha256 or "", run_id or "")
    known = re.fullmatch("[0-9a-f]{64}", sha256 or "")
    folder = bundles / (sha256 if known and sha256 else "unknown")
    return ModelVersion(name, int(version), folder, sha256 or "", run_id or "", source, server)


if __name__ == "__main__":  # started by `_download`
    print(download_here(*sys.argv[1:4]))
