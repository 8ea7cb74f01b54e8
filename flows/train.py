"""The training flow, in its order: the calls in the `try` block of `train` are its stages.

docs/architecture.md says which function each of them calls.

Prefect caches nothing here (`flows/stage.py` says why). Tasks share the `RunContext` of one run
instead of shipping data: what goes from stage to stage lies in files with known hashes.
`make train` starts it by `flows/commands/train.py`.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from functools import partial
from typing import Any

from prefect import flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from configs.settings import Settings
from flows import data_stages, stopping, table_stages
from flows.compare import ensemble_task, evaluate_task
from flows.dataset import TABLE, Parts, TableStage, ValidatedStage
from flows.display import Display
from flows.family import fit_families
from flows.janitor import end_dead_runs, end_run
from flows.outcome import carry_out, register_task, write_example
from flows.report import log_run, oracle_roc_auc, summarise
from flows.run import Run, RunContext, finish
from ingestion.outcome import QUARANTINE, TRANSACTIONS
from registry import runs
from registry.carry_out import reconcile
from registry.tracking import open_store


@flow(name="train", validate_parameters=False)
def train(settings: Settings, run: Run, display: Display) -> dict[str, Any]:
    """Run every stage and return the summary, which is also in the run's folder."""
    stopping.install_handlers()
    stopping.before_the_end(partial(end_run, settings, run.id, Cancelled(message="interrupted")))
    client = open_store(settings)
    stopping.before_the_end(partial(runs.close_own_runs, client))
    runs.close_dead_runs(client)
    end_dead_runs(settings)
    for line in reconcile(client, settings):  # before a champion is compared with
        display.say(line)
    parent = runs.open_run(
        client, run.id, tags={"config": settings.name, "source": settings.source.kind}
    )
    context = RunContext(settings, run, display, client, parent)
    try:
        parts = ingest(context)
        validated = validate(context, parts)
        table = build_table(context, validated)
        write_data_report(context, parts, validated, table)
        fitted = fit_families(context, table)
        candidates = ensemble_task(context, table, fitted)
        comparison = evaluate_task(context, table, candidates)
        evaluation = comparison.evaluation
        outcome = register_task(context, validated, table, candidates, comparison)
        write_example(context, table, evaluation)
        oracle = oracle_roc_auc(settings, parts, validated, table, evaluation)
        summary = summarise(
            context, parts, validated, table, candidates, evaluation, oracle, outcome
        )
        log_run(context, summary, validated, table, candidates, evaluation)
        # Last: a run that fails has promoted nothing.
        summary["decision"]["record"] = carry_out(context, comparison, outcome, summary)
        summary["seconds"] = {"total": round(run.elapsed(), 3), **run.seconds}
        summary["peak_memory_mb"] = run.peak_memory_mb
        finish(run, summary)
        runs.close_run(client, parent)
    except BaseException:
        runs.close_run(client, parent, "FAILED")
        with suppress(Exception):  # the failure is reported; the next run would do the same
            reconcile(client, settings)  # a version that it registered is rejected
        raise
    return summary


def run_flow(settings: Settings, run: Run, display: Display) -> dict[str, Any]:
    """Run the flow under the run's name, with as many families in parallel as the settings say.

    Prefect knows its tags, the run's id and the folder of the state, earlier than its name.
    """
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.tuning.families_at_once)
    named = train.with_options(flow_run_name=run.id, task_runner=runner)
    with tags(run.id, str(settings.var.absolute())):
        return named(settings, run, display)


# --- the stages of the data, as tasks -----------------------------------------------------------


@task(cache_policy=NO_CACHE, task_run_name="ingest")
def ingest(context: RunContext) -> Parts:
    with context.stage("ingest") as reused:
        parts = data_stages.open_dataset(context.settings).read()
        reused(parts.reused == len(parts.paths))
    return parts


@task(cache_policy=NO_CACHE, task_run_name="validate")
def validate(context: RunContext, parts: Parts) -> ValidatedStage:
    folder = context.run.folder
    with context.stage("validate") as reused:
        stage = data_stages.open_dataset(context.settings).validate(parts, folder / "contract.html")
        reused(stage.reused)
    shutil.copyfile(stage.path("contract.json"), folder / "contract.json")
    for finding in stage.facts.findings:
        if finding.severity == "warn" and not finding.success:
            context.display.say(f"warning: {finding.code}: {finding.found} ({finding.why})")
    return stage


@task(cache_policy=NO_CACHE, task_run_name="features")
def build_table(context: RunContext, validated: ValidatedStage) -> TableStage:
    settings = context.settings
    with context.stage("features") as reused:
        stage = data_stages.open_dataset(settings).build_table(validated)
        reused(stage.reused)
    leaks = stage.facts.leak_check
    assert leaks is not None
    if leaks.rows_rebuilt:
        result = f"{leaks.rows_rebuilt:,} rows that were rebuilt without later data are the same"
    elif leaks.strongest:
        name, score = leaks.strongest
        result = f"the strongest column by itself is {name}, ROC AUC {score:.3f}"
    else:
        result = "too few rows of a class to score a column by itself"
    context.display.say(f"leak check: {result}")
    for name, why in stage.facts.useless.items():
        context.display.say(f"warning: {name} is not informative: {why}")
    if torn := table_stages.torn_groups(settings, stage.facts):
        context.display.say(f"warning: {torn}")
    return stage


@task(cache_policy=NO_CACHE, task_run_name="data report")
def write_data_report(
    context: RunContext, parts: Parts, validated: ValidatedStage, table: TableStage
) -> None:
    """Write the page about the data, and `data.json`: where the run's data is, relative to var/."""
    settings, folder = context.settings, context.run.folder
    var, page = settings.var.absolute(), folder / "data_report.html"
    with context.run.clock("data_report"):
        data_stages.open_dataset(settings).write_report(parts, validated, table, page)
    places = {
        "parts": [str(path.relative_to(var)) for path in parts.paths],
        "transactions": str(validated.path(TRANSACTIONS).relative_to(var)),
        "quarantine": str(validated.path(QUARANTINE).relative_to(var)),
        "table": str(table.path(TABLE).relative_to(var)),
        "batch": parts.batch,
    }
    (folder / "data.json").write_text(json.dumps(places, indent=2), encoding="utf-8")
