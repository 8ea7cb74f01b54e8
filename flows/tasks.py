"""The stages of training as Prefect tasks. Wiring only: each calls one room and hands on paths.

Nothing here is cached by Prefect (`flows/stage.py` says why), and tasks share the `Journey` of one
run instead of shipping data: what goes from stage to stage lies in files with known hashes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.settings import Settings
from flows import data_stages, table_stages
from flows.dataset import TABLE, Parts, TableStage
from flows.display import Display
from flows.run import Run, log
from flows.stage import Stage
from ingestion.outcome import QUARANTINE, TRANSACTIONS

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Journey:
    """What all stages of one run share."""

    settings: Settings
    run: Run
    display: Display
    client: MlflowClient
    parent_run: str


@task(cache_policy=NO_CACHE, task_run_name="ingest")
def ingest_task(journey: Journey) -> Parts:
    with _shown(journey, "ingest") as reused:
        parts = data_stages.ingest(journey.settings)
        reused(parts.reused == len(parts.paths))
    return parts


@task(cache_policy=NO_CACHE, task_run_name="validate")
def validate_task(journey: Journey, parts: Parts) -> Stage:
    folder = journey.run.folder
    with _shown(journey, "validate") as reused:
        stage = data_stages.validate(journey.settings, parts, folder / "contract.html")
        reused(stage.reused)
    shutil.copyfile(stage.path("contract.json"), folder / "contract.json")
    for finding in stage.facts["findings"]:
        if finding["severity"] == "warn" and not finding["success"]:
            journey.display.say(
                f"warning: {finding['code']}: {finding['found']} ({finding['why']})"
            )
    return stage


@task(cache_policy=NO_CACHE, task_run_name="features")
def features_task(journey: Journey, validated: Stage) -> TableStage:
    settings = journey.settings
    with _shown(journey, "features") as reused:
        stage = data_stages.open_dataset(settings).build_table(validated)
        reused(stage.reused)
    found = stage.facts.leak_check
    assert found is not None
    if found.rows_rebuilt:
        said = f"{found.rows_rebuilt:,} rows made again without the future are the same"
    elif found.strongest:
        name, score = found.strongest
        said = f"the strongest column by itself is {name}, ROC AUC {score:.3f}"
    else:
        said = "too few rows of a class to score a column by itself"
    journey.display.say(f"leak check: {said}")
    for name, why in stage.facts.useless.items():
        journey.display.say(f"warning: {name} is of no use: {why}")
    if torn := table_stages.torn_groups(settings, stage.facts):
        journey.display.say(f"warning: {torn}")
    return stage


@task(cache_policy=NO_CACHE, task_run_name="data report")
def data_report_task(journey: Journey, parts: Parts, validated: Stage, table: TableStage) -> None:
    """The page about the data, and `data.json`: where the run's data lies, relative to var/."""
    settings, folder = journey.settings, journey.run.folder
    var, page = settings.var.absolute(), folder / "data_report.html"
    with journey.run.clock("data_report"):
        data_stages.open_dataset(settings).write_report(parts, validated, table, page)
    places = {
        "parts": [str(path.relative_to(var)) for path in parts.paths],
        "transactions": str(validated.path(TRANSACTIONS).relative_to(var)),
        "quarantine": str(validated.path(QUARANTINE).relative_to(var)),
        "table": str(table.path(TABLE).relative_to(var)),
        "batch": parts.batch,
    }
    (folder / "data.json").write_text(json.dumps(places, indent=2), encoding="utf-8")


def read_result(stage: Stage) -> dict[str, Any]:
    """The `result.json` of a fitted family."""
    return json.loads(stage.path("result.json").read_text(encoding="utf-8"))


@contextmanager
def _shown(journey: Journey, name: str) -> Iterator[Callable[[bool], None]]:
    """Clock and display of a stage; the caller says whether it was reused."""
    journey.display.stage(name)
    reused: list[bool] = []
    with journey.run.clock(name):
        yield reused.append
    log.info("%s %s", name, "reused" if reused[-1] else "built")
    journey.display.stage_end(name, journey.run.seconds[name], reused[-1])
