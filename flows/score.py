"""Everybody's score at one as-of date, from the champion: `make score [AS_OF=2026-05-01]`.

valid rows → features → champion → var/scores/<data set>/as_of=…/part.parquet and scores.csv

The scores of an as-of date are made once for a champion and the rows before that date: the same
key gives the same bytes. The first are the official ones; what a later champion, or rows that were
changed since, come to stands beside them and never takes their place (`flows/kept_scores.py`).
`DATA=new.csv` scores the rows of a file for a champion of a labelled table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from common.errors import UserError
from configs.command import make, run_command
from configs.settings import Settings
from features.catalogue import CATALOGUE
from flows import data_stages, score_table
from flows.clock import read_day, today
from flows.exclusive import exclusive
from flows.kept_scores import RECORD, Scores, keep_scores, read_scores, scores_folder
from flows.monitoring_metrics import recorded
from flows.score_report import noted_warnings, print_scores
from ingestion.months import Month, digest_of, months_of
from ingestion.outcome import QUARANTINE, TRANSACTIONS
from ingestion.sources import check_source
from monitoring.facts import month_of
from registry.bundle import Bundle, load_bundle
from registry.champion import ModelVersion, the_champion
from registry.evidence import question
from serving.batch import score

__all__ = ["RECORD", "Scores", "open_champion", "read_scores", "score_log"]

ABOUT = "Score every customer as of a day, or the rows of a file, with the champion."
OPTIONS = {
    "as-of": "the day: features see what was before it; none: the day after the log's last",
    "data": "of a labelled table: the file with the rows to score",
}
FEATURES = ".features.parquet"


def main(settings: Settings, *, as_of: str | None, data: str | None) -> None:
    scores, rows_of, warnings = make_scores(settings, as_of, data)
    print_scores(scores, rows_of, warnings)


def make_scores(
    settings: Settings, as_of: str | None = None, data: str | None = None
) -> tuple[Scores, Settings, list[str]]:
    """What `make score` does: the scores, the settings that they were made by, and warnings.

    Raises Busy when another command works on the same state, ContractBroken, and what `score_log`
    and `score_rows` raise.
    """
    the_champion(settings)  # before anything is read
    if data is not None or settings.source.kind == "table":
        rows_of = score_table.reading(settings, data, as_of)
        with (
            exclusive(settings, "score"),
            noted_warnings() as warnings,
            recorded(rows_of, "score"),
        ):
            return score_rows(rows_of), rows_of, warnings
    day = None if as_of is None else read_day(as_of, "AS_OF")
    check_source(settings.source)
    with (
        exclusive(settings, "score"),
        noted_warnings() as warnings,
        recorded(settings, "score"),
    ):
        page = scores_folder(settings) / "contract.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        validated = data_stages.validate(settings, data_stages.ingest(settings), page)
        scores = score_log(settings, validated.folder, day)
        warnings += _made_from_broken_rows(settings, scores.record["as_of"])
        return scores, settings, warnings


def _made_from_broken_rows(settings: Settings, as_of: str) -> list[str]:
    """What there is to say of a list that is made from months that were judged broken data."""
    from flows.judge import unaccepted_until

    broken = unaccepted_until(settings, month_of(date.fromisoformat(as_of) - timedelta(days=1)))
    if not broken:
        return []
    which = "was" if len(broken) == 1 else "were"
    return [f"{', '.join(broken)} {which} judged broken data, and this list is made from the rows"]


def score_log(
    settings: Settings,
    validated: Path,
    as_of: date | None = None,
    months: list[Month] | None = None,
) -> Scores:
    """The scores of everybody who bought in the `active_days` before `as_of`; none: the day after
    the last row. validated: the folder of a validated batch.  months: its `months_of` up to
    `as_of`, where the caller has them.

    Raises UserError without a champion, with one that answers another question, needs columns that
    the source does not have, or is not whole, and for a day that the log does not reach.
    """
    from features.score_rows import rows_of_log

    version, bundle = open_champion(settings)
    section = bundle.description.get("transactions")
    if section is None:
        raise UserError(
            "the champion's bundle says nothing of how its features are made from a log",
            where=str(bundle.folder),
            next_step=f"train again: {make('train', settings)}",
        )
    _check_features(bundle, settings)
    transactions, clock = validated / TRANSACTIONS, today(settings)
    if as_of is not None and as_of > clock:
        raise UserError(
            f"{as_of} lies in the future: today is {clock}{_whose(settings)}",
            where="AS_OF",
            next_step=f"name a day up to {clock}, or set the clock: --operations.today",
        )
    until = as_of or clock
    given = months is not None
    if months is None:
        months = months_of(transactions, validated / QUARANTINE, until, settings.compute)
    last = max((month.last_day for month in months if month.rows), default=None)
    if last is None:
        raise UserError(
            f"no valid row of the log lies before {until}",
            where="AS_OF",
            next_step="name a later day",
        )
    as_of = as_of or last + timedelta(days=1)
    if any(month.last_day >= as_of for month in months):
        raise ValueError(f"the months hold rows of {as_of} or later")
    gap = (as_of - last).days - 1
    if gap > settings.scoring.max_gap_days:
        raise UserError(
            f"the log ends on {last}, {gap} days before {as_of}: days that it lacks would count as"
            f" days without purchases (scoring.max_gap_days is {settings.scoring.max_gap_days})",
            where="AS_OF",
            next_step=f"bring the rows up to {as_of - timedelta(days=1)}, or score as of"
            f" {last + timedelta(days=1)}",
        )

    def make_features(target: Path) -> int:
        return rows_of_log(
            transactions,
            target,
            as_of,
            settings.features.model_copy(update=section["features"]),
            frozenset(section["declared"]),
            settings.compute,
            date.fromisoformat(section["log_start"]),
        )

    nobody = UserError(
        f"there is nobody to score: no customer bought in the {settings.features.active_days} days"
        f" before {as_of}",
        where="AS_OF",
        next_step="name another day",
    )
    place = scores_folder(settings) / f"as_of={as_of}"
    key = {"as_of": as_of.isoformat(), "data_sha256": digest_of(months)}
    scores = _kept(settings, version, bundle, place, key, make_features, nobody)
    scores = _with_notes(scores, settings, bundle)
    if gap and not given:  # operate has looked whether its month is whole
        days = "the last day" if gap == 1 else f"the last {gap} days"
        note = f"the log has no row of {days} before {as_of}: it ends on {last}"
        scores = replace(scores, notes=(*scores.notes, note))
    return scores


def score_rows(settings: Settings) -> Scores:
    """The scores of the rows of `source.path`, for a champion of a labelled table.

    settings: of `score_table.reading`. Raises UserError as `score_log` does, and where no row of
    the file is valid.
    """
    version, bundle = open_champion(settings)
    folder = scores_folder(settings)
    features = folder / FEATURES
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = score_table.make_features(settings, bundle, folder, features)

        def take(target: Path) -> int:
            features.rename(target)
            return found.rows

        key = {"as_of": None, "data_sha256": found.digest, "source": found.files}
        scores = _kept(
            settings,
            version,
            bundle,
            folder / f"data={found.digest[:12]}",
            key,
            take,
            found.nobody,
            called="row" if settings.source.table.id is None else "id",
        )
    finally:
        features.unlink(missing_ok=True)
    return replace(scores, notes=(*found.notes, *scores.notes))


def open_champion(settings: Settings) -> tuple[ModelVersion, Bundle]:
    """The champion and its verified bundle, which answers the question of the settings.

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


def _check_features(bundle: Bundle, settings: Settings) -> None:
    """Raises UserError where the champion has a feature that cannot be made."""
    catalogue = {feature.name: feature for feature in CATALOGUE}
    for name in (feature["name"] for feature in bundle.features):
        if name not in catalogue:
            raise UserError(
                f"no SQL here makes the champion's feature {name}",
                where="features/catalogue.py",
                next_step="train again with this version, or score with the one that trained it",
            )
        if absent := sorted(catalogue[name].needs - settings.source.declared):
            raise UserError(
                f"the champion's feature {name} needs the column {absent[0]}, which the source"
                " does not declare",
                where="source.columns",
                next_step=f"declare it, or train without it: {make('train', settings)}",
            )


def _whose(settings: Settings) -> str:
    """Where the clock is that of a simulated shop."""
    simulated = settings.source.kind == "simulated" and settings.operations.today is None
    return ", the day after the simulated log" if simulated else ""


def _kept(
    settings: Settings,
    version: ModelVersion,
    bundle: Bundle,
    place: Path,
    key: dict[str, Any],
    make_features: Callable[[Path], int],
    nobody: UserError,
    called: str = "customer",
) -> Scores:
    """The scores of this key, found or made. make_features: writes them at the path that it is
    given, and returns how many rows there are; nobody: raised when there are none."""
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
            raise nobody
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
    """The first day as of which scores are a fair test of the model: what customers did before it
    was seen by its training, or by the test by which the gate let it pass. None where its bundle
    has no dates."""
    dates = bundle.description.get("as_of") or {}
    days = [date.fromisoformat(day) for split in dates.values() for day in split]
    if not days:
        return None
    horizon = bundle.description["question"]["horizon_days"]
    return (max(days) + timedelta(days=horizon)).isoformat()


def _with_notes(scores: Scores, settings: Settings, bundle: Bundle) -> Scores:
    """The scores with what a reader should know of them."""
    record, notes = scores.record, list(scores.notes)
    explained, wanted = (
        min(number, record["rows"]) for number in (record["explained"], settings.scoring.explained)
    )
    if explained != wanted:
        notes.append(
            f"what moved the score most was worked out for {explained:,} when they were made:"
            " scoring.explained holds for new scores only"
        )
    fair = record.get("fair_from")
    if fair is not None and record["as_of"] < fair:
        notes.append(
            f"version {record['version']} was trained or tested on what customers did after"
            f" {record['as_of']}: its scores look better than they are, as of any day before"
            f" {fair}"
        )
    trained = bundle.description["transactions"]["contract"]
    now = data_stages.dated(settings).model_dump(mode="json")
    changed = [name for name in now if name != "not_after" and now[name] != trained.get(name)]
    if changed:
        notes.append(
            f"the contract was changed since version {record['version']} was trained"
            f" ({', '.join(changed)}): the service judges lines by the one of its training"
        )
    return replace(scores, notes=tuple(notes))


if __name__ == "__main__":
    sys.exit(run_command("flows.score", ABOUT, main, options=OPTIONS))
