"""May the files of a bundle be opened? A pickle runs whatever it likes when it is read, a graph can
ask for files outside the bundle or for operators from a library of its own: such are refused."""

from __future__ import annotations

import io
import json
import pickletools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto

# What ONNX Runtime computes by itself. Functions that a graph brings along are made of these.
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
# How a pickle is packed: PyTorch's .pt and NumPy's .npz are zips, joblib's files are compressed.
PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "packed with gzip",
    b"\x78\x01": "packed with zlib",
    b"\x78\x9c": "packed with zlib",
    b"\x78\xda": "packed with zlib",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\x93NUMPY": "a NumPy file",
}


def why_not_harmless(*, model: bytes, description: bytes, examples: bytes | None = None) -> str:
    """ "" when `model.onnx`, `bundle.json` and `examples.json`, where there is one, are what they
    should be; otherwise the reason."""
    texts = {"bundle.json": description, "examples.json": examples}
    for name, content in {"model.onnx": model, **texts}.items():
        if content is None:
            continue
        if is_pickle(content):
            return f"{name} is a pickle, which could run anything when it is read"
        for first, what in PACKED.items():
            if content.startswith(first):
                return f"{name} is {what}, which may hold a pickle"
    for name, content in texts.items():
        if content is not None and (reason := _text(name, content)):
            return reason
    return _graph(model)


def is_pickle(content: bytes) -> bool:
    """Whether Python would take it for a pickle: read through to its end, and never run."""
    if content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    try:
        # Protocols 0 and 1 have no mark at their beginning.
        return any(
            opcode.name == "STOP" for opcode, _, _ in pickletools.genops(io.BytesIO(content))
        )
    except Exception:  # whatever it is, it is none
        return False


def _text(name: str, content: bytes) -> str:
    try:
        if isinstance(json.loads(content), dict):
            return ""
    except (ValueError, RecursionError):  # a million brackets are nested too deep to be read
        return f"{name} is no JSON"
    what = "description of a model" if name == "bundle.json" else "collection of examples"
    return f"{name} is no {what}"


def _graph(content: bytes) -> str:
    from google.protobuf.message import DecodeError
    from onnx import ModelProto, TensorProto

    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return "its graph cannot be opened (it is no ONNX)"
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
