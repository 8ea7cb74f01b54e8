"""Where scores are kept, and which of them are official.

    <place>/part.parquet scores.csv scores.json     the official ones: the first that were made
    <place>/beside/version-2-1a2b3c4d/…             of a later champion, or of rows changed since

`scores.json` is a record (`common/files.py`) with the *key* of the scores and the hashes of the
files. Scores are made in a temporary folder and then moved to their place, the record last. What
was official once stays so: files that were altered are made again where they can be, and nothing
else ever takes their place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import RecordAltered, read_record, write_record
from configs.settings import Settings
from flows.stage import hash_file
from ingestion.batches import dataset_of
from serving.batch import CSV, PARQUET

RECORD, BESIDE = "scores.json", "beside"
FILES = (PARQUET, CSV)
KEY = ("as_of", "model", "version", "bundle_sha256", "data_sha256")


@dataclass(frozen=True)
class Scores:
    """Scores that were made or found. record: those of `KEY` (as_of: None for a table), rows,
    explained, fair_from, files (name -> SHA-256)."""

    folder: Path
    record: dict[str, Any]
    official: bool
    reused: bool
    notes: tuple[str, ...] = ()


def scores_folder(settings: Settings) -> Path:
    """Where all scores of the data set are."""
    return settings.var.absolute() / "scores" / dataset_of(settings)


def read_scores(folder: Path) -> dict[str, Any] | None:
    """The record of the scores in a folder; None where there are none, or where they were altered
    or moved here from another day."""
    record = _read(folder)
    return record if record is not None and _is_intact(folder, record) else None


def keep_scores(place: Path, record: dict[str, Any], make: Callable[[Path], None]) -> Scores:
    """The scores of a key, found or made; official where there were none at `place` before.

    record: what to write down of them, with all of `KEY`.  make: writes both files into the folder
    that it is given.
    """
    _remove_unfinished(place.parent)
    beside = place / BESIDE / f"version-{record['version']}-{record['data_sha256'][:8]}"
    first = _read(place)
    absent = first is None and not any((place / name).exists() for name in (*FILES, RECORD))
    for folder in (place, *([] if absent else [beside])):
        found = read_scores(folder)
        if found is not None and _same(found, record):
            return Scores(folder, found, folder == place, True)

    aside = place.with_name(f".{place.name}.unfinished")
    aside.mkdir(parents=True)
    try:
        make(aside)
        record = {**record, "files": {name: hash_file(aside / name) for name in FILES}}
        write_record(aside / RECORD, record)
        target, notes = beside, []
        if absent:
            target = place
        elif first is not None and _same(first, record):
            target = place
            notes.append(f"{place} was altered: made again")
        elif first is None and _are_those(place, record):
            target = place
            notes.append(f"{place / RECORD} was missing or altered: written again")
        elif read_scores(place) is None:
            notes.append(
                f"the official scores in {place} were altered, and are of another champion or of"
                " other rows: bring back a copy of that folder, or remove it: the next scores are"
                " official then"
            )
        if target == beside and beside.exists():
            notes.append(f"{beside} was altered: made again")
        _move(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Scores(target, record, target == place, False, tuple(notes))


def _read(folder: Path) -> dict[str, Any] | None:
    """The record that lies there, whatever became of the files."""
    try:
        record = read_record(folder / RECORD)
        return record if {*KEY, "rows", "explained", "files"} <= record.keys() else None
    except (OSError, RecordAltered, AttributeError):
        return None


def _is_intact(folder: Path, record: dict[str, Any]) -> bool:
    """Whether the files are those of the record, and the folder of a day is that of its scores."""
    official = folder.parent.parent if folder.parent.name == BESIDE else folder
    if official.name.startswith("as_of=") and official.name != f"as_of={record['as_of']}":
        return False
    try:
        return all(hash_file(folder / name) == sha for name, sha in record["files"].items())
    except (OSError, AttributeError):
        return False


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(found[name] == wanted[name] for name in KEY)


def _are_those(folder: Path, record: dict[str, Any]) -> bool:
    """Whether every file that lies there is the one of the record: a move was cut short."""
    return all(
        hash_file(folder / name) == sha
        for name, sha in record["files"].items()
        if (folder / name).exists()
    )


def _move(aside: Path, target: Path) -> None:
    """In one step where the folder is new; else file by file, the record last: what stands beside
    is kept in it."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(target)
        return
    for name in (*FILES, RECORD):
        (aside / name).replace(target / name)


def _remove_unfinished(folder: Path) -> None:
    """What runs left that were killed: the caller holds the lock of var/."""
    for left in folder.glob(".*.unfinished"):
        shutil.rmtree(left, ignore_errors=True)
