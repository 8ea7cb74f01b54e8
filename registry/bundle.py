"""The model bundle: a folder with a model and all that is needed to use it, without pickles.

    model.onnx      raw feature values in (float32, NaN where missing), probability out
    bundle.json     its description: family, feature schema, threshold, figures, data hash, versions
    examples.json   optional: sample customers, and the reference rows of explanations
    MLmodel, input_example.json   the same as a model of MLflow's (`registry/mlmodel.py`)
    manifest.json   the SHA-256 of the files above; its own SHA-256 names the bundle

A bundle is verified at every load. It holds these files and no others, and is refused when one is
missing, altered or not in the manifest; also when its graph would read files outside the bundle or
uses operators of a library, whatever the manifest says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError
from common.files import atomic_folder
from registry.mlmodel import INPUT_EXAMPLE, MLMODEL, mlflow_files

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto

MODEL, DESCRIPTION, MANIFEST = "model.onnx", "bundle.json", "manifest.json"
EXAMPLES = "examples.json"
OPTIONAL = (EXAMPLES, MLMODEL, INPUT_EXAMPLE)
# Written by MLflow beside a model's files when it opens them in place (`models:/NAME/VERSION`).
# Nothing else reads it, and no manifest lists it.
LEFT_BY_MLFLOW = "registered_model_meta"
# Most bytes that are read of each file. A model is held several times while it is opened; JSON
# takes several times its size as Python objects, in every worker.
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
    """The bundle is missing, altered or not the registered one."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to predict."""

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
        """The probability from which an action pays; None where no costs are set."""
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
    """Write a bundle in the place of `folder`, and return its SHA-256.

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
    with atomic_folder(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def verify_bundle(folder: Path, *, expected_sha256: str | None = None) -> str:
    """Check every file, and return the bundle's SHA-256. Raises BundleRefused."""
    return _verified(folder, expected_sha256)[0]


def load_bundle(folder: Path, *, expected_sha256: str | None = None, threads: int = 1) -> Bundle:
    """Verify and open a bundle. Raises BundleRefused."""
    import onnxruntime

    sha256, files = _verified(folder, expected_sha256)
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
        sha256,
        json.loads(files[DESCRIPTION]),
        session,
        json.loads(files.get(EXAMPLES, b"{}")),
    )
    if not _fits(bundle):
        raise _refused(folder, f"the reference rows in {EXAMPLES} are not rows of its features")
    return bundle


def _verified(folder: Path, expected_sha256: str | None) -> tuple[str, dict[str, bytes]]:
    """The bundle's SHA-256 and the content of its files. Raises BundleRefused."""
    # The manifest first: of a bundle that is not the expected one, nothing else is read.
    files = {MANIFEST: _read(folder, MANIFEST)}
    sha256 = hashlib.sha256(files[MANIFEST]).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise _refused(
            folder, f"its SHA-256 is {sha256[:12]}…, registered was {expected_sha256[:12]}…"
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
    return sha256, files


def _read(folder: Path, name: str) -> bytes:
    """The content of a file of the bundle. Its size is checked before it is read."""
    path = folder / name
    if path.is_symlink():
        raise _refused(folder, f"{name} is a link out of the bundle")
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
    """Why this graph must not be opened; "" when it may."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto, TensorProto

    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return "its graph cannot be opened (it is not ONNX)"
    known = DOMAINS | {function.domain for function in model.functions}
    for part in (model.graph, *model.functions):
        for item in _nodes_and_tensors(part):
            if isinstance(item, TensorProto):
                if item.external_data or item.data_location == TensorProto.EXTERNAL:
                    return "its graph keeps numbers in a file outside the bundle"
            elif item.domain not in known:
                return f"its graph uses the operator {item.op_type} of a library, {item.domain}"
    return ""


def _nodes_and_tensors(part: GraphProto | FunctionProto) -> Iterator[Any]:
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
                yield from _nodes_and_tensors(branch)


def _refused(folder: Path, reason: str) -> BundleRefused:
    return BundleRefused(
        f"the model bundle is refused: {reason}",
        where=str(folder),
        next_step="train again (make train); do not edit a bundle",
    )
