"""Shops of the simulated year for `make bench-monitoring`: what the sensors measure in each, and
what a baseline makes of it.

What is measured is kept under var/bench/monitoring/, a file per drift and seed, so that a long
bench can be run in pieces. It is used again while the code that made it is the same.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime, time
from functools import cache
from pathlib import Path
from typing import Any

from common.files import write_file
from configs.load import load
from configs.settings import Compute, Settings
from configs.source import Drift
from ingestion.outcome import QUARANTINE, TRANSACTIONS
from ingestion.validate import validate_batch
from monitoring.facts import Reading, add_months, first_day, month_of
from monitoring.measure import Measured, measure_months
from simulator.simulator import ROWS, simulate_part

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "var" / "bench" / "monitoring"
END = date(2027, 4, 1)  # the first day after the preset's log
ON = date(2026, 7, 1)
FIRST = "2026-04"  # of the months that are operated
OPERATED = [add_months(FIRST, n) for n in range(12)]
BASELINE = [add_months(FIRST, n) for n in range(-12, 0)]
DRIFTS: dict[str, dict[str, float]] = {
    "undrifted": {},
    "price": {"price_level": 1.1},
    "unit": {"broken_unit": 0.05},
    "missing": {"missing_customers": 0.2},
    "mix": {"customer_mix": 0.5},
    "slower": {"purchase_rate": 0.8},
    "faster": {"purchase_rate": 1.25},
}
# What the measurements are made by, besides libraries and the preset's settings.
MADE_BY = (
    "monitoring/measure.py", "ingestion/judge.py", "ingestion/validate.py",
    "ingestion/canonical.py", "simulator",
)  # fmt: skip


def measured_shop(drift: str, seed: int) -> list[Measured]:
    """What the sensors measure in the shop of this seed with this drift; kept."""
    if (kept := kept_shop(drift, seed)) is not None:
        return kept
    with tempfile.TemporaryDirectory() as name:
        found = measure(make_shop(drift, seed, Path(name)), Path(name))
    keep(f"{drift}-{seed}", [asdict(one) for one in found])
    return found


def kept_shop(drift: str, seed: int) -> list[Measured] | None:
    """The same, if it has been measured."""
    kept = read_kept(f"{drift}-{seed}")
    return None if kept is None else [Measured(**one) for one in kept]


def make_shop(drift: str, seed: int, folder: Path) -> Settings:
    """Simulate and validate a shop: transactions.parquet and quarantine.parquet in the folder."""
    settings = load("year", [], {})
    planted = Drift(on=ON, **DRIFTS[drift]) if DRIFTS[drift] else Drift()
    simulation = settings.source.simulation.model_copy(update={"drift": planted})
    source = settings.source.model_copy(update={"simulation": simulation})
    simulate_part(source, seed, folder, _compute())
    now = datetime.combine(END, time())
    validate_batch([folder / ROWS], folder, settings.contract, now=now, compute=_compute())
    return settings


def measure(settings: Settings, folder: Path, until: date = END) -> list[Measured]:
    return measure_months(
        folder / TRANSACTIONS,
        folder / QUARANTINE,
        until=until,
        declared=settings.source.declared,
        home_country=settings.features.home_country,
        compute=_compute(),
        folder=folder,
    )


def months_to_alarm(
    readings: Iterable[Reading], sensor: str, since: str = month_of(ON)
) -> int | None:
    """How many judged months from the drift's first one on until the sensor alarms: 1 is at once.
    None: never."""
    alarms = [r.month for r in readings if r.sensor == sensor and r.state == "alarm"]
    later = [month for month in alarms if month >= since]
    if not later:
        return None
    on, then = first_day(since), first_day(min(later))
    return 12 * (then.year - on.year) + then.month - on.month + 1


def read_kept(name: str) -> Any | None:
    """What `keep` wrote under that name with the same code, or None."""
    place = KEPT / f"{name}.json"
    if not place.exists():
        return None
    kept = json.loads(place.read_text(encoding="utf-8"))
    return kept["found"] if kept["code"] == code() else None


def keep(name: str, found: Any) -> None:
    write_file(KEPT / f"{name}.json", json.dumps({"code": code(), "found": found}))


@cache
def code() -> str:
    """A hash of the settings and the code that the measurements are made by."""
    settings = load("year", [], {})
    read = settings.model_dump_json(include={"source", "contract"})
    found = hashlib.sha256((read + settings.features.home_country).encode())
    for name in MADE_BY:
        path = ROOT / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()


def _compute() -> Compute:
    return Compute(threads=1)
