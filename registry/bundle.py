"""The model bundle: a folder that answers, with nothing to unpickle.

    model.onnx      raw feature values in (float32, NaN where missing), probability out
    bundle.json     what it is: family, feature schema, threshold, figures, data hash, versions
    examples.json   customers to try it on, and those its answers are explained against; a bundle
                    without it answers all the same
    MLmodel, input_example.json   the same as a model of MLflow's (`registry/mlmodel.py`)
    manifest.json   the SHA-256 of the files above; its own SHA-256 names the bundle

A bundle is verified at every load. It holds these files and no others; one that is missing, altered
or not in the manifest is a reason to refuse it. So is a graph that would read files outside the
bundle or ask for operators of a library, whatever the manifest says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from registry.mlmodel import INPUT_EXAMPLE, MLMODEL, mlflow_files

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto

MODEL, DESCRIPTION, MANIFEST = "model.onnx", "bundle.json", "manifest.json"
EXAMPLES = "examples.json"
OPTIONAL = (EXAMPLES, MLMODEL, INPUT_EXAMPLE)
# MLflow writes the name and version of a model beside its files when it opens them where they lie,
# by `models:/NAME/VERSION`. Nobody else reads it, and no manifest lists it.
LEFT_BY_MLFLOW = "registered_model_meta"
# Bytes that are read of each file. A model is held several times while it is opened; JSON takes
# several times its size as Python objects, in every worker.
LARGEST = {
    MANIFEST: 10_000,
    DESCRIPTION: 10_000_000,
    EXAMPLES: 5_000_000,
    MLMODEL: 10_000_000,
    INPUT_EXAMPLE: 5_000_000,
    MODEL: 250_000_000,
}
# What ONNX Runtime computes by itself. Functions that a graph brings along are made of these.
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


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
    """Write a bundle under a temporary name, rename it to `folder`, and return its SHA-256.

    Raises ValueError for examples with NaN or infinity in them, which are not JSON, and
    BundleRefused for files that are larger than what will be read.
    """
    files = {
        MODEL: model,
        DESCRIPTION: json.dumps(description, indent=2, sort_keys=True).encode(),
        **mlflow_files(description, examples or {}),
    }
    if examples is not None:
        text = json.dumps(examples, ensure_ascii=False, sort_keys=True, allow_nan=False)
        files[EXAMPLES] = text.encode()
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[MANIFEST] = json.dumps(manifest, indent=2, sort_keys=True).encode()
    for name, content in files.items():
        _check_size(folder, name, len(content))
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in files.items():
        (temporary / name).write_bytes(content)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
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
        raise _refused(folder, "its manifest is not a list of hashes") from None
    unknown = sorted({str(name) for name in manifest} - {DESCRIPTION, MODEL, *OPTIONAL})
    if unknown:
        raise _refused(folder, f"its manifest lists {unknown[0]}, which a bundle does not have")
    unknown = sorted(
        {path.name for path in folder.iterdir()} - {MANIFEST, LEFT_BY_MLFLOW, *manifest}
    )
    if unknown:
        raise _refused(folder, f"it holds {unknown[0]}, which its manifest does not list")
    files |= {name: _read(folder, name) for name in OPTIONAL if name in manifest}
    for name in sorted(files.keys() - {MANIFEST}):
        if manifest.get(name) != hashlib.sha256(files[name]).hexdigest():
            raise _refused(folder, f"{name} is not the file that was written: its SHA-256 differs")
    for name in (DESCRIPTION, EXAMPLES):
        if name in files and not _is_object(files[name]):
            raise _refused(folder, f"{name} is not a JSON object")
    if reason := _graph_fault(files[MODEL]):
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


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):  # a million brackets are nested too deep to be read
        return False


def _graph_fault(content: bytes) -> str:
    """Why this graph is not one to open; "" when nothing speaks against it."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto, TensorProto

    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return "its graph cannot be opened (it is not ONNX)"
    known = DOMAINS | {function.domain for function in model.functions}
    for part in (model.graph, *model.functions):
        for found in _walk(part):
            if isinstance(found, TensorProto):
                if found.external_data or found.data_location == TensorProto.EXTERNAL:
                    return "its graph keeps numbers in a file outside the bundle"
            elif found.domain not in known:
                return f"its graph wants the operator {found.op_type} of a library, {found.domain}"
    return ""


def _walk(part: GraphProto | FunctionProto) -> Iterator[Any]:
    """Every node and every tensor, those of branches and loops included."""
    if hasattr(part, "initializer"):
        yield from part.initializer
        for sparse in part.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in part.node:
        yield node
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for branch in (attribute.g, *attribute.graphs):
                yield from _walk(branch)


def _refused(folder: Path, reason: str) -> BundleRefused:
    return BundleRefused(
        f"the model bundle is refused: {reason}",
        where=str(folder),
        next_step="train again (make train); never repair a bundle by hand",
    )
