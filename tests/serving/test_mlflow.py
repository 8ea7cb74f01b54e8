"""A champion as MLflow's own clients open it: `pyfunc.load_model` and `mlflow models serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
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
from registry.champion import model_name
from registry.location import tracking_uri
from serving.champion import Request
from serving.endpoints import predict
from serving.limits import Limits
from serving.opening import open_champion
from tests.commands import free_port
from tests.flows.made_champion import promote_bundle
from tests.mlflow_server import end, wait_for

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


@dataclass(frozen=True)
class Made:
    """A champion in a registry, and what the service answers about some customers."""

    features: tuple[Feature, ...]
    settings: Settings
    rows: list[dict[str, Any]]
    probabilities: list[float]

    @property
    def uri(self) -> str:
        return f"models:/{model_name(self.settings)}@champion"


@pytest.fixture(scope="module", params=["log", "table"])
def made(request, tmp_path_factory):
    features = CATALOGUE if request.param == "log" else TABLE
    folder, rows = tmp_path_factory.mktemp(request.param), rows_of(features)
    settings = load("smoke", ["--var", str(folder / "var")], env={})
    values = [{"name": "sample", "values": row} for row in rows]
    described = {"features": [asdict(one) for one in features], "threshold": 0.5}
    graph = linear_graph(len(features), seed=5)
    sha256 = write_bundle(folder / "bundle", graph, described, {"samples": values})
    version = promote_bundle(settings, folder / "bundle", sha256)
    limits = Limits(1000, 1000, 10)
    champion = open_champion(version, limits)
    answer = predict(Request(json.dumps({"customers": rows}).encode(), {}, champion, limits))
    return Made(features, settings, rows, [one.probability for one in answer.predictions])


def test_pyfunc_gives_the_probabilities_of_the_service(made):
    mlflow.set_tracking_uri(tracking_uri(made.settings))
    model, names = mlflow.pyfunc.load_model(made.uri), [one.name for one in made.features]
    assert model.metadata.signature.inputs.input_names() == names
    probabilities = model.predict(pd.DataFrame(made.rows))["probability"]
    np.testing.assert_allclose(probabilities, made.probabilities, atol=1e-6)
    example = model.input_example
    assert list(example.columns) == names
    np.testing.assert_allclose(model.predict(example)["probability"], probabilities, atol=1e-6)
    assert mlflow.onnx.load_model(f"models:/{model_name(made.settings)}/1").graph.output


@pytest.mark.parametrize("made", ["table"], indirect=True)  # whose texts become codes
def test_mlflow_models_serve_answers(made, tmp_path):
    port, log = free_port(), tmp_path / "log"
    activated = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["models", "serve", "--model-uri", made.uri, "--env-manager", "local"]
    own = {"MLFLOW_TRACKING_URI": tracking_uri(made.settings), "PATH": activated}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--port", str(port)],
            cwd=ROOT,
            env=os.environ | QUIET | own,
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/ping", server, log)
        sent = {"dataframe_records": made.rows}
        answer = httpx.post(f"{url}/invocations", json=sent, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        probabilities = [one["probability"] for one in answer.json()["predictions"]]
        np.testing.assert_allclose(probabilities, made.probabilities, atol=1e-6)
    finally:
        end(server)
