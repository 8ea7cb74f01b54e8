"""The training flow: which stage follows which.

ingest → validate → features, data report → fit each family (side by side) → ensemble
→ evaluate → register and decide → report → carry the decision out
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from functools import partial
from typing import Any

from prefect import flow, tags
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from configs.settings import Settings
from flows import stopping
from flows.contest import ensemble_task, evaluate_task
from flows.display import Display
from flows.family import family_processes, fit_task
from flows.janitor import end_dead_runs, end_run
from flows.outcome import carry_out, register_task, write_example
from flows.report import log_run, oracle_roc_auc
from flows.run import Run, finish
from flows.summary import summarise
from flows.tasks import (
    Journey,
    data_report_task,
    features_task,
    ingest_task,
    validate_task,
)
from registry import tracking
from registry.decisions import reconcile
from registry.tracking import open_store


@flow(name="train", validate_parameters=False)
def train(settings: Settings, run: Run, display: Display) -> dict[str, Any]:
    """Run every stage and return the summary, which is also in the run's folder."""
    stopping.install_handlers()
    stopping.before_the_end(partial(end_run, settings, run.id, Cancelled(message="interrupted")))
    client = open_store(settings)
    stopping.before_the_end(partial(tracking.close_own_runs, client))
    tracking.close_dead_runs(client)
    end_dead_runs(settings)
    for line in reconcile(client, settings):  # before a champion is compared with
        display.say(line)
    parent = tracking.open_run(
        client, run.id, tags={"config": settings.name, "source": settings.source.kind}
    )
    journey = Journey(settings, run, display, client, parent)
    try:
        parts = ingest_task(journey)
        validated = validate_task(journey, parts)
        table = features_task(journey, validated)
        data_report_task(journey, parts, validated, table)
        with run.clock("fit"), display, family_processes():
            futures: dict[str, Any] = {
                name: fit_task.submit(journey, table, name) for name in settings.training.families
            }
            waiting = set(futures.values())
            while waiting:  # in short waits: a signal is not heard during a long one
                wait([f.wrapped_future for f in waiting], 0.2, FIRST_COMPLETED)
                for future in [f for f in waiting if f.wrapped_future.done()]:
                    waiting.remove(future)
                    future.result()  # the first that fails ends the run
            fitted = {name: future.result() for name, future in futures.items()}
        contestants = ensemble_task(journey, table, fitted)
        contest = evaluate_task(journey, table, contestants)
        evaluation = contest.evaluation
        outcome = register_task(journey, validated, table, contestants, contest)
        write_example(journey, table, evaluation)
        oracle = oracle_roc_auc(settings, parts, validated, table, evaluation)
        summary = summarise(
            journey, parts, validated, table, contestants, evaluation, oracle, outcome
        )
        log_run(journey, summary, validated, table, contestants, evaluation)
        summary["decision"]["record"] = carry_out(
            journey, contest, outcome, summary
        )  # the last act
        summary["seconds"] = {"total": round(run.elapsed(), 3), **run.seconds}
        summary["peak_memory_mb"] = run.peak_memory_mb
        finish(run, summary)
        tracking.close_run(client, parent)
    except BaseException:
        tracking.close_run(client, parent, "FAILED")
        with suppress(Exception):  # the failure is what is told; the next run would do the same
            reconcile(client, settings)  # a version that it registered is rejected
        raise
    return summary


def run_flow(settings: Settings, run: Run, display: Display) -> dict[str, Any]:
    """The flow under the run's name, with as many families side by side as the settings say.

    Its tags, the run and the folder of the state, are there before its name is."""
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.tuning.families_at_once)
    named = train.with_options(flow_run_name=run.id, task_runner=runner)
    with tags(run.id, str(settings.var.absolute())):
        return named(settings, run, display)
