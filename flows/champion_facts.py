"""What a month says of the champion: performance once labels are known, and before that the early
label, the estimate and the drift of its features and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.files import atomic_folder, sha256_of, write_record
from configs.make_command import make
from configs.settings import Settings
from flows.kept_scores import RECORD, features_of_log, read_scores, scores_folder
from flows.watch import Watched
from ingestion.months import digest_of
from monitoring.facts import (
    Drift,
    Estimate,
    Performance,
    Reading,
    add_months,
    end_of,
    first_day,
    month_of,
    year_before,
)
from registry.bundle import Bundle, load_bundle
from registry.champion import model_name
from serving.batch import PARQUET

if TYPE_CHECKING:
    from monitoring.labels import Outcomes


@dataclass(frozen=True)
class Scored:
    """Official scores: their day, their folder, and the version that made them. fair_from: the
    first day as of which scores are a fair test of that version, where it is known."""

    as_of: date
    folder: Path
    version: int
    rows: int
    sha256: str  # of part.parquet
    fair_from: str | None = None

    @property
    def part(self) -> Path:
        return self.folder / PARQUET

    @property
    def seen_in_training(self) -> bool:
        """Whether the version learnt from answers of that day or later ones: its scores then look
        better than they are."""
        return self.fair_from is not None and self.as_of.isoformat() < self.fair_from


@dataclass(frozen=True)
class ChampionFacts:
    """What is known of the champion in a month."""

    readings: Sequence[Reading] = ()
    performance: Sequence[Performance] = ()
    pooled: Sequence[Performance] = ()
    estimates: Sequence[Estimate] = ()
    drift: Sequence[Drift] = ()


def scores_until(settings: Settings, until: date) -> list[Scored]:
    """Return the official scores as of the first day of a month up to `until`, in order: scores of
    days in between would take the places of months. Raises UserError for altered scores."""
    scores = []
    for folder in scores_folder(settings).glob("as_of=????-??-01"):
        try:
            day = date.fromisoformat(folder.name.removeprefix("as_of="))
        except ValueError:  # somebody's
            continue
        if day > until:
            continue
        record = read_scores(folder)
        if record is None:
            raise UserError(
                f"the scores as of {day} were altered, so nothing is judged by them",
                where=str(folder),
                next_step=f"restore them from a copy, or make them again:"
                f" {make('score', settings, AS_OF=str(day))}",
            )
        fields = (record["version"], record["rows"], record["files"][PARQUET])
        scores.append(Scored(day, folder, *fields, record.get("fair_from")))
    return sorted(scores, key=lambda one: one.as_of)


def measure_champion(
    watched: Watched,
    month: str,
    scores: Sequence[Scored],
    previous: Reading | None = None,
    alarmed_since: str | None = None,
) -> ChampionFacts:
    """Measure the champion by the labels that are known by the end of the month, and what can be
    measured without labels. scores: the official ones, up to that day.  previous: the early label
    of the month before, where it is of the same version.  alarmed_since: the first month of an
    alarm that lasted until the month before: features are compared with those before it."""
    if not scores:
        return ChampionFacts()
    from monitoring.labels import ripe
    from monitoring.performance import (
        estimate,
        judge_performance,
        performance_of,
        pooled,
        reference,
    )

    settings, end = watched.settings, end_of(month)
    horizon, latest = settings.features.horizon_days, scores[-1]
    fair = [one for one in scores if not one.seen_in_training]
    known = [one for one in fair if ripe(one.as_of, horizon, end)]
    performance: list[Performance] = []
    pools: list[Performance] = []
    if known:
        mine = [one for one in known if one.version == latest.version]
        version = (mine or known)[-1].version
        last = [one for one in known if one.version == version][-settings.operations.pool_dates :]
        outcomes = _outcomes(watched, last, end)
        performance = [performance_of(one) for one in outcomes]
        pools = [one for one in [pooled(outcomes)] if one]
    # Of a champion that was replaced since, nothing is to be decided any more.
    pool = next((one for one in pools if one.version == latest.version), None)
    days = [one.as_of for one in fair if one.version == latest.version]
    if not days and latest.fair_from:
        first = date.fromisoformat(latest.fair_from)
        days = [first if first.day == 1 else end_of(month_of(first))]  # scores are of first days
    until = month_of(min(days) + timedelta(days=horizon - 1)) if days else None
    described = bundle_of(settings, latest).description
    readings = judge_performance(pool, reference(described), month, until=until)
    readings = [*readings, *_early_label(watched, month, scores, previous)]
    names = [feature["name"] for feature in described["features"]]
    since = None if alarmed_since is None else first_day(alarmed_since)
    drift = _drift(watched, end, scores, names, since)
    return ChampionFacts(readings, performance, pools, [estimate(latest.part)], drift)


def _drift(
    watched: Watched,
    end: date,
    scores: Sequence[Scored],
    features: Sequence[str],
    since: date | None,
) -> list[Drift]:
    """Return the drift of the score, then of the features. since: see `feature_drift`."""
    from monitoring.drift import feature_drift, score_drift

    latest = scores[-1]
    before = {one.as_of: one.part for one in scores}
    drift = []
    if latest.as_of == end:
        of_score = score_drift(
            latest.part,
            last_year=before.get(year_before(end)),
            previous=before.get(first_day(add_months(month_of(end), -1))),
        )
        drift = [of_score] if of_score else []
    return drift + feature_drift(
        watched.transactions,
        end,
        features,
        watched.settings.features,
        since=since,
        compute=watched.settings.compute,
        folder=watched.folder,
    )


def _outcomes(
    watched: Watched, scores: Sequence[Scored], known_until: date, days: int | None = None
) -> list[Outcomes]:
    from monitoring.labels import read_outcomes

    settings = watched.settings
    return read_outcomes(
        [one.part for one in scores],
        watched.transactions,
        settings.features,
        known_until=known_until,
        days=days,
        baseline=bundle_of(settings, scores[0]).description.get("baseline"),
        compute=settings.compute,
        folder=watched.folder,
    )


# --- the early label ----------------------------------------------------------------------------


def _early_label(
    watched: Watched, month: str, scores: Sequence[Scored], previous: Reading | None
) -> list[Reading]:
    """Return the reading of the early label: of the newest scores whose first days are known,
    compared with the scores of the same champion a year before, which are made now where there are
    none."""
    from monitoring.labels import EARLY_DAYS, early_label, ripe

    end = end_of(month)
    known = [one for one in scores if ripe(one.as_of, EARLY_DAYS, end)]
    if not known or known[-1].version != scores[-1].version:
        return []
    now, first = known[-1], add_months(watched.months[0].month, 13)
    dates = [now]
    if month_of(now.as_of) >= first:  # the log has more than a month before the year before
        dates.insert(0, _made_for_a_year_before(watched, now))
    outcomes = _outcomes(watched, dates, end, EARLY_DAYS)
    return [early_label(outcomes, month, as_of=now.as_of, previous=previous, until=first)]


def _made_for_a_year_before(watched: Watched, now: Scored) -> Scored:
    """Return the scores that this champion gives for the same day a year before, made once for it
    and the rows before that day. Nobody was given them as a list, so they are kept with the files
    of monitoring."""
    from serving.batch import CSV, score

    settings, as_of = watched.settings, year_before(now.as_of)
    bundle = bundle_of(settings, now)
    rows_before = [one for one in watched.months if first_day(one.month) < as_of]
    key = {
        "as_of": as_of.isoformat(),
        "model": model_name(settings),
        "version": now.version,
        "bundle_sha256": bundle.sha256,
        "data_sha256": digest_of(rows_before),
    }
    folder = watched.folder / "year_before" / f"version-{now.version}" / f"as_of={as_of}"
    known = read_scores(folder)
    if known is None or {name: known[name] for name in key} != key:
        with atomic_folder(folder) as temporary:
            features = temporary / "features.parquet"
            rows = features_of_log(bundle, settings, watched.transactions, features, as_of=as_of)
            score(
                *(bundle, features, temporary),
                version=now.version,
                explained=0,
                compute=settings.compute,
            )
            for name in (features.name, CSV):
                (temporary / name).unlink()
            files = {PARQUET: sha256_of(temporary / PARQUET)}
            write_record(temporary / RECORD, {**key, "rows": rows, "explained": 0, "files": files})
    return replace(now, as_of=as_of, folder=folder)


# --- bundles ------------------------------------------------------------------------------------

_opened: dict[tuple[Any, ...], Bundle] = {}


def bundle_of(settings: Settings, scored: Scored) -> Bundle:
    """Return the bundle that made these scores, verified when this process opens it first. Raises
    UserError where it is gone, and BundleRefused."""
    from registry.champion import fetch, find_version
    from registry.tracking import open_store

    key = (settings.var.absolute(), model_name(settings), scored.version)
    if key not in _opened:
        version = find_version(open_store(settings), settings, scored.version)
        if version is None:
            raise UserError(
                f"version {scored.version}, which made the scores of {scored.as_of}, is not"
                " registered",
                where=str(scored.folder),
                next_step=f"see the versions: {make('models', settings)}",
            )
        fetch(version)
        _opened[key] = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    return _opened[key]
