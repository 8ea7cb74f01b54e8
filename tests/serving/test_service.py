"""The running service: right answers, a refusal for every bad request, pages that stay at home."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_service import BUYER, MAX_ROWS, ROOT, ROW, bought, customers, started

from configs.load import load
from features.catalogue import CATALOGUE, NAMES
from monitoring.facts import Reading
from monitoring.prometheus import Standing, write_textfile
from serving.served import METRICS

pytestmark = pytest.mark.slow

REQUIRED = [feature.name for feature in CATALOGUE if not feature.missing]
TRAINING = (
    *("mlflow", "xgboost", "torch", "sklearn", "prefect", "great_expectations", "training"),
    *("pandas", "sqlalchemy", "polars", "flows"),
)
# The service as a worker runs it, in a process that can then be asked what it has loaded.
SERVED_IN_PROCESS = """
import json, sys
import _bentoml_impl.worker.service
from starlette.testclient import TestClient
from serving.service import service
with TestClient(service.to_asgi(), base_url="http://localhost") as client:
    bodies = json.load(sys.stdin)
    statuses = [client.post(path, json=body).status_code for path, body in bodies.items()]
    client.get("/"), client.get("/docs.json")
print(json.dumps([statuses, sorted(sys.modules)]))
"""
BOUNDED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def values(feature: Any) -> st.SearchStrategy[Any]:
    high = 1e6 if feature.high is None else feature.high
    number = st.floats(feature.low, high, width=32) | st.integers(int(feature.low), int(high))
    return number | st.none() if feature.missing else number


CUSTOMERS = st.fixed_dictionaries(
    {feature.name: values(feature) for feature in CATALOGUE if not feature.missing},
    optional={feature.name: values(feature) for feature in CATALOGUE if feature.missing}
    | {"customer_id": st.text(max_size=20) | st.none()},
)


def who(row: dict[str, Any]) -> Any:
    """Customers without an id are never the same."""
    known = row.get("customer_id")
    return id(row) if known is None else known


def post(client: httpx.Client, *rows: Any) -> httpx.Response:
    return client.post("/predict", content=json.dumps(customers(*rows)))


# --- answers -----------------------------------------------------------------------------------


@BOUNDED
@given(rows=st.lists(CUSTOMERS, min_size=1, max_size=8, unique_by=who))
def test_the_service_answers_with_the_probabilities_of_its_bundle(client, running, rows):
    answer = post(client, *rows).raise_for_status().json()
    assert answer["model"] == {
        "name": "golden-path-default",
        "version": 3,
        "threshold": 0.5,
        "bundle_sha256": running.bundle.sha256,
    }
    sent = [[np.nan if row.get(name) is None else row[name] for name in NAMES] for row in rows]
    wanted = running.bundle.predict(np.array(sent, dtype=np.float32))
    answers = answer["predictions"]
    np.testing.assert_allclose([p["probability"] for p in answers], wanted, atol=1e-6)
    assert [p["decision"] for p in answers] == [bool(p >= 0.5) for p in wanted]
    assert [p["customer_id"] for p in answers] == [row.get("customer_id") for row in rows]
    # The order of the fields does not matter, and what is null may be left out.
    other = [{k: v for k, v in reversed(row.items()) if v is not None} for row in rows]
    assert post(client, *other).json() == answer


def test_a_missing_value_changes_the_probability(client):
    for name in (feature.name for feature in CATALOGUE if feature.missing):
        answers = [post(client, ROW | {name: value}).json() for value in (None, 9.0)]
        assert answers[0] != answers[1]


def test_a_full_request_is_answered_and_a_larger_one_is_refused(client):
    rows = [
        ROW | {"customer_id": f"c{n}" + "x" * 150, "recency_days": 4 / 3 + n} for n in range(50)
    ]
    answer = client.post("/predict", content=json.dumps(customers(*rows), indent=4))
    assert len(answer.raise_for_status().json()["predictions"]) == MAX_ROWS
    answer = post(client, *[ROW] * (MAX_ROWS + 1))
    assert answer.status_code == 400 and f"at most {MAX_ROWS}" in answer.json()["error"]


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "where", "what", "value"),
    [
        ({"recency_days": "3"}, "recency_days", "must be a number", '"3"'),
        ({"recency_days": True}, "recency_days", "must be a number", "true"),
        ({"recency_days": [1]}, "recency_days", "must be a number", "a list of 1"),
        ({"recency_days": {}}, "recency_days", "must be a number", "an object"),
        ({"recency_days": None}, "recency_days", "must not be null", "null"),
        ({"recency_days": float("nan")}, "recency_days", "finite number", "NaN"),
        ({"recency_days": float("inf")}, "recency_days", "finite number", "Infinity"),
        ({"recency_days": 0.5}, "recency_days", "must be a number from 1 (days)", "0.5"),
        ({"recency_days": 1e300}, "recency_days", "finite number", "1e+300"),
        ({"gap_days_mean": "none"}, "gap_days_mean", "must be a number", '"none"'),
        ({"is_home": 2}, "is_home", "must be a number from 0 to 1", "2"),
        ({"year_sin": -1.01}, "year_sin", "must be a number from -1 to 1", "-1.01"),
        ({"customer_id": 17850}, "customer_id", "must be text", "17850"),
        ({"customer_id": "x" * 301}, "customer_id", "at most 300", '"' + "x" * 78 + "…"),
        ({"recency_day": 3}, "recency_day", "unknown field; did you mean recency_days?", "3"),
    ],
)
def test_a_bad_value_is_refused_by_what_where_and_value(client, changes, where, what, value):
    answer = post(client, ROW, ROW | changes)
    problem = answer.json()["detail"][0]
    assert answer.status_code == 400 and answer.json()["code"] == "invalid"
    assert problem["where"] == f"customers[1].{where}"
    assert (problem["row"], problem["line"], problem["field"]) == (1, None, where)
    assert what in problem["what"] and problem["value"] == value
    assert problem["where"] in answer.json()["error"]


def test_a_field_left_out_is_refused(client):
    for name in REQUIRED:
        answer = post(client, {key: value for key, value in ROW.items() if key != name})
        assert answer.status_code == 400
        assert answer.json()["error"] == f"customers[0].{name}: is required"


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ("", "body", "not JSON"),
        ("{", "body", "not JSON: Expecting property name"),
        ('{"customers": [}', "body", "line 1, column 16"),
        (b"\xff\xfe", "body", "not UTF-8 at byte 0"),
        ("[" * 100_000, "body", "nested too deeply"),
        ('{"customers": ["\\ud800"]}', "body", "surrogate"),
        ("null", "body", "object"),
        ("[]", "body", "object"),
        ("{}", "customers", "required"),
        ('{"customers": null}', "customers", "a list"),
        ('{"customers": {}}', "customers", "a list"),
        ('{"customers": []}', "customers", "not be empty"),
        ('{"customers": [null]}', "customers[0]", "object"),
        ('{"Customers": []}', "Customers", "did you mean customers?"),
        ('{"customers": [{"recency_days": %s}]}' % ("9" * 5000), "body", "thousands of digits"),
    ],
)
def test_a_body_of_another_shape_is_refused(client, body, where, what):
    answer = client.post("/predict", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["where"] == where
    assert what in answer.json()["detail"][0]["what"]


def test_values_the_model_has_no_answer_for_are_refused_with_their_row(client):
    answer = post(client, ROW, ROW | {"recency_days": 1e31})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["where"] == "customers[1]"


# --- metrics -----------------------------------------------------------------------------------


def test_metrics_count_requests_by_their_outcome(client, running):
    def counts() -> list[float]:
        return [
            running.count("requests_total", 'endpoint="predict"', 'status="200"'),
            running.count("requests_total", 'endpoint="predict"', 'status="400"'),
            running.count("predictions_total", 'version="3"'),
            running.count("rejected_rows_total", 'reason="required"'),
            running.count("batch_rows_sum"),
        ]

    before = counts()
    post(client, ROW, ROW)
    post(client, {})
    assert [b - a for a, b in zip(before, counts())] == [1, 1, 2, 1, 2]
    # A customer counts once, by the first of their problems, whether refused or skipped.
    wrong = {"a": 1, "recency_days": "x", "is_home": 7}
    for query in ("", "?on_error=skip"):
        before = [running.count("rejected_rows_total{", x) for x in ("", 'reason="unknown_field"')]
        client.post(f"/predict{query}", content=json.dumps(customers(wrong, ROW)))
        after = [running.count("rejected_rows_total{", x) for x in ("", 'reason="unknown_field"')]
        assert [b - a for a, b in zip(before, after)] == [1, 1]
    assert running.count("model_info", 'name="golden-path-default"', 'version="3"') == 1


def test_metrics_have_no_label_that_a_client_chooses(client):
    for path in ("/a-path-of-mine", "/predict/a-path-of-mine", "/metrics/../a-path-of-mine"):
        assert client.get(path).status_code == 404
    post(client, {"a-field-of-mine": 1})
    text = client.get("/metrics").text
    assert "of-mine" not in text and 'endpoint="other",status="404"' in text


def test_each_worker_serves_the_metrics_of_monitoring_once_or_says_why_not(tmp_path):
    dataset, name = load("smoke", []).dataset, "golden_path_sensor_z"
    file = tmp_path / "var" / "monitoring" / dataset / METRICS
    with started(tmp_path, "--serving.workers", "2") as running:

        def scrape() -> list[str]:
            # A connection of its own each time, so that either worker is asked.
            answer = running.get("/metrics")
            assert answer.status_code == 200
            assert int(answer.headers["content-length"]) == len(answer.content)
            lines = answer.text.splitlines()
            # Whatever the file is, the service's own are there, and none is there twice.
            assert any(line.startswith("golden_path_model_info{") for line in lines)
            assert set(Counter(line.rpartition(" ")[0] for line in lines).values()) == {1}
            return lines

        def state() -> list[str]:
            head = "golden_path_monitoring_file{"
            return [x for x in scrape() if x.startswith(head) and x.endswith(" 1.0")]

        assert state() == ['golden_path_monitoring_file{state="missing"} 1.0']
        for z in (1.5, -2.5):
            reading = Reading("price", "2026-07", "ok", 1.0, 9, 1.0, 0.1, z, 6.0)
            write_textfile(file, Standing(dataset, readings=[reading]))
            for _ in range(6):
                (line,) = [line for line in scrape() if line.startswith(name + "{")]
                assert line == f'{name}{{dataset="{dataset}",sensor="price"}} {z}'
        assert state() == ['golden_path_monitoring_file{state="passed on"} 1.0']
        whole = file.read_bytes()
        for damaged in (whole[:-20], whole.replace(b"-2.5", b"-2.6"), b"x" * 1_000_000):
            file.write_bytes(damaged)
            for _ in range(3):
                assert state() == ['golden_path_monitoring_file{state="refused"} 1.0']
                assert not any(line.startswith(name) for line in scrape())
        head = running.request("HEAD", "/metrics")
        assert head.status_code == 200 and head.content == b""
    log = running.log.read_text()
    assert "was altered or is half-written" in log and "Traceback" not in log
    assert log.count("is larger than") <= 2, "once per worker, not at every scrape"


# --- descriptions and pages --------------------------------------------------------------------


def test_the_description_names_every_feature_with_its_range_and_meaning(client):
    described = client.get("/docs.json").raise_for_status().json()
    customer = described["components"]["schemas"]["Customer"]
    assert list(customer["properties"]) == [*NAMES, "customer_id"]
    assert customer["required"] == REQUIRED
    for feature in CATALOGUE:
        field = customer["properties"][feature.name]
        number = field["anyOf"][0] if feature.missing else field
        assert feature.meaning in field["description"] and feature.unit in field["description"]
        assert number["minimum"] == feature.low
        assert feature.high is None or number["maximum"] == feature.high


def test_pages_refer_to_no_other_host_and_their_links_work(client):
    for path in ("/", "/docs", "/docs.json", "/schema.json"):
        assert not re.findall(r"https?:|[\"'(]//", client.get(path).raise_for_status().text)
    for page in ("/", "/docs"):
        links = re.findall(r'(?:href|src)="([^":]+)"', client.get(page).text)
        assert links and {client.get("/" + link).status_code for link in links} == {200}


# --- what it is made of ------------------------------------------------------------------------


def test_serving_needs_no_training_library(running, tmp_path):
    for process in (running.arbiter, *running.workers):
        mapped = " ".join(entry.path for entry in process.memory_maps())
        assert not re.findall(r"site-packages/(torch|xgboost|sklearn|pandas)/", mapped)
    kept = ("SERVED_", "ORT_", "PATH", "PROMETHEUS_")
    env = {k: value for k, value in running.arbiter.environ().items() if k.startswith(kept)}
    done = subprocess.run(
        [sys.executable, "-c", SERVED_IN_PROCESS],
        cwd=ROOT,
        env=env | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"},
        input=json.dumps({"/predict": customers(ROW), "/predict_transactions": bought(BUYER)}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    statuses, loaded = json.loads(done.stdout.splitlines()[-1])
    assert statuses == [200, 200]
    assert [name for name in TRAINING if name in loaded] == []
    needed = {f"ingestion.{name}" for name in ("canonical", "contract", "facts", "judge")}
    assert {name for name in loaded if name.startswith("ingestion.")} == needed


def test_the_service_uses_loopback_alone_and_writes_into_var_alone(client, running):
    post(client, ROW)
    for process in (running.arbiter, *running.workers):
        for connection in process.net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1"
            assert connection.status == psutil.CONN_LISTEN or connection.raddr.ip == "127.0.0.1"
        for name in ("BENTOML_HOME", "TMPDIR"):
            assert Path(process.environ()[name]).is_relative_to(running.var)
        written = [Path(file.path) for file in process.open_files() if file.mode != "r"]
        assert [file for file in written if not file.is_relative_to(running.var.parent)] == []
