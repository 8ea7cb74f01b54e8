"""One family in a process of its own (`training/fit.py`): start it, read its events, end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.errors import UserError

ROOT = Path(__file__).parents[1]


def fit_in_process(
    job: dict[str, Any], job_file: Path, log_file: Path, on_event: Callable[[dict[str, Any]], None]
) -> None:
    """Run `python -m training.fit` on the job; its events go to `on_event`, its stderr to the log.

    Raises UserError with the family's own message when it fails, and ends the process when this
    one is interrupted.
    """
    job_file.write_text(json.dumps(job, indent=2), encoding="utf-8")
    failure = ""
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "training.fit", str(job_file), "--with-parent"],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(job["threads"])},
            text=True,
        )
        _running.add(process)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "error":
                    failure = event["message"]
                on_event(event)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            _running.discard(process)
    if code != 0:
        raise UserError(
            f"family {job['family']} failed: {failure or f'its process ended with code {code}'}",
            where=str(log_file),
            next_step="read the end of that file, or leave it out: --training.families '[...]'",
        )


_running: set[subprocess.Popen[str]] = set()
_lock = threading.Lock()


def stop_all() -> None:
    """End every family process: a run that stops must not leave one computing."""
    with _lock:
        for process in list(_running):
            process.kill()
