"""Champions whose faults are known, for `make bench-monitoring`: what monitoring says of each.

One *shop-year* is a simulated shop of `configs/year.yaml`, a champion that is trained on what was
known at the end of March 2026 (the project's own splits, calibration and test, a family's starting
parameters), and twelve months of scores. The champion is also broken on purpose. Everything is
measured through `monitoring/`, from score files and the log.

A shop-year is kept under var/bench/monitoring_labels/, so that a long bench can be run in pieces.
It is used again while the code that made it is the same.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from common.duck import connect, parquet
from common.files import write_file
from configs.load import load
from configs.settings import Settings
from features.build import build_table
from features.catalogue import NAMES, SEASON
from features.engine import build_features, make, read_log
from features.table import Rows, read_rows
from ingestion.outcome import TRANSACTIONS
from ingestion.validate import validate_batch
from monitoring.facts import Reading, add_months, end_of, first_day, year_before
from monitoring.labels import EARLY_DAYS, Outcomes, early_label, read_outcomes, ripe
from monitoring.performance import (
    estimate_from,
    judge_performance,
    performance_of,
    pooled,
    reference,
)
from simulator.simulator import ROWS, simulate_part
from tests.monitoring.made_scores import write_scores
from training import families
from training.calibration import fit_calibration, resolve
from training.evaluate import find_baseline
from training.metrics import paired_difference, score

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "var" / "bench" / "monitoring_labels"
DRIFT_ON, DRIFT_MONTH = "2026-07-01", "2026-07"
DRIFTS: dict[str, dict[str, float]] = {
    "undrifted": {},
    "slower": {"purchase_rate": 0.8},
    "faster": {"purchase_rate": 1.25},
    "price": {"price_level": 1.1},
    "unit": {"broken_unit": 0.05},
    "missing": {"missing_customers": 0.2},
    "mix": {"customer_mix": 0.5},
}
FAMILIES = ("xgboost", "logistic")  # in turn, by seed
# Beside a family's starting parameters: the rounds after which its search usually stops there.
PARAMS: dict[str, dict[str, Any]] = {"xgboost": {"rounds": 80}, "logistic": {}}
# What a shop-year is made by, besides libraries, the preset's settings and training.
MADE_BY = (
    "monitoring/labels.py", "monitoring/performance.py",
    "common/statistics.py", "tests/bench/monitoring_champions.py",
)  # fmt: skip
_SET = "source.simulation.drift"


@dataclass(frozen=True)
class Period:
    """first, months: the months that are judged.  last_test: the test date of a training at the end
    of the month before."""

    first: str
    months: int
    last_test: date

    @property
    def judged(self) -> list[str]:
        return [add_months(self.first, n) for n in range(self.months)]


YEAR = Period("2026-04", 12, date(2025, 12, 31))  # of configs/year.yaml
REAL = Period("2011-05", 7, date(2011, 1, 30))  # of Online Retail II, which ends in December 2011


@dataclass(frozen=True)
class Champion:
    """predict: features float32 (n, f) -> calibrated probabilities.  description: of `bundle.json`,
    what monitoring reads."""

    predict: Callable[[np.ndarray], np.ndarray]
    description: dict[str, Any]


def shop_year(
    seed: int, drift: str = "undrifted", transactions: Path | None = None
) -> dict[str, Any]:
    """What monitoring says of one shop-year, found or measured; JSON values.

    transactions: the valid rows of that shop, where somebody has simulated it already.
    """
    if (kept := kept_year(seed, drift)) is not None:
        return kept
    settings = settings_of(drift)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measure(transactions or simulated(settings, seed, folder), settings, seed, folder)
    about = {"seed": seed, "drift": drift, "made_by": made_by(settings)}
    write_file(KEPT / f"{drift}-{seed}.json", json.dumps({**about, **found}))
    print(f"{drift} {seed}", flush=True)
    return found


def kept_year(seed: int, drift: str) -> dict[str, Any] | None:
    """The same, if it has been measured by the code of today."""
    file = KEPT / f"{drift}-{seed}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return found if found and found["made_by"] == made_by(settings_of(drift)) else None


def made_by(settings: Settings) -> str:
    """A hash of what a shop-year depends on."""
    sections = {"source", "contract", "features", "training"}
    found = hashlib.sha256(settings.model_dump_json(include=sections).encode())
    for module in MADE_BY:
        found.update((ROOT / module).read_bytes())
    return found.hexdigest()


def settings_of(drift: str) -> Settings:
    effects = [f for name, value in DRIFTS[drift].items() for f in (f"--{_SET}.{name}", f"{value}")]
    return load("year", [*effects, f"--{_SET}.on", DRIFT_ON] if effects else [], {})


def simulated(settings: Settings, seed: int, folder: Path) -> Path:
    """The valid rows of a shop, on the day after its last one: the contract keeps out rows of a
    future that the clock of this machine has not reached."""
    simulation = settings.source.simulation
    now = datetime.combine(simulation.start, datetime.min.time()) + timedelta(simulation.days)
    simulate_part(settings.source, seed, folder, settings.compute)
    validate_batch([folder / ROWS], folder, settings.contract, now=now)
    return folder / TRANSACTIONS


def measure(log: Path, settings: Settings, seed: int, folder: Path) -> dict[str, Any]:
    """Train, score every month, break the champion, and let monitoring judge each month."""
    champion = train(log, settings, seed, folder, YEAR)
    scored = score_months(log, champion, settings, folder, YEAR)
    months, horizon = YEAR.judged, settings.features.horizon_days
    estimates = [estimate_from(str(one.as_of), 1, one.probability) for one in scored.outcomes]
    early = early_labels(scored.early, months)
    return {
        "family": FAMILIES[seed % 2],
        "worse": {
            name: summary(judged(broken, champion.description, months, horizon), broken)
            for name, broken in variants(scored, champion, seed)
        },
        "early": [{"month": one.month, "state": one.state, "z": one.z} for one in early],
        "estimates": [
            [one.roc_auc, one.low, one.high, performance_of(truth).roc_auc]
            for one, truth in zip(estimates, scored.outcomes, strict=True)
        ],
    }


@dataclass(frozen=True)
class ScoredMonths:
    """rows: as-of date -> customers (n,) and features float32 (n, f).  outcomes: of the dates with
    known labels.  early: of those with a known early label, and a year before them."""

    rows: dict[date, tuple[np.ndarray, np.ndarray]]
    outcomes: list[Outcomes]
    early: list[Outcomes]


def score_months(
    log: Path, champion: Champion, settings: Settings, folder: Path, period: Period
) -> ScoredMonths:
    """Score at the end of each month, and a year before, and join what was bought."""
    days = [end_of(month) for month in period.judged]
    rows = features_at(log, [*days, *map(year_before, days)], settings)
    files = {
        day: write_scores(
            folder / f"as_of={day}" / "part.parquet", names, champion.predict(x), as_of=day
        )
        for day, (names, x) in rows.items()
    }
    until = days[-1]
    ripe_days = [day for day in days if ripe(day, settings.features.horizon_days, until)]
    early_days = [day for day in files if ripe(day, EARLY_DAYS, until)]
    how: dict[str, Any] = {"known_until": until, "compute": settings.compute, "folder": folder}
    single = champion.description["baseline"]
    return ScoredMonths(
        rows,
        read_outcomes(
            [files[day] for day in ripe_days], log, settings.features, baseline=single, **how
        ),
        read_outcomes(
            [files[day] for day in early_days], log, settings.features, days=EARLY_DAYS, **how
        ),
    )


def train(log: Path, settings: Settings, seed: int, folder: Path, period: Period) -> Champion:
    """A champion as the pipeline would make it, without a search: calibrated by the season, tested
    once, beside the best single feature."""
    name = FAMILIES[seed % 2]
    family = families.load_family(name)
    asked = settings.features.model_copy(update={"last_as_of": period.last_test})
    table = folder / "table.parquet"
    build_table(log, table, asked, compute=settings.compute)
    both, valid, test = (
        read_rows(table, parts, NAMES) for parts in (("train", "valid"), ("valid",), ("test",))
    )
    params = {**family.BASELINE, **PARAMS[name]}
    model = family.fit(params, both, None, seed=seed, threads=1)
    fitted = family.predict(model, both.x)
    # Of the validation rows `season` reads nothing: it is fitted on the dates that were learnt.
    nothing = np.full(len(valid), np.nan)
    _, season = resolve("season", NAMES, SEASON)
    calibration = fit_calibration("season", fitted, both, nothing, valid, season)

    def predict(x: np.ndarray) -> np.ndarray:
        return np.clip(calibration.apply(family.predict(model, x), x), 0, 1)

    return Champion(predict, describe(both, test, predict(test.x), settings, seed))


def describe(
    learn: Rows, test: Rows, p: np.ndarray, settings: Settings, seed: int
) -> dict[str, Any]:
    """The parts of `bundle.json` that monitoring reads."""
    assert test.y is not None
    single, ranking = find_baseline(learn, test, [{"name": name} for name in NAMES])
    how: dict[str, Any] = {"bootstrap": settings.training.bootstrap, "seed": seed}
    against = paired_difference(test.y, p, ranking, groups=test.unit, **how)["roc_auc"]
    return {
        "test": score(test.y, p, groups=test.unit, **how),
        "baseline": {**vars(single), **against},
    }


def features_at(
    log: Path, days: Sequence[date], settings: Settings
) -> dict[date, tuple[np.ndarray, np.ndarray]]:
    """Customers (n,) and features float32 (n, f) at each as-of date, in one pass."""
    with connect(compute=settings.compute) as connection:
        connection.execute(f"CREATE VIEW transactions AS FROM {parquet(log)}")
        read_log(connection, settings.features)
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        connection.executemany("INSERT INTO as_of_dates VALUES (?)", [[day] for day in set(days)])
        make(connection, "spine")
        build_features(connection)
        found = connection.execute("FROM features ORDER BY as_of, customer_id").fetchnumpy()
    as_of = found["as_of"].astype("datetime64[D]")
    x = np.column_stack([np.ma.filled(found[name].astype(float), np.nan) for name in NAMES])
    return {
        day: (found["customer_id"][as_of == day], x[as_of == day].astype(np.float32))
        for day in sorted(set(days))
    }


def variants(
    scored: ScoredMonths, champion: Champion, seed: int
) -> Iterator[tuple[str, list[Outcomes]]]:
    """The champion as it is, and broken: its scores exchanged among a part of the customers, or a
    feature that has been zero since it was trained."""
    rng = np.random.default_rng(seed)
    outcomes = scored.outcomes
    yield "intact", outcomes
    for name, part in (("third mixed up", 3), ("tenth mixed up", 10)):
        yield name, [mixed_up(one, part, rng) for one in outcomes]
    best = champion.description["baseline"]["feature"]
    some = NAMES[seed % len(NAMES)]
    for name, feature in (("best feature stuck", best), ("some feature stuck", some)):
        yield name, [stuck(one, champion, scored.rows[one.as_of][1], feature) for one in outcomes]


def mixed_up(one: Outcomes, part: int, rng: np.random.Generator) -> Outcomes:
    p = one.probability.copy()
    chosen = rng.permutation(len(p))[: len(p) // part]
    p[chosen] = p[rng.permutation(chosen)]
    return replace(one, probability=p)


def stuck(one: Outcomes, champion: Champion, x: np.ndarray, feature: str) -> Outcomes:
    x = x.copy()
    x[:, NAMES.index(feature)] = 0
    return replace(one, probability=champion.predict(x))


def judged(
    outcomes: list[Outcomes], description: dict[str, Any], months: Sequence[str], horizon: int
) -> list[Reading]:
    """What is read of a champion at the end of each month, of the last three dates."""
    readings: list[Reading] = []
    for month in months:
        known = [one for one in outcomes if ripe(one.as_of, horizon, end_of(month))]
        readings += judge_performance(pooled(known[-3:]), reference(description), month)
    return readings


def summary(readings: Sequence[Reading], outcomes: list[Outcomes]) -> dict[str, Any]:
    """The first month with labels, the months of an alarm, the lowest z of each reading, and the
    mean ROC AUC."""
    measured = [one for one in readings if one.z is not None]
    return {
        "first": measured[0].month if measured else None,
        "alarms": sorted({one.month for one in measured if one.state == "alarm"}),
        "lowest": {
            name: min(one.z for one in measured if one.sensor == name and one.z is not None)
            for name in dict.fromkeys(one.sensor for one in measured)
        },
        "roc_auc": float(np.mean([performance_of(one).roc_auc for one in outcomes])),
    }


def early_labels(outcomes: list[Outcomes], months: Sequence[str]) -> list[Reading]:
    """The early label of each month whose first day has scores."""
    found: list[Reading] = []
    for month in months[1:]:
        previous = found[-1] if found else None
        found.append(early_label(outcomes, month, as_of=first_day(month), previous=previous))
    return found
