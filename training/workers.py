"""Helpers: further processes that run trials of one search (`tuning.workers`).

The first process of a family owns the study: it draws the parameters, hands them out, and writes
down what comes back, so the budget holds exactly and everything that is said about a trial, MLflow
included, comes from one place. A helper gets its job and then one trial after the other as JSON
lines on its standard input, and answers each with a line. When a helper dies, its trial is given to
another; when the first process dies, the helpers' input closes and they end.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.trial import Outcome, run_trial
from training.tuning import Helper, HelperLost, Task

if TYPE_CHECKING:
    from training.families import Family
    from training.folds import Fold

FLAG = "--worker"
ROOT = Path(__file__).parents[1]


@contextmanager
def helpers(job: dict[str, Any], count: int) -> Iterator[list[Helper]]:
    """`count` processes of this job, ended at the end whatever they do."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "training.fit", FLAG],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            with suppress(HelperLost):  # noticed again with its first trial
                _say(process, job)
        yield [partial(_run_in, process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def serve(
    lines: Iterator[dict[str, Any]],
    answer: Callable[[dict[str, Any]], None],
    family: Family,
    folds: Sequence[Fold],
    *,
    seed: int,
    threads: int,
) -> None:
    """What a helper does: run each trial that comes, and answer with its outcome."""
    for task in lines:
        outcome = run_trial(family, folds, **task, seed=seed, threads=threads)
        answer({**asdict(replace(outcome, models=())), "models": ()})


def read_lines() -> Iterator[dict[str, Any]]:
    """JSON lines of standard input. When it closes, this process ends, even within a trial."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()

    def watch() -> None:
        for line in sys.stdin:
            waiting.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        yield waiting.get()


def _run_in(process: subprocess.Popen[str], task: Task) -> Outcome:
    assert process.stdout is not None
    _say(process, {"params": task.params, "bars": task.bars, "seconds": task.seconds})
    line = process.stdout.readline()
    if not line.endswith("\n"):
        raise HelperLost(f"its process ended with code {process.wait()}")
    answer = json.loads(line)
    if answer.get("event") == "error":  # it could not even begin, or a fault of ours
        raise HelperLost(f"its process failed: {answer.get('message')}")
    return Outcome(**answer)


def _say(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise HelperLost(f"its process ended with code {process.wait()}") from None
