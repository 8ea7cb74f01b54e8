"""A run that is killed in the middle: nothing keeps computing, and the next one goes on."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def searching(environment, tmp_path):
    """A run in the middle of a long search, and everything it has started."""
    var = tmp_path / "var"
    command = [sys.executable, "-m", "flows.train", "--config", "smoke", "--var", str(var)]
    run = subprocess.Popen(
        [*command, "--tuning.trials", "500"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background makes its children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout is not None
    for line in run.stdout:
        if "trial " in line:
            break
    children = psutil.Process(run.pid).children(recursive=True)
    assert any("training.fit" in child.cmdline() for child in children)
    yield run, children, var
    if run.poll() is None:
        run.kill()
    run.communicate()


def test_a_killed_run_leaves_no_process_and_the_next_goes_on_from_its_stages(walk, searching):
    run, children, var = searching
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == [], "what the run started must end with it"
    assert not (var / "runs" / "latest").exists()

    done = walk(var, "--config", "smoke")
    assert done.code == 0, done.err
    for stage in ("ingest", "validate", "features"):
        assert f"{stage}: reused" in done.out
    assert done.summary["decision"]["action"] == "promote"
    with sqlite3.connect(var / "mlflow" / "mlflow.db") as database:
        states = dict(database.execute("SELECT status, count(*) FROM runs GROUP BY 1"))
    assert states["KILLED"] >= 1 and "RUNNING" not in states
    with sqlite3.connect(var / "prefect" / "prefect.db") as database:
        flows = [row[0] for row in database.execute("SELECT state_type FROM flow_run")]
    assert sorted(flows) == ["COMPLETED", "CRASHED"]


def test_ctrl_c_ends_a_run_without_a_traceback(searching):
    run, children, _ = searching
    begun = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert time.monotonic() - begun < 90, "500 trials were not waited for"
    assert run.returncode == 130
    assert "Interrupted" in err and "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
