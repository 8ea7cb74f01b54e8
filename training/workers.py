"""Helpers: further processes that run trials of one search (`tuning.workers`).

The first process of a family owns the study: it draws the parameters, hands them out, prunes, and
writes down what comes back, so the budget holds exactly and everything that is reported about a
trial, to MLflow too, comes from one place. Over the pipe to a helper go, for each trial,

    helper <- params
    helper -> ("report", value, step)       as often as the family reports
    helper <- True or False                 whether to prune; then the trial ends
    helper -> ("fitted", params, metrics)   the trial is complete, or
              ("failed", reason)

When a helper dies, its trial is given to another; when the first process dies, its helpers end,
even within a trial.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

import optuna

from training.folds import Fitted, Report
from training.tuning import HelperLost, Runner, TrialFailed


@contextmanager
def helpers(prepare: Callable[[], Runner], count: int) -> Iterator[list[Runner]]:
    """Start `count` processes, and end them whatever they do. Each makes its runner by `prepare`,
    which is pickled; what is given here runs a trial in one of them."""
    context, started = multiprocessing.get_context("spawn"), []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
            process.start()
            theirs.close()  # it is the helper's: closed with it, a read here ends
            started.append((process, ours))
        yield [partial(_run_in, connection) for _, connection in started]
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _serve(connection: Connection, prepare: Callable[[], Runner]) -> None:
    """Run each trial that comes, in a helper, and answer with its outcome."""

    def report(value: float, step: int | None) -> None:
        connection.send(("report", value, step))
        if connection.recv():
            raise optuna.TrialPruned

    threading.Thread(target=_end_with_parent, daemon=True).start()
    run = prepare()
    while True:
        params = connection.recv()
        try:
            fitted = run(params, report)
        except optuna.TrialPruned:
            continue
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))
        else:
            connection.send(("fitted", fitted.params, fitted.metrics))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run_in(connection: Connection, params: dict[str, Any], report: Report) -> Fitted:
    try:
        connection.send(params)
        while (answer := connection.recv())[0] == "report":
            try:
                report(*answer[1:])
            except optuna.TrialPruned:
                connection.send(True)
                raise
            connection.send(False)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise HelperLost("the process that ran it has ended") from None
    if answer[0] == "failed":
        raise TrialFailed(answer[1])
    return Fitted(*answer[1:])
