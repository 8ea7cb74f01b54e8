"""The model bundle: a folder that answers, with nothing to unpickle.

    model.onnx      raw feature values in (float32, NaN where missing), probability out
    bundle.json     what it is: family, feature schema, threshold, figures, data hash, versions
    manifest.json   the SHA-256 of the two files above; its own SHA-256 names the bundle

A bundle is verified at every load. A file that is missing, altered or not in the manifest is a
reason to refuse it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError

MODEL, DESCRIPTION, MANIFEST = "model.onnx", "bundle.json", "manifest.json"


class BundleRefused(UserError):
    """The bundle is missing, altered or not what it says it is."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to answer."""

    folder: Path
    sha256: str
    description: dict[str, Any]
    session: Any  # onnxruntime.InferenceSession

    @property
    def features(self) -> list[dict[str, Any]]:
        """The feature schema in input order: dicts of name, unit, meaning, low, high, missing."""
        return self.description["features"]

    @property
    def threshold(self) -> float:
        return self.description["threshold"]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities float64 (n,) for raw feature values float32 (n, f), NaN where missing."""
        (probability,) = self.session.run(
            ["probability"], {"features": np.ascontiguousarray(x, np.float32)}
        )
        return probability.astype(np.float64)


def write_bundle(folder: Path, model: bytes, description: dict[str, Any]) -> str:
    """Write a bundle aside, rename it to `folder`, and return its SHA-256."""
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    (aside / MODEL).write_bytes(model)
    (aside / DESCRIPTION).write_text(
        json.dumps(description, indent=2, sort_keys=True), encoding="utf-8"
    )
    manifest = {name: sha256(aside / name) for name in (DESCRIPTION, MODEL)}
    (aside / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return sha256(folder / MANIFEST)


def verify_bundle(folder: Path, *, expected_sha256: str | None = None) -> str:
    """The bundle's SHA-256 once every file has been checked; raises BundleRefused."""
    for name in (MANIFEST, DESCRIPTION, MODEL):
        if not (folder / name).is_file():
            raise _refused(folder, f"the bundle has no {name}")
    found = sha256(folder / MANIFEST)
    if expected_sha256 is not None and found != expected_sha256:
        raise _refused(
            folder, f"its manifest is {found[:12]}…, registered was {expected_sha256[:12]}…"
        )
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        strangers = sorted({path.name for path in folder.iterdir()} - {MANIFEST, *manifest})
    except (ValueError, TypeError):
        raise _refused(folder, "its manifest is no list of hashes") from None
    if strangers:
        raise _refused(folder, f"it holds {strangers[0]}, which its manifest does not list")
    for name in (DESCRIPTION, MODEL):
        if manifest.get(name) != sha256(folder / name):
            raise _refused(folder, f"{name} is not the file that was written: its SHA-256 differs")
    return found


def load_bundle(folder: Path, *, expected_sha256: str | None = None, threads: int = 1) -> Bundle:
    """Verify and open a bundle; raises BundleRefused."""
    import onnxruntime

    found = verify_bundle(folder, expected_sha256=expected_sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(folder / MODEL), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has a class for each way a graph can be wrong
        raise _refused(folder, f"its graph cannot be opened ({type(error).__name__})") from error
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    return Bundle(folder, found, description, session)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(folder: Path, reason: str) -> BundleRefused:
    return BundleRefused(
        f"the model bundle is refused: {reason}",
        where=str(folder),
        next_step="train again (make train); never mend a bundle by hand",
    )
