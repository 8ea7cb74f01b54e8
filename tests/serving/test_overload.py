"""More than the service can do: it says so at once, forgets nothing, and is itself again after."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from made_graphs import bundle_of, endless
from real_service import ROW, Running, bought, customers, line, read_answer, started

pytestmark = pytest.mark.slow

PLACES, SECONDS = 4, 0.6
HOST = b"host: localhost\r\ncontent-type: application/json\r\n"
POST = b"POST /predict HTTP/1.1\r\n" + HOST
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
ONE = json.dumps(customers(ROW)).encode()
DAYS = range(1, 360, 9)
MANY = bought(
    *(
        {"customer_id": f"c{number}", "lines": [line(f"{number}-{day}", day) for day in DAYS]}
        for number in range(50)
    )
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A service with few places, and little time for each request. Its model takes for ever over
    a customer with a value beyond a million."""
    with started(
        tmp_path_factory.mktemp("small"),
        *("--serving.max_concurrency", str(PLACES), "--serving.max_seconds", str(SECONDS)),
        make=lambda folder: bundle_of(folder, 0.5, graph=endless(beyond=1e6)),
    ) as running:
        yield running


def read(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    status, headers, body = read_answer(connection)
    return status, headers, json.loads(body)


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def itself_again(running: Running) -> None:
    running.wait_for(lambda: running.count("golden_path_in_flight") == 0)
    assert running.post("/predict", customers(ROW)).status_code == 200


# --- places --------------------------------------------------------------------------------------


def test_a_body_that_does_not_end_times_out_and_frees_its_place(small):
    status = 200
    while status == 200:  # all four places were not taken at that moment
        with ExitStack() as stack:
            begun = POST + b'content-length: 99\r\n\r\n{"cust'
            slow = [stack.enter_context(small.connected(begun)) for _ in range(PLACES - 1)]
            drips = stack.enter_context(small.connected(POST + CHUNKED))
            began = time.monotonic()
            time.sleep(0.1)
            refused = small.post("/predict", customers(ROW))
            status = refused.status_code
            if status == 200:
                continue
            assert (status, refused.json()["code"]) == (429, "busy")
            assert refused.headers["retry-after"] == "1"
            # Who looks after the service, or asks what it is, needs no place.
            for path in ("/livez", "/readyz", "/model", "/metrics", "/"):
                assert small.get(path).status_code == 200
            with suppress(OSError):
                while time.monotonic() < began + SECONDS + 0.4:
                    drips.sendall(b"1\r\n \r\n")
                    time.sleep(0.1)
            for one in (*slow, drips):
                status, headers, body = read(one)
                assert (status, body["code"]) == (408, "too_slow")
                assert headers["connection"] == "close" and closed(one)
            assert time.monotonic() - began > SECONDS - 0.2
    itself_again(small)


@pytest.mark.parametrize("path", ["/predict", "/explain"])  # in the event loop, and in threads
def test_an_endless_computation_times_out_and_frees_its_place(small, path):
    def ask(_: int) -> httpx.Response:
        while True:
            answer = small.post(path, customers(ROW, ROW | {"recency_days": 1e9}))
            if answer.status_code != 408:  # its body came late, the machine or the loop being busy
                return answer

    with ThreadPoolExecutor(PLACES) as pool:
        answers = list(pool.map(ask, range(PLACES)))
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "timeout")}
    assert {one.headers["retry-after"] for one in answers} == {"2"}
    itself_again(small)


def test_a_flood_is_answered_or_refused_within_bounded_memory(small):
    (worker,), limit = small.workers, time.monotonic() + 120
    seen: list[tuple[int, str, str]] = []

    def flood(path: str, body: bytes) -> None:
        with small.client() as client:
            statuses: list[int] = []
            while statuses.count(429) <= 100 or 200 not in statuses:  # enough to add up
                assert time.monotonic() < limit
                answer = client.post(path, content=body)
                again, code = answer.headers.get("retry-after", ""), answer.json().get("code", "")
                seen.append((answer.status_code, again, code))
                statuses = [status for status, *_ in seen]

    before, many = worker.memory_info().rss, json.dumps(MANY).encode()
    with ThreadPoolExecutor(20) as pool:
        work = [*[("/predict_transactions", many)] * 16, *[("/predict", ONE)] * 4]
        list(pool.map(lambda job: flood(*job), work))
    # 408: of a body that is longer on its way than SECONDS, where the machine is busy.
    assert {200, 429} <= {status for status, *_ in seen} <= {200, 408, 429, 503}
    assert {(again, code) for status, again, code in seen if status == 429} == {("1", "busy")}
    assert {(again, code) for status, again, code in seen if status == 503} <= {("2", "timeout")}
    assert worker.memory_info().rss < before + 250 * 2**20
    itself_again(small)
    assert len(small.post("/predict_transactions", MANY).json()["predictions"]) == 50


def test_the_largest_requests_of_many_clients_stay_within_the_memory_of_a_worker(tmp_path):
    """With the limits as they are: what is not answered is turned away before it is held."""
    invoices = [line(str(number // 5), 1 + number % 360) for number in range(20_000)]
    body = json.dumps(bought({"customer_id": "17850", "lines": invoices}))
    with started(tmp_path) as running, ThreadPoolExecutor(40) as pool:
        (worker,), peak, done = running.workers, [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], worker.memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()
        answers = pool.map(
            lambda _: running.post("/predict_transactions", content=body).status_code, range(40)
        )
        statuses = set(answers)
        done.set()
        watching.join()
        itself_again(running)
    assert {200, 429} <= statuses <= {200, 429, 503}
    assert peak[0] < 450 * 2**20


def test_refused_requests_leak_neither_memory_nor_threads(small):
    """Of whatever ends in refusal: a place, a thread, a body that is kept would add up."""
    (worker,), wrong = small.workers, json.dumps(MANY).replace('"quantity": 2', '"quantity": "2"')
    bodies = ["{", '{"customers": [{"x": 1}]}', wrong, json.dumps(MANY)]

    def refuse(times: int) -> int:
        with small.client() as client:
            for number in range(times):
                client.post("/predict", content=bodies[number % 4])
                client.post("/predict_transactions", content=bodies[number % 4])
                client.get(f"/nothing-{number}")
        return worker.memory_info().rss

    first = refuse(60)
    assert refuse(180) < first + 20 * 2**20
    assert worker.num_threads() < 40


# --- bodies: raw HTTP, for what no client library sends ------------------------------------------


@pytest.mark.parametrize("expect", [b"", b"expect: 100-continue\r\n"])
def test_a_body_announced_as_too_large_is_refused_unread(small, expect):
    for path in (b"/predict", b"/predict_transactions", b"/explain"):
        head = b"POST %s HTTP/1.1\r\n%s%scontent-length: 99999999999\r\n\r\n"
        with small.connected(head % (path, HOST, expect)) as connection:
            status, headers, body = read(connection)
            assert (status, body["code"]) == (413, "too_large")
            assert headers["connection"] == "close" and closed(connection)


def test_a_body_without_a_length_is_read_and_refused_where_it_is_too_large(small):
    for n in (1, 7, 10_000):
        chunks = iter([ONE[at : at + n] for at in range(0, len(ONE), n)])
        assert small.post("/predict", content=chunks).status_code == 200
    with small.connected(POST + CHUNKED) as connection:
        with suppress(OSError):  # closed while it is still being sent
            for _ in range(500):
                connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert read(connection)[0] == 413
    itself_again(small)


def test_a_body_that_is_cut_off_is_not_answered_even_if_it_parses(small):
    def late() -> float:
        return small.count("requests_total", 'endpoint="predict"', 'status="408"')

    answered, before = small.count("golden_path_predictions_total"), late()
    for body in (
        b"content-length: 9999\r\n\r\n" + ONE,
        CHUNKED + b"%x\r\n%s\r\n" % (len(ONE), ONE),
    ):
        with small.connected(POST + body):
            time.sleep(0.1)
    small.wait_for(lambda: late() == before + 2)
    assert small.count("golden_path_predictions_total") == answered


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"content-type: text/plain", b"host: evil.example"])
def test_a_trailer_does_not_replace_a_header(small, name):
    body = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(ONE), ONE, name)
    with small.connected(POST + CHUNKED + body) as connection:
        status, _, answer = read(connection)
    assert (status, answer["detail"][0]["what"]) == (400, "is given twice")


def test_an_upgrade_to_another_protocol_is_declined(small):
    """As curl --http2 and Java's client make it. uvicorn drops the body of such a request, so it
    is refused with what to do, and the connection closed: the body is not read as a request."""
    get = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n%s\r\n"
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    with small.connected(get % offer) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    body = get % b""
    with small.connected(b"%s%scontent-length: %d\r\n\r\n" % (POST, offer, len(body))) as sending:
        time.sleep(0.02)
        sending.sendall(body)
        status, headers, answer = read(sending)
        assert (status, answer["detail"][0]["where"]) == (400, "headers.upgrade")
        assert "HTTP/1.1 only" in answer["error"] and headers["connection"] == "close"
        assert closed(sending)
    offer = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with small.connected(get % (offer + key)) as connection:
        assert connection.recv(1000).split()[1] in (b"403", b"200")  # whether uvicorn knows it
    itself_again(small)
