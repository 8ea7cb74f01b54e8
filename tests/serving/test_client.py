"""The client in Python, and `make predict`: against a server that does what servers do on bad days,
and against the real one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from real_service import ROOT, ROW

from common.errors import UserError
from configs.load import load
from features.catalogue import CATALOGUE
from serving.client import (
    LONGEST,
    Client,
    NotTheService,
    ServiceError,
    ServiceRefused,
    ServiceUnreachable,
    encode,
    wait_seconds,
)
from serving.predict import ask, table
from serving.responses import PredictResponse, TransactionsResponse
from tests.commands import free_port

pytestmark = pytest.mark.slow

MODEL = {"name": "golden-path-smoke", "version": 3, "bundle_sha256": "ab" * 32, "threshold": 0.5}
PREDICTION = {"row": 0, "customer_id": "1", "probability": 0.7, "decision": True}
FINE = {"model": MODEL, "predictions": [PREDICTION], "skipped": []}
BUSY = {"error": "too many requests at once", "code": "busy", "detail": []}
NOT_READY = {"error": "no champion yet", "code": "not_ready", "detail": []}
INVALID = {
    "error": "customers[0].recency_days: must be a number from 1 (days), got -3",
    "code": "invalid",
    "detail": [
        {
            "what": "must be a number from 1 (days)",
            "where": "customers[0].recency_days",
            "reason": "out_of_range",
            "row": 0,
            "line": None,
            "field": "recency_days",
            "value": "-3",
            "expected": "a number from 1 (days)",
        }
    ],
}
CUSTOMER = {"customer_id": "1", "recency_days": 3}


def http(status: int, body: object, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"content-length: {len(content)}", "connection: close"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + content


class Server:
    """Answers each connection with the next of `answers`, the last one again and again: bytes to
    send, or what to do with the connection."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self.answers, self.received, self.times = list(answers), list[bytes](), list[float]()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = str(self.socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                self.received.append(_request(connection))
                self.times.append(time.monotonic())
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                with suppress(OSError):  # the client may have gone
                    answer(connection) if callable(answer) else connection.sendall(answer)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    while length and len(body) < int(length[0].split(b":")[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def serve():
    started: list[Server] = []

    def start(*answers: bytes | Callable[[socket.socket], None]) -> Server:
        started.append(Server(*answers))
        return started[-1]

    yield start
    for one in started:
        one.close()


def hang_up(connection: socket.socket) -> None:
    """Without a word."""


def drop_midway(connection: socket.socket) -> None:
    connection.sendall(http(200, FINE)[:-20])


def drip(connection: socket.socket) -> None:
    """A body that does not end, a byte at a time, until the other side gives up."""
    connection.sendall(b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n")
    with suppress(OSError):
        for _ in range(600):
            connection.sendall(b" ")
            time.sleep(0.1)


def silent(connection: socket.socket) -> None:
    connection.settimeout(60)
    connection.recv(1)  # until the other side gives up


# --- what is repeated, and for how long --------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "least_wait"),
    [
        pytest.param(http(503, NOT_READY), 0, id="503"),
        pytest.param(http(503, NOT_READY, "Retry-After: 1"), 1, id="503 with a time to wait"),
        pytest.param(http(503, b"<html>starting</html>"), 0, id="503 of another server"),
        pytest.param(http(429, BUSY), 0, id="429"),
        (hang_up, 0),
        (drop_midway, 0),
    ],
)
def test_a_temporary_failure_is_retried_with_the_same_body(serve, failure, least_wait):
    server = serve(failure, http(200, FINE))
    with Client(server.url) as client:
        answer = client.predict([CUSTOMER])
    assert answer.model.version == 3 and answer.predictions[0].probability == 0.7
    first, second = (sent.partition(b"\r\n\r\n")[2] for sent in server.received)
    assert first == second and server.times[1] - server.times[0] >= least_wait


@pytest.mark.parametrize(
    ("status", "body", "requests"),
    [
        (429, BUSY, 3),
        (503, NOT_READY, 3),
        (503, NOT_READY | {"code": "timeout"}, 1),  # the same would take too long again
        *((status, INVALID, 1) for status in (400, 401, 408, 422, 500)),
    ],
)
def test_a_request_is_repeated_only_where_the_answer_may_change(serve, status, body, requests):
    server = serve(http(status, body, "retry-after: 0"))
    with Client(server.url, retries=2) as client, pytest.raises(ServiceRefused) as caught:
        client.predict([CUSTOMER])
    refused = caught.value
    assert len(server.received) == requests
    assert (refused.status, refused.code, refused.error) == (status, body["code"], body["error"])
    assert body["error"] in str(refused) and str(status) in str(refused)
    assert [one.field for one in refused.detail] == [one["field"] for one in body["detail"]]


@pytest.mark.parametrize(
    ("attempt", "retry_after", "least", "most"),
    [
        *((attempt, None, 0.05 * 2**attempt, 0.1 * 2**attempt) for attempt in range(6)),
        *((0, "3", 3, 3.2), (0, "3600", LONGEST, LONGEST + 0.2), (0, "-1", 0, 0.2)),
        *((0, "soon", 0, 0.2), (0, timedelta(seconds=5), 3, 5.2), (0, timedelta(-1), 0, 0.2)),
        *((10_000, None, 0, 2 * LONGEST), (0, "9" * 99, 0, LONGEST + 1)),
        (0, "Mon, 01 Jan 99999 00:00:00 GMT", 0, LONGEST + 1),
    ],
)
def test_waits_double_differ_and_follow_retry_after_up_to_the_longest(
    attempt, retry_after, least, most
):
    if isinstance(retry_after, timedelta):
        retry_after = format_datetime(datetime.now(UTC) + retry_after, usegmt=True)
    waits = [wait_seconds(attempt, retry_after) for _ in range(20)]
    assert all(least <= wait <= most for wait in waits) and len(set(waits)) > 1


@pytest.mark.parametrize(
    ("answer", "timeout", "error", "requests", "seconds"),
    [
        pytest.param(silent, 0.5, ServiceUnreachable, [1], (0.4, 50), id="silent"),
        pytest.param(drip, 0.5, ServiceUnreachable, [1], (0.4, 50), id="drip by drip"),
        # The deadline is for all repetitions: a thousand would take longer.
        pytest.param(http(503, NOT_READY), 1.5, ServiceRefused, range(2, 1000), (0, 50), id="503"),
        # A wait beyond the deadline is not begun.
        pytest.param(
            http(503, NOT_READY, "retry-after: 99"),
            *(LONGEST - 0.5, ServiceRefused, [1], (0, LONGEST - 0.5)),
            id="a long wait",
        ),
    ],
)
def test_a_call_ends_at_its_deadline(serve, answer, timeout, error, requests, seconds):
    server, began = serve(answer), time.monotonic()
    with Client(server.url, timeout=timeout, retries=1000) as client, pytest.raises(error):
        client.predict([CUSTOMER])
    assert seconds[0] <= time.monotonic() - began < seconds[1]
    assert len(server.received) in requests


# --- another server, or none -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(200, b"<!doctype html><p>It works!"), "<!doctype html>"),
        (http(200, b""), "nothing"),
        (http(200, b"\xff\xfe\x00"), "200"),
        (http(200, b'{"model": "m"}'), "Expected"),
        (http(200, b'{"model": {}, "predictions": ' + b"[" * 100_000), "200"),
        (http(404, b"no such page"), "404"),
        (http(502, b'{"message": "Bad Gateway"}'), "502"),
        (http(302, b""), "302"),
        (http(200, FINE, "content-encoding: gzip"), "decompressing"),
    ],
    ids=["page", "nothing", "bytes", "other JSON", "deep", "404", "502", "elsewhere", "not packed"],
)
def test_an_answer_of_another_server_is_not_the_service(serve, answer, said):
    server = serve(answer)
    with Client(server.url) as client, pytest.raises(NotTheService, match=said) as caught:
        client.predict([CUSTOMER])
    assert caught.value.status == int(answer.split()[1]) and caught.value.url == server.url
    assert len(server.received) == 1 and len(str(caught.value)) < 400


def test_a_server_that_is_not_there_or_speaks_no_http_is_unreachable(serve):
    with Client(f"http://127.0.0.1:{free_port()}", retries=1) as client:
        assert not client.ready()
        with pytest.raises(ServiceUnreachable, match="refused"):
            client.predict([CUSTOMER])
    mail = serve(b"220 mail.example ESMTP\r\n")
    with Client(mail.url, retries=1) as client, pytest.raises(ServiceUnreachable):
        client.predict([CUSTOMER])


# --- what is sent ------------------------------------------------------------------------------


def test_each_method_calls_its_endpoint_and_decodes_the_answer(serve):
    lines = [{"invoice_id": "1", "quantity": 2, "unit_price": 1.5, "invoiced_at": "2011-01-02"}]
    left = {"row": 0, "customer_id": "1", "line": 0, "reasons": ["zero_price"], "why": ["gifts"]}
    part = {"feature": "recency_days", "value": 3.0, "contribution": 0.2, "standard_error": 0.01}
    method = {"name": "n", "what": "w", "reference_rows": 64, "permutations": 128, "seed": 1}
    explanation = PREDICTION | {"base": 0.5, "contributions": [part], "rest": 0.0, "new": 1}
    about = MODEL | {"features": [], "loaded_at": "now", "outcome": "that it is", "added": {}}
    sample = {"name": "sample 1", "as_of": "2011-01-02", "lines": lines}
    answers = [
        FINE,
        FINE | {"left_out": [left], "predictions": [PREDICTION | {"features": {"a": 1}}]},
        {"model": MODEL, "method": method, "explanations": [explanation]},
        about,
        {"samples": [sample, {"name": "sample 2", "values": {"a": None}}]},
        {"outcome": "unchanged", "model": MODEL},
        {},
    ]
    server = serve(*(http(200, answer) for answer in answers))
    with Client(server.url + "/", token="t" * 20) as client:
        assert client.predict([CUSTOMER], on_error="skip").skipped == []
        answer = client.predict_transactions(
            date(2011, 1, 3), [{"customer_id": "1", "lines": lines}], features=True
        )
        assert answer.left_out[0].reasons == ["zero_price"]
        assert answer.predictions[0].features == {"a": 1.0}
        shown = client.explain([CUSTOMER], top=1).explanations[0]
        assert shown.contributions[0].contribution == 0.2
        assert client.model().version == 3
        assert [one.name for one in client.samples()] == ["sample 1", "sample 2"]
        assert client.reload().outcome == "unchanged"
        assert client.ready()
    assert [sent.split(b" HTTP")[0].decode() for sent in server.received] == [
        "POST /predict?on_error=skip",
        "POST /predict_transactions?on_error=refuse&features=true",
        "POST /explain?on_error=refuse&top=1",
        "GET /model",
        "GET /samples",
        "POST /reload",
        "GET /readyz",
    ]
    sent = json.loads(server.received[1].partition(b"\r\n\r\n")[2])
    assert sent["as_of"] == "2011-01-03" and sent["customers"][0]["lines"] == lines
    assert all(b"authorization: bearer tttt" in sent.lower() for sent in server.received)


def test_numpy_values_and_times_are_encoded_as_plain_json():
    row = {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)}
    times = {"d": datetime(2011, 1, 2, 3, 4), "e": np.datetime64("2011-01-02")}
    written = json.loads(encode(row | times))
    assert written == {"a": 0.5, "b": 3, "c": True, "d": "2011-01-02T03:04:00", "e": "2011-01-02"}
    with pytest.raises(TypeError, match="set cannot be sent"):
        encode({"a": {1}})


def test_a_proxy_of_this_machine_is_not_used(serve, monkeypatch):
    proxy, server = serve(http(200, FINE)), serve(http(200, FINE))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with Client(server.url) as client:
        client.predict([CUSTOMER])
    assert len(server.received) == 1 and proxy.received == []


@pytest.mark.parametrize("url", ["", "127.0.0.1:3000", "ftp://x", "http://", "http://a:b"])
def test_a_wrong_address_is_refused_at_once(url):
    with pytest.raises(ValueError, match="url must be like"):
        Client(url)


@pytest.mark.parametrize("token", ["", "  ", "naïve", "a\r\nx: y"])
def test_a_wrong_token_is_refused_and_none_is_shown(token):
    with pytest.raises(ValueError, match="token must be") as caught:
        Client("http://127.0.0.1:1", token=token)
    assert not token.strip() or token not in str(caught.value)
    with Client("http://127.0.0.1:1", token="very-secret-token") as client:
        assert "secret" not in repr(client) + str(vars(client))


def test_a_program_that_uses_it_loads_no_model_library():
    code = "import sys, serving.client; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"onnxruntime", "numpy", "bentoml", "pandas", "pydantic", "registry", "configs"}
    assert not heavy & set(done.stdout.split())


# --- make predict ------------------------------------------------------------------------------

LINES = {"as_of": "2011-01-03", "customers": [{"customer_id": "1", "lines": [{}]}]}


def predict(
    server: Server, body: object, *overrides: str
) -> PredictResponse | TransactionsResponse:
    """What the command does with a file."""
    line = ["--var", "/dev/null/var", "--serving.port", server.port, *overrides]
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(load("smoke", line), sent)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (LINES, "/predict_transactions"),
        ({"customers": LINES["customers"]}, "/predict_transactions"),
        ({"as_of": "2011-01-03", "customers": []}, "/predict_transactions"),
        ({"customers": [CUSTOMER]}, "/predict"),
        ({"customers": [1, None, [], "lines"]}, "/predict"),
        (["as_of", "customers"], "/predict"),
        (None, "/predict"),
    ],
)
def test_invoice_lines_and_feature_values_are_sent_to_their_endpoints(serve, body, path):
    server = serve(http(200, FINE | {"left_out": []}))
    answer = predict(server, body)
    assert server.received[0].split()[1].decode() == path
    assert server.received[0].endswith(json.dumps(body).encode())
    assert table(answer).splitlines()[-1].split() == ["1", "0.700", "contact"]


def test_without_costs_no_decision_is_shown_and_the_table_says_why(serve):
    undecided = FINE | {"model": MODEL | {"threshold": None}}
    undecided |= {"predictions": [PREDICTION | {"decision": None}]}
    lines = table(predict(serve(http(200, undecided)), {})).split("\n")
    assert lines[0] == (
        "golden-path-smoke version 3: probabilities only, it was trained without costs to decide by"
    )
    assert lines[-1].split() == ["1", "0.700"]


def test_any_customer_id_is_shown_safely_and_within_80_columns(serve):
    names = ("[/] \x1b[2J\n\u202e", "😀" * 9, "x" * 300)
    answer = FINE | {"predictions": [PREDICTION | {"customer_id": name} for name in names]}
    shown = table(predict(serve(http(200, answer)), {}))
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert [line.split()[-2:] for line in shown.splitlines()[-3:]] == [["0.700", "contact"]] * 3
    assert max(map(len, shown.splitlines())) <= 80


def test_lines_that_were_left_out_are_counted_by_reason(serve):
    left = {"row": 0, "customer_id": "1", "reasons": ["zero_price"], "why": ["gifts, samples"]}
    both = {"reasons": ["zero_price", "after_as_of"], "why": ["gifts, samples", "not yet known"]}
    lines = [left | {"line": 0}, left | {"line": 3} | both]
    shown = table(predict(serve(http(200, FINE | {"left_out": lines})), LINES))
    assert "2 invoice line(s) were left out" in shown
    assert "2 zero_price: gifts, samples" in shown and "1 after_as_of: not yet known" in shown


def test_the_answers_of_another_model_are_not_shown(serve):
    server = serve(http(200, FINE | {"model": MODEL | {"name": "golden-path-\x1b[2J"}}))
    with pytest.raises(UserError, match="not golden-path-smoke") as caught:
        predict(server, {})
    assert "make serve CONFIG=smoke" in caught.value.next_step
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b""])
def test_a_file_that_is_not_json_is_sent_and_refused_by_the_service(serve, body):
    server = serve(http(400, INVALID))
    with pytest.raises(UserError, match=r"from 1 \(days\), got -3"):
        predict(server, body)
    assert server.received[0].startswith(b"POST /predict HTTP")
    assert server.received[0].endswith(body)


def test_the_token_of_the_settings_is_sent(serve, monkeypatch, tmp_path):
    server = serve(http(200, FINE))
    monkeypatch.setenv("SERVING_TOKEN", "of the environment")
    predict(server, {})
    (tmp_path / "token").write_text("of-the-file-0123456789\n")
    predict(server, {}, "--serving.token_file", str(tmp_path / "token"))
    assert b"Bearer of the environment\r\n" in server.received[0]
    assert b"Bearer of-the-file-0123456789\r\n" in server.received[1]


@pytest.mark.parametrize(
    ("status", "code", "next_step"),
    [
        (401, "unauthorized", "set SERVING_TOKEN"),
        (403, "forbidden", "serving.allowed_hosts"),
        (429, "busy", "the same command again"),
        (503, "not_ready", "/readyz"),
        (503, "timeout", "send fewer"),
        (408, "too_slow", "the same command again"),
        (500, "failed", "an internal error"),
        (409, "no_transactions", "correct the request"),
    ],
)
def test_each_refusal_names_a_next_step(serve, status, code, next_step):
    server = serve(http(status, {"error": "no, because", "code": code}, "retry-after: 0"))
    with pytest.raises(UserError, match=f"refused the request .{status}.: no, because") as caught:
        predict(server, {})
    assert next_step in caught.value.next_step and server.url in str(caught.value)


# --- the real service --------------------------------------------------------------------------


def test_the_client_reads_the_answers_of_the_real_service(running):
    with Client(running.url) as client:
        assert client.ready()
        answer = client.predict([ROW | {"customer_id": "a"}, ROW | {"recency_days": np.float32(7)}])
        about = client.model()
        assert answer.model.bundle_sha256 == about.bundle_sha256 == running.bundle.sha256
        assert [one.customer_id for one in answer.predictions] == ["a", None]
        assert [one["name"] for one in about.features] == [one.name for one in CATALOGUE]
        skipped = client.predict([ROW, ROW | {"is_home": 7}], on_error="skip").skipped
        assert [one.row for one in skipped] == [1] and skipped[0].detail[0].field == "is_home"


@pytest.mark.parametrize("wrong", [-3.0, float("nan"), "three", None])
def test_the_client_reads_the_refusals_of_the_real_service(running, wrong):
    with Client(running.url) as client, pytest.raises(ServiceRefused) as caught:
        client.predict([ROW, ROW | {"recency_days": wrong}])
    refused = caught.value
    assert (refused.status, refused.code) == (400, "invalid")
    assert (refused.detail[0].row, refused.detail[0].field) == (1, "recency_days")
    assert isinstance(refused, ServiceError) and refused.url == running.url


def test_threads_share_a_client(running):
    rows = [ROW | {"customer_id": str(n), "recency_days": n + 1.0} for n in range(40)]
    with Client(running.url) as client, ThreadPoolExecutor(8) as pool:
        alone = [client.predict([one]).predictions for one in rows]
        assert list(pool.map(lambda one: client.predict([one]).predictions, rows)) == alone
