"""`prefect.yaml` names flows that exist and take the parameters they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from configs.load import load
from flows.commands.deploy import FILE, check_server
from flows.janitor import TAG

ROOT = Path(__file__).parents[2]
LOAD = """
import yaml
from prefect.flows import load_flow_from_entrypoint
for deployment in yaml.safe_load(open("prefect.yaml"))["deployments"]:
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert flow.name == deployment["entrypoint"].partition(":")[2]
    given = deployment["parameters"].items()
    assert given <= flow.validate_parameters(dict(given)).items()
"""


@pytest.fixture(scope="module")
def deployments():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["deployments"]


@pytest.mark.slow
def test_the_deployed_flows_take_the_parameters_of_the_deployments(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=ROOT,
        env=os.environ | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_janitor_sees_every_run_and_what_operate_does_is_not_started_beside_it(deployments):
    assert all(TAG in one["tags"] for one in deployments)
    active = {
        one["entrypoint"].partition(":")[2]
        for one in deployments
        if any(schedule["active"] for schedule in one["schedules"])
    }
    assert active == {"operate", "monitor", "janitor"}


def test_without_a_server_deploying_says_how_to_name_one():
    with pytest.raises(UserError) as refused:
        check_server(load("smoke", [], {}))
    assert refused.value.where == "prefect.api_url"
    assert "prefect server start" in refused.value.next_step
