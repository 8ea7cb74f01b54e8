"""The scores of the champion: made once for each key, and which of them are official.

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
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.errors import UserError
from common.files import RecordAltered, read_record, sha256_of, write_record
from configs.make_command import make
from configs.settings import Settings
from registry.bundle import Bundle, load_bundle
from registry.champion import ModelVersion, the_champion
from registry.evidence import question
from serving.batch import CSV, PARQUET, score

RECORD, BESIDE, UNFINISHED = "scores.json", "beside", ".unfinished"
FILES = (PARQUET, CSV)
FEATURES = ".features.parquet"
KEY = ("as_of", "model", "version", "bundle_sha256", "data_sha256")


@dataclass(frozen=True)
class Scores:
    """Scores that were made or read back. record: the fields of `KEY` (as_of: None for a table),
    rows, explained, fair_from, files (name -> SHA-256)."""

    folder: Path
    record: dict[str, Any]
    official: bool
    reused: bool
    notes: tuple[str, ...] = ()


def scores_folder(settings: Settings) -> Path:
    """Return the folder of all scores of the data set."""
    return settings.var.absolute() / "scores" / settings.dataset


def read_scores(folder: Path) -> dict[str, Any] | None:
    """Read the record of the scores in a folder; None where there are none, or where they were
    altered or moved here from another day."""
    record = _read(folder)
    return record if record is not None and _is_intact(folder, record) else None


def open_champion(settings: Settings) -> tuple[ModelVersion, Bundle]:
    """Return the champion and its verified bundle, which was trained for the question of the
    settings.

    Raises UserError: then nothing is scored, and earlier scores stay as they are.
    """
    version = the_champion(settings)
    bundle = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    ours, theirs = question(settings), bundle.description.get("question", {})
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"the champion answers another question: {name} is {theirs.get(name)!r} for it,"
                f" {ours.get(name)!r} in the settings",
                where=str(bundle.folder),
                next_step=f"take the settings of its training, or train again:"
                f" {make('train', settings)}",
            )
    return version, bundle


def features_of_log(
    bundle: Bundle, settings: Settings, transactions: Path, target: Path, *, as_of: date
) -> int:
    """Write the features of everybody as of a day to `target`, made as the bundle says, whatever
    the settings are now. Returns the number of rows."""
    from features.score_rows import rows_of_log

    section = bundle.description["transactions"]
    return rows_of_log(
        transactions,
        target,
        as_of,
        settings.features.model_copy(update=section["features"]),
        frozenset(section["declared"]),
        settings.compute,
        date.fromisoformat(section["log_start"]),
    )


def score_once(
    settings: Settings,
    version: ModelVersion,
    bundle: Bundle,
    place: Path,
    key: dict[str, Any],
    make_features: Callable[[Path], int],
    no_rows: UserError,
    called: str = "customer",
) -> Scores:
    """Return the champion's scores for a key, made once (`keep_scores`).

    key: `as_of` and `data_sha256`.  make_features: writes them to a path and returns the number of
    rows.  no_rows: raised when there are none.  called: the word for a row in the list.
    """
    record = {
        **key,
        "model": version.name,
        "version": version.version,
        "bundle_sha256": bundle.sha256,
        "explained": settings.scoring.explained,
        "fair_from": fair_from(bundle),
    }

    def make_files(folder: Path) -> None:
        features = folder / FEATURES
        record["rows"] = make_features(features)
        if not record["rows"]:
            raise no_rows
        score(
            bundle,
            features,
            folder,
            version=version.version,
            explained=settings.scoring.explained,
            compute=settings.compute,
            called=called,
        )
        features.unlink()

    return keep_scores(place, record, make_files)


def fair_from(bundle: Bundle) -> str | None:
    """Return the first day as of which scores are a fair test of the model: what customers did
    before it was seen by its training, or by the test that the gate judged. None for a bundle
    without dates."""
    dates = bundle.description.get("as_of") or {}
    days = [date.fromisoformat(day) for split in dates.values() for day in split]
    if not days:
        return None
    horizon = bundle.description["question"]["horizon_days"]
    return (max(days) + timedelta(days=horizon)).isoformat()


def keep_scores(place: Path, record: dict[str, Any], write: Callable[[Path], None]) -> Scores:
    """The scores of a key, read back or made now; official where there were none at `place` before.

    record: what to write down of them, with all of `KEY`.  write: writes both files into the folder
    that it is given.
    """
    for left in place.parent.glob(f".*{UNFINISHED}"):  # by killed commands: var/ is locked
        shutil.rmtree(left, ignore_errors=True)
    beside = place / BESIDE / f"version-{record['version']}-{record['data_sha256'][:8]}"
    first = _read(place)
    absent = first is None and not any((place / name).exists() for name in (*FILES, RECORD))
    for folder in (place, *([] if absent else [beside])):
        known = read_scores(folder)
        if known is not None and _same(known, record):
            return Scores(folder, known, folder == place, True)

    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        suffix=UNFINISHED, prefix=".", dir=place.parent, ignore_cleanup_errors=True
    ) as temporary:
        unfinished = Path(temporary) / "scores"
        unfinished.mkdir()
        write(unfinished)
        record = {**record, "files": {name: sha256_of(unfinished / name) for name in FILES}}
        write_record(unfinished / RECORD, record)
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
                " other rows: restore that folder from a copy, or remove it: then the next scores"
                " become the official ones"
            )
        if target == beside and beside.exists():
            notes.append(f"{beside} was altered: made again")
        _move(unfinished, target)
    return Scores(target, record, target == place, False, tuple(notes))


def _read(folder: Path) -> dict[str, Any] | None:
    """Read the record in the folder, whether or not the files match it."""
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
        return all(sha256_of(folder / name) == sha for name, sha in record["files"].items())
    except (OSError, AttributeError):
        return False


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(first[name] == second[name] for name in KEY)


def _are_those(folder: Path, record: dict[str, Any]) -> bool:
    """Return whether the folder's files are those of the record: a move was interrupted."""
    return all(
        sha256_of(folder / name) == sha
        for name, sha in record["files"].items()
        if (folder / name).exists()
    )


def _move(source: Path, target: Path) -> None:
    """Move the files in one step if the folder is new; otherwise one by one, the record last, since
    the folder `beside` in it is kept."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return
    for name in (*FILES, RECORD):
        (source / name).replace(target / name)
