"""`prefect.yaml` names a flow that exists and takes the parameters it is given."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_deployed_flow_takes_the_parameters_of_the_deployment(monkeypatch):
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(ROOT)
    (deployment,) = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert flow.name == "train"
    assert flow.validate_parameters(deployment["parameters"]) == deployment["parameters"]
