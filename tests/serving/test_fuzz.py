"""Thousands of requests that nobody would write: no fault of the service, no surprise for clients.

Everything is deterministic: the same requests at each run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx
import jsonschema
import msgspec
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from real_service import BUYER, MAX_ROWS, ROW, bought, customers, line, read_answer
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from features.catalogue import CATALOGUE, Feature
from serving.errors import STATUS, ErrorResponse, Refused
from serving.limits import Limits
from serving.requests import FeatureReader

pytestmark = pytest.mark.slow

POSTS = ("/predict", "/predict_transactions", "/explain", "/reload")
LIMITS = Limits(max_rows=MAX_ROWS, max_lines=200, max_explained=20)
TABLE = (
    Feature("months", "months", "since the contract began", low=0, high=72),
    Feature("the plan", "category", "what they pay", None, None, "nobody asked", ("a", "b")),
    Feature("class", "category", "must be there", None, None, "", ("x", "y")),
)
# What a valid request may be refused for all the same: a schema cannot say it.
UNSAYABLE = {"repeated", "in_future", "out_of_range", "blank", "not_active"}


def sayable(problem: dict[str, Any]) -> bool:
    whole = problem["expected"] and problem["expected"].startswith("a whole number")
    if whole and problem["value"].endswith(".0"):  # of which JSON Schema says that it is whole
        return False
    return problem["reason"] not in UNSAYABLE


def fuzz(examples: int) -> Callable[..., Any]:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


# --- against its own description -----------------------------------------------------------------


def test_the_service_conforms_to_its_openapi_description(running):
    """Schemathesis: every boundary of every field, then what it can think of, right and wrong."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "base-url": running.url,
            "continue-on-failure": True,
            "generation": {
                "mode": "all",
                "max-examples": 25,
                "deterministic": True,
                "no-shrink": True,
                "database": "none",
            },
            "checks": {"positive_data_acceptance": {"enabled": False}},  # below, more narrowly
            "phases": {"stateful": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_url(f"{running.url}/docs.json", config=config)
    seen, failures, errors = Counter[tuple[str, int]](), dict[Any, str](), []
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            errors.append(event)
        if not isinstance(event, events.ScenarioFinished):
            continue
        recorder = event.recorder
        for number, interaction in recorder.interactions.items():
            response = interaction.response
            assert response is not None, recorder.label
            seen[recorder.label, response.status_code] += 1
            meta = recorder.cases[number].value.meta
            if response.status_code == 400 and meta.generation.mode.is_positive:
                told = [problem for problem in response.json()["detail"] if sayable(problem)]
                if told:
                    failures[recorder.label, "refused"] = str(told)
        for checks in recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    failures[recorder.label, check.name, failure.title] = failure.message
    assert (failures, errors) == ({}, [])
    assert sum(seen.values()) >= 600
    # Each endpoint was asked, and each that takes a body gave answers and refusals.
    asked = {label.split()[1] for label, _ in seen}
    assert asked == set(running.get("/docs.json").json()["paths"])
    for path in POSTS[:3]:
        found = {status for label, status in seen if label == f"POST {path}"}
        assert {200, 400, 405, 415, 422} <= found
    assert max(status for _, status in seen) < 500


# --- bytes ---------------------------------------------------------------------------------------


VALID = {
    "/predict": customers(ROW | {"customer_id": "1"}, ROW | {"gap_days_mean": None}),
    "/explain": customers(ROW | {"customer_id": "1"}),
    "/predict_transactions": bought(BUYER, BUYER | {"customer_id": "2"}),
    "/reload": {},
}
NASTY = st.sampled_from(
    [
        *(b"1e999", b"-1e999", b"1e-999", b"-0", b"-0.0", b"0.1e1", b"1E400", b"9" * 400),
        *(b"9" * 5000, b"00", b"+1", b".5", b"1.", b"0x10", b"NaN", b"-Infinity", b"nan"),
        *(b"9007199254740993", b"-9223372036854775809", b"18446744073709551616"),
        *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\\u202e"'),
        *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"),
        *(b"[" * 2000, b'{"a":' * 2000, b"]" * 50, b"}", b"{", b"[", b'"', b"\\", b",", b":"),
        *(b"null", b"true", b"{}", b"[]", b'""', b"/*x*/", b"// x\n", b"\t\r\n", b" " * 1000),
        *(b'"customers":[],', b'"customer_id":"1",', b'"__proto__":1,', b'"as_of":"0001-01-01",'),
        *(b"'; DROP TABLE lines; --", b"${jndi:x}", b"../../etc/passwd", "👩‍👩‍👧".encode()),
    ]
)


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid body after one to four accidents."""
    body = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        end = min(len(body), at + draw(st.integers(1, 40)))
        match draw(
            st.sampled_from(["flip", "cut", "lose", "twice", "insert", "replace", "number"])
        ):
            case "flip" if body:
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del body[at:]
            case "lose":
                del body[at:end]
            case "twice":
                body[at:at] = body[at:end]
            case "insert":
                body[at:at] = draw(NASTY)
            case "replace":
                body[at:end] = draw(NASTY)
            case "number":
                found = list(re.finditer(rb"-?\d+(\.\d+)?|\"[^\"]*\"", body))
                if found:
                    one = draw(st.sampled_from(found))
                    body[one.start() : one.end()] = draw(NASTY)
    return bytes(body)


def documented(client: httpx.Client) -> Callable[[str, httpx.Response], None]:
    """A check that an answer has a documented status, and a body of the documented shape."""
    described = client.get("/docs.json").json()
    validators: dict[tuple[str, str], Any] = {}

    def check(path: str, answer: httpx.Response) -> None:
        status = str(answer.status_code)
        told = described["paths"][path]["post"]["responses"]
        assert status in told, (path, status, answer.text[:300])
        assert answer.headers["content-type"] == "application/json"
        if (path, status) not in validators:
            schema = told[status]["content"]["application/json"]["schema"]
            schema = schema | {"components": described["components"]}
            validators[path, status] = jsonschema.Draft202012Validator(schema)
        validators[path, status].validate(answer.json())
        if status != "200":
            refusal = msgspec.json.decode(answer.content, type=ErrorResponse)
            assert STATUS[refusal.code] == answer.status_code and refusal.error
        assert "Traceback" not in answer.text and ".py" not in answer.text

    return check


@pytest.mark.parametrize("path", POSTS)
def test_a_mutated_body_is_answered_or_refused_as_documented(client, path):
    check, sent = documented(client), Counter[int]()
    valid = json.dumps(VALID[path]).encode()

    @fuzz(100)
    @given(body=mutated(valid), skip=st.booleans())
    def send(body: bytes, skip: bool) -> None:
        query = "?on_error=skip" if skip and path != "/reload" else ""
        answer = client.post(path + query, content=body)
        check(path, answer)
        sent[answer.status_code] += 1

    send()
    assert sum(sent.values()) >= 90
    assert path == "/reload" or sent[400] > 30


@pytest.mark.parametrize(
    "wrong",
    [
        (b'"customer_id": "1"', b'"customer_id": "\xff\xfe"'),
        (b'"customer_id"', b'"customer_\xff"'),
        (b'"customer_id": "1"', b'"customer_id": "1", "customer_id": "\xed\xa0\x80"'),
    ],
    ids=["a field's value", "a field's name", "the second of two"],
)
def test_bytes_that_are_not_utf8_are_refused_anywhere_in_the_body(client, wrong):
    for path in POSTS[:3]:
        answer = client.post(path, content=json.dumps(VALID[path]).encode().replace(*wrong))
        assert answer.status_code == 400
        assert "is not UTF-8 at byte" in answer.json()["error"]


def test_thousands_of_unknown_fields_make_a_small_answer(client):
    wrong = {f"recency_dayz_{number:x}": 1 for number in range(5000)}
    line_wrong = {f"invoice_idz_{number:x}": 1 for number in range(5000)}
    for path, body in (
        ("/predict", customers(wrong)),
        ("/explain", customers(wrong)),
        ("/predict", wrong),
        ("/predict_transactions", bought({"customer_id": "1", "lines": [line_wrong]})),
        ("/predict_transactions", bought(wrong)),
    ):
        answer = client.post(path, content=json.dumps(body))
        assert answer.status_code == 400
        assert len(answer.content) < 10_000
        first, *_ = answer.json()["detail"]
        assert first["reason"] == "unknown_field"
    answer = client.post("/predict?on_error=skip", content=json.dumps(customers(wrong, ROW)))
    (skipped,) = answer.json()["skipped"]
    assert len(skipped["detail"]) < 60
    assert "has 4980 more unknown fields" in [problem["what"] for problem in skipped["detail"]]


# --- heads ---------------------------------------------------------------------------------------


TOKEN = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(str.encode)
VALUE = st.sampled_from(
    [
        *(
            b"application/json",
            b"application/json; charset=utf-16",
            b"text/plain",
            b"",
            b"\xff\xfe",
        ),
        *(b"gzip", b"gzip, chunked", b"close", b"upgrade", b"h2c", b"websocket", b"100-continue"),
        *(b"0", b"-1", b"5, 5", b"99999999999999999999", b"a" * 5000, b"https://evil.example"),
        *(b"Bearer \xff", b"Basic Og==", b"bytes=0-1", b"evil.example", b"[::1"),
    ]
)
NAME = st.sampled_from(
    [
        *(b"Content-Type", b"Content-Length", b"Content-Encoding", b"Transfer-Encoding", b"Host"),
        *(b"Origin", b"Authorization", b"Connection", b"Upgrade", b"Expect", b"Accept", b"Range"),
        *(b"X-Forwarded-For", b"X-HTTP-Method-Override", b"traceparent", b"Bentoml-Name", b"TE"),
        *(b"X" * 999, b"X-Any", b"X-Any", b"X-Any", b"", b" ", b"\xff"),
    ]
)
METHOD = st.sampled_from([b"POST"] * 6 + [b"GET", b"PUT", b"TRACE", b"OPTIONS", b"post", b"PRI"])
PATH = st.sampled_from(POSTS).map(str.encode)
ODD = st.sampled_from(
    [
        *(b"/", b"//predict", b"/predict/../model", b"/%2e%2e/%2e%2e/etc/passwd", b"/predict;x=1"),
        *(b"/page/..%2findex.html", b"/predict%00", b"/\xff", b"/%ff", b"*", b"predict", b""),
        *(b"http://evil.example/predict", b"/schema.json", b"/a" * 3000),
    ]
)
QUERY = st.lists(
    st.tuples(
        st.sampled_from([b"on_error", b"top", b"features", b"x", b"", b"on%5Ferror", b"\xff"]),
        st.sampled_from([b"=", b"", b"=="]),
        TOKEN | st.sampled_from([b"skip", b"true", b"1", b"-1", b"9" * 20, b"%00", b"%ed%a0%80"]),
    ),
    max_size=3,
)


def test_any_head_of_a_request_is_answered_or_refused(running):
    statuses = Counter[int]()
    host = b"Host: 127.0.0.1:%d\r\n" % running.port

    @fuzz(250)
    @given(
        method=METHOD,
        path=PATH | PATH | ODD,
        query=QUERY,
        headers=st.lists(st.tuples(NAME, VALUE | TOKEN), max_size=2),
        length=st.sampled_from([None] * 6 + [0, -2, 3]),
        version=st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""]),
    )
    def send(method, path, query, headers, length, version) -> None:
        body = json.dumps(VALID.get(path.decode("latin-1"), {})).encode()
        target = path + (b"?" + b"&".join(b"".join(one) for one in query) if query else b"")
        # More than is sent would be waited for: that is tested with the time limit.
        said = len(body) if length is None else max(0, min(len(body) + length, len(body)))
        head = b"%s %s %s\r\n%sConnection: close\r\n" % (method, target, version, host)
        head += b"Content-Length: %d\r\n" % said
        head += b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        with running.connected(head + b"\r\n" + body) as connection:
            status, found, answer = read_answer(connection)
        statuses[status] += 1
        assert status in {200, 400, 401, 403, 404, 405, 413, 415, 422}, (status, head, answer)
        if (status, answer) == (400, b"Invalid HTTP request received."):  # by uvicorn
            return
        assert found["content-type"].split(";")[0] in {"application/json", "text/html"}
        if status != 200:
            refusal = msgspec.json.decode(answer, type=ErrorResponse)
            assert STATUS[refusal.code] == status
        assert b"Traceback" not in answer

    before = running.log.read_text()
    send()
    assert sum(statuses.values()) >= 220
    assert min(statuses[one] for one in (200, 400, 404)) > 5, statuses
    assert running.log.read_text() == before  # who sends nonsense fills nobody's disk


# --- a request is read at once, or value by value ------------------------------------------------

NUMBER = (
    st.floats(width=64)
    | st.integers(-(10**40), 10**40)
    | st.sampled_from([-0.0, 1e-320, 3.4028235e38, 3.5e38, 2**53 + 1, 10**400, 0.1])
)
ANY = NUMBER | st.none() | st.booleans() | st.text(max_size=5) | st.just([]) | st.just({})


def made(features: tuple[Feature, ...]) -> st.SearchStrategy[bytes]:
    """Bodies that are right, or almost."""

    def value(feature: Feature) -> st.SearchStrategy[Any]:
        if feature.categories:
            return st.sampled_from([*feature.categories, "other", " ", "", "\x00", "x" * 301])
        low, high = feature.low or 0, 1e9 if feature.high is None else feature.high
        return st.floats(low, high) | st.integers(int(low), int(high))

    def often(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.integers(0, 60).flatmap(lambda n: ANY if n == 0 else right)

    ids = st.none() | st.sampled_from(["1", "2", " 1", "é", "x" * 300, "x" * 301, "\U0001f600"])
    one = st.fixed_dictionaries(
        {f.name: often(value(f)) for f in features if not f.missing},
        optional={f.name: often(value(f) | st.none()) for f in features if f.missing}
        | {"customer_id": often(ids)},
    )
    body = st.lists(one, min_size=1, max_size=3).map(lambda rows: {"customers": rows})
    return body.map(lambda found: json.dumps(found).encode())


UNNAMEABLE = (  # two that no field of a Struct can be called, one that stands in for the first
    Feature('the "price" \\frac{1}{2}', "EUR", "odd", 0, None, "not asked"),
    Feature("\x1b[2J\n", "EUR", "odd", 0, None),
    Feature("feature_0", "EUR", "odd", 0, None),
    *TABLE,
)


@pytest.mark.parametrize(
    "features", [CATALOGUE, TABLE, UNNAMEABLE], ids=["catalogue", "table", "odd"]
)
def test_a_request_means_the_same_read_at_once_and_value_by_value(features):
    described = [asdict(feature) for feature in features]
    reader = FeatureReader(described)
    outcomes = Counter[str]()

    @fuzz(120)
    @given(body=made(features).flatmap(lambda body: st.just(body) | mutated(body)))
    def compare(body: bytes) -> None:
        try:
            fast = reader.read(body, LIMITS, skip=False)
        except Refused as refused:
            assert refused.code == "invalid" and refused.problems
            outcomes["refused"] += 1
            return
        outcomes["taken"] += 1
        sent = json.loads(body)["customers"]
        # Beside a customer that is skipped, the others are read value by value.
        slow = reader.read(json.dumps({"customers": [*sent, None]}).encode(), LIMITS, skip=True)
        assert [one.row for one in slow.skipped] == [len(sent)] and fast.skipped == []
        assert (fast.ids, [*fast.rows]) == (slow.ids, [*slow.rows])
        np.testing.assert_array_equal(fast.x, slow.x)
        for at, feature in enumerate(features):
            if not feature.categories:
                values = [row.get(feature.name) for row in sent]
                numbers = [np.nan if value is None else value for value in values]
                np.testing.assert_array_equal(fast.x[:, at], np.array(numbers, dtype=np.float32))

    compare()
    assert min(outcomes["taken"], outcomes["refused"]) > 15, outcomes


# --- on_error=skip -------------------------------------------------------------------------------


def alone(answer: dict[str, Any], rows: dict[int, int]) -> tuple[Any, ...]:
    """Predictions and left-out lines as if the rows had these numbers."""
    return tuple(
        [one | {"row": rows[one["row"]]} for one in answer.get(name, [])]
        for name in ("predictions", "left_out", "explanations")
    )


WRONG = st.sampled_from(
    [None, 5, {}, ROW | {"is_home": 7}, ROW | {"recency_days": "x"}, ROW | {"what": 1}]
)
RIGHT = st.builds(
    lambda days, gap: ROW | {"recency_days": days, "gap_days_mean": gap},
    st.integers(1, 400),
    st.none() | st.floats(0, 99),
)
WRONG_BUYER = st.sampled_from(
    [
        *(None, {}, {"customer_id": "9", "lines": []}, {"customer_id": 9, "lines": [line("1", 3)]}),
        {"customer_id": " ", "lines": [line("1", 3)]},
        {"customer_id": "9", "lines": [line("1", 3, quantity="x")]},
        {"customer_id": "8", "lines": [line("1", 3000)]},
        {"customer_id": "7", "lines": [line("1", 3, 2**40, 1e300), line("2", 4, 2**40, 1e308)]},
    ]
)
RIGHT_BUYER = st.builds(
    lambda days, quantity, price: {
        "lines": [line("1", days, quantity, price), line("2", 300, 1), line("C3", 2, -1)]
    },
    st.integers(1, 90),
    st.integers(-3, 9),
    st.sampled_from([0.0, 0.5, 2.25]),
)


@pytest.mark.parametrize("path", POSTS[:3])
def test_with_skip_the_valid_rows_are_answered_as_if_sent_alone(client, path):
    answered = 0
    lines = path == "/predict_transactions"

    @fuzz(25)
    @given(
        rows=st.lists(
            st.tuples(st.just(True), RIGHT_BUYER if lines else RIGHT)
            | st.tuples(st.just(False), WRONG_BUYER if lines else WRONG),
            min_size=1,
            max_size=6,
        )
    )
    def compare(rows: list[tuple[bool, Any]]) -> None:
        nonlocal answered
        if lines:
            rows = [
                (good, one | {"customer_id": f"c{number}"} if good else one)
                for number, (good, one) in enumerate(rows)
            ]
        shape = bought if lines else customers
        good = [number for number, (right, _) in enumerate(rows) if right]
        sent = json.dumps(shape(*(one for _, one in rows)))
        mixed = client.post(f"{path}?on_error=skip", content=sent)
        if not good:
            assert mixed.status_code in (400, 422)
            return
        only = client.post(path, content=json.dumps(shape(*(rows[at][1] for at in good))))
        assert (mixed.status_code, only.status_code) == (200, 200), (mixed.text, only.text)
        told = mixed.json()
        assert [one["row"] for one in told["skipped"]] == [
            number for number, (right, _) in enumerate(rows) if not right
        ]
        # Of the bad ones, too, it is said which lines do not count.
        numbers = {row: number for number, row in enumerate(good)}
        told["left_out"] = [one for one in told.get("left_out", []) if one["row"] in numbers]
        assert alone(told, numbers) == alone(only.json(), dict(enumerate(range(9))))
        answered += 1

    compare()
    assert answered > 10
