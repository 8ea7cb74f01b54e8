"""What a stage uses is in its key: every file, and every setting but those that are listed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import pytest
from logs import write_log, write_preset
from made_table import made_rows, save
from made_table import settings as table_settings
from pydantic import BaseModel

from configs.load import load
from configs.settings import Settings
from configs.source import CANONICAL
from features.facts import TableFacts
from flows import compare, family, log_stages, table_stages
from flows.dataset import Parts
from flows.log_stages import Log
from flows.stage import Stage
from flows.stage_code import ROOT, WIRING, closure
from flows.table_stages import LabelledTable
from registry import runs

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


def made(content: str) -> Stage:
    """A finished stage whose files have this hash."""
    names = ("transactions.parquet", "table.parquet", *compare.FILES)
    facts = TableFacts(1, ("a",), (), {}, {}, {})
    return Stage(Path("made"), facts, dict.fromkeys(names, content), True)


# The call that makes each stage, from the settings and the hash of what the stage before it made.
CALLS: dict[str, Callable[[Settings, str], Any]] = {
    "simulated ingest": lambda s, _: Log(s).simulate(),
    "log ingest": lambda s, _: Log(s).read_files(),
    "log cut": lambda s, h: Log(s).cut_part(Path("part"), h),
    "log validate": lambda s, h: Log(s).validate(Parts([], [h], None, 0), Path("page")),
    "log features": lambda s, h: Log(s).build_table(made(h)),
    "table ingest": lambda s, _: LabelledTable(s).read_files(),
    "table validate": lambda s, h: LabelledTable(s).validate(Parts([], [h], None, 0), Path("page")),
    "table features": lambda s, h: LabelledTable(s).build_table(made(h)),
    "fit": lambda s, h: family.fit_task.fn(context(s), made(h), "logistic"),
    "ensemble": lambda s, h: compare.ensemble_task.fn(
        context(s), made("table"), {"a": made("a"), "b": made(h)}
    ),
}


def context(settings: Settings) -> Any:
    display = SimpleNamespace(family_start=lambda *_: None)
    run = SimpleNamespace(clock=nullcontext)
    return SimpleNamespace(settings=settings, run=run, display=display, client=None, parent_run="")


# Settings that a stage reads, and whose change makes nothing again, with the reason.
EVERYWHERE = {
    "var": "where, not what",
    "compute": "how fast, not what: the same rows whatever the memory and the threads",
    "source.kind": "each kind has stages of its own",
    "source.path": "names files, whose names and content are in the key",
}
MAY_CHANGE = {
    "simulated ingest": {
        "source.columns": "the simulator writes columns of its own",
        "source.time_format": "the same",
        "source.text": "the same",
    },
    "table ingest": {
        "source.columns": "checked, not used: the columns of a table are in source.table",
        "source.time_format": "the same: a table has no times",
        "source.text.decimal": "cells are kept as text here, and read as numbers at validation",
        "source.text.thousands": "the same",
        "source.text.symbols": "the same",
    },
    "table validate": {
        "contract.rules": "a table has rules of its own; valid_share of the batch is in the key",
    },
    "fit": {
        "tuning.families_at_once": "shares out the threads, which are in the key",
        "training.families": "the same",
    },
    "ensemble": {"training.ensemble": "false: there is none"},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What each stage used: see `every_stage.py`."""
    path = os.pathsep.join(map(str, (ROOT, HERE, ROOT / "tests" / "ingestion")))
    done = subprocess.run(
        [sys.executable, HERE / "every_stage.py", tmp_path_factory.mktemp("stages")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == CALLS.keys()
    return found


def test_every_file_that_a_stage_uses_is_in_its_key(report):
    # The lines of `build` are in the key; `flows/stage.py` says where a file lies.
    outside = {f"flows/{name}.py" for name in (*WIRING, "stage")}
    for name, found in report.items():
        missing = set(found["used"]) - set(map(str, closure(found["declared"]))) - outside
        assert not missing, f"{name}: add the modules of {missing} to flows/stage_code.py"
    assert "features/sql/base/spine.sql" in report["log features"]["used"]


@pytest.fixture
def key(monkeypatch):
    """`key(stage, settings, content)`: what the stage's key is made of, but for its code."""

    class Found(Exception):
        pass

    def run_stage(var, name, depends_on, modules, build):
        raise Found(json.dumps(depends_on, sort_keys=True, default=str))

    for module in (log_stages, table_stages, family, compare):
        monkeypatch.setattr(module, "run_stage", run_stage)
    for of_mlflow in ("open_run", "close_run"):
        monkeypatch.setattr(runs, of_mlflow, lambda *_, **__: "")

    def key(stage: str, settings: Settings, content: str = "hash") -> str:
        with pytest.raises(Found) as found:
            CALLS[stage](settings, content)
        return str(found.value)

    return key


@pytest.mark.parametrize("stage", CALLS)
def test_every_setting_that_a_stage_reads_is_in_its_key(report, key, stage, tmp_path):
    settings, ignored = base(stage.split()[0], tmp_path), EVERYWHERE | MAY_CHANGE.get(stage, {})
    before, read, checked = key(stage, settings), set(report[stage]["read"]), 0
    for path, owner in leaves(settings):
        if f"{owner}.{path[-1]}" not in read or any(covers(prefix, path) for prefix in ignored):
            continue
        checked += 1
        assert key(stage, changed(settings, path)) != before, (
            f"{'.'.join(path)} is read by the stage and is not in its key (depends_on):"
            " put it there, or say in MAY_CHANGE of this test why it does not matter"
        )
    assert checked


@pytest.mark.parametrize("stage", [name for name in CALLS if "ingest" not in name])
def test_what_the_stage_before_made_is_in_the_key(key, stage, tmp_path):
    settings = base(stage.split()[0], tmp_path)
    assert key(stage, settings, "one") == key(stage, settings, "one") != key(stage, settings, "two")


def base(kind: str, folder: Path) -> Settings:
    if kind == "simulated":
        return load("default", [], {})
    if kind == "table":
        return table_settings(save(folder / "table.csv", made_rows(20)), folder / "var")
    write_log(folder / "log.csv", days=2)
    columns = {"columns": {name: name for name in CANONICAL if name != "country"}}
    preset = write_preset(folder / "shop.yaml", str(folder / "log.csv"), source=columns)
    return load(str(preset), ["--operations.today", "2024-01-02"], {})


def covers(prefix: str, path: tuple[str, ...]) -> bool:
    return ".".join(path).startswith(prefix)


def leaves(model: BaseModel, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every setting below this section: its path, and the class that has it."""
    for name in type(model).model_fields:
        value, path = getattr(model, name), (*above, name)
        inner = list(value.items()) if isinstance(value, dict) else [("", value)]
        if inner and isinstance(inner[0][1], BaseModel):
            for entry, section in inner:
                yield from leaves(section, (*path, entry) if entry else path)
        if not isinstance(value, BaseModel):
            yield path, type(model).__name__


def changed(section: Any, path: tuple[str, ...]) -> Any:
    """The same settings but for another value at this path."""
    name, rest = path[0], path[1:]
    if isinstance(section, dict):
        return {**section, name: changed(section[name], rest)}
    value = getattr(section, name)
    other = changed(value, rest) if rest else another(name, value, type(section).model_fields[name])
    return section.model_copy(update={name: other})


def another(name: str, value: Any, field: Any) -> Any:
    kinds = [*get_args(field.annotation), field.annotation]
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    match value:
        case _ if choices:
            return next(choice for choice in choices if choice != value)
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case date():
            return value + timedelta(days=1)
        case Path():
            return value / "other"
        case tuple():
            return (*value, "other")
        case dict():
            return {**value, "country": next(iter(value.values()), "other")}
        case None if date in kinds:
            return date(2020, 1, 1)
    if {int, float} & set(kinds):
        return 1
    return "%Y" if name == "time_format" else "!"
