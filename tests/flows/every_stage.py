"""Runs every stage on little data, and says of each which of the project's files it used.

    python every_stage.py FOLDER        with the root of the project as PYTHONPATH

Prints a JSON object: name of the stage -> {"declared": its modules, "used": files}. Files
of code are seen by `sys.setprofile` (a function of them was called), others when they are opened.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

from logs import write_log, write_preset
from made_table import made_rows, save
from made_table import settings as table_settings

from configs.load import load
from flows import contest, data_stages, stage, stage_code, table_stages, tasks
from training.fit import fit_family, read_job

active: set[str] | None = None
report: dict[str, dict] = {}


@contextmanager
def recorded(into: set[str]):
    global active
    active = into
    see = lambda frame, event, _: event == "call" and into.add(frame.f_code.co_filename)  # noqa: E731
    threading.setprofile(see)
    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        active = None


def opened(event: str, arguments: tuple) -> None:
    if active is not None and event == "open" and isinstance(arguments[0], str | Path):
        active.add(str(arguments[0]))


def say(name: str, modules: tuple[str, ...], used: set[str]) -> None:
    root = stage_code.ROOT
    files = {Path(file) for file in used if not file.endswith(".pyc")}
    code = {str(file.relative_to(root)) for file in files if file.is_relative_to(root)}
    code = {file for file in code if not file.startswith((".venv", "tests"))}
    report[name] = {"declared": modules, "used": sorted(code)}


def main(folder: Path) -> None:
    sys.addaudithook(opened)
    label = ""

    def run_stage(var, name, depends_on, modules, build):
        used: set[str] = set()

        def watched(target: Path) -> dict:
            with recorded(used):
                return build(target)

        done = stage.run_stage(var, name, depends_on, modules, watched)
        say(f"{label}{name}", modules, used)
        return done

    for module in (data_stages, table_stages, tasks, contest):
        module.run_stage = run_stage

    label = "simulated "
    small = ["--source.simulation.customers", "300", "--source.simulation.days", "400"]
    data_stages.ingest(load("smoke", ["--var", str(folder / "simulated"), *small], {}))

    label = "log "
    write_log(folder / "log.csv", per_day=6, customers=150)
    preset = write_preset(folder / "shop.yaml", str(folder / "log.csv"))
    settings = load(str(preset), ["--var", str(folder / "log")], {})
    validated = data_stages.validate(
        settings, data_stages.ingest(settings), folder / "log" / "page.html"
    )
    table = tasks._from_log(settings, validated)

    label = "table "
    file = save(folder / "table.csv", made_rows())
    labelled = table_settings(file, folder / "table")
    page = folder / "table" / "page.html"
    valid = data_stages.validate(labelled, data_stages.ingest(labelled), page)
    table_stages.features(labelled, valid)

    label = ""
    job = {
        **{"family": "logistic", "table": str(table.path("table.parquet"))},
        **{"features": table.facts["names"], "schema": table.facts["schema"]},
        **{"horizon_days": 20, "calibration": "auto", "seed": 1, "threads": 1, "workers": 1},
        **{"trials": 1, "seconds": 60.0, "password_variable": "", "study": "search"},
        **{"storage": f"sqlite:///{folder}/studies.db", "output": str(folder / "fitted")},
    }
    used: set[str] = set()
    with recorded(used):
        fit_family(read_job(job), lambda event: None)
    say("fit", stage_code.fit("logistic"), used)
    files = dict.fromkeys(contest.FILES, "")
    fitted = stage.Stage(folder / "fitted", {}, files, False)
    run = SimpleNamespace(
        settings=settings,
        run=SimpleNamespace(clock=nullcontext),
        display=SimpleNamespace(say=lambda text: None),
    )
    contest.ensemble_task.fn(run, table, {"one": fitted, "two": fitted})
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
