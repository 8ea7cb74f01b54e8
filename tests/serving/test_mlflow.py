"""A champion as MLflow's own clients open it: `pyfunc.load_model` and `mlflow models serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from made_linear import linear_graph
from real_service import ROOT

from configs.environment import QUIET
from configs.load import load
from configs.settings import Settings
from features.catalogue import CATALOGUE, Feature
from registry.bundle import write_bundle
from registry.champion import ModelVersion, model_name
from registry.location import tracking_uri
from serving.champion import Request
from serving.endpoints import predict
from serving.limits import Limits
from serving.opening import open_champion
from tests.flows.made_champion import promote_bundle
from tests.mlflow_server import end, wait_for
from tests.walks import free_port

pytestmark = pytest.mark.slow

TABLE = (
    Feature("tenure", "months", "so far"),
    Feature("plan", "category", "?", high=2, categories=("basic", "plus")),
    Feature("score", "number", "?", low=None, missing="often"),
)


def rows_of(features: tuple[Feature, ...]) -> list[dict[str, Any]]:
    """Some customers, as a request has them."""
    random, rows = np.random.default_rng(3), []
    for plan in ("basic", "Plus ", "another", "basic"):
        row: dict[str, Any] = {}
        for feature in features:
            high = feature.high if feature.high is not None else 40.0
            row[feature.name] = round(random.uniform(feature.low or 0.0, high), 3)
            if feature.missing and plan == "another":
                row[feature.name] = None
            if feature.categories:
                row[feature.name] = plan
        rows.append(row)
    return rows


def make(features: tuple[Feature, ...], folder: Path) -> tuple[Settings, ModelVersion]:
    settings = load("smoke", ["--var", str(folder / "var")], env={})
    values = [{"name": "sample", "values": row} for row in rows_of(features)]
    described = {"features": [asdict(one) for one in features], "threshold": 0.5}
    graph = linear_graph(len(features), seed=5)
    sha256 = write_bundle(folder / "bundle", graph, described, {"samples": values})
    return settings, promote_bundle(settings, folder / "bundle", sha256)


@pytest.fixture(scope="module", params=["log", "table"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[Feature, ...], Settings, ModelVersion]:
    features = CATALOGUE if request.param == "log" else TABLE
    return features, *make(features, tmp_path_factory.mktemp(request.param))


def served(version: ModelVersion, rows: list[dict[str, Any]]) -> list[float]:
    """What the service says."""
    limits = Limits(1000, 1000, 10)
    champion = open_champion(version, limits)
    answer = predict(Request(json.dumps({"customers": rows}).encode(), {}, champion, limits))
    return [one.probability for one in answer.predictions]


def test_pyfunc_gives_the_probabilities_of_the_service(
    made: tuple[tuple[Feature, ...], Settings, ModelVersion],
) -> None:
    features, settings, version = made
    mlflow.set_tracking_uri(tracking_uri(settings))
    model = mlflow.pyfunc.load_model(f"models:/{model_name(settings)}@champion")
    assert model.metadata.signature.inputs.input_names() == [one.name for one in features]
    rows = rows_of(features)
    found = model.predict(pd.DataFrame(rows))["probability"]
    np.testing.assert_allclose(found, served(version, rows), atol=1e-6)
    example = model.input_example
    assert list(example.columns) == [one.name for one in features]
    np.testing.assert_allclose(model.predict(example)["probability"], found, atol=1e-6)
    assert mlflow.onnx.load_model(f"models:/{model_name(settings)}/1").graph.output


def test_mlflow_models_serve_answers(
    made: tuple[tuple[Feature, ...], Settings, ModelVersion], tmp_path: Path
) -> None:
    features, settings, version = made
    port, log = free_port(), tmp_path / "log"
    activated = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    uri = f"models:/{model_name(settings)}@champion"
    command = ["models", "serve", "--model-uri", uri, "--env-manager", "local"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--port", str(port)],
            cwd=ROOT,
            env=os.environ
            | QUIET
            | {"MLFLOW_TRACKING_URI": tracking_uri(settings), "PATH": activated},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, log)
        rows = rows_of(features)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations",
            json={"dataframe_records": rows},
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        found = [one["probability"] for one in answer.json()["predictions"]]
        np.testing.assert_allclose(found, served(version, rows), atol=1e-6)
    finally:
        end(server)
