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
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType
from prefect.states import Cancelled, Crashed
from prefect.task_runners import ThreadPoolTaskRunner

from configs.environment import prepare, private
from configs.load import load
from configs.settings import Settings
from flows import stopping
from flows.contest import ensemble_task, evaluate_task
from flows.display import Display
from flows.family import family_processes, fit_task
from flows.lock import alone
from flows.outcome import carry_out, register_task, write_example
from flows.report import log_run, oracle_roc_auc
from flows.run import Run, finish, start_run
from flows.summary import summarise
from flows.tasks import (
    Journey,
    data_report_task,
    features_task,
    ingest_task,
    validate_task,
)
from ingestion.ingest import check_source
from registry import tracking
from registry.promotion import mend
from registry.store import open_store


@flow(name="train", validate_parameters=False)
def train(settings: Settings, run: Run, display: Display) -> dict[str, Any]:
    """Run every stage and return the summary, which is also in the run's folder."""
    stopping.install_handlers()
    stopping.before_the_end(
        partial(_end_runs, settings, Cancelled(message="interrupted"), {run.id})
    )
    client = open_store(settings)
    stopping.before_the_end(partial(tracking.close_own_runs, client))
    tracking.close_dead_runs(client)
    earlier = {folder.name for folder in run.folder.parent.iterdir()} - {run.id}
    _end_runs(settings, Crashed(message="its process is gone"), earlier)
    for line in mend(client, settings):  # before a champion is compared with
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
            mend(client, settings)  # a version that it registered is rejected
        raise
    return summary


def _end_runs(settings: Settings, state: State[Any], ids: set[str]) -> None:
    """Tell Prefect how these runs of the project ended, where it believes that they go on: it does
    not notice the end of a process. By their ids, as another machine or container may use the same
    API, and a folder of the same path."""
    going = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[str(settings.var.absolute())]),
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(any_=list(set(StateType) - TERMINAL_STATES))
        ),
    )
    with get_client(sync_client=True) as api:
        for found in api.read_flow_runs(flow_run_filter=going):
            if ids & {*found.tags}:
                api.set_flow_run_state(found.id, state, force=True)


@flow(name="train", validate_parameters=True)
def train_deployed(config: str = "default", overrides: list[str] | None = None) -> dict[str, Any]:
    """The same for a Prefect deployment (`prefect.yaml`): parameters instead of a command line."""
    settings = load(config, overrides or [])
    check_source(settings.source)
    prepare(settings, in_prefect=True)
    with private(settings.var), alone(settings.var, "train"):
        run = start_run(settings.var)
        return run_flow(settings, run, Display())


def run_flow(settings: Settings, run: Run, display: Display) -> dict[str, Any]:
    """The flow under the run's name, with as many families side by side as the settings say.

    Its tags, the run and the folder of the state, are there before its name is."""
    runner: Any = ThreadPoolTaskRunner(max_workers=settings.tuning.families_at_once)
    named = train.with_options(flow_run_name=run.id, task_runner=runner)
    with tags(run.id, str(settings.var.absolute())):
        return named(settings, run, display)
