"""A stage that has run is not run again: content-addressed folders under var/stages.

The key of a stage is the hash of what it depends on: the hashes of its inputs, the settings it
reads, its code (`flows/stage_code.py`) and the lock file. Its outputs are written into a temporary
folder, which is renamed when they are complete, so a kill leaves nothing that a later run would
trust. At reuse every output is hashed again: an altered file is made anew.

Prefect's own result cache would pickle what a task returns and trust the files it points to; this
one keeps JSON and checks the files.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from common.files import atomic_folder, is_running, sha256_of
from flows.stage_code import ROOT, closure, figures

LOCK, RECORD = "requirements.lock", "stage.json"

Build = Callable[[Path], dict[str, Any]]


Facts = TypeVar("Facts")
Typed = TypeVar("Typed")


@dataclass(frozen=True)
class Stage(Generic[Facts]):
    """A finished stage: its folder, the facts it returned, and its files' hashes."""

    folder: Path
    facts: Facts
    files: dict[str, str]
    reused: bool

    def path(self, name: str) -> Path:
        return self.folder / name

    def typed(self, read: Callable[[Facts], Typed]) -> Stage[Typed]:
        """Return the same stage with its facts as `read` makes them of JSON values."""
        return Stage(self.folder, read(self.facts), self.files, self.reused)


def run_stage(
    var: Path,
    name: str,
    depends_on: dict[str, Any],
    modules: tuple[str, ...],
    build: Build,
) -> Stage[dict[str, Any]]:
    """Return the finished stage, reused or built by `build(folder) -> facts` (JSON values).

    depends_on: inputs and settings, JSON values.  modules: those whose functions `build` calls. A
    fact `repeats: false` says that another try may come out differently: it is not reused.
    """
    key = stage_key(depends_on, modules, build)
    folder = var.absolute() / "stages" / f"{name}-{key[:16]}"
    kept = _intact(folder)
    if kept is not None and kept["facts"].get("repeats", True):
        return Stage(folder, kept["facts"], kept["files"], reused=True)
    for left in folder.parent.glob(".*.*.*"):  # by killed runs, with whatever settings they had
        process = left.name.split(".")[-2]
        if process.isdecimal() and not is_running(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    with atomic_folder(folder) as temporary:
        facts = build(temporary)
        files = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        # Through JSON, so that a first run and a reused one see the same values.
        facts = json.loads(json.dumps(facts, default=str))
        sealed = hash_text(json.dumps([facts, files], sort_keys=True))
        record = {"facts": facts, "files": files, "sealed": sealed}
        (temporary / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
    return Stage(folder, facts, files, reused=False)


def stage_key(depends_on: dict[str, Any], modules: tuple[str, ...], build: Build) -> str:
    """Hash all that a stage depends on: the lines of `build` are a part of its code."""
    code = [code_hash(modules), inspect.getsource(build)]
    return hash_text(json.dumps([depends_on, code], sort_keys=True, default=str))


@cache
def code_hash(modules: tuple[str, ...], root: Path = ROOT) -> str:
    """Hash the files that these modules lead to, and the lock file."""
    return _hash_files(closure(modules, root), root)


def code_sha256() -> str:
    """Hash the code that leads to a run's figures, and the lock file."""
    return _hash_files(figures(), ROOT)


def _hash_files(files: Iterable[Path], root: Path) -> str:
    hashes = {file.as_posix(): sha256_of(root / file) for file in [*files, Path(LOCK)]}
    return hash_text(json.dumps(hashes, sort_keys=True))


def _intact(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = {path.name: sha256_of(path) for path in folder.iterdir() if path.name != RECORD}
        sealed = hash_text(json.dumps([record["facts"], files], sort_keys=True))
        return record if record["sealed"] == sealed else None
    except (OSError, ValueError, LookupError, TypeError):
        return None  # damaged in whatever way: made anew


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
