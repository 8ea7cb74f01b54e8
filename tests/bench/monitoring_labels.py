"""What monitoring says of champions once labels are known, for `make bench-monitoring`.

- 200 shop-years without drift, on seeds that nothing was chosen on: in how many is a sound champion
  called *worse*, and how soon is the same champion when it was broken on purpose? In how many does
  the early label alarm, which is only shown?
- 50 with demand at .8 and at 1.25 times: how soon does the early label say so?
- The estimate without labels beside the truth, in all of them.
- Champions on Online Retail II, month by month; and the seconds that a month takes.

    python -m tests.bench.monitoring_labels --only undrifted --seeds 20

Intervals are exact (Clopper & Pearson 1934), 95 %. What was measured of each shop is kept
(`monitoring_champions.py`), and shown is all that was measured so far. Writes
var/bench/monitoring_labels.json. All of it takes about half an hour on an idle core.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from common.files import write_file
from configs.load import load
from features.catalogue import NAMES
from ingestion.files import read_file
from ingestion.outcome import TRANSACTIONS
from ingestion.validate import validate_batch
from monitoring.drift import feature_drift, score_drift
from monitoring.facts import add_months, end_of, year_before
from monitoring.labels import EARLY_DAYS, early_label, read_outcomes, ripe
from monitoring.performance import estimate, judge_performance, pooled, reference
from tests.bench.figures import share
from tests.bench.monitoring_champions import (
    DRIFT_MONTH,
    FAMILIES,
    REAL,
    ROOT,
    YEAR,
    early_labels,
    features_at,
    judged,
    kept_year,
    score_months,
    settings_of,
    shop_year,
    simulated,
    train,
)
from tests.monitoring.made_scores import write_scores
from tests.places import HOW_TO_GET_IT, real_log

OUT = ROOT / "var" / "bench" / "monitoring_labels.json"
SEEDS = {"undrifted": (2000, 200), "slower": (3400, 50), "faster": (3500, 50)}  # first, how many
LIMIT_FALSE = 0.01  # of the years, of *worse*
LIMIT_SECONDS = 2.0  # of a month
COSTS = (0.0, 0.005, 0.02, 0.05, 1.0)  # of ROC AUC, of a feature that is stuck
MONTHS = (1, 2, 3)
BROKEN = ("third mixed up", "tenth mixed up")
STUCK = ("best feature stuck", "some feature stuck")
Year = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.monitoring_labels", description=__doc__)
    pieces = [*SEEDS, "real", "seconds"]
    parser.add_argument("--only", nargs="+", choices=pieces, default=pieces, help="these pieces")
    parser.add_argument("--seeds", type=int, help="of each piece, the first so many")
    options = parser.parse_args(arguments)
    for piece in options.only:
        first, count = SEEDS.get(piece, (0, 0))
        for seed in range(first, first + min(count, options.seeds or count)):
            shop_year(seed, piece)
    before = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    figures = summarise()
    figures["seconds"] = seconds() if "seconds" in options.only else before.get("seconds")
    figures["real"] = real() if "real" in options.only else before.get("real")
    write_file(OUT, json.dumps(figures, indent=2))
    show(figures, Console(width=100))
    print(f"written to {OUT.relative_to(ROOT)}")
    return 0


# --- what comes of it -------------------------------------------------------------------------


def summarise() -> dict[str, Any]:
    """The figures of all shop-years that have been measured so far."""
    years = {
        drift: [year for n in range(count) if (year := kept_year(first + n, drift))]
        for drift, (first, count) in SEEDS.items()
    }
    undrifted = years["undrifted"]
    return {
        "undrifted": false_alarms(undrifted),
        "broken": [broken(name, undrifted) for name in BROKEN],
        "stuck": [stuck(*ends, undrifted) for ends in pairwise(COSTS)],
        "early": [early(drift, years[drift]) for drift in SEEDS if drift != "undrifted"],
        "estimate": {drift: estimates(found) for drift, found in years.items() if found},
    }


def false_alarms(years: Sequence[Year]) -> dict[str, Any]:
    """Of champions that nobody broke, in shops without drift."""
    intact = [year["worse"]["intact"] for year in years]
    return {
        "worse": share(sum(bool(one["alarms"]) for one in intact), len(years)),
        "early": share(sum(early_within(year, None) for year in years), len(years)),
        "least z": {
            name: min(one["lowest"][name] for one in intact)
            for name in (intact[0]["lowest"] if intact else {})
        },
    }


def broken(name: str, years: Sequence[Year]) -> dict[str, Any]:
    """How soon a champion is worse that was broken before its first scores."""
    found = [year["worse"][name] for year in years]
    costs = [cost(year, name) for year in years]
    return {
        "name": name,
        "costs": float(np.mean(costs)) if costs else None,
        "within": [share(sum(caught(one, n) for one in found), len(found)) for n in MONTHS],
    }


def stuck(low: float, high: float, years: Sequence[Year]) -> dict[str, Any]:
    """The same of those that have read zero for a feature, by what that costs."""
    found = [
        year["worse"][name]
        for year in years
        for name in STUCK
        if low <= max(cost(year, name), 0.0) < high
    ]
    return {
        "costs": [low, high],
        "within": [share(sum(caught(one, n) for one in found), len(found)) for n in MONTHS],
        "ever": share(sum(bool(one["alarms"]) for one in found), len(found)),
    }


def early(drift: str, years: Sequence[Year]) -> dict[str, Any]:
    """How soon the early label alarms, and whether a champion is called worse for the drift."""
    return {
        "drift": drift,
        "within": [share(sum(early_within(year, n) for year in years), len(years)) for n in MONTHS],
        "worse": share(sum(bool(y["worse"]["intact"]["alarms"]) for y in years), len(years)),
    }


def estimates(years: Sequence[Year]) -> dict[str, Any]:
    """CBPE beside the truth, over all dates of all years."""
    estimated, low, high, truth = np.array([e for y in years for e in y["estimates"]]).T
    return {
        "dates": len(truth),
        "inside": share(int(np.sum((low <= truth) & (truth <= high))), len(truth)),
        "error": float(np.mean(np.abs(estimated - truth))),
        "correlation": float(np.corrcoef(estimated, truth)[0, 1]),
    }


def cost(year: Year, name: str) -> float:
    """What a fault takes from the mean ROC AUC."""
    return year["worse"]["intact"]["roc_auc"] - year["worse"][name]["roc_auc"]


def caught(one: dict[str, Any], count: int) -> bool:
    """Whether the first alarm comes within so many months of the first that could be judged."""
    last = add_months(one["first"], count - 1)
    return bool(one["alarms"]) and one["alarms"][0] <= last


def early_within(year: Year, count: int | None) -> bool:
    """Whether the early label alarms within so many months of the drift; none: at any time."""
    alarms = [one["month"] for one in year["early"] if one["state"] == "alarm"]
    if count is None:
        return bool(alarms)
    return any(DRIFT_MONTH <= month < add_months(DRIFT_MONTH, count) for month in alarms)


# --- one shop, and the real log ---------------------------------------------------------------


def seconds(seed: int = 1) -> dict[str, float]:
    """Of everything that a month needs: labels of three dates, the early label, the estimate, the
    drift of features and of scores."""
    settings, months = settings_of("undrifted"), [add_months("2026-04", n) for n in range(9)]
    taken: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = simulated(settings, seed, folder)
        champion = train(log, settings, seed, folder, YEAR)
        days = [end_of(month) for month in months]
        rows = features_at(log, [*days, *map(year_before, days)], settings)
        files = {
            day: write_scores(folder / f"{day}.parquet", names, champion.predict(x), as_of=day)
            for day, (names, x) in rows.items()
        }
        end, before, single = days[-1], days[-2], champion.description["baseline"]
        known = [files[day] for day in days if ripe(day, settings.features.horizon_days, end)]
        two = [files[before], files[year_before(before)]]
        how: dict[str, Any] = {"known_until": end, "compute": settings.compute, "folder": folder}

        def clock(what: str, work: Callable[[], Any]) -> Any:
            begun = time.perf_counter()
            done = work()
            taken[what] = round(time.perf_counter() - begun, 3)
            return done

        found = clock(
            "labels",
            lambda: read_outcomes(known[-3:], log, settings.features, baseline=single, **how),
        )
        clock(
            "performance",
            lambda: judge_performance(pooled(found), reference(champion.description), months[-1]),
        )
        early_days = clock(
            "early labels",
            lambda: read_outcomes(two, log, settings.features, days=EARLY_DAYS, **how),
        )
        clock("early label", lambda: early_label(early_days, months[-1], as_of=before))
        clock("estimate", lambda: estimate(files[end]))
        clock(
            "feature drift",
            lambda: feature_drift(log, end, NAMES, settings.features, compute=settings.compute),
        )
        clock("score drift", lambda: score_drift(files[end], last_year=files[year_before(end)]))
    return {"total": round(sum(taken.values()), 3), **taken}


def real() -> list[dict[str, Any]] | None:
    """What is said of champions on Online Retail II, month by month."""
    if (source := real_log()) is None:
        print(HOW_TO_GET_IT)
        return None
    settings = load("online_retail", ["--source.path", str(source)], {})
    readings = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read_file(settings.source, source, folder / "rows.parquet", settings.compute, label="real")
        now = datetime.now()
        validate_batch([folder / "rows.parquet"], folder, settings.contract, now=now)
        log = folder / TRANSACTIONS
        for seed, family in enumerate(FAMILIES):
            champion = train(log, settings, seed, folder, REAL)
            scored = score_months(log, champion, settings, folder, REAL)
            horizon = settings.features.horizon_days
            found = judged(scored.outcomes, champion.description, REAL.judged, horizon)
            found += early_labels(scored.early, REAL.judged)
            readings += [{"family": family, **vars(one)} for one in found]
    return readings


# --- shown ------------------------------------------------------------------------------------


def show(figures: dict[str, Any], console: Console) -> None:
    none = figures["undrifted"]
    table = Table("what is said of a champion", "measured", "wanted", box=None)
    limit = f"at most {LIMIT_FALSE:.0%}"
    table.add_row("sound, no drift: years with *worse*", _share(none["worse"]), limit)
    table.add_row("  years with an alarm of the early label", _share(none["early"]), "shown only")
    for one in figures["broken"]:
        table.add_row(f"{one['name']}, costs {one['costs'] or 0:.3f} of ROC AUC", "", "")
        for count, hits in zip(MONTHS, one["within"]):
            table.add_row(f"  *worse* in judged month {count} or before", _share(hits), "")
    for one in figures["stuck"]:
        low, high = one["costs"]
        table.add_row(f"feature stuck at 0, costs {low:g} to {high:g}", "", "")
        table.add_row("  *worse* in judged month 3 or before", _share(one["within"][-1]), "")
    for one in figures["early"]:
        for count, hits in zip(MONTHS, one["within"]):
            table.add_row(f"{one['drift']}: early label by month {count}", _share(hits), "")
        table.add_row(f"{one['drift']}: years with *worse*", _share(one["worse"]), "")
    for drift, one in figures["estimate"].items():
        table.add_row(f"estimate, {drift}: holds the truth", _share(one["inside"]), "")
        said = f"error {one['error']:.4f}, correlation {one['correlation']:+.2f}"
        table.add_row(f"estimate, {drift}: beside it", said, "")
    if figures["seconds"]:
        seconds = f"{figures['seconds']['total']:.2f} s"
        table.add_row("everything of a month", seconds, f"at most {LIMIT_SECONDS:g} s")
    console.print(table)
    least = ", ".join(f"{name} {z:+.1f}" for name, z in none["least z"].items())
    console.print(f"Lowest z of any year without drift: {least}")
    judged_months = [one for one in figures["real"] or [] if one["z"] is not None]
    alarms = [one for one in judged_months if one["state"] == "alarm"]
    console.print(f"Online Retail II: {len(judged_months)} readings, {len(alarms)} alarms")
    for one in alarms:
        console.print(f"  {one['family']} {one['month']} {one['sensor']}: {one['text']}")


def _share(one: dict[str, Any]) -> str:
    if not one["of"]:
        return "–"
    return (
        f"{one['share']:.1%} [{one['low']:.1%}, {one['high']:.1%}] ({one['hits']} of {one['of']})"
    )


if __name__ == "__main__":
    sys.exit(main())
