"""The bundles of an MLflow server, downloaded to this machine and kept under their SHA-256."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from registry.bundle import BundleRefused, verify_bundle

ROOT = Path(__file__).resolve().parents[1]
DOWNLOAD_SECONDS = 300.0

_verified: set[Path] = set()  # by this process: the service looks every two seconds
_failures: dict[Path, tuple[float, BundleRefused]] = {}


def download(bundle: Path, sha256: str, source: str, server: str, retry_seconds: float) -> None:
    """Download the bundle to this folder, unless it is there and whole.

    source, server: MLflow's URI of the bundle, and the address of the server.
    retry_seconds: for so long after a failure, the same error is raised without another try.

    Raises BundleRefused when it cannot be downloaded, or is not what was registered.
    """
    if _is_whole(bundle, sha256):
        return
    failed_at, failure = _failures.get(bundle, (0.0, None))
    if failure is not None and time.monotonic() - failed_at < retry_seconds:
        raise failure
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=bundle.parent) as folder:
        try:
            new = _fetch(server, source, folder)
            verify_bundle(new, expected_sha256=sha256)
        except BundleRefused as error:
            failure = BundleRefused(error.what, where=source, next_step=error.next_step)
        except Exception as error:  # each kind of storage has errors of its own
            reason = (str(error) or type(error).__name__).splitlines()[-1]
            failure = BundleRefused(
                f"the model bundle is refused: it cannot be downloaded: {reason}",
                where=source,
                next_step=f"check {server} and the storage of its files, then try again",
            )
        else:
            shutil.rmtree(bundle, ignore_errors=True)
            with suppress(OSError):  # another worker of the service was first
                new.rename(bundle)
            return
    _failures[bundle] = time.monotonic(), failure
    raise failure


def _is_whole(bundle: Path, sha256: str) -> bool:
    if bundle not in _verified or not bundle.is_dir():
        try:
            verify_bundle(bundle, expected_sha256=sha256)
        except BundleRefused:
            return False
        _verified.add(bundle)
    return True


def _fetch(server: str, source: str, folder: str) -> Path:
    """By MLflow's client: in this process where it is loaded already, otherwise in one that ends,
    with its memory, when it is done. Returns the folder of the bundle."""
    if "mlflow" in sys.modules:
        return Path(fetch_here(server, source, folder))
    done = subprocess.run(
        [sys.executable, "-m", "registry.download", server, source, folder],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_SECONDS,
    )
    if done.returncode:
        raise OSError(done.stderr.strip() or f"exit code {done.returncode}")
    return Path(done.stdout.splitlines()[-1])


def fetch_here(server: str, source: str, folder: str) -> str:
    from mlflow.artifacts import download_artifacts

    return download_artifacts(source, dst_path=folder, tracking_uri=server)


if __name__ == "__main__":  # started by `_fetch`
    print(fetch_here(*sys.argv[1:4]))
