"""What a running service must have installed: a short list, and all that it pulls in.

No library of training is among it: the service answers from an ONNX graph.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.errors import UserError

# The one list. A test holds it against what the modules that are shipped import.
DIRECT = (
    "bentoml",
    "duckdb",
    "httptools",
    "msgspec",
    "numpy",
    "onnx",  # a bundle's graph is looked through before it is opened
    "onnxruntime",
    "prometheus-client",
    "protobuf",
    "pyarrow",
    "pydantic",
    "pydantic-settings",
    "pyyaml",
    "uvicorn",
    "uvloop",  # BentoML's server takes it up when it is there
)


def closure(direct: tuple[str, ...] = DIRECT) -> dict[str, str]:
    """Distribution -> version of all that `direct` needs, by name: as installed here, for Python
    and a system like these. Raises UserError when one is not installed."""
    found: dict[str, str] = {}
    extras: dict[str, set[str]] = {}
    todo = [Requirement(name) for name in direct]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in found and requirement.extras <= extras[name]:
            continue
        extras[name] = extras.get(name, set()) | requirement.extras
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise UserError(
                f"{name} is not installed, and the service needs it",
                where=".venv",
                next_step="set it up again: rm .venv/requirements.lock && make setup",
            ) from None
        found[name] = installed.version.partition("+")[0]  # 2.1+cpu is found on one machine only
        for line in installed.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *extras[name])
            ):
                todo.append(needed)
    return dict(sorted(found.items()))
