"""The running service: right answers, a refusal for every bad request, pages that stay at home."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_service import MAX_ROWS, ROOT, Running

from features.catalogue import CATALOGUE, NAMES

pytestmark = pytest.mark.slow

NULLABLE = [feature.name for feature in CATALOGUE if feature.missing]
REQUIRED = [feature.name for feature in CATALOGUE if not feature.missing]
TRAINING = ("mlflow", "xgboost", "torch", "sklearn", "prefect", "great_expectations", "training")
# The service as a worker runs it, in a process that can then be asked what it has loaded.
SERVED_IN_PROCESS = """
import json, sys
import _bentoml_impl.worker.service
from starlette.testclient import TestClient
from serving.service import service
with TestClient(service.to_asgi(), base_url="http://localhost") as client:
    status = client.post("/predict", content=sys.stdin.read()).status_code
    client.get("/"), client.get("/docs.json")
print(json.dumps([status, sorted(sys.modules)]))
"""
BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def values(feature: Any) -> st.SearchStrategy[Any]:
    high = 1e6 if feature.high is None else feature.high
    number = st.floats(feature.low, high, width=32) | st.integers(int(feature.low), int(high))
    return number | st.none() if feature.missing else number


customers = st.fixed_dictionaries(
    {feature.name: values(feature) for feature in CATALOGUE if not feature.missing},
    optional={feature.name: values(feature) for feature in CATALOGUE if feature.missing}
    | {"customer_id": st.text(max_size=20) | st.none()},
)


def who(row: dict[str, Any]) -> Any:
    """Customers without an id are never the same."""
    known = row.get("customer_id")
    return id(row) if known is None else known


def good(**changes: Any) -> dict[str, Any]:
    return {feature.name: max(feature.low, 1.0) for feature in CATALOGUE} | changes


def post(client: httpx.Client, *rows: Any) -> httpx.Response:
    return send(client, json.dumps({"customers": rows}))


def send(client: httpx.Client, body: str | bytes, kind: str = "application/json") -> httpx.Response:
    return client.post("/predict", content=body, headers={"content-type": kind})


# --- answers -----------------------------------------------------------------------------------


@BOUNDED
@given(rows=st.lists(customers, min_size=1, max_size=8, unique_by=who))
def test_answers_are_the_bundles(
    client: httpx.Client, running: Running, rows: list[dict[str, Any]]
) -> None:
    answer = post(client, *rows).raise_for_status().json()
    sent = [[np.nan if row.get(name) is None else row[name] for name in NAMES] for row in rows]
    wanted = running.bundle.predict(np.array(sent, dtype=np.float32))
    given_back = answer["predictions"]
    np.testing.assert_allclose([p["probability"] for p in given_back], wanted, atol=1e-6)
    assert [p["decision"] for p in given_back] == [
        bool(p >= running.bundle.threshold) for p in wanted
    ]
    assert [p["customer_id"] for p in given_back] == [row.get("customer_id") for row in rows]


def test_the_answer_names_the_model(client: httpx.Client, running: Running) -> None:
    model = post(client, good()).json()["model"]
    wanted = {
        "name": "golden-path-default",
        "version": 3,
        "threshold": 0.5,
        "bundle_sha256": running.bundle.sha256,
    }
    assert model.items() >= wanted.items()


def test_the_order_of_the_fields_does_not_matter(client: httpx.Client) -> None:
    row = good(recency_days=300, orders_30d=7)
    backwards = dict(reversed(row.items()))
    assert post(client, row).json() == post(client, backwards).json()


@pytest.mark.parametrize("name", NULLABLE)
def test_missing_null_and_left_out_are_the_same(client: httpx.Client, name: str) -> None:
    without = good()
    del without[name]
    answers = [post(client, row) for row in (without, good(**{name: None}))]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json() != post(client, good(**{name: 9.0})).json()


def test_a_full_request_is_answered(client: httpx.Client) -> None:
    rows = [good(customer_id=f"c{n}" + "x" * 150, recency_days=4 / 3 + n) for n in range(MAX_ROWS)]
    body = json.dumps({"customers": rows}, indent=4)
    assert len(send(client, body).raise_for_status().json()["predictions"]) == MAX_ROWS


def test_requests_side_by_side_are_not_mixed_up(client: httpx.Client) -> None:
    rows = [good(customer_id=str(n), recency_days=n + 1) for n in range(60)]
    alone = [post(client, row).json() for row in rows]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: post(client, row).json(), rows)) == alone


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
        ({"gap_days_mean": float("nan")}, "gap_days_mean", "finite number", "NaN"),
        ({"gap_days_mean": "none"}, "gap_days_mean", "must be a number", '"none"'),
        ({"is_home": 2}, "is_home", "must be a number from 0 to 1", "2"),
        ({"year_sin": -1.01}, "year_sin", "must be a number from -1 to 1", "-1.01"),
        ({"customer_id": 17850}, "customer_id", "must be text", "17850"),
        ({"customer_id": "x" * 301}, "customer_id", "at most 300", '"' + "x" * 78 + "…"),
        ({"recency_day": 3}, "recency_day", "unknown field; did you mean recency_days?", "3"),
    ],
)
def test_a_bad_value_is_refused_by_what_where_and_value(
    client: httpx.Client, changes: dict[str, Any], where: str, what: str, value: str
) -> None:
    answer = post(client, good(), good(**changes))
    problem = answer.json()["detail"][0]
    assert answer.status_code == 400 and answer.json()["code"] == "invalid"
    assert problem["where"] == f"customers[1].{where}"
    assert (problem["row"], problem["line"], problem["field"]) == (1, None, where)
    assert what in problem["what"]
    assert problem["value"] == value
    assert problem["where"] in answer.json()["error"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_field_left_out_is_refused(client: httpx.Client, name: str) -> None:
    row = good()
    del row[name]
    answer = post(client, row)
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
        ('{"customers": [[]]}', "customers[0]", "object"),
        ('{"Customers": []}', "Customers", "did you mean customers?"),
        ('{"customers": [{"recency_days": %s}]}' % ("9" * 5000), "body", "thousands of digits"),
    ],
)
def test_a_body_of_another_shape_is_refused(
    client: httpx.Client, body: str, where: str, what: str
) -> None:
    answer = send(client, body)
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["where"] == where
    assert what in answer.json()["detail"][0]["what"]


def test_too_many_rows_are_refused(client: httpx.Client) -> None:
    answer = post(client, *[good()] * (MAX_ROWS + 1))
    assert answer.status_code == 400
    assert f"at most {MAX_ROWS}" in answer.json()["error"]


def test_a_body_far_too_large_is_refused_unread(client: httpx.Client) -> None:
    answer = send(client, b" " * 1_000_000)
    assert answer.status_code == 413
    assert "bytes" in answer.json()["error"]


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"],
)
def test_another_content_type_is_refused(client: httpx.Client, kind: str) -> None:
    answer = send(client, json.dumps({"customers": [good()]}), kind)
    assert answer.status_code == 415
    assert answer.json()["code"] == "content_type"
    assert kind.partition(";")[0] in answer.json()["error"]


def test_a_pickle_is_refused(client: httpx.Client) -> None:
    assert send(client, b"\x80\x04N.", "application/vnd.bentoml+pickle").status_code == 415


def test_values_the_model_has_no_answer_for_are_refused_with_their_row(
    client: httpx.Client,
) -> None:
    answer = post(client, good(), good(recency_days=1e31))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["where"] == "customers[1]"


def test_a_refusal_stays_short(client: httpx.Client) -> None:
    answer = post(client, *[{"x" * 3000: "y" * 3000}] * 20)
    assert answer.status_code == 400
    assert len(answer.content) < 6000


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
wrong = (
    st.booleans()
    | st.text(max_size=6)
    | st.sampled_from([float("nan"), float("inf"), -1e9, 10**400, [], {}])
)


@BOUNDED
@given(row=customers, name=st.sampled_from(NAMES), value=wrong)
def test_any_row_with_one_wrong_value_is_refused_by_its_name(
    client: httpx.Client, row: dict[str, Any], name: str, value: Any
) -> None:
    answer = post(client, row | {name: value})
    assert answer.status_code == 400
    assert [problem["where"] for problem in answer.json()["detail"]] == [f"customers[0].{name}"]


@BOUNDED
@given(
    body=anything,
    rows=st.lists(
        st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), anything, max_size=4)
    ),
)
def test_nothing_sent_makes_the_service_fail(client: httpx.Client, body: Any, rows: Any) -> None:
    for sent in (body, {"customers": body}, {"customers": rows}):
        answer = send(client, json.dumps(sent))
        assert answer.status_code == 400
        assert answer.json()["detail"][0]["where"]


@BOUNDED
@given(body=st.binary(max_size=60))
def test_bytes_that_are_no_request_are_refused(client: httpx.Client, body: bytes) -> None:
    assert send(client, body).status_code == 400


# --- pages, metrics, description ---------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_metrics_count_requests_by_their_outcome(client: httpx.Client) -> None:
    def count(*labels: str) -> float:
        lines = client.get("/metrics").raise_for_status().text.splitlines()
        return sum(float(x.split()[-1]) for x in lines if all(label in x for label in labels))

    def counts() -> list[float]:
        return [
            count("requests_total", 'endpoint="predict"', 'status="200"'),
            count("requests_total", 'endpoint="predict"', 'status="400"'),
            count("predictions_total", 'version="3"'),
            count("rejected_rows_total", 'reason="required"'),
            count("batch_rows_sum"),
        ]

    before = counts()
    post(client, good(), good())
    post(client, {})
    assert [b - a for a, b in zip(before, counts())] == [1, 1, 2, 1, 2]

    def rejected() -> float:
        return count("rejected_rows_total{")

    # A customer counts once, by the first of their problems, whether refused or skipped.
    wrong = {"a": 1, "recency_days": "x", "is_home": 7}
    for query in ("", "?on_error=skip"):
        begun = rejected(), count("rejected_rows_total", 'reason="unknown_field"')
        client.post(f"/predict{query}", content=json.dumps({"customers": [wrong, good()]}))
        assert (rejected(), count("rejected_rows_total", 'reason="unknown_field"')) == (
            begun[0] + 1,
            begun[1] + 1,
        )
    assert count("model_info", 'name="golden-path-default"', 'version="3"') == 1


def test_metrics_have_no_label_that_a_client_chooses(client: httpx.Client) -> None:
    for path in ("/a-path-of-mine", "/predict/a-path-of-mine", "/metrics/../a-path-of-mine"):
        assert client.get(path).status_code == 404
    post(client, {"a-field-of-mine": 1})
    text = client.get("/metrics").text
    assert "of-mine" not in text and 'endpoint="other",status="404"' in text


def test_the_description_names_every_feature_with_its_range_and_meaning(
    client: httpx.Client,
) -> None:
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


def test_requests_and_answers_are_as_described(client: httpx.Client) -> None:
    described = client.get("/docs.json").json()
    operation = described["paths"]["/predict"]["post"]

    def check(value: Any, content: dict[str, Any]) -> None:
        jsonschema.validate(
            value, content["application/json"]["schema"] | {"components": described["components"]}
        )

    request = {"customers": [good(), good(gap_days_mean=None)]}
    check(request, operation["requestBody"]["content"])
    for sent, code in ((request, "200"), ({"customers": []}, "400")):
        check(send(client, json.dumps(sent)).json(), operation["responses"][code]["content"])
    with pytest.raises(jsonschema.ValidationError):
        check({"customers": [good(is_home=2)]}, operation["requestBody"]["content"])


@pytest.mark.parametrize("path", ["/", "/docs", "/docs.json", "/schema.json"])
def test_no_page_refers_to_another_host(client: httpx.Client, path: str) -> None:
    text = client.get(path).raise_for_status().text
    assert not re.findall(r"https?:|[\"'(]//", text)


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_what_a_page_links_to_is_there(client: httpx.Client, page: str) -> None:
    links = re.findall(r'(?:href|src)="([^":]+)"', client.get(page).text)
    assert links
    assert {link: client.get("/" + link).status_code for link in links} == dict.fromkeys(links, 200)


# --- what it is made of ------------------------------------------------------------------------


def test_serving_needs_no_training_library(running: Running, tmp_path: Path) -> None:
    worker = running.launcher.children()[0].environ()
    env = {
        key: value
        for key, value in worker.items()
        if key.startswith(("SERVED_", "ORT_", "PATH", "PROMETHEUS_"))
    }
    found = subprocess.run(
        [sys.executable, "-c", SERVED_IN_PROCESS],
        cwd=ROOT,
        env=env | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"},
        input=json.dumps({"customers": [good()]}),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    status, loaded = json.loads(found.stdout.splitlines()[-1])
    assert status == 200
    assert [name for name in TRAINING if name in loaded] == []


def test_the_running_service_has_mapped_no_training_library(running: Running) -> None:
    for process in running.launcher.children(recursive=True):
        mapped = " ".join(entry.path for entry in process.memory_maps())
        assert not re.findall(r"site-packages/(torch|xgboost|sklearn|pandas)/", mapped)


def test_it_listens_on_loopback_only_and_talks_to_nobody_else(
    client: httpx.Client, running: Running
) -> None:
    post(client, good())
    for process in running.launcher.children(recursive=True):
        for connection in process.net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1"
            assert connection.status == psutil.CONN_LISTEN or connection.raddr.ip == "127.0.0.1"


def test_bad_requests_leave_the_log_quiet(client: httpx.Client, running: Running) -> None:
    before = running.log.read_text()
    post(client, {"recency_days": "secret"})
    send(client, "{", "text/plain")
    assert running.log.read_text() == before
