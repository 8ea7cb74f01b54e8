"""A run to be repeated: what it left, whether it can be, by which code and on which cores."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from configs.command import make
from configs.load import load
from configs.settings import Settings
from flows.stage import ROOT, code_sha256
from ingestion.ingest import check_source

NEEDED = ("data_sha256", "table_sha256", "code_sha256", "code_revision")
CHANGES = "+changes"


@dataclass(frozen=True)
class Original:
    """A run that has ended: its folder, its summary, and the settings it ran with."""

    folder: Path
    summary: dict[str, Any]
    settings: Settings

    @property
    def id(self) -> str:
        return self.folder.name


def find_original(settings: Settings, asked: str | None) -> Original:
    """The run of this id under var/runs. Raises UserError when it has not left what is needed."""
    runs = settings.var.absolute() / "runs"
    ended = sorted((path.parent.name for path in runs.glob("*/summary.json")), reverse=True)
    known = [name for name in ended if name != "latest"]
    plain = bool(asked) and asked not in (".", "..") and Path(str(asked)).name == asked
    if not asked or not plain or not (runs / asked).is_dir():
        raise UserError(
            f"there is no run {asked!r}" if asked else "no run is named",
            where="RUN",
            next_step=f"choose latest, or one of {', '.join(known[:5])}"
            if known
            else f"no run has ended yet: {make('train', settings)}",
        )
    folder = (runs / asked).resolve()
    for name in ("settings.yaml", "summary.json"):
        if not (folder / name).is_file():
            what = "its settings are gone" if name == "settings.yaml" else "it has not ended"
            raise UserError(
                f"run {folder.name} cannot be repeated: {what}",
                where=str(folder / name),
                next_step="choose another run",
            )
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except ValueError:
        summary = {}  # altered
    missing = [name for name in NEEDED if name not in summary]
    if missing:
        raise UserError(
            f"run {folder.name} cannot be repeated: it has not recorded its {missing[0]}",
            where=str(folder / "summary.json"),
            next_step="choose a run of a later revision",
        )
    return Original(folder, summary, _settings(folder / "settings.yaml"))


def why_not_repeatable(original: Original) -> str:
    """ "" when the same settings and rows give the same figures; otherwise the reason.

    Raises UserError for what cannot even be tried: rows that are gone, and a database.
    """
    settings = original.settings
    if settings.source.kind == "database":
        raise UserError(
            f"run {original.id} cannot be repeated: its rows came from a database, which cannot be"
            " read again as it was then",
            where=str(original.folder / "settings.yaml"),
            next_step="export the rows to a file and train from that: such a run can be repeated",
        )
    try:
        check_source(settings.source)
    except UserError as error:
        raise UserError(
            f"run {original.id} cannot be repeated, its source is not what it was: {error.what}",
            where=error.where,
            next_step="bring the file back to where it was",
        ) from None
    families = original.summary["families"]
    timed = [name for name, found in families.items() if found["ended_by"] == "seconds"]
    if timed:
        return f"the search of {timed[0]} was ended by the clock, not by its trials"
    if settings.tuning.workers > 1:
        return (
            "its trials ran side by side (tuning.workers), and saw each other's in no fixed order"
        )
    return ""


def code_to_run(original: Original, folder: Path, *, anyway: bool) -> Path:
    """The root of the code that the run had: this one, or its revision unpacked into `folder`.

    Raises UserError when that code cannot be had; with `anyway` it is this one then.
    """
    revision, wanted = original.summary["code_revision"], original.summary["code_sha256"]
    if wanted == code_sha256():
        return ROOT
    reason = f"the code is another than at {revision[:12]}"
    if revision == "unknown":
        reason = "the code has changed since, and the run knew no git revision to take it from"
    elif revision.endswith(CHANGES):
        reason = f"it ran with changes on top of {revision[:12]} that were not committed"
    elif _unpack(revision, folder):
        if _lock(folder) != _lock(ROOT):
            reason = f"{revision[:12]} needs other packages (requirements.lock differs)"
        elif _code_of(folder) == wanted:
            return folder
        else:
            reason = f"{revision[:12]} is not the code that it says it ran with"
    if anyway:
        print(f"Not its own code: {reason}. Going on with the present one.")
        return ROOT
    raise UserError(
        f"run {original.id} cannot be repeated: {reason}",
        where=f"code_sha256 {wanted[:12]}…, now {code_sha256()[:12]}…",
        next_step="check out that code, or add --anyway to repeat it with the present one",
    )


def cores_to_use(original: Original) -> set[int] | None:
    """As many cores as the run had, where this machine has more: threads change the last digits.
    None: all there are."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    threads = [
        json.loads(job.read_text(encoding="utf-8"))["threads"]
        for job in original.folder.glob("job-*.json")
    ]
    if not threads:  # every family was reused: nothing says how many
        return None
    settings = original.settings
    side_by_side = min(settings.tuning.families_at_once, len(settings.training.families))
    mine = sorted(os.sched_getaffinity(0))
    wanted = max(threads) * side_by_side
    if len(mine) // side_by_side == max(threads):
        return None
    if len(mine) < wanted:
        print(f"It had {wanted} cores, here are {len(mine)}: the last digits may differ.")
        return None
    return set(mine[:wanted])


def _settings(file: Path) -> Settings:
    """As the run had them, whatever the environment says now; paths of its source absolute."""
    try:
        settings = load(str(file), env={})
    except UserError as error:
        raise UserError(
            f"run {file.parent.name} cannot be repeated: its settings are not those of this"
            f" revision: {error.what}",
            where=str(file),
            next_step="check out its own revision: code_revision in summary.json",
        ) from None
    paths = tuple(str(ROOT / path) for path in settings.source.path)
    return settings.model_copy(
        update={"source": settings.source.model_copy(update={"path": paths})}
    )


def _unpack(revision: str, folder: Path) -> bool:
    """The files of this revision; False when git does not know it."""
    try:
        packed = subprocess.run(
            ["git", "archive", "--format=tar", revision], cwd=ROOT, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return True


def _lock(root: Path) -> bytes:
    file = root / "requirements.lock"
    return file.read_bytes() if file.is_file() else b""


def _code_of(root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from flows.stage import code_sha256; print(code_sha256())"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
