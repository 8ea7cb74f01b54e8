"""How the service ends: what was begun is answered, and nothing is left; and what kills it."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.dataset as ds
import pytest
from real_service import AS_OF, Running, line, started

from features.catalogue import CATALOGUE

pytestmark = pytest.mark.slow

ROW = {feature.name: max(feature.low or 0, 1.0) for feature in CATALOGUE}
BODY = json.dumps({"customers": [ROW]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(BODY)


def family(running: Running) -> tuple[psutil.Process, psutil.Process]:
    """The process that looks after the workers, and the one worker."""
    arbiter, worker = running.launcher.children(recursive=True)
    return arbiter, worker


def connect(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), 60)


def status(connection: socket.socket) -> int:
    with connection.makefile("rb") as answer:
        first, *lines = iter(answer.readline, b"\r\n")
        length = next(one for one in lines if one.startswith(b"content-length"))
        answer.read(int(length.split()[1]))
        return int(first.split()[1])


def eventually(true: Any, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.02)


def refused(running: Running) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", running.port)) != 0


def metric(running: Running, name: str) -> float:
    text = httpx.get(f"{running.url}/metrics", trust_env=False, timeout=60).text
    return sum(float(one.split()[-1]) for one in text.splitlines() if one.startswith(name))


def in_flight(running: Running) -> float:
    return metric(running, "golden_path_in_flight")


def predict(running: Running) -> int:
    url = f"{running.url}/predict"
    return httpx.post(url, content=BODY, trust_env=False, timeout=60).status_code


def test_what_was_begun_is_answered_and_nothing_is_left(tmp_path: Path) -> None:
    usual = ("--serving.log_requests", "true", "--serving.max_seconds", "25")
    with started(tmp_path, *usual) as running:
        everyone = [running.launcher, *family(running)]
        assert [predict(running) for _ in range(5)] == [200] * 5
        begun = [connect(running) for _ in range(4)]
        for one in begun:
            one.sendall(HEAD + BODY[:-1])
        idle = connect(running)
        eventually(lambda: in_flight(running) == 4)
        worker = family(running)[1]
        eventually(lambda: len(worker.net_connections("tcp")) == 6)  # one listens
        running.launcher.send_signal(signal.SIGTERM)
        # Who comes now is refused, though four are still being answered.
        eventually(lambda: refused(running))
        for one in begun:
            with closing(one):
                one.sendall(BODY[-1:])
                assert status(one) == 200
                assert one.recv(1) == b""
        with closing(idle):
            assert idle.recv(1) == b""
        assert running.launcher.wait(60) == 0
        eventually(lambda: not any(one.is_running() for one in everyone))
        assert "Traceback" not in running.log.read_text()
    log = ds.dataset(running.var / "serving" / "log", partitioning="hive").to_table()
    assert log.num_rows == 9


def test_of_many_large_requests_each_is_answered_or_turned_away(tmp_path: Path) -> None:
    """More than there is time for: whoever was taken in is told so in the one shape."""
    invoices = [line(str(number // 5), 1 + number % 360) for number in range(20_000)]
    customers = [{"customer_id": "17850", "lines": invoices}]
    body = json.dumps({"as_of": str(AS_OF), "customers": customers}).encode()
    clients, connected = 24, threading.Barrier(25)
    with (
        started(tmp_path, "--serving.max_seconds", "2") as running,
        ThreadPoolExecutor(clients) as pool,
    ):

        def ask(_: int) -> httpx.Response:
            with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
                assert client.get("/livez").status_code == 200
                connected.wait()
                return client.post("/predict_transactions", content=body)

        def all_there(running: Running) -> bool:
            """Whoever is not there yet may be refused the connection."""
            answered = metric(running, 'golden_path_requests_total{endpoint="predict_transactions"')
            return answered + in_flight(running) >= clients

        asked = pool.map(ask, range(clients))
        connected.wait()
        eventually(lambda: all_there(running))
        time.sleep(0.5)
        eventually(lambda: all_there(running))  # what is in flight is looked at now and then
        running.launcher.send_signal(signal.SIGTERM)
        answers = list(asked)
        assert running.launcher.wait(60) == 0
        assert "Traceback" not in running.log.read_text(), running.log.read_text()
    assert len(answers) == clients
    for answer in answers:
        assert answer.status_code in (200, 429, 503)
        assert answer.status_code == 200 or answer.json()["code"] in ("busy", "timeout", "ending")


def test_a_client_that_never_finishes_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with started(tmp_path, "--serving.max_seconds", "5") as running:
        everyone = [running.launcher, *family(running)]
        with closing(connect(running)) as slow:
            slow.sendall(HEAD)
            eventually(lambda: in_flight(running) == 1)
            running.launcher.send_signal(signal.SIGTERM)
            assert running.launcher.wait(60) == 0
        assert not any(one.is_running() for one in everyone)


def test_a_worker_that_is_killed_is_followed_by_another(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        arbiter, worker = family(running)
        assert predict(running) == 200
        worker.kill()
        worker.wait(60)
        assert predict(running) == 200  # after a wait: the port was open all the time
        after, another = family(running)
        assert after == arbiter and another != worker
        text = httpx.get(f"{running.url}/metrics", trust_env=False, timeout=60).text
        serves = [one for one in text.splitlines() if one.startswith("golden_path_model_info")]
        assert [one.split()[-1] for one in serves] == ["1.0"]  # the dead one is not counted
        counted = 'golden_path_requests_total{endpoint="predict",status="200"} 2.0'
        assert counted in text  # and what it did is not forgotten


@pytest.mark.parametrize("who", ["launcher", "arbiter"])
def test_nothing_is_left_when_one_that_looks_after_the_others_is_killed(
    tmp_path: Path, who: str
) -> None:
    with started(tmp_path) as running:
        arbiter, worker = family(running)
        killed = running.launcher if who == "launcher" else arbiter
        killed.kill()
        code = running.launcher.wait(60)
        eventually(lambda: not arbiter.is_running() and not worker.is_running())
        assert refused(running)
        assert code == (-signal.SIGKILL if who == "launcher" else 1)
        told = running.log.read_text()
        assert "Traceback" not in told
        assert ("the launcher is gone" in told) or who == "arbiter"
        assert ("the service ended by itself" in told) == (who == "arbiter")
