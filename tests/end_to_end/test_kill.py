"""A run that is ended in the middle: nothing keeps computing, and the next one goes on."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common.interrupt import CODE, MESSAGE
from configs.load import load

ROOT = Path(__file__).parents[2]
PRESET = ROOT / "tests" / "drills" / "small.yaml"

pytestmark = pytest.mark.slow


def test_a_killed_run_leaves_no_process_and_the_next_goes_on_from_its_stages(killed, again):
    assert killed.left == [], "what the run started must end with it"
    assert not killed.finished
    for run in (killed, again):
        for stage in ("ingest", "validate", "features"):
            assert f"{stage}: reused" in run.out
    assert again.summary["decision"]["action"] == "promote"
    with sqlite3.connect(again.var / "mlflow" / "mlflow.db") as database:
        states = dict(database.execute("SELECT status, count(*) FROM runs GROUP BY 1"))
    assert states["KILLED"] >= 1 and "RUNNING" not in states
    with sqlite3.connect(again.var / "prefect" / "prefect.db") as database:
        query = "SELECT state_type FROM flow_run ORDER BY created LIMIT 3"
        flows = [row[0] for row in database.execute(query)]
    assert flows == ["CANCELLED", "CRASHED", "COMPLETED"]


def test_runs_of_another_machine_with_a_folder_of_the_same_path_are_left_alone(
    shared_api, tmp_path
):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Running

    from flows.janitor import end_dead_runs

    settings = load("smoke", ["--var", str(tmp_path / "var")], env={})
    ids = ["20260101-000000-aaaa", "20260101-000000-bbbb"]
    (settings.var / "runs" / ids[0]).mkdir(parents=True)
    with (
        temporary_settings({PREFECT_API_URL: shared_api}),
        get_client(sync_client=True) as api,
    ):
        ours, theirs = [
            api.create_flow_run(
                flow(lambda: None, name="train"), tags=[name, str(settings.var)], state=Running()
            )
            for name in ids
        ]
        end_dead_runs(settings)
        states = [api.read_flow_run(run.id).state.type.value for run in (ours, theirs)]
    assert states == ["CRASHED", "RUNNING"]


@pytest.fixture(scope="module")
def var(tmp_path_factory):
    """For the runs that are interrupted: each goes on from the stages of those before."""
    return tmp_path_factory.mktemp("interrupted") / "var"


@pytest.mark.parametrize("moment", ["ingest", "features", "tuning", "evaluate"])
def test_ctrl_c_in_any_stage_ends_the_run_in_one_line(forked_cli, var, moment):
    def come(_: psutil.Process, said: str) -> bool:
        if moment == "tuning":
            logs = sorted(var.glob("runs/2*/run.log"))
            return bool(logs) and "'event': 'trial'" in logs[-1].read_text()
        return "evaluate: " in said if moment == "evaluate" else any(var.glob(f"stages/.{moment}*"))

    done = forked_cli(var, "--config", str(PRESET), end_at=come, end_by=signal.SIGINT)
    assert done.code == CODE
    assert done.err.endswith(MESSAGE)
    for noise in ("Traceback", "Error", "failed"):
        assert noise not in done.out + done.err


def test_ctrl_c_while_libraries_are_imported_and_prefect_starts(environment, tmp_path):
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flows.commands.train",
            "--config",
            str(PRESET),
            "--var",
            str(tmp_path),
        ],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout is not None and "starting Prefect" in run.stdout.readline()
    children = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (CODE, "", MESSAGE)
    _, left = psutil.wait_procs(children, timeout=20)
    assert children and left == []


def test_ctrl_c_at_a_terminal_ends_a_run_and_all_that_it_started(interrupted):
    assert interrupted.code == 130
    assert interrupted.left == []
    assert interrupted.out.endswith("the same command goes on from there.\r\n")
    assert interrupted.out.count("Interrupted") == 1
    for noise in ("Traceback", "Error", "failed"):
        assert noise not in interrupted.out
    assert not interrupted.finished
