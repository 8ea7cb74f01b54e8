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

from common.files import write_file
from configs.load import load
from configs.settings import Settings
from flows.commands.simulate_year import finished_year
from flows.finish import finish
from flows.watch import PAGE, folder_of
from flows.year_report import Year, head, paragraphs, rows
from monitoring import state
from monitoring.facts import Reading, add_months, end_of, month_of
from tests.bench.figures import figure, show
from tests.serving.browser import find_browser, open_browser, watched

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
FOLDER = Path("var/bench")  # of ROOT: commands on the page, of which pictures are taken, name it
OUT, VAR = FOLDER / "year.json", FOLDER / "simulated"
DRIFTED, TWIN = "rate", "none"
SENSOR = "invoices"  # stands for the drift
WITHIN, SECONDS = 2, 300  # limits: months until it alarms, of a year on two cores
WIDTH, NARROW, HEIGHT, MARGIN = 800, 390, 844, 12  # of the browser's window, in its pixels
MOST_BYTES = 300_000  # of a picture
SCALES = (2.0, 1.5, 1.25, 1.0)  # of which the first is taken whose picture is small enough


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.year", description=__doc__)
    parser.add_argument("--kept", action="store_true", help="count the years of the last run again")
    options = parser.parse_args(arguments)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: the year ends its service
    os.chdir(ROOT)
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
        found[drift] = {"cpu_seconds": cpu[drift], **facts(settings, finished_year(settings))}
    found["figures"] = figures(found[DRIFTED], found[TWIN])
    write_file(OUT, json.dumps(found, indent=2, default=str))
    show(found["figures"])
    for drift in (DRIFTED, TWIN):
        print("\n".join(events(drift, found[drift])))
    print(f"written to {OUT}")
    if find_browser() is None:
        print("no pictures: neither Chromium nor Chrome was found")
    else:
        for file in pictures(folder_of(operated(DRIFTED)) / PAGE):
            print(f"{file.stat().st_size / 1000:5.0f} kB  {file}")
    return 0


def operate(drift: str) -> float:
    """Run the command; returns its seconds on all cores together, those of its children included.
    It shows its table as it goes on."""
    command = [
        sys.executable,
        "-m",
        "flows.commands.simulate_year",
        "--config",
        "year",
        "--drift",
        drift,
    ]
    before = _cpu_seconds()
    subprocess.run(
        [*command, "--var", str(VAR)],
        env={**os.environ, "COLUMNS": "80"},
        check=True,
    )
    return round(_cpu_seconds() - before, 1)


def operated(drift: str) -> Settings:
    """The settings that the year left, by which its shop is operated."""
    home = VAR / "year" / drift
    return load(str(home / f"year-{drift}.yaml"), ["--var", str(home)])


def facts(settings: Settings, year: Year) -> dict[str, Any]:
    """What came of a year: plain values, and its table and closing paragraphs as they are printed.

    months_to_alarm: 1 in the first month of the drift; None where its sensor did not alarm then or
    later.  by_drift: trainings that were not started by the calendar.  z: of that sensor, by month.
    """
    begin = month_of(year.planted)
    alarmed = [a.month for a in year.alarms if a.sensor == SENSOR and a.month >= begin]
    trained = [one for one in year.months if one.trigger]
    learnt = next((one.month for one in trained if one.trigger == "changed demand"), None)
    read = state.read_facts(
        folder_of(settings), "readings", Reading, [m.month for m in year.months]
    )
    table = [head()]
    for one in year.months:
        table += rows(one, [alarm for alarm in year.alarms if alarm.month == one.month])
    return {
        "seconds": round(year.seconds, 1),
        "planted": year.planted,
        "alarmed": alarmed[0] if alarmed else None,
        "months_to_alarm": _distance(begin, alarmed[0]) + 1 if alarmed else None,
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
        "z": {one.month: one.z for one in read if one.sensor == SENSOR},
        "verdicts": {one.month: one.verdict for one in year.verdicts},
        "alerts": [asdict(one) for one in year.alerts],
        "answered": sum(year.versions.values()),
        "versions": dict(year.versions),
        "lost": year.lost,
        "table": table,
        "told": paragraphs(year),
    }


def events(drift: str, found: dict[str, Any]) -> list[str]:
    """When things happened in a year, a line each."""
    lines = [f"{drift}:"]
    if drift != TWIN:
        lines += [
            f"  {found['planted']}  the change",
            f"  {found['alarmed'] or 'never':10}  the first alarm of {SENSOR}",
            f"  {found['retraining_due'] or 'never':10}  a retraining is due",
        ]
    for one in found["decisions"]:
        lines.append(
            f"  {one['as_of']}  training ({one['trigger']}), version {one['version']}:"
            f" {one['decision']}"
        )
    return lines


def figures(drifted: dict[str, Any], twin: dict[str, Any]) -> list[dict[str, Any]]:
    """Beside their limits; a sensor that never alarmed has the months of the whole year."""
    never = len(drifted["verdicts"])
    months = drifted["months_to_alarm"] or never
    known = int(drifted["retrained"] is not None)
    return [
        figure(f"months until {SENSOR} alarmed", months, "months", WITHIN),
        figure("trainings that the change started", drifted["by_drift"], "", 1, "higher"),
        figure("of them when its labels were known", known, "", 1, "higher"),
        figure("requests answered", drifted["answered"], "requests", better="higher"),
        figure("versions that answered", len(drifted["versions"]), "", better="higher"),
        figure("requests lost", drifted["lost"], "requests", 0),
        figure("the whole year", drifted["seconds"], "s", SECONDS),
        figure("the same on all cores together", drifted["cpu_seconds"], "s"),
        figure("the twin: alarms", len(twin["alarms"]), ""),
        figure("the twin: trainings not by the calendar", twin["by_drift"], "", 0),
        figure("the twin: requests lost", twin["lost"], "requests", 0),
        figure("the twin: the whole year", twin["seconds"], "s", SECONDS),
    ]


# --- pictures ---------------------------------------------------------------------------------


def pictures(page: Path) -> list[Path]:
    """Of the page, each with its part of it: the verdict with the months, the drift's sensor, the
    champions; and its beginning on a small dark screen."""
    parts: dict[str, Callable[[Page], dict[str, float]]] = {
        "verdict": lambda seen: _around(seen, "#verdict", "#months"),
        "sensor": lambda seen: _around(seen, f"#sensors article:has(h3:text-is('{SENSOR}'))"),
        "champions": lambda seen: _around(seen, "#performance h2", "#performance .keys"),
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
    """The smallest rectangle that holds them, with a margin."""
    boxes = [page.locator(selector).first.bounding_box() for selector in selectors]
    found = [box for box in boxes if box is not None]
    left, top = (min(box[side] for box in found) - MARGIN for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in found) + MARGIN
    bottom = max(box["y"] + box["height"] for box in found) + MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _distance(first: str, last: str) -> int:
    return next(n for n in range(1200) if add_months(first, n) == last)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
