"""More than the service can do: it says so at once, forgets nothing, and is itself again after."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from made_graphs import bundle_of, endless
from real_service import AS_OF, Running, line, started

from features.catalogue import CATALOGUE

pytestmark = pytest.mark.slow

PLACES, SECONDS = 4, 0.6
ROW = {feature.name: max(feature.low or 0, 1.0) for feature in CATALOGUE}
HOST = b"host: localhost\r\ncontent-type: application/json\r\n"
MANY = json.dumps(
    {
        "as_of": str(AS_OF),
        "customers": [
            {
                "customer_id": f"c{number}",
                "lines": [line(f"{number}-{day}", day) for day in range(1, 360, 9)],
            }
            for number in range(50)
        ],
    }
).encode()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with few places, and little time for each request. Its model takes for ever over
    a customer with a value beyond a million."""
    with started(
        tmp_path_factory.mktemp("small"),
        *("--serving.max_concurrency", str(PLACES), "--serving.max_seconds", str(SECONDS)),
        make=lambda folder: bundle_of(folder, 0.5, graph=endless(beyond=1e6)),
    ) as running:
        yield running


def connect(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), 60)


def read(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of the next answer."""
    with connection.makefile("rb") as answer:
        status = int(answer.readline().split()[1])
        lines = iter(answer.readline, b"\r\n")
        headers = dict(one.decode().rstrip().lower().split(": ", 1) for one in lines)
        return status, headers, json.loads(answer.read(int(headers["content-length"])))


def predict(running: Running, rows: int = 1) -> httpx.Response:
    body = json.dumps({"customers": [ROW] * rows})
    return httpx.post(f"{running.url}/predict", content=body, trust_env=False, timeout=60)


def metric(running: Running, name: str) -> float:
    text = httpx.get(f"{running.url}/metrics", trust_env=False, timeout=60).text
    return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(name))


def worker(running: Running) -> psutil.Process:
    (found,) = running.launcher.children(recursive=True)[1:]
    return found


def connections(running: Running) -> int:
    found = worker(running).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def eventually(true: Any, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)


def itself_again(running: Running) -> None:
    eventually(lambda: metric(running, "golden_path_in_flight") == 0)
    assert predict(running).status_code == 200


# --- places --------------------------------------------------------------------------------------


def test_bodies_that_do_not_end_are_given_up_and_their_places_free_again(small: Running) -> None:
    refused = predict(small)
    while refused.status_code == 200:  # all four places were not taken at that moment
        slow, began, refused = hold_all_places(small)
    assert refused.status_code == 429 and refused.json()["code"] == "busy"
    with ExitStack() as stack:
        for one in slow:
            stack.enter_context(closing(one))
        assert refused.headers["retry-after"] == "1"
        # Who looks after the service, or asks what it is, needs no place.
        for path in ("/livez", "/readyz", "/model", "/metrics", "/"):
            assert httpx.get(small.url + path, trust_env=False, timeout=60).status_code == 200
        for one in slow:
            status, headers, body = read(one)
            assert (status, body["code"]) == (408, "too_slow")
            assert headers["connection"] == "close" and one.recv(1) == b""
        assert time.monotonic() - began > SECONDS - 0.2
    itself_again(small)


def hold_all_places(running: Running) -> tuple[list[socket.socket], float, httpx.Response]:
    """Bodies that have begun, when that was, and what somebody else is told then."""
    slow, began = [connect(running) for _ in range(PLACES)], time.monotonic()
    for one in slow:
        one.sendall(b'POST /predict HTTP/1.1\r\n%scontent-length: 99\r\n\r\n{"cust' % HOST)
    time.sleep(0.1)
    return slow, began, predict(running)


def test_a_body_that_drips_is_given_up_as_well(small: Running) -> None:
    with closing(connect(small)) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\n%stransfer-encoding: chunked\r\n\r\n" % HOST)
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < began + SECONDS + 0.4:
                slow.sendall(b"1\r\n \r\n")
                time.sleep(0.1)
        assert read(slow)[0] == 408
    itself_again(small)


@pytest.mark.parametrize("path", ["predict", "explain"])  # in the event loop, and in threads
def test_what_takes_for_ever_is_given_up_and_its_place_free_again(
    small: Running, path: str
) -> None:
    body = json.dumps({"customers": [ROW, ROW | {"recency_days": 1e9}]})

    def ask(_: int) -> httpx.Response:
        while True:
            answer = httpx.post(f"{small.url}/{path}", content=body, trust_env=False, timeout=60)
            if answer.status_code != 408:  # its body came late, the machine or the loop being busy
                return answer

    with ThreadPoolExecutor(PLACES) as pool:
        answers = list(pool.map(ask, range(PLACES)))
    assert {(one.status_code, one.json()["code"]) for one in answers} == {(503, "timeout")}
    assert {one.headers["retry-after"] for one in answers} == {"2"}
    itself_again(small)


def test_a_flood_is_answered_or_turned_away_at_once(small: Running) -> None:
    process, limit = worker(small), time.monotonic() + 120
    seen: list[tuple[int, str, str]] = []

    def enough() -> bool:
        """Both have been seen, and turned away often enough to add up."""
        statuses = [status for status, *_ in seen]
        return statuses.count(429) > 100 and 200 in statuses

    def flood(path: str, body: bytes) -> None:
        with httpx.Client(base_url=small.url, trust_env=False, timeout=60) as client:
            while not enough():
                assert time.monotonic() < limit
                answer = client.post(path, content=body)
                again, code = answer.headers.get("retry-after", ""), answer.json().get("code", "")
                seen.append((answer.status_code, again, code))

    one = json.dumps({"customers": [ROW]}).encode()
    before = process.memory_info().rss
    with ThreadPoolExecutor(20) as pool:
        work = [*[("/predict_transactions", MANY)] * 16, *[("/predict", one)] * 4]
        list(pool.map(lambda job: flood(*job), work))
    # 408: of a body that is longer on its way than SECONDS, where the machine is busy.
    assert {200, 429} <= {status for status, *_ in seen} <= {200, 408, 429, 503}
    assert {(again, code) for status, again, code in seen if status == 429} == {("1", "busy")}
    assert {(again, code) for status, again, code in seen if status == 503} <= {("2", "timeout")}
    assert process.memory_info().rss < before + 250 * 2**20
    itself_again(small)
    # What was answered meanwhile was answered right.
    alone = httpx.post(
        f"{small.url}/predict_transactions", content=MANY, trust_env=False, timeout=60
    ).json()
    assert len(alone["predictions"]) == 50


def test_the_largest_requests_of_many_clients_stay_within_the_memory_of_a_worker(
    tmp_path: Path,
) -> None:
    """With the limits as they are: what is not answered is turned away before it is held."""
    invoices = [line(str(number // 5), 1 + number % 360) for number in range(20_000)]
    customers = [{"customer_id": "17850", "lines": invoices}]
    body = json.dumps({"as_of": str(AS_OF), "customers": customers}).encode()
    with started(tmp_path) as running, ThreadPoolExecutor(40) as pool:
        process, peak, done = worker(running), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], process.memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()

        def ask(_: int) -> int:
            url = f"{running.url}/predict_transactions"
            return httpx.post(url, content=body, trust_env=False, timeout=60).status_code

        answers = set(pool.map(ask, range(40)))
        done.set()
        watching.join()
        itself_again(running)
    assert {200, 429} <= answers <= {200, 429, 503}
    assert peak[0] < 450 * 2**20


def test_many_floods_leave_no_memory_behind(small: Running) -> None:
    """Of whatever ends in refusal: a place, a thread, a body that is kept would add up."""
    process = worker(small)
    bad = [b"{", b'{"customers": [{"x": 1}]}', MANY.replace(b'"quantity": 2', b'"quantity": "2"')]

    def refuse(times: int) -> int:
        with httpx.Client(base_url=small.url, trust_env=False, timeout=60) as client:
            for number in range(times):
                client.post("/predict", content=bad[number % 3])
                client.post("/predict_transactions", content=bad[number % 3])
                client.get(f"/nothing-{number}")
        return process.memory_info().rss

    first = refuse(60)
    assert refuse(180) < first + 20 * 2**20
    assert process.num_threads() < 40


# --- bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/predict", "/predict_transactions", "/explain"])
@pytest.mark.parametrize("expect", [b"", b"expect: 100-continue\r\n"])
def test_a_body_announced_as_too_large_is_refused_unread(
    small: Running, path: str, expect: bytes
) -> None:
    with closing(connect(small)) as connection:
        head = b"POST %s HTTP/1.1\r\n%s%scontent-length: 99999999999\r\n\r\n"
        connection.sendall(head % (path.encode(), HOST, expect))
        status, headers, body = read(connection)
        assert (status, body["code"]) == (413, "too_large")
        assert headers["connection"] == "close" and connection.recv(1) == b""


def test_a_body_without_a_length_is_read_and_refused_where_it_is_too_large(small: Running) -> None:
    def chunks(body: bytes, n: int) -> Iterator[bytes]:
        for at in range(0, len(body), n):
            yield body[at : at + n]

    whole = json.dumps({"customers": [ROW]}).encode()
    with httpx.Client(base_url=small.url, trust_env=False, timeout=60) as client:
        for n in (1, 7, 10_000):
            assert client.post("/predict", content=chunks(whole, n)).status_code == 200
    with closing(connect(small)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\n%s" % HOST)
        connection.sendall(b"transfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with suppress(OSError):  # closed while it is still being sent
            for _ in range(500):
                connection.sendall(chunk)
        assert read(connection)[0] == 413
    itself_again(small)


def test_a_body_broken_off_is_not_answered_even_where_it_looks_whole(small: Running) -> None:
    body = json.dumps({"customers": [ROW]}).encode()
    answered = metric(small, "golden_path_predictions_total")
    late = metric(small, 'golden_path_requests_total{endpoint="predict",status="408"}')
    for length in (b"content-length: 9999\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"):
        with closing(connect(small)) as connection:
            chunk = body if b"9999" in length else b"%x\r\n%s\r\n" % (len(body), body)
            connection.sendall(b"POST /predict HTTP/1.1\r\n" + HOST + length + chunk)
            time.sleep(0.1)
    eventually(
        lambda: (
            metric(small, 'golden_path_requests_total{endpoint="predict",status="408"}') == late + 2
        )
    )
    assert metric(small, "golden_path_predictions_total") == answered


# --- connections ---------------------------------------------------------------------------------


def test_what_comes_while_the_worker_stands_still_is_answered(small: Running) -> None:
    """The connection has not been used for longer than a request may take, and what is sent on it
    arrives before the worker looks at its clock: it must not be closed over that."""
    with closing(connect(small)) as connection:
        ask = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"

        def answer() -> bytes:  # head and body may come in two parts
            got = b""
            while not got.endswith(b"alive\n") and (more := connection.recv(1000)):
                got += more
            return got

        for _ in range(2):
            connection.sendall(ask)
            assert answer().startswith(b"HTTP/1.1 200")
            worker(small).suspend()
            try:
                connection.sendall(ask)
                time.sleep(SECONDS + 1.5)
            finally:
                worker(small).resume()
            assert answer().startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("name", [b"content-type: text/plain", b"host: evil.example"])
def test_a_trailer_does_not_replace_a_header(small: Running, name: bytes) -> None:
    body = json.dumps({"customers": [ROW]}).encode()
    sent = b"POST /predict HTTP/1.1\r\n%stransfer-encoding: chunked\r\n\r\n" % HOST
    sent += b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, name)
    with closing(connect(small)) as connection:
        connection.sendall(sent)
        status, _, answer = read(connection)
    assert (status, answer["detail"][0]["what"]) == (400, "is there twice")


def test_an_offer_of_another_protocol_is_not_taken_up(small: Running) -> None:
    """As curl --http2 and Java's client make it. uvicorn drops the body of such a request, so it
    is refused with what to do, and the connection closed: the body is not read as a request."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    with closing(connect(small)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n%s\r\n" % offer)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    body = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with closing(connect(small)) as connection:
        head = b"POST /predict HTTP/1.1\r\n%s%scontent-length: %d\r\n\r\n"
        connection.sendall(head % (HOST, offer, len(body)))
        time.sleep(0.02)
        connection.sendall(body)
        status, headers, answer = read(connection)
        assert (status, answer["detail"][0]["where"]) == (400, "headers.upgrade")
        assert "HTTP/1.1 only" in answer["error"] and headers["connection"] == "close"
        with suppress(ConnectionError):
            assert connection.recv(1) == b""
    with closing(connect(small)) as connection:
        offer = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n%s%s\r\n" % (offer, key))
        assert connection.recv(1000).split()[1] in (b"403", b"200")  # whether uvicorn knows it
    itself_again(small)


def test_requests_in_one_packet_are_answered_one_after_the_other(small: Running) -> None:
    body = json.dumps({"customers": [ROW | {"customer_id": "@@"}]}).encode()
    with closing(connect(small)) as connection:
        sent = b"".join(
            b"POST /predict HTTP/1.1\r\n%scontent-length: %d\r\n\r\n%s" % (HOST, len(body), body)
            for _ in range(30)
        )
        ids = [b"%02d" % number for number in range(30)]
        for one in ids:
            sent = sent.replace(b"@@", one, 1)
        done = threading.Thread(target=connection.sendall, args=(sent,))
        done.start()
        with connection.makefile("rb") as answers:
            for one in ids:
                assert answers.readline().split()[1] == b"200"
                headers = dict(x.split(b": ", 1) for x in iter(answers.readline, b"\r\n"))
                told = json.loads(answers.read(int(headers[b"content-length"])))
                assert told["predictions"][0]["customer_id"] == one.decode()
        done.join()
