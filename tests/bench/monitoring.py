"""`make bench-monitoring`: false alarms and power of the sensors, beside the usual rules for drift.

- 200 shops of the simulated year without drift, on seeds that nothing was chosen on: in how many
  of the years is there any alarm?
- 50 for each planted drift: in how many does the sensor that stands for it alarm, and how soon?
- 20 of the undrifted shops by the usual rules (`monitoring_rules.py`).
- Online Retail II: its second year against its first, as it is and with drift planted in its rows.
- Last, what is said of champions once labels are known (`monitoring_labels.py`).

Intervals are exact (Clopper & Pearson 1934), 95 %. What is measured of each shop is kept, so a run
goes on where it was stopped, and can be done in pieces: `--only undrifted --seeds 20` measures the
first twenty. Shown is all that has been measured so far. Writes var/bench/monitoring.json. All of
it takes about an hour on an idle core: the rules a quarter of that, the labels half.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # of small fits: two threads would wait for each other

from rich.console import Console
from rich.table import Table

from common.files import write_file
from monitoring.facts import Reading
from monitoring.measure import SENSORS, Measured
from monitoring.sensors import freeze, read_month
from tests.bench import monitoring_labels
from tests.bench.figures import share
from tests.bench.monitoring_real import real_log_readings
from tests.bench.monitoring_rules import REFERENCES, RULES, kept_alarms, rules_alarms
from tests.bench.monitoring_shops import (
    BASELINE,
    DRIFTS,
    OPERATED,
    kept_shop,
    measured_shop,
    months_to_alarm,
)  # fmt: skip
from tests.places import HOW_TO_GET_IT, real_log

ROOT = Path(__file__).parents[2]
OUT = ROOT / "var" / "bench" / "monitoring.json"
SEEDS = {  # the first, and how many
    "undrifted": (2000, 200), "price": (3000, 50), "unit": (3100, 50), "missing": (3200, 50),
    "mix": (3300, 50), "slower": (3400, 50), "faster": (3500, 50), "rules": (2000, 20),
}  # fmt: skip
STANDS_FOR = {
    "price": "price", "unit": "unit", "missing": "anonymous", "mix": "abroad",
    "slower": "invoices", "faster": "invoices",
}  # fmt: skip
WITHIN = {"price": 1, "unit": 2, "missing": 1, "mix": 1, "slower": 2, "faster": 3}  # months
LIMIT_FALSE, LIMIT_POWER = 0.05, 0.9
LIMITS = (3.0, 3.25, 3.5, 3.75, 4.0, 4.5)  # of the invoices, to see what another would give
SHOWN = 3  # months after the drift


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.monitoring", description=__doc__)
    pieces = [*SEEDS, "real", "labels"]
    parser.add_argument("--only", nargs="+", choices=pieces, default=pieces, help="these pieces")
    parser.add_argument("--seeds", type=int, help="of each piece, the first so many")
    options = parser.parse_args(arguments)
    for piece in options.only:
        if piece in SEEDS:
            first, count = SEEDS[piece]
            measure_piece(piece, range(first, first + min(count, options.seeds or count)))
    figures = summarise()
    if "real" in options.only:
        log = real_log()
        if log is None:
            print(HOW_TO_GET_IT)
        else:
            figures["real"] = real_log_readings(log)
    elif OUT.exists():
        figures["real"] = json.loads(OUT.read_text(encoding="utf-8")).get("real")
    write_file(OUT, json.dumps(figures, indent=2))
    show(figures, Console(width=100))
    print(f"written to {OUT.relative_to(ROOT)}")
    if "labels" in options.only:
        return monitoring_labels.main(["--seeds", f"{options.seeds}"] if options.seeds else [])
    return 0


def measure_piece(piece: str, seeds: Iterable[int]) -> None:
    for seed in seeds:
        if piece == "rules":
            if kept_alarms(seed) is None:
                rules_alarms(seed)
                print(f"{piece} {seed}", flush=True)
        elif kept_shop(piece, seed) is None:
            measured_shop(piece, seed)
            print(f"{piece} {seed}", flush=True)


# --- what comes of it -------------------------------------------------------------------------


def summarise() -> dict[str, Any]:
    """The figures of all that has been measured so far."""
    shops = {drift: kept_shops(drift) for drift in DRIFTS}
    return {
        "undrifted": false_alarms(shops["undrifted"]),
        "power": [power(drift, shops[drift]) for drift in STANDS_FOR if shops[drift]],
        "limits": [at_limit(limit, shops) for limit in LIMITS] if shops["undrifted"] else [],
        "rules": rules(),
        "real": None,
    }


def kept_shops(drift: str) -> list[list[Measured]]:
    first, count = SEEDS[drift]
    found = (kept_shop(drift, seed) for seed in range(first, first + count))
    return [measured for measured in found if measured is not None]


def false_alarms(shops: list[list[Measured]]) -> dict[str, Any]:
    """Undrifted years with an alarm: any, and of each sensor; and how the readings are spread."""
    years = [alarming(read_year(measured)) for measured in shops]
    readings = [reading for measured in shops for reading in read_year(measured)]
    return {
        "years": len(years),
        "any": share(sum(map(bool, years)), len(years)),
        "limit": LIMIT_FALSE,
        "sensors": {
            name: {
                **share(sum(name in year for year in years), len(years)),
                "pending_months": sum(r.state == "pending" for r in readings if r.sensor == name),
                "largest_z": max(
                    (abs(r.z) for r in readings if r.sensor == name and r.z is not None), default=0
                ),
            }
            for name in SENSORS
        },
    }


def power(drift: str, shops: list[list[Measured]]) -> dict[str, Any]:
    """Shops in which the drift's own sensor alarms within 1, 2 and 3 judged months, and those in
    which another sensor alarms in the months from the drift on."""
    years = [read_year(measured) for measured in shops]
    soon = [months_to_alarm(year, STANDS_FOR[drift]) for year in years]
    others = {
        name: sum(months_to_alarm(year, name) is not None for year in years)
        for name in SENSORS
        if name != STANDS_FOR[drift]
    }
    within = {
        str(n): share(sum(one is not None and one <= n for one in soon), len(soon))
        for n in range(1, SHOWN + 1)
    }
    return {
        "drift": drift,
        "effects": DRIFTS[drift],
        "sensor": STANDS_FOR[drift],
        "shops": len(shops),
        "within": within,
        "target_months": WITHIN[drift],
        "target": LIMIT_POWER,
        "others": {name: count for name, count in others.items() if count},
    }


def at_limit(limit: float, shops: dict[str, list[list[Measured]]]) -> dict[str, Any]:
    """What another limit of the invoices would give: false years of that sensor, and power within
    the target's months."""
    found = {"limit": limit, "chosen": limit == SENSORS["invoices"].c}
    years = [alarming(read_year(measured, limit)) for measured in shops["undrifted"]]
    found["false"] = share(sum("invoices" in year for year in years), len(years))
    for drift in ("slower", "faster"):
        soon = [
            months_to_alarm(read_year(measured, limit), "invoices") for measured in shops[drift]
        ]
        hits = sum(one is not None and one <= WITHIN[drift] for one in soon)
        found[drift] = share(hits, len(soon))
    return found


def read_year(measured: list[Measured], limit: float | None = None) -> list[Reading]:
    """The readings of the twelve operated months; limit: another one of the invoices."""
    baseline = freeze(measured, BASELINE)
    if limit is not None:
        baseline["sensors"]["invoices"]["c"] = limit
    return [reading for month in OPERATED for reading in read_month(measured, baseline, month)]


def alarming(readings: Iterable[Reading]) -> set[str]:
    return {reading.sensor for reading in readings if reading.state == "alarm"}


def rules() -> list[dict[str, Any]]:
    """Months and years in which each usual rule alarms, and of the same shops our sensors."""
    first, count = SEEDS["rules"]
    seeds = [seed for seed in range(first, first + count) if kept_alarms(seed) is not None]
    found = []
    for reference in REFERENCES:
        for rule in RULES:
            months = [kept_alarms(seed)[reference][rule] for seed in seeds]
            found.append({"rule": rule, "reference": reference, **_alarming_months(months)})
    ours = []
    for measured in filter(None, (kept_shop("undrifted", seed) for seed in seeds)):
        alarms = {r.month for r in read_year(measured) if r.state == "alarm"}
        ours.append([month in alarms for month in OPERATED])
    return [*found, {"rule": "sensors", "reference": "baseline", **_alarming_months(ours)}]


def _alarming_months(shops: Sequence[Sequence[bool]]) -> dict[str, Any]:
    return {
        "months": share(sum(map(sum, shops)), sum(map(len, shops))),
        "years": share(sum(map(any, shops)), len(shops)),
    }


# --- for people -------------------------------------------------------------------------------


def show(figures: dict[str, Any], console: Console) -> None:
    undrifted = figures["undrifted"]
    table = Table("undrifted years with an alarm of", "years", "months pending", "largest |z|", "c")
    found = undrifted["any"]
    missed = found["share"] is not None and found["share"] > undrifted["limit"]
    target = f"target ≤ {undrifted['limit']:.0%}, {'MISSED' if missed else 'held'}"
    table.add_row("any sensor", _share(found), "", target, "")
    for name, one in undrifted["sensors"].items():
        z, pending = f"{one['largest_z']:.2f}", str(one["pending_months"])
        table.add_row(name, _share(one), pending, z, f"{SENSORS[name].c:g}")
    console.print(table)

    table = Table("drift", "sensor", "1 month", "2 months", "3 months", "target", "others alarm")
    for one in figures["power"]:
        cells = [_share(one["within"][str(n)]) for n in range(1, SHOWN + 1)]
        months = one["target_months"]
        held = one["within"][str(months)]["share"] >= one["target"]
        target = f"{one['target']:.1f} in {months}: {'held' if held else 'MISSED'}"
        others = ", ".join(f"{name} {count}" for name, count in one["others"].items())
        table.add_row(one["drift"], one["sensor"], *cells, target, others)
    console.print(table)

    table = Table("limit of the invoices", "false years", "slower, 2 months", "faster, 3 months")
    for one in figures["limits"]:
        label = f"{one['limit']:g}{' (chosen)' if one['chosen'] else ''}"
        table.add_row(label, *(_share(one[name]) for name in ("false", "slower", "faster")))
    console.print(table)

    table = Table("rule, undrifted shops", "against", "months that alarm", "years that alarm")
    for one in figures["rules"]:
        table.add_row(one["rule"], one["reference"], _share(one["months"]), _share(one["years"]))
    console.print(table)

    if real := figures["real"]:
        console.print(f"Online Retail II, {real['months'][0]} to {real['months'][-1]}:")
        for name, states in real["states"].items():
            console.print(f"  {name}: " + ", ".join(f"{n} {s}" for s, n in states.items()))
        for one in [*real["alarms"], *real["pending"], *real["learning"]]:
            console.print(f"  {one['month']} {one['sensor']} {one['state']}: {one['text']}")
        for one in real["planted"]:
            when = f"in month {one['month']}" if one["month"] else "never"
            console.print(f"  planted {one['drift']}: {one['sensor']} alarms {when}. {one['text']}")


def _share(one: dict[str, Any]) -> str:
    if one["share"] is None:
        return "–"
    return f"{one['hits']}/{one['of']} {one['share']:.1%} [{one['low']:.1%}, {one['high']:.1%}]"


if __name__ == "__main__":
    sys.exit(main())
