"""The model bundle: a folder that answers, with nothing to unpickle.

    model.onnx      raw feature values in (float32, NaN where missing), probability out
    bundle.json     what it is: family, feature schema, threshold, figures, data hash, versions
    examples.json   customers to try it on, and those its answers are explained against; a bundle
                    without it answers all the same
    MLmodel         its inputs and outputs, for MLflow's page (`registry/signature.py`)
    manifest.json   the SHA-256 of the files above; its own SHA-256 names the bundle

A bundle is verified at every load. A file that is missing, altered or not in the manifest is a
reason to refuse it, and so is one that could do more than compute (`registry/harmless.py`),
whatever the manifest says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from registry.harmless import why_not_harmless
from registry.signature import mlmodel

MODEL, DESCRIPTION, MANIFEST = "model.onnx", "bundle.json", "manifest.json"
EXAMPLES, SIGNATURE = "examples.json", "MLmodel"
OPTIONAL = (EXAMPLES, SIGNATURE)
# Bytes that are read of each file. A model is held several times while it is opened; JSON takes
# several times its size as Python objects, in every worker.
LARGEST = {
    MANIFEST: 10_000,
    DESCRIPTION: 10_000_000,
    EXAMPLES: 5_000_000,
    SIGNATURE: 10_000_000,
    MODEL: 250_000_000,
}


class BundleRefused(UserError):
    """The bundle is missing, altered or not what it says it is."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to answer."""

    folder: Path
    sha256: str
    description: dict[str, Any]
    session: Any  # onnxruntime.InferenceSession
    # {} or reference: values float or None (rows, f); samples: what GET /samples answers
    examples: dict[str, Any] = field(default_factory=dict)

    @property
    def features(self) -> list[dict[str, Any]]:
        """The feature schema in input order: dicts of name, unit, meaning, low, high, missing."""
        return self.description["features"]

    @property
    def threshold(self) -> float | None:
        """None: there were no costs to decide by."""
        return self.description["threshold"]

    def predict(self, x: np.ndarray, options: Any = None) -> np.ndarray:
        """Probabilities float64 (n,) for raw feature values float32 (n, f), NaN where missing.

        options: onnxruntime.RunOptions, by which another thread can end it.
        """
        (probability,) = self.session.run(
            ["probability"], {"features": np.ascontiguousarray(x, np.float32)}, options
        )
        return probability.astype(np.float64)


def write_bundle(
    folder: Path,
    model: bytes,
    description: dict[str, Any],
    examples: dict[str, Any] | None = None,
) -> str:
    """Write a bundle aside, rename it to `folder`, and return its SHA-256.

    Raises ValueError for examples with NaN or infinity in them, which are no JSON, and
    BundleRefused for files that are larger than what will be read.
    """
    files = {
        MODEL: model,
        DESCRIPTION: json.dumps(description, indent=2, sort_keys=True).encode(),
        SIGNATURE: mlmodel(description),
    }
    if examples is not None:
        text = json.dumps(examples, ensure_ascii=False, sort_keys=True, allow_nan=False)
        files[EXAMPLES] = text.encode()
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[MANIFEST] = json.dumps(manifest, indent=2, sort_keys=True).encode()
    for name, content in files.items():
        _check_size(folder, name, len(content))
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, content in files.items():
        (aside / name).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return sha256(folder / MANIFEST)


def verify_bundle(folder: Path, *, expected_sha256: str | None = None) -> str:
    """The bundle's SHA-256 once every file has been checked; raises BundleRefused."""
    return _verified(folder, expected_sha256)[0]


def load_bundle(folder: Path, *, expected_sha256: str | None = None, threads: int = 1) -> Bundle:
    """Verify and open a bundle; raises BundleRefused."""
    import onnxruntime

    found, files = _verified(folder, expected_sha256)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        # From the bytes that were verified: a path could lead to others by now.
        session = onnxruntime.InferenceSession(
            files[MODEL], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has a class for each way a graph can be wrong
        raise _refused(folder, f"its graph cannot be opened ({type(error).__name__})") from error
    bundle = Bundle(
        folder,
        found,
        json.loads(files[DESCRIPTION]),
        session,
        json.loads(files.get(EXAMPLES, b"{}")),
    )
    if not _fits(bundle):
        raise _refused(folder, f"the reference rows in {EXAMPLES} are not rows of its features")
    return bundle


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(folder: Path, expected_sha256: str | None) -> tuple[str, dict[str, bytes]]:
    """The bundle's SHA-256 and what stands in its files; raises BundleRefused."""
    # The manifest first: of a bundle that was not asked for, nothing else is read.
    files = {MANIFEST: _read(folder, MANIFEST)}
    found = hashlib.sha256(files[MANIFEST]).hexdigest()
    if expected_sha256 is not None and found != expected_sha256:
        raise _refused(
            folder, f"its manifest is {found[:12]}…, registered was {expected_sha256[:12]}…"
        )
    files |= {name: _read(folder, name) for name in (DESCRIPTION, MODEL)}
    try:
        manifest = dict(json.loads(files[MANIFEST]))
    except (ValueError, TypeError, RecursionError):
        raise _refused(folder, "its manifest is no list of hashes") from None
    strangers = sorted({str(name) for name in manifest} - {DESCRIPTION, MODEL, *OPTIONAL})
    if strangers:
        raise _refused(folder, f"its manifest lists {strangers[0]}, which no bundle has")
    strangers = sorted({path.name for path in folder.iterdir()} - {MANIFEST, *manifest})
    if strangers:
        raise _refused(folder, f"it holds {strangers[0]}, which its manifest does not list")
    files |= {name: _read(folder, name) for name in OPTIONAL if name in manifest}
    for name in sorted(files.keys() - {MANIFEST}):
        if manifest.get(name) != hashlib.sha256(files[name]).hexdigest():
            raise _refused(folder, f"{name} is not the file that was written: its SHA-256 differs")
    reason = why_not_harmless(
        model=files[MODEL], description=files[DESCRIPTION], examples=files.get(EXAMPLES)
    )
    if reason:
        raise _refused(folder, reason)
    return found, files


def _read(folder: Path, name: str) -> bytes:
    """What is in a file of the bundle; its size is known before it is read."""
    path = folder / name
    if path.is_symlink():
        raise _refused(folder, f"{name} is a link, which leads out of the bundle")
    if not path.is_file():
        raise _refused(folder, f"the bundle has no {name}")
    _check_size(folder, name, path.stat().st_size)
    with path.open("rb") as file:
        content = file.read(LARGEST[name] + 1)
    _check_size(folder, name, len(content))  # it may have grown since
    return content


def _check_size(folder: Path, name: str, size: int) -> None:
    if size > LARGEST[name]:
        raise _refused(folder, f"{name} has {size:,} bytes, at most {LARGEST[name]:,} are read")


def _fits(bundle: Bundle) -> bool:
    """Whether the reference rows, where there are any, are numbers for every feature."""
    if not bundle.examples.get("reference"):
        return True
    try:
        x = np.array(bundle.examples["reference"], dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return False
    return x.ndim == 2 and x.shape[1] == len(bundle.features)


def _refused(folder: Path, reason: str) -> BundleRefused:
    return BundleRefused(
        f"the model bundle is refused: {reason}",
        where=str(folder),
        next_step="train again (make train); never mend a bundle by hand",
    )
