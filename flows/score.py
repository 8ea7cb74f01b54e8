"""Everybody's score at one as-of date, from the champion: `make score [AS_OF=2026-05-01]`.

valid rows → features → champion → var/scores/<data set>/as_of=…/part.parquet and scores.csv

The scores of an as-of date are made once for a champion and the rows before that date: the same
key gives the same bytes. The first are the official ones; what a later champion, or rows that were
changed since, come to stands beside them and never takes their place. `DATA=new.csv` scores the
rows of a file for a champion of a labelled table.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from configs.command import make, run_command
from configs.duck import connect, parquet
from configs.errors import UserError
from configs.records import RecordAltered, read_record, write_record
from configs.settings import Settings
from configs.terminal import console, facts
from flows import data_stages
from flows.clock import read_day, today
from flows.lock import alone
from flows.stage import hash_file
from ingestion.batches import dataset_of
from ingestion.ingest import check_source
from ingestion.months import digest_of, months_of
from ingestion.validate import QUARANTINE, TRANSACTIONS
from registry.alias import the_champion
from registry.bundle import Bundle, load_bundle
from registry.compare import question
from registry.models import ModelVersion
from serving.batch import CSV, PARQUET, score

ABOUT = "Score every customer as of a day, or the rows of a file, with the champion."
OPTIONS = {
    "as-of": "the day: features see what was before it; none: the day after the log's last",
    "data": "of a labelled table: the file with the rows to score",
}
RECORD, BESIDE = "scores.json", "beside"


@dataclass(frozen=True)
class Scores:
    """Scores that were made or found. record: as_of (None for a table), model, version,
    bundle_sha256, data_sha256, rows, files (name -> SHA-256)."""

    folder: Path
    record: dict[str, Any]
    official: bool
    reused: bool
    notes: tuple[str, ...] = ()


def main(settings: Settings, *, as_of: str | None, data: str | None) -> None:
    if data is not None:
        settings = _reading(settings, data)
    if settings.source.kind == "table" and data is None:
        raise UserError(
            "no file is named whose rows are to be scored",
            where="DATA",
            next_step=make("score", settings, DATA="new.csv"),
        )
    check_source(settings.source)
    day = None if as_of is None else read_day(as_of, "AS_OF")
    with alone(settings.var, "score"):
        if settings.source.kind == "table":
            scores = score_table(settings)
        else:
            page = settings.var.absolute() / "scores" / dataset_of(settings) / "contract.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            validated = data_stages.validate(settings, data_stages.ingest(settings), page)
            scores = score_log(settings, validated.folder, day)
    tell(scores, settings)


def score_log(settings: Settings, validated: Path, as_of: date | None = None) -> Scores:
    """The scores of everybody who bought in the `active_days` before `as_of`; none: the day after
    the last row. validated: the folder of a validated batch.

    Raises UserError without a champion, with one that answers another question or is not whole,
    and for a day that the log does not reach.
    """
    from features.score_rows import rows_of_log

    version, bundle = open_champion(settings)
    _check_question(bundle, settings)
    transactions, clock = validated / TRANSACTIONS, today(settings)
    if as_of is not None and as_of > clock:
        raise UserError(
            f"{as_of} lies in the future: today is {clock}",
            where="AS_OF",
            next_step=f"name a day up to {clock}, or set the clock: --operations.today",
        )
    months = months_of(
        transactions, validated / QUARANTINE, as_of or clock + timedelta(days=1), settings.compute
    )
    if not any(month.rows for month in months):
        raise UserError(
            f"no valid row of the log lies before {as_of or clock}",
            where="AS_OF",
            next_step="name a later day",
        )
    last = max(month.last_day for month in months if month.rows)
    as_of = as_of or min(last + timedelta(days=1), clock)
    gap = (as_of - last).days - 1
    if gap > settings.scoring.max_gap_days:
        raise UserError(
            f"the log ends on {last}, {gap} days before {as_of}: days that it lacks would count as"
            f" days without purchases (scoring.max_gap_days is {settings.scoring.max_gap_days})",
            where="AS_OF",
            next_step=f"bring the rows up to {as_of - timedelta(days=1)}, or score as of"
            f" {last + timedelta(days=1)}",
        )
    section = bundle.description["transactions"]

    def rows(target: Path) -> int:
        return rows_of_log(
            transactions,
            target,
            as_of,
            settings.features.model_copy(update=section["features"]),
            frozenset(section["declared"]),
            settings.compute,
            date.fromisoformat(section["log_start"]),
        )

    place = _folder(settings) / f"as_of={as_of}"
    return _made_once(settings, version, bundle, place, digest_of(months), rows, as_of)


def score_table(settings: Settings) -> Scores:
    """The scores of the rows of `source.path`, for a champion of a labelled table."""
    from features.score_rows import rows_of_table
    from ingestion.labelled.validate import validate_table

    version, bundle = open_champion(settings)
    _check_question(bundle, settings)
    source = unlabelled(settings)
    settings = settings.model_copy(update={"source": source})
    parts = data_stages.ingest(settings)

    def rows(target: Path) -> int:
        folder = target.parent / ".judged"
        folder.mkdir()
        try:
            outcome = validate_table(
                parts.paths, folder, source, settings.contract, compute=settings.compute
            )
            kept = settings.var.absolute() / "scores" / dataset_of(settings) / QUARANTINE
            shutil.copyfile(folder / QUARANTINE, kept)
            notes.extend(
                f"{count:,} rows are not scored: {reason} (all of them: {kept})"
                for reason, count in outcome.rows.reasons.items()
            )
            return rows_of_table(folder / TRANSACTIONS, target, source.table, settings.compute)
        finally:
            shutil.rmtree(folder)

    notes: list[str] = []
    place = _folder(settings) / f"data={parts.batch}"
    return _made_once(settings, version, bundle, place, parts.batch, rows, None, notes)


def open_champion(settings: Settings) -> tuple[ModelVersion, Bundle]:
    """The champion and its verified bundle. Raises UserError: then nothing is scored, and earlier
    scores stay as they are."""
    version = the_champion(settings)
    return version, load_bundle(version.bundle, expected_sha256=version.bundle_sha256)


def unlabelled(settings: Settings) -> Any:
    """The source, for a file of rows to score: without target and split, and with every column left
    out that is no feature and no identifier."""
    from ingestion.files import expand
    from ingestion.formats import opened

    source = settings.source
    table = source.table
    plain = table.model_copy(update={"target": None, "positive": None, "split": None})
    plain = plain.model_copy(update={"group": None})
    wanted = [*([table.id] if table.id else []), *table.columns]
    found: dict[str, None] = {}
    for path in expand(source):
        scratch = settings.var.absolute() / "scores"
        scratch.mkdir(parents=True, exist_ok=True)
        with (
            connect(scratch, settings.compute) as connection,
            opened(connection, path, source.text, wanted, scratch) as file,
        ):
            found |= dict.fromkeys(file.types)
    others = tuple(name for name in found if name not in wanted)
    return source.model_copy(update={"table": plain.model_copy(update={"leave_out": others})})


def _reading(settings: Settings, data: str) -> Settings:
    """The settings with this file as their source."""
    if settings.source.kind != "table":
        raise UserError(
            f"DATA is for labelled tables, and the source of {settings.name} is"
            f" {settings.source.kind}: a log is scored as of a day",
            where="DATA",
            next_step=f"{make('score', settings, AS_OF='2026-05-01')}, or name the preset of a"
            " table: CONFIG=",
        )
    return settings.model_copy(
        update={"source": settings.source.model_copy(update={"path": (data,)})}
    )


def _check_question(bundle: Bundle, settings: Settings) -> None:
    """Raises UserError for a champion that answers another question than the settings ask."""
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


def _folder(settings: Settings) -> Path:
    return settings.var.absolute() / "scores" / dataset_of(settings)


def _made_once(
    settings: Settings,
    version: ModelVersion,
    bundle: Bundle,
    place: Path,
    data_sha256: str,
    rows: Any,
    as_of: date | None,
    notes: list[str] | None = None,
) -> Scores:
    """The scores of this key, found or made. rows: writes the features at the path that it is
    given, and returns how many rows there are."""
    key = {
        "as_of": None if as_of is None else as_of.isoformat(),
        "model": version.name,
        "version": version.version,
        "bundle_sha256": bundle.sha256,
        "data_sha256": data_sha256,
        "explained": settings.scoring.explained,
    }
    notes = [] if notes is None else notes
    beside = place / BESIDE / f"version-{version.version}-{data_sha256[:8]}"
    for folder, official in ((place, True), (beside, False)):
        found = read_scores(folder)
        if found is None:
            if (folder / RECORD).exists() or (folder / PARQUET).exists():
                notes.append(f"{folder} was altered: made again")
            continue
        if {name: found[name] for name in key} == key:
            return Scores(folder, found, official, True, tuple(notes))
    official = read_scores(place) is None
    target = place if official else beside
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        features = aside / ".features.parquet"
        count = rows(features)
        if not count:
            raise UserError(
                "nobody is there to be scored: no customer bought in the"
                f" {settings.features.active_days} days before {as_of}"
                if as_of
                else "no row of the file is valid",
                where="AS_OF" if as_of else "DATA",
                next_step="name another day" if as_of else "look at the reasons above",
            )
        score(
            bundle,
            features,
            aside,
            version=version.version,
            explained=settings.scoring.explained,
            compute=settings.compute,
        )
        features.unlink()
        files = {name: hash_file(aside / name) for name in (PARQUET, CSV)}
        record = {**key, "rows": count, "files": files}
        write_record(aside / RECORD, record)
        if official and (place / BESIDE).exists():  # its official scores were altered
            (place / BESIDE).rename(aside / BESIDE)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Scores(target, record, official, False, tuple(notes))


def read_scores(folder: Path) -> dict[str, Any] | None:
    """The record of the scores in a folder; None where there are none, or they were altered."""
    try:
        record = read_record(folder / RECORD)
        intact = all(hash_file(folder / name) == sha for name, sha in record["files"].items())
        return record if intact else None
    except (OSError, RecordAltered, LookupError, AttributeError):
        return None


def tell(scores: Scores, settings: Settings) -> None:
    """What was scored, and what to type next."""
    record, shown = scores.record, console()
    with connect() as connection:
        expected, contacts, low, high, ranked = connection.execute(f"""
            SELECT sum(probability), count(*) FILTER (decision), min(probability),
                   max(probability), count(decision)
            FROM {parquet(scores.folder / PARQUET)}
        """).fetchall()[0]
    what = "as of " + record["as_of"] if record["as_of"] else "of the file"
    kind = "customers" if record["as_of"] else "rows"
    official = "" if scores.official else "; the official ones are others, made before"
    found = "found, nothing has changed" if scores.reused else "made"
    likely = "buy within the horizon" if record["as_of"] else "are positive"
    shown.print(
        facts(
            *(("Note", note) for note in scores.notes),
            ("Scores", f"{record['rows']:,} {kind} {what}: {found}{official}"),
            ("Champion", f"{record['model']} version {record['version']}"),
            (
                "Expected",
                f"{expected:,.0f} {likely} ({expected / record['rows']:.1%}); probabilities from"
                f" {low:.3f} to {high:.3f}",
            ),
            (
                "Decision",
                f"contact {contacts:,}"
                if ranked
                else "none: training.contact_cost and training.sale_value are not set",
            ),
        )
    )
    for head, text in (
        ("List", str(scores.folder / CSV)),
        ("", f"{scores.folder / PARQUET} for programs"),
        *([("Next", make("monitor", settings))] if record["as_of"] else []),
    ):
        shown.print(f"{head:9} {text}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(run_command("flows.score", ABOUT, main, options=OPTIONS))
