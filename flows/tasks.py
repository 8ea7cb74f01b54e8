"""The stages of training as Prefect tasks. Wiring only: each calls one room and hands on paths.

Nothing here is cached by Prefect (`flows/stage.py` says why), and tasks share the `Journey` of one
run instead of shipping data: what goes from stage to stage lies in files with known hashes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.settings import Settings
from flows import data_stages, table_stages
from flows.data_stages import Parts
from flows.display import Display
from flows.run import Run, log
from flows.stage import Stage, run_stage
from flows.stage_code import FEATURES
from ingestion.validate import QUARANTINE, TRANSACTIONS

if TYPE_CHECKING:
    from mlflow import MlflowClient


TABLE = "table.parquet"


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
def features_task(journey: Journey, validated: Stage) -> Stage:
    settings = journey.settings
    with _shown(journey, "features") as reused:
        if settings.source.kind == "table":
            stage = table_stages.features(settings, validated)
        else:
            stage = _from_log(settings, validated)
        reused(stage.reused)
    found = stage.facts["leak_check"]
    if found["rows_rebuilt"]:
        said = f"{found['rows_rebuilt']:,} rows made again without the future are the same"
    elif found["strongest"]:
        name, score = found["strongest"]
        said = f"the strongest column by itself is {name}, ROC AUC {score:.3f}"
    else:
        said = "too few rows of a class to score a column by itself"
    journey.display.say(f"leak check: {said}")
    for name, why in stage.facts.get("useless", {}).items():
        journey.display.say(f"warning: {name} is of no use: {why}")
    if torn := table_stages.torn_groups(settings, stage.facts):
        journey.display.say(f"warning: {torn}")
    return stage


def _from_log(settings: Settings, validated: Stage) -> Stage:
    """The training table of a log."""
    from features.build import build_table
    from features.catalogue import select
    from features.leak_report import stop_on_leaks
    from features.leaks import check_leaks
    from flows.table_check import check_table

    declared = settings.source.declared
    transactions, features = validated.path(TRANSACTIONS), select(declared)

    def build(folder: Path) -> dict[str, Any]:
        target = folder / TABLE
        facts = build_table(transactions, target, settings.features, declared, settings.compute)
        check_table(target, features, facts.rows, facts.positive_rate)
        leaks = check_leaks(transactions, target, settings.features, declared, settings.compute)
        stop_on_leaks(leaks.leaks)
        return {
            **asdict(facts),
            "schema": [asdict(feature) for feature in features],
            "leak_check": asdict(leaks),
        }

    depends_on = {
        "transactions": validated.files[TRANSACTIONS],
        "declared": sorted(declared),
        "features": settings.features.model_dump(mode="json"),
    }
    return run_stage(settings.var, "features", depends_on, FEATURES, build)


@task(cache_policy=NO_CACHE, task_run_name="data report")
def data_report_task(journey: Journey, parts: Parts, validated: Stage, table: Stage) -> None:
    """The page about the data, and `data.json`: where the run's data lies, relative to var/."""
    settings, folder = journey.settings, journey.run.folder
    var, page = settings.var.absolute(), folder / "data_report.html"
    with journey.run.clock("data_report"):
        if settings.source.kind == "table":
            table_stages.write_report(settings, validated, table, page)
        else:
            from reports.data import write_data_report

            write_data_report(
                parts.paths,
                validated.folder,
                table.path(TABLE),
                page,
                title=f"Data report: {settings.name}",
                compute=settings.compute,
            )
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
