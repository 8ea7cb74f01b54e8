"""`make ui`: both pages come up on the state that a run left, and end together."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def pages(smoke, environment):
    ports = free_port(), free_port()
    arguments = ("--ui.mlflow_port", str(ports[0]), "--ui.prefect_port", str(ports[1]))
    run = subprocess.Popen(
        [sys.executable, "-m", "flows.ui", "--var", str(smoke.var), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.stdout is not None
    said = []
    for line in run.stdout:
        said.append(line)
        if "Ctrl-C" in line:
            break
    else:
        pytest.fail("".join(said))
    children = psutil.Process(run.pid).children(recursive=True)
    yield ports
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=40)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_both_pages_show_the_run(smoke, pages):
    mlflow, prefect = pages
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert "<html" in client.get(f"http://127.0.0.1:{mlflow}/").text.lower()
        run = client.get(
            f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/runs/get",
            params={"run_id": smoke.summary["mlflow"]["run_id"]},
        ).json()
        assert run["run"]["info"]["run_name"] == smoke.summary["run_id"]
        assert "<html" in client.get(f"http://127.0.0.1:{prefect}/").text.lower()
        flows = client.post(f"http://127.0.0.1:{prefect}/api/flow_runs/filter", json={}).json()
        assert smoke.summary["run_id"] in [flow["name"] for flow in flows]
