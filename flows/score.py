"""Everybody's score at one as-of date, from the champion: `make score [AS_OF=2026-05-01]`.

valid rows → features → champion → var/scores/<data set>/as_of=…/part.parquet and scores.csv

The scores of an as-of date are made once for a champion and the rows before that date: the same
key gives the same bytes. The first are the official ones; what a later champion, or rows that were
changed since, come to stands beside them and never takes their place (`flows/kept_scores.py`).
`DATA=new.csv` scores the rows of a file for a champion of a labelled table.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import connect, parquet
from common.errors import UserError
from common.terminal import console, facts, short
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from features.catalogue import CATALOGUE
from flows import data_stages, log_stages
from flows.clock import read_day, today
from flows.exclusive import exclusive
from flows.finish import recorded
from flows.judge import unaccepted_until
from flows.kept_scores import (
    Scores,
    features_of_log,
    open_champion,
    score_once,
    scores_folder,
)
from flows.score_table import reading, score_rows
from ingestion.months import Month, digest_of, months_of
from ingestion.outcome import QUARANTINE, TRANSACTIONS
from ingestion.sources import check_source
from monitoring.facts import month_of
from registry.bundle import Bundle
from registry.champion import the_champion
from serving.batch import CSV, PARQUET

if TYPE_CHECKING:
    from rich.table import Table

ABOUT = "Score every customer as of a day, or the rows of a file, with the champion."
OPTIONS = {
    "as-of": "the day: features see what was before it; none: the day after the log's last",
    "data": "of a labelled table: the file with the rows to score",
}
FIRST = 10  # rows of the list that are printed


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
        rows_of = reading(settings, data, as_of)
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
    """Return a warning for a list that is made from months that were judged broken data."""
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
    """Return the scores of everybody who bought in the `active_days` before `as_of`; none: the day
    after the last row.

    validated: the folder of a validated batch.  months: its `months_of` up to `as_of`, where the
    caller has them.

    Raises UserError without a champion, for a champion that predicts something else, needs columns
    that the source does not have or is damaged, and for a day that the log does not reach.
    """
    version, bundle = open_champion(settings)
    _check_features(bundle, settings)
    given = months is not None
    as_of, months = _months_until(settings, validated, as_of, months)
    last = max(month.last_day for month in months if month.rows)
    gap = (as_of - last).days - 1
    if gap > settings.scoring.max_gap_days:
        raise UserError(
            f"the log ends on {last}, {gap} days before {as_of}: days that it lacks would count as"
            f" days without purchases (scoring.max_gap_days is {settings.scoring.max_gap_days})",
            where="AS_OF",
            next_step=f"bring the rows up to {as_of - timedelta(days=1)}, or score as of"
            f" {last + timedelta(days=1)}",
        )
    no_rows = UserError(
        f"there is nobody to score: no customer bought in the {settings.features.active_days} days"
        f" before {as_of}",
        where="AS_OF",
        next_step="name another day",
    )
    place = scores_folder(settings) / f"as_of={as_of}"
    key = {"as_of": as_of.isoformat(), "data_sha256": digest_of(months)}
    make_features = partial(
        features_of_log, bundle, settings, validated / TRANSACTIONS, as_of=as_of
    )
    scores = score_once(settings, version, bundle, place, key, make_features, no_rows)
    scores = _with_notes(scores, settings, bundle)
    if gap and not given:  # operate has looked whether its month is whole
        days = "the last day" if gap == 1 else f"the last {gap} days"
        note = f"the log has no row of {days} before {as_of}: it ends on {last}"
        scores = replace(scores, notes=(*scores.notes, note))
    return scores


def _months_until(
    settings: Settings, validated: Path, as_of: date | None, months: list[Month] | None
) -> tuple[date, list[Month]]:
    """Return the as-of date, by default the day after the last row, and the months before it.
    Raises UserError for a day in the future, and where no row lies before it."""
    clock = today(settings)
    if as_of is not None and as_of > clock:
        raise UserError(
            f"{as_of} lies in the future: today is {clock}{_clock_note(settings)}",
            where="AS_OF",
            next_step=f"name a day up to {clock}, or set the clock: --operations.today",
        )
    until = as_of or clock
    if months is None:
        transactions, quarantine = validated / TRANSACTIONS, validated / QUARANTINE
        months = months_of(transactions, quarantine, until, settings.compute)
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
    return as_of, months


def _check_features(bundle: Bundle, settings: Settings) -> None:
    """Raise UserError where the champion has a feature that cannot be made."""
    if bundle.description.get("transactions") is None:
        raise UserError(
            "the champion's bundle does not say how its features are made from a log",
            where=str(bundle.folder),
            next_step=f"train again: {make('train', settings)}",
        )
    catalogue = {feature.name: feature for feature in CATALOGUE}
    for name in (feature["name"] for feature in bundle.features):
        if name not in catalogue:
            raise UserError(
                f"this version has no SQL for the champion's feature {name}",
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


def _clock_note(settings: Settings) -> str:
    """Return a note for the message, where the clock is that of a simulated shop."""
    simulated = settings.source.kind == "simulated" and settings.operations.today is None
    return ", the day after the simulated log" if simulated else ""


def _with_notes(scores: Scores, settings: Settings, bundle: Bundle) -> Scores:
    """Add to the scores what a reader should know of them."""
    record, notes = scores.record, list(scores.notes)
    computed, configured = (
        min(number, record["rows"]) for number in (record["explained"], settings.scoring.explained)
    )
    if computed != configured:
        notes.append(
            f"explanations were computed for {computed:,} customers when the scores were made:"
            " scoring.explained applies to new scores only"
        )
    fair = record.get("fair_from")
    if fair is not None and record["as_of"] < fair:
        notes.append(
            f"version {record['version']} was trained or tested on what customers did after"
            f" {record['as_of']}: its scores look better than they are, as of any day before"
            f" {fair}"
        )
    trained = bundle.description["transactions"]["contract"]
    now = log_stages.dated(settings).model_dump(mode="json")
    changed = [name for name in now if name != "not_after" and now[name] != trained.get(name)]
    if changed:
        notes.append(
            f"the contract was changed since version {record['version']} was trained"
            f" ({', '.join(changed)}): the service judges lines by the one of its training"
        )
    return replace(scores, notes=tuple(notes))


# --- what is printed ------------------------------------------------------------------------------


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile, such as a file that was delivered twice, to be
    printed: this command has no log of its own."""
    warnings: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            warnings.append(record.getMessage())
        return True

    logger = logging.getLogger("golden_path")
    logger.addFilter(collect)
    try:
        yield warnings
    finally:
        logger.removeFilter(collect)


def print_scores(scores: Scores, settings: Settings, warnings: list[str]) -> None:
    """Print what was scored, and what to type next. warnings: of what was read on the way."""
    record, shown = scores.record, console()
    with connect() as connection:
        expected, contacts, low, high, decided = connection.execute(f"""
            SELECT sum(probability), count(*) FILTER (decision), min(probability),
                   max(probability), count(decision)
            FROM {parquet(scores.folder / PARQUET)}
        """).fetchall()[0]
    of_log, table = record["as_of"] is not None, settings.source.table
    what = f"customers as of {record['as_of']}" if of_log else "rows"
    likely = (
        f"buy within {settings.features.horizon_days} days"
        if of_log
        else f"have {table.target} = {table.positive}"
    )
    shown.print(
        facts(
            *(("Note", note) for note in (*warnings, *scores.notes)),
            (
                "Scores",
                f"{record['rows']:,} {what}: {'reused' if scores.reused else 'computed'}"
                + ("" if scores.official else ", beside the official ones"),
            ),
            ("Champion", f"{record['model']} version {record['version']}"),
            ("Expected", f"{expected:,.0f} {likely} ({expected / record['rows']:.1%})"),
            ("", f"probabilities from {low:.3f} to {high:.3f}"),
            (
                "Decision",
                f"contact {contacts:,}"
                if decided
                else "none: training.contact_cost and training.sale_value are not set",
            ),
        )
    )
    shown.print()
    shown.print(_first(scores, "customer" if of_log else "row"))
    shown.print()
    folder = settings.var / scores.folder.relative_to(settings.var.absolute())
    for head, text in (
        ("List", str(folder / CSV)),
        ("Programs", str(folder / PARQUET)),
        *([("Next", make("monitor", settings))] if of_log else []),
    ):
        shown.print(f"[bold]{head:9}[/] ", end="")
        shown.print(text, soft_wrap=True, markup=False)


def _first(scores: Scores, called: str) -> Table:
    """Make the table of the most probable rows, as in the list for people."""
    from rich.table import Table

    with connect() as connection:
        rows = connection.execute(f"""
            SELECT customer_id, probability, decision, moved_most, moved_by
            FROM {parquet(scores.folder / PARQUET)}
            ORDER BY probability DESC, customer_id LIMIT {FIRST}
        """).fetchall()
    table = Table(box=None, pad_edge=False)
    table.add_column(called)
    table.add_column("probability", justify="right")
    decided = any(row[2] is not None for row in rows)
    if decided:
        table.add_column("decision")
    table.add_column("what moved it most")
    for name, probability, decision, feature, by in rows:
        moved = "" if feature is None else f"{short(feature, 30)} ({by:+.3f})"
        what = ["contact" if decision else "leave"] if decided else []
        table.add_row(short(name, 24), f"{probability:.3f}", *what, moved)
    return table


if __name__ == "__main__":
    sys.exit(run_command("flows.score", ABOUT, main, options=OPTIONS))
