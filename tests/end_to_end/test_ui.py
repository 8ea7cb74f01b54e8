"""`make ui`: both pages come up on the state that a run left, and end together."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(var, environment, *arguments, end_by):
    """What `make ui` has printed once its pages are there; then it is ended by this signal."""
    run = subprocess.Popen(
        [sys.executable, "-m", "flows.commands.ui", "--var", str(var), *arguments],
        cwd=ROOT,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # pytest under nohup
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
    assert children
    yield "".join(said)
    run.send_signal(end_by)
    run.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


@pytest.fixture(scope="module")
def pages(smoke, environment):
    ports = free_port(), free_port()
    arguments = ("--ui.mlflow_port", str(ports[0]), "--ui.prefect_port", str(ports[1]))
    with started(smoke.var, environment, *arguments, end_by=signal.SIGKILL) as said:
        yield ports, said


def test_runs_that_are_recorded_elsewhere_are_looked_at_there(environment, tmp_path):
    arguments = ("--ui.mlflow_port", str(free_port()), "--prefect.api_url", "http://there:4200/api")
    with started(tmp_path / "var", environment, *arguments, end_by=signal.SIGHUP) as said:
        assert "Prefect  http://there:4200  (prefect.api_url)" in said
    assert not (tmp_path / "var" / "prefect" / "prefect.db").exists()


def test_both_pages_show_the_run(smoke, pages):
    (mlflow, prefect), said = pages
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert "<html" in client.get(f"http://127.0.0.1:{mlflow}/").text.lower()
        run = client.get(
            f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/runs/get",
            params={"run_id": smoke.summary["mlflow"]["run_id"]},
        ).json()
        assert run["run"]["info"]["run_name"] == smoke.summary["run_id"]
        _the_list_has_figures_in_columns(client, f"http://127.0.0.1:{mlflow}", said, run["run"])
        _data_sets_and_signature_are_there(client, f"http://127.0.0.1:{mlflow}", smoke, run["run"])
        assert "<html" in client.get(f"http://127.0.0.1:{prefect}/").text.lower()
        flows = client.post(f"http://127.0.0.1:{prefect}/api/flow_runs/filter", json={}).json()
        assert smoke.summary["run_id"] in [flow["name"] for flow in flows]


def _the_list_has_figures_in_columns(client, page, said, run):
    """The address that is printed is the list of runs, in a view whose columns the runs have."""
    number = run["info"]["experiment_id"]
    assert f"{page}/#/experiments/{number}/runs?viewStateShareKey=figures" in said
    found = client.get(
        f"{page}/api/2.0/mlflow/experiments/get", params={"experiment_id": number}
    ).json()
    tags = {tag["key"]: tag["value"] for tag in found["experiment"]["tags"]}
    columns = json.loads(tags["mlflow.sharedViewState.figures"])["selectedColumns"]
    assert "metrics.`test_roc_auc`" in columns
    families = client.post(
        f"{page}/api/2.0/mlflow/runs/search",
        json={
            "experiment_ids": [number],
            "filter": f"tags.`mlflow.parentRunId` = '{run['info']['run_id']}'",
        },
    ).json()["runs"]
    assert len(families) > 1
    for each in (run, *families):
        known = {f"metrics.`{metric['key']}`" for metric in each["data"]["metrics"]}
        assert {column for column in columns if column.startswith("metrics")} <= known
        assert each["inputs"]["dataset_inputs"], "each says what it learnt from"


def _data_sets_and_signature_are_there(client, page, smoke, run):
    digests = {
        one["dataset"]["name"]: one["dataset"]["digest"] for one in run["inputs"]["dataset_inputs"]
    }
    assert digests == {
        "smoke valid rows": smoke.summary["data_sha256"][:36],
        "smoke training table": smoke.summary["table_sha256"][:36],
    }
    model = smoke.summary["model"]
    text = client.get(
        f"{page}/model-versions/get-artifact",
        params={"path": "MLmodel", "name": model["name"], "version": model["version"]},
    ).text
    inputs = json.loads(yaml.safe_load(text)["signature"]["inputs"])
    assert len(inputs) == smoke.summary["table"]["features"]


def test_prefects_own_command_line_lists_the_run(pages, smoke, environment):
    (_, prefect), _ = pages
    there = {"PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "ls"],
        env=environment | there | {"PREFECT_HOME": str(smoke.var / "prefect-client")},
        capture_output=True,
        text=True,
    )
    assert smoke.summary["run_id"] in done.stdout and "COMPLETED" in done.stdout, done.stderr


def test_no_page_of_another_site_reads_them(pages):
    (mlflow, prefect), _ = pages
    paths = {mlflow: "api/2.0/mlflow/runs/search", prefect: "api/flow_runs/filter"}
    with httpx.Client(trust_env=False, timeout=60) as client:
        for port, path in paths.items():

            def status(host: str, origin: str | None, path: str = path, port: int = port) -> int:
                headers = {"host": host} | ({"origin": f"http://{origin}"} if origin else {})
                method = "POST" if path else "GET"
                url = f"http://127.0.0.1:{port}/{path}"
                return client.request(method, url, headers=headers, json={}).status_code

            own, rebound = f"localhost:{port}", f"evil.example:{port}"  # a name that leads here
            assert status(own, own) != 403 and status(own, None, path="") == 200
            assert status(rebound, rebound) == status(rebound, None) == 403
            assert status(rebound, None, path="") == 403
            assert status(own, "evil.example") == 403
