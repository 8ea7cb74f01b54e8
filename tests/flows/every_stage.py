"""Runs every stage on little data, and says of each what it used: files and settings.

    python every_stage.py FOLDER        with the root of the project as PYTHONPATH

Prints a JSON object: name of the stage -> {"declared": its modules, "used": files of the project,
"read": settings, as `Class.field`}. Code is seen by `sys.setprofile` when a function of it is
called, another file when it is opened, a setting when it is read, from the call until the stage is
finished.
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
from configs.section import Section
from configs.settings import Settings
from flows import compare, data_stages, family, log_stages, stage, stage_code, table_stages
from training.fit import fit_family, read_job

files: set[str] = set()
read: set[str] = set()
active = False


@contextmanager
def watched():
    """Collects the files that are used, by all threads."""
    global active
    active = True
    see = lambda frame, event, _: event == "call" and files.add(frame.f_code.co_filename)  # noqa: E731
    threading.setprofile(see)
    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        active = False


def opened(event: str, arguments: tuple) -> None:
    if active and event == "open" and isinstance(arguments[0], str | Path):
        files.add(str(arguments[0]))


def watch_settings(kind: type) -> None:
    original = kind.__getattribute__

    def get(self, name):
        if not name.startswith("_") and name in type(self).model_fields:
            read.add(f"{type(self).__name__}.{name}")
        return original(self, name)

    kind.__getattribute__ = get


def project_files() -> list[str]:
    root = stage_code.ROOT
    found = {path for path in map(Path, files) if path.parent.name != "__pycache__"}
    code = {str(file.relative_to(root)) for file in found if file.is_relative_to(root)}
    return sorted(file for file in code if not file.startswith((".venv", "tests")))


def main(folder: Path) -> None:
    sys.addaudithook(opened)
    for kind in (Section, Settings):
        watch_settings(kind)
    report: dict[str, dict] = {}

    def run_stage(var, name, depends_on, modules, build):
        def run(target: Path) -> dict:
            with watched():
                return build(target)

        done = stage.run_stage(var, name, depends_on, modules, run)
        note(name, modules)
        return done

    def note(name: str, modules: tuple[str, ...]) -> None:
        report[f"{label}{name}"] = {
            "declared": modules,
            "used": project_files(),
            "read": sorted(read),
        }
        files.clear()

    def call(function, *arguments):
        read.clear()
        return function(*arguments)

    for module in (log_stages, table_stages, compare):
        module.run_stage = run_stage

    label = "simulated "
    small = ["--source.simulation.customers", "300", "--source.simulation.days", "400"]
    call(data_stages.ingest, load("smoke", ["--var", str(folder / "simulated"), *small], {}))

    label = "log "
    write_log(folder / "log.csv", per_day=6, customers=150)
    preset = write_preset(folder / "shop.yaml", str(folder / "log.csv"))
    settings = load(str(preset), ["--var", str(folder / "log")], {})
    parts = call(data_stages.ingest, settings)
    validated = call(data_stages.validate, settings, parts, folder / "log" / "page.html")
    table = call(log_stages.Log(settings).build_table, validated)

    on_a_day = load(
        str(preset), ["--var", str(folder / "log"), "--operations.today", "2024-03-01"], {}
    )
    call(log_stages.Log(on_a_day).cut_part, parts.paths[0], parts.hashes[0])

    label = "table "
    file = save(folder / "table.csv", made_rows())
    labelled = table_settings(file, folder / "table")
    parts = call(data_stages.ingest, labelled)
    valid = call(data_stages.validate, labelled, parts, folder / "table" / "page.html")
    call(table_stages.LabelledTable(labelled).build_table, valid)

    label = ""
    small_job = {"threads": 1, "trials": 1, "password_variable": "", "study": "search"}
    places = {"storage": f"sqlite:///{folder}/studies.db", "output": str(folder / "fitted")}
    job = {**call(family.fit_job, settings, table, "logistic"), **small_job, **places}
    with watched():
        fit_family(read_job(job), lambda event: None)
    note("fit", stage_code.fit("logistic"))
    fitted = stage.Stage(folder / "fitted", {}, dict.fromkeys(compare.FILES, ""), False)
    context = SimpleNamespace(
        settings=settings,
        run=SimpleNamespace(clock=nullcontext),
        display=SimpleNamespace(say=lambda text: None),
    )
    call(compare.ensemble_task.fn, context, table, {"one": fitted, "two": fitted})
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
