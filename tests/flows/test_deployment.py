"""`prefect.yaml` names a flow that exists and takes the parameters it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOAD = """
import yaml
from prefect.flows import load_flow_from_entrypoint
(deployment,) = yaml.safe_load(open("prefect.yaml"))["deployments"]
flow = load_flow_from_entrypoint(deployment["entrypoint"])
assert flow.name == "train"
assert flow.validate_parameters(deployment["parameters"]) == deployment["parameters"]
"""


def test_the_deployed_flow_takes_the_parameters_of_the_deployment(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=ROOT,
        env=os.environ | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
