"""`make serve` and `make predict` after `make train`: the answer is the bundle's answer."""

from __future__ import annotations

import json
import socket

import httpx
import numpy as np
import pytest

from configs.load import load
from features.catalogue import NAMES
from features.table import read_rows
from registry.bundle import load_bundle
from registry.models import champion


@pytest.fixture(scope="module")
def url(smoke, service):
    with service(smoke.var) as url:
        yield url


def test_the_service_answers_what_the_bundle_says(smoke, url):
    settings = load("smoke", ["--var", str(smoke.var)], env={})
    version = champion(settings)
    bundle = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    (table,) = (smoke.var / "stages").glob("features-*/table.parquet")
    test = read_rows(table, ("test",), NAMES)
    customers = [
        {name: None if np.isnan(value) else float(value) for name, value in zip(NAMES, row)}
        for row in test.x
    ]
    served = []
    for start in range(0, len(customers), 500):
        body = {"customers": customers[start : start + 500]}
        answer = httpx.post(f"{url}/predict", json=body, trust_env=False).json()
        served += [row["probability"] for row in answer["predictions"]]
    np.testing.assert_allclose(served, bundle.predict(test.x), atol=1e-6)
    assert answer["model"]["version"] == version.version


def test_make_predict_prints_the_answer(smoke, url, walk):
    port = url.rpartition(":")[2]
    done = walk(smoke.var, "--config", "smoke", "--serving.port", port, module="serving.predict")
    assert done.code == 0, done.err
    example = json.loads((smoke.var / "runs" / "latest" / "example.json").read_text())
    for customer in example["customers"]:
        assert customer["customer_id"] in done.out
    assert "golden-path-smoke" in done.out


def test_a_wrong_value_is_the_clients_error(url):
    answer = httpx.post(
        f"{url}/predict", json={"customers": [{"recency_days": "x"}]}, trust_env=False
    )
    assert 400 <= answer.status_code < 500
    assert "recency_days" in answer.text


def test_predict_without_a_service_says_so(smoke, walk):
    done = walk(smoke.var, "--config", "smoke", "--serving.port", "1", module="serving.predict")
    assert done.code == 1
    assert "make serve" in done.err and "Traceback" not in done.err


def test_a_port_in_use_at_serve(walk, smoke):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = walk(smoke.var, "--config", "smoke", "--serving.port", str(port), module="serving")
    assert done.code == 1
    assert str(port) in done.err and "next:" in done.err
    assert "Traceback" not in done.err + done.out
