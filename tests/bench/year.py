"""`make bench-year`: a simulated year in which demand changes, and its twin in which nothing does.

    python -m tests.bench.year [--kept]

Both are `make simulate-year`, each from an empty folder, in a process of its own. What is counted
is read from what the years wrote down: the months, the ledger, the alerts and the tally of the
client that asks the service. Where Chromium or Chrome is installed, pictures of the drifted year's
page are taken. Writes var/bench/year.json and var/bench/year-*.png, from which `make docs` makes
the section of docs/operations.md. Takes five to ten minutes.

--kept: the years of the last run, with the figures counted, the texts written and the page drawn
again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.load import load
from configs.records import write_file
from configs.settings import Settings
from flows.monitor import PAGE, finish
from flows.simulate_year import finished_year
from flows.watch import folder_of
from flows.year_story import Year, head, rows, tell
from monitoring.facts import add_months, end_of, month_of
from tests.bench.figures import figure, show
from tests.serving.browser import find_browser, open_browser, watched

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "var" / "bench"
OUT, VAR = FOLDER / "year.json", FOLDER / "simulated"
DRIFTED, TWIN = "rate", "none"
SENSOR = "invoices"  # stands for the drift
WITHIN, SECONDS = 2, 300  # limits: months until it alarms, of a year on two cores
WIDTH, NARROW, HEIGHT = 800, 390, 844  # of the browser's window
MOST_BYTES = 300_000  # of a picture
SCALES = (2.0, 1.5, 1.25, 1.0)  # of which the first is taken whose picture is small enough


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.year", description=__doc__)
    parser.add_argument("--kept", action="store_true", help="count the years of the last run again")
    options = parser.parse_args(arguments)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: the year ends its service
    cpu = {}
    if options.kept:
        known = json.loads(OUT.read_text(encoding="utf-8"))
        cpu = {drift: known[drift]["cpu_seconds"] for drift in (DRIFTED, TWIN)}
    else:
        shutil.rmtree(VAR, ignore_errors=True)
        for drift in (DRIFTED, TWIN):
            cpu[drift] = operate(drift)
    found: dict[str, Any] = {"cores": os.cpu_count()}
    for drift in (DRIFTED, TWIN):
        settings = operated(drift)
        if options.kept:
            finish(settings)
        found[drift] = {"cpu_seconds": cpu[drift], **facts(finished_year(settings))}
    found["figures"] = figures(found[DRIFTED], found[TWIN])
    write_file(OUT, json.dumps(found, indent=2, default=str))
    show(found["figures"])
    print(f"written to {OUT.relative_to(ROOT)}")
    if find_browser() is None:
        print("no pictures: neither Chromium nor Chrome was found")
    else:
        for file in pictures(folder_of(operated(DRIFTED)) / PAGE):
            print(f"{file.stat().st_size / 1000:5.0f} kB  {file.relative_to(ROOT)}")
    return 0


def operate(drift: str) -> float:
    """Run the command; returns its seconds on all cores together, those of its children included.
    It shows its table as it goes on."""
    command = [sys.executable, "-m", "flows.simulate_year", "--config", "year", "--drift", drift]
    before = _cpu_seconds()
    subprocess.run(
        [*command, "--var", str(VAR)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
        check=True,
    )
    return round(_cpu_seconds() - before, 1)


def operated(drift: str) -> Settings:
    """The settings that the year left, by which its shop is operated."""
    return load(str(VAR / "year" / drift / f"year-{drift}.yaml"))


def facts(year: Year) -> dict[str, Any]:
    """What came of a year: plain values, and its table and closing paragraph as they are printed.

    months_to_alarm: 1 in the first month of the drift; None where its sensor did not alarm then or
    later.  by_drift: trainings that were not started by the calendar.
    """
    begin = month_of(year.planted)
    alarmed = [a.month for a in year.alarms if a.sensor == SENSOR and a.month >= begin]
    trained = [one for one in year.months if one.trigger]
    learnt = next((one.month for one in trained if one.trigger == "changed demand"), None)
    table = [head()]
    for one in year.months:
        table += rows(one, [alarm for alarm in year.alarms if alarm.month == one.month])
    return {
        "seconds": round(year.seconds, 1),
        "planted": year.planted,
        "alarmed": alarmed[0] if alarmed else None,
        "months_to_alarm": _months_between(begin, alarmed[0]) + 1 if alarmed else None,
        "retraining_due": next((v.retrain_due for v in year.verdicts if v.retrain_due), None),
        "retrained": learnt,
        "decisions": [
            {
                "as_of": end_of(one.month),
                "trigger": one.trigger,
                "version": one.version,
                "decision": one.decision,
            }
            for one in trained
        ],
        "by_drift": sum(one.trigger != "calendar" for one in trained),
        "alarms": [{"month": a.month, "sensor": a.sensor, "z": a.z} for a in year.alarms],
        "verdicts": {one.month: one.verdict for one in year.verdicts},
        "alerts": [asdict(one) for one in year.alerts],
        "answered": sum(year.versions.values()),
        "versions": dict(year.versions),
        "lost": year.lost,
        "table": table,
        "told": tell(year),
    }


def figures(drifted: dict[str, Any], twin: dict[str, Any]) -> list[dict[str, Any]]:
    """Beside their limits; a sensor that never alarmed has the months of the whole year."""
    never = len(drifted["verdicts"])
    months = drifted["months_to_alarm"] or never
    return [
        figure(f"months until {SENSOR} alarmed", months, "months", WITHIN),
        figure("trainings started by the drift", drifted["by_drift"], "", 1, "higher"),
        figure(
            "  as the new labels were known", int(drifted["retrained"] is not None), "", 1, "higher"
        ),
        figure("requests answered", drifted["answered"], "requests", better="higher"),
        figure("  by different versions", len(drifted["versions"]), "versions", better="higher"),
        figure("  lost", drifted["lost"], "requests", 0),
        figure("seconds of the year", drifted["seconds"], "s", SECONDS),
        figure("  on all cores together", drifted["cpu_seconds"], "s"),
        figure("the twin: alarms", len(twin["alarms"]), ""),
        figure("the twin: trainings started by drift", twin["by_drift"], "", 0),
        figure("the twin: requests lost", twin["lost"], "requests", 0),
        figure("the twin: seconds of the year", twin["seconds"], "s", SECONDS),
    ]


# --- pictures ---------------------------------------------------------------------------------


def pictures(page: Path) -> list[Path]:
    """Of the page, each with its part of it: the verdict with the months, the drift's sensor, the
    champions; and its beginning on a small dark screen."""
    parts: dict[str, Callable[[Page], dict[str, float]]] = {
        "verdict": lambda seen: _around(seen, "#verdict", "#months"),
        "sensor": lambda seen: _around(seen, f"#sensors article:has(h3:text-is('{SENSOR}'))"),
        "champions": lambda seen: _around(seen, "#performance"),
    }
    made = []
    with open_browser() as browser:
        for name, part in parts.items():
            window = {"viewport": {"width": WIDTH, "height": HEIGHT}}
            made.append(_picture(browser, page, name, part, **window))
        window = {"viewport": {"width": NARROW, "height": HEIGHT}, "color_scheme": "dark"}
        first = {"x": 0, "y": 0, "width": NARROW, "height": HEIGHT}
        made.append(_picture(browser, page, "dark", lambda _: first, **window))
    return made


def _picture(
    browser: Any, page: Path, name: str, part: Callable[[Page], dict[str, float]], **window: Any
) -> Path:
    """The sharpest that is small enough."""
    file = FOLDER / f"year-{name}.png"
    for scale in SCALES:
        with watched(browser, device_scale_factor=scale, **window) as seen:
            seen.page.goto(page.as_uri())
            seen.page.screenshot(path=file, full_page=True, clip=part(seen.page))
        if file.stat().st_size <= MOST_BYTES:
            break
    return file


def _around(page: Page, *selectors: str) -> dict[str, float]:
    """The rectangle of the whole width from the first of them to the last, with a margin."""
    boxes = [page.locator(selector).first.bounding_box() for selector in selectors]
    found = [box for box in boxes if box is not None]
    top = min(box["y"] for box in found) - 12
    bottom = max(box["y"] + box["height"] for box in found) + 12
    return {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}


def _months_between(first: str, last: str) -> int:
    return next(n for n in range(1200) if add_months(first, n) == last)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
