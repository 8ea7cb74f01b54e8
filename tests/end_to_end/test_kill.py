"""A run that is ended in the middle: nothing keeps computing, and the next one goes on."""

from __future__ import annotations

import sqlite3

import pytest

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


def test_ctrl_c_at_a_terminal_ends_a_run_and_all_that_it_started(interrupted):
    assert interrupted.code == 130
    assert interrupted.left == []
    assert interrupted.out.endswith("the same command goes on from there.\r\n")
    assert interrupted.out.count("Interrupted") == 1
    for noise in ("Traceback", "Error", "failed"):
        assert noise not in interrupted.out
    assert not interrupted.finished
