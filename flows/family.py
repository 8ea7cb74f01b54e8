"""Fit the families, each in a process of its own (`training/fit.py`), and log their events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from common.errors import UserError
from common.full_disk import full_disk
from configs.settings import Settings
from features.catalogue import SEASON
from flows.dataset import TABLE, TableStage
from flows.run import RunContext, log
from flows.stage import Stage, hash_text, run_stage, stage_key
from flows.stage_code import fit
from flows.stopping import wait_if_ending

ROOT = Path(__file__).parents[1]
_running: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()
_stopped = threading.Event()


def fit_families(context: RunContext, table: TableStage) -> dict[str, Stage]:
    """Fit every family, as many in parallel as the settings say. The first that fails ends the run,
    and the processes of the others."""
    with context.run.clock("fit"), context.display, family_processes():
        futures: dict[str, Any] = {
            name: fit_task.submit(context, table, name)
            for name in context.settings.training.families
        }
        waiting = set(futures.values())
        while waiting:  # in short waits: a signal is not heard during a long one
            wait([f.wrapped_future for f in waiting], 0.2, FIRST_COMPLETED)
            for future in [f for f in waiting if f.wrapped_future.done()]:
                waiting.remove(future)
                future.result()
        return {name: future.result() for name, future in futures.items()}


@task(cache_policy=NO_CACHE, task_run_name="fit {family}")
def fit_task(context: RunContext, table: TableStage, family: str) -> Stage:
    from registry import runs
    from registry.trials import log_trial

    settings, display = context.settings, context.display
    family_run = runs.open_run(context.client, family, parent=context.parent_run)
    job = fit_job(settings, table, family)
    depends_on = {**job, "table": table.files[TABLE]}

    def on_event(event: dict[str, Any]) -> None:
        log.info("%s %s", family, event)
        if event["event"] == "trial":
            display.trial(family, event)
            log_trial(context.client, family_run, event)
        elif event["event"] == "stage":
            display.family_stage(family, event["name"])

    def build(folder: Path) -> dict[str, Any]:
        output = folder / "fit"
        job_file = context.run.folder / f"job-{family}.json"
        fit_in_process(
            {**job, **study, "output": str(output)},
            job_file,
            context.run.folder / f"{family}.log",
            on_event,
        )
        for file in output.iterdir():
            file.rename(folder / file.name)
        output.rmdir()
        ended_by = json.loads((folder / "result.json").read_text(encoding="utf-8"))["ended_by"]
        return {"repeats": ended_by == "trials"}

    study = study_place(settings, family, stage_key(depends_on, fit(family), build))

    display.family_start(family, settings.tuning.trials, settings.tuning.seconds)
    try:
        stage = run_stage(settings.var, family, depends_on, fit(family), build)
    except BaseException:
        runs.close_run(context.client, family_run, "FAILED")
        raise
    result = read_result(stage)
    if stage.reused:
        for trial in result["trials"]:
            log_trial(context.client, family_run, trial)
    runs.log(
        context.client,
        family_run,
        params=result["params"],
        metrics={f"valid_{k}": v for k, v in result["valid_metrics"].items()},
        tags={"ended_by": result["ended_by"], "reused": str(stage.reused)},
    )
    runs.close_run(context.client, family_run)
    display.family_end(family, result["valid_metrics"]["recalibrated_log_loss"], stage.reused)
    return stage


def read_result(stage: Stage) -> dict[str, Any]:
    """Read the `result.json` of a fitted family."""
    return json.loads(stage.path("result.json").read_text(encoding="utf-8"))


def fit_job(settings: Settings, table: TableStage, family: str) -> dict[str, Any]:
    """Return what is to be fitted: the fields of `training.fit.Job`, except its output and the
    storage of its trials."""
    return {
        "family": family,
        "table": str(table.path(TABLE)),
        "features": list(table.facts.names),
        "schema": table.facts.described,
        "horizon_days": settings.features.horizon_days,
        "calibration": settings.training.calibration,
        "season": SEASON,
        "seed": settings.seed,
        "threads": threads_per_worker(settings),
        "workers": settings.tuning.workers,
        "trials": settings.tuning.trials,
        "seconds": settings.tuning.seconds,
    }


def fit_in_process(
    job: dict[str, Any], job_file: Path, log_file: Path, on_event: Callable[[dict[str, Any]], None]
) -> None:
    """Run `python -m training.fit` on the job; its events go to `on_event`, its stderr to the log.

    Raises UserError with the family's own message when it fails, and ends the process when this
    one is interrupted.
    """
    job_file.write_text(json.dumps(job, indent=2), encoding="utf-8")
    failure: dict[str, str] = {}
    with log_file.open("ab") as log:
        with _lock:
            if _stopped.is_set():
                raise UserError(f"family {job['family']} was not started: the run has failed")
            process = subprocess.Popen(
                [sys.executable, "-m", "training.fit", str(job_file), "--with-parent"],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.PIPE,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": str(job["threads"])},
                text=True,
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            )
            _running.add(process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "error":
                    failure = event
                on_event(event)
            code = process.wait()
        finally:
            wait_if_ending()
            if process.poll() is None:
                process.kill()
                process.wait()
            _running.discard(process)
    if "what" in failure:  # it knows better than this one what to do
        raise UserError(
            f"family {job['family']}: {failure['what']}",
            where=failure["where"],
            next_step=failure["next_step"],
        )
    if code != 0:
        message = failure.get("message") or f"its process ended with code {code}"
        raise full_disk(message, log_file) or UserError(
            f"family {job['family']} failed: {message}",
            where=str(log_file),
            next_step="read the end of that file, or leave it out: --training.families '[...]'",
        )


@contextmanager
def family_processes() -> Iterator[None]:
    """Within the block families may be fitted. When one fails, the others are ended and none is
    started."""
    _stopped.clear()
    try:
        yield
    except BaseException:
        with _lock:
            _stopped.set()
            for process in list(_running):
                process.kill()
        raise


def study_place(settings: Settings, family: str, key: str) -> dict[str, str]:
    """Return where the search keeps its trials, as fields of the job.

    The name holds a hash of what the search depends on, so another table or another budget never
    uses its trials; and one of the folder, so two folders that share a database never meet.
    """
    var = settings.var.absolute()
    return {
        "storage": settings.tuning.storage or f"sqlite:///{var / 'optuna' / 'studies.db'}",
        "password_variable": settings.tuning.password_variable,
        "study": f"{family}-{key[:16]}-{hash_text(str(var))[:8]}",
    }


def threads_per_worker(settings: Settings) -> int:
    """Share the cores among the processes that run in parallel: two OpenMP teams on two cores slow
    each other down."""
    side_by_side = min(settings.tuning.families_at_once, len(settings.training.families))
    mine = getattr(os, "sched_getaffinity", None)  # what this process may use, where that is known
    cores = len(mine(0)) if mine else os.cpu_count() or 1
    return max(1, cores // (side_by_side * settings.tuning.workers))
