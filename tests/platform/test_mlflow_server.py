"""`make train`, `models`, `promote`, `rollback` and `serve` on an MLflow server, with its files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import pytest

from configs.load import load
from registry.bundle import load_bundle
from registry.champion import champion_now
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.platform

PRESET = Path(__file__).parents[1] / "drills" / "small.yaml"
CONFIG = ("--config", str(PRESET))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


def test_every_command_works_as_on_the_embedded_sqlite(server, forked_cli, service, tmp_path):
    embedded = forked_cli(tmp_path / "embedded", *CONFIG)
    assert embedded.code == 0, embedded.err
    var, there = tmp_path / "var", ("--tracking.uri", server)
    first = forked_cli(var, *CONFIG, *there)
    assert first.code == 0, first.err
    assert "View run" not in first.out, "MLflow's client prints a link for each run"
    figures = first.summary["families"]["logistic"]["test"]
    assert figures == embedded.summary["families"]["logistic"]["test"]
    assert first.summary["mlflow"]["tracking_uri"] == server
    assert not (var / "mlflow" / "mlflow.db").exists()
    assert forked_cli(var, *CONFIG, *there).summary["model"]["version"] == 2

    for words, told in (
        (("flows.commands.promote", "2"), "Version 2 of golden-path-small is champion"),
        (("flows.commands.rollback",), "Version 1 of golden-path-small is champion"),
        (("flows.commands.models",), "rollback 1"),
    ):
        module, *rest = words
        done = forked_cli(var, *rest, *CONFIG, *there, module=module)
        assert done.code == 0 and told in done.out, done.err

    shutil.rmtree(var / "mlflow" / "bundles")
    with service(var, *there, config=str(PRESET)) as url:
        request = (var / "runs" / "latest" / "example.json").read_text()
        answer = httpx.post(f"{url}/predict", content=request, trust_env=False, timeout=60).json()
    settings = load(str(PRESET), ["--var", str(var), *there], env={})
    version = champion_now(settings)
    assert answer["model"]["version"] == version.version == 1
    bundle = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    x = [
        [customer[one["name"]] for one in bundle.features]
        for customer in json.loads(request)["customers"]
    ]
    assert [one["probability"] for one in answer["predictions"]] == pytest.approx(
        bundle.predict(x).tolist(), abs=1e-9
    )
