"""The commands as flows of a Prefect server: `prefect.yaml` deploys them, `make deploy` sends it.

Parameters stand in place of a command line: `config` names the preset, `overrides` are words such
as `["--tuning.trials", "10"]`. Passwords and tokens come from the environment of the worker. A run
processes everything that is due, in order, so that it does not matter how often it is started, or
whether one is missed. Two at once are kept apart by the locks of `flows/exclusive.py`: the second
ends as Completed with the name Skipped. An error that a person can repair ends a run as Failed,
with the message and no traceback.

Heavy imports are made in the flows: Prefect imports this module for every run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.exceptions import FailedRun
from prefect.states import Completed, Failed, State

from common.errors import UserError
from common.full_disk import full_disk
from common.terminal import visible
from configs.environment import prepare, private
from configs.load import load
from configs.make_command import remember
from configs.settings import Settings

if TYPE_CHECKING:
    from flows.operate import Operated

Overrides = list[str] | None


@flow(name="operate")
def operate(
    config: str = "default", overrides: Overrides = None, restate: str | None = None
) -> State[Any]:
    """Process every month that is due, in order: score, judge, retrain when there is a reason.

    restate: a month whose rows were changed since it was judged, and are to be taken over.
    """

    def body(settings: Settings) -> str:
        from flows.operate import nothing_due, operate_and_finish

        done = operate_and_finish(settings, _say, restate=restate)
        if not done:
            return nothing_due(settings)
        return "; ".join(
            f"{one.month}: {_scored(one)}, {one.verdict}"
            + (f", trained: {one.decision} version {one.version}" if one.trigger else "")
            for one in done
        )

    return _run(config, overrides, body)


def _scored(operated: Operated) -> str:
    if not operated.scored:
        return "not scored"
    return f"{operated.scored:,} scored by version {operated.champion}"


@flow(name="score")
def score(
    config: str = "default",
    overrides: Overrides = None,
    as_of: str | None = None,
    data: str | None = None,
) -> State[Any]:
    """List everybody's score as of a day; none: the first day of the month, as `operate` does.

    data: for a labelled table, the file with the rows to score.
    """

    def body(settings: Settings) -> str:
        from flows.clock import today
        from flows.score import make_scores

        table = settings.source.kind == "table" or data is not None
        day = as_of if as_of or table else today(settings).replace(day=1).isoformat()
        scores, _, warnings = make_scores(settings, day, data)
        for line in (*scores.notes, *warnings):
            _say(line)
        record = scores.record
        how = "reused" if scores.reused else "computed"
        return f"{record['rows']:,} scores by version {record['version']} {how}: {scores.folder}"

    return _run(config, overrides, body)


@flow(name="monitor")
def monitor(
    config: str = "default", overrides: Overrides = None, restate: str | None = None
) -> State[Any]:
    """Judge the last month that is over, deliver alerts that are queued, write metrics and page.

    restate: a month whose rows were changed since it was judged, and are to be taken over.
    """

    def body(settings: Settings) -> str:
        from flows.monitor import judge_last

        judged, notes = judge_last(settings, restate)
        for line in notes:
            _say(line)
        verdict = judged.verdict
        return " ".join([f"{verdict.month}: {verdict.verdict}.", *verdict.evidence, verdict.action])

    return _run(config, overrides, body)


@flow(name="train")
def train(config: str = "default", overrides: Overrides = None) -> State[Any]:
    """Train on the rows of the settings; the gate decides what comes of it."""

    def body(settings: Settings) -> str:
        from flows import start

        summary = start.train(settings)
        decision, model = summary["decision"], summary["model"]
        why = "; ".join(decision["reasons"])
        return f"{decision['action']} version {model['version']} ({summary['winner']}): {why}"

    return _run(config, overrides, body)


@flow(name="janitor")
def janitor(config: str = "default", overrides: Overrides = None) -> State[Any]:
    """End the flow runs, in Prefect's records, whose process is gone."""
    return _run(config, overrides, lambda settings: "no dead flow run was found")


def _run(config: str, overrides: Overrides, body: Callable[[Settings], str]) -> State[Any]:
    """Load the settings, end dead runs, and run the body; its text is the message of the state."""
    from common.locks import Busy

    settings = None
    try:
        settings = load(config, overrides or [])
        remember(overrides or [])
        prepare(settings, in_prefect=True)
        with private(settings.var):
            ended = _begin(settings)
            result = body(settings)
    except Busy as error:
        _say(str(error))
        return Completed(name="Skipped", message=_line(error))
    except UserError as error:
        return _failed(error)
    except Exception as error:
        if full := full_disk(error, settings.var.absolute() if settings else Path.cwd()):
            return _failed(full)
        raise  # a fault of ours: Prefect keeps the traceback
    return Completed(message=visible("; ".join([*ended, result])))


def _failed(error: UserError) -> State[Any]:
    _say(str(error))
    for name in ("prefect.flow_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_not_failed_run)
    return Failed(message=_line(error))


def _begin(settings: Settings) -> list[str]:
    """Record that this run is under way, and end runs that are dead. Returns lines about them."""
    from prefect.context import FlowRunContext
    from prefect.settings import PREFECT_API_URL

    from flows.janitor import begin_run

    # What this process starts finds the same API, also where a profile of Prefect's names it.
    os.environ.setdefault("PREFECT_API_URL", PREFECT_API_URL.value() or "")
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None, "this is a flow"
    lines = begin_run(settings, context.flow_run)
    for line in lines:
        _say(line)
    return lines


def _say(text: str) -> None:
    """Write lines into the log of the flow run."""
    from prefect import get_run_logger

    for line in text.splitlines():
        get_run_logger().info("%s", visible(line))


def _not_failed_run(record: logging.LogRecord) -> bool:
    """Filter Prefect's own exception for a flow that returns Failed: it is logged with a traceback,
    and its message was logged already."""
    return not (record.exc_info and record.exc_info[0] is FailedRun)


def _line(error: UserError) -> str:
    parts = {"": error.what, "where: ": error.where, "next: ": error.next_step}
    return visible("; ".join(head + text for head, text in parts.items() if text))
