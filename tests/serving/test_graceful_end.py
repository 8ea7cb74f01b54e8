"""How the service ends: what was begun is answered, and nothing is left; and what kills it."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pyarrow.dataset as ds
import pytest
from real_service import ROW, Running, bought, customers, line, started

pytestmark = pytest.mark.slow

BODY = json.dumps(customers(ROW)).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(BODY)


def connect(running: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), 60)


def refused(running: Running) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", running.port)) != 0


def in_flight(running: Running) -> float:
    return running.count("golden_path_in_flight")


def predict(running: Running) -> int:
    return running.post("/predict", content=BODY).status_code


def test_what_was_begun_is_answered_and_nothing_is_left(tmp_path):
    usual = ("--serving.log_requests", "true", "--serving.max_seconds", "25")
    with started(tmp_path, *usual) as running:
        (worker,) = running.workers
        everyone = [running.launcher, running.arbiter, worker]
        assert [predict(running) for _ in range(5)] == [200] * 5
        begun, idle = [connect(running) for _ in range(4)], connect(running)
        for one in begun:
            one.sendall(HEAD + BODY[:-1])
        running.wait_for(lambda: in_flight(running) == 4)
        running.wait_for(lambda: len(worker.net_connections("tcp")) == 6)  # one listens
        running.launcher.send_signal(signal.SIGTERM)
        # Who comes now is refused, though four are still being answered.
        running.wait_for(lambda: refused(running))
        for one in begun:
            with closing(one):
                one.sendall(BODY[-1:])
                answer = b"".join(iter(lambda one=one: one.recv(65536), b""))
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.split()[1] == b"200" and json.loads(body)["predictions"]
        with closing(idle):
            assert idle.recv(1) == b""
        assert running.launcher.wait(60) == 0
        running.wait_for(lambda: not any(one.is_running() for one in everyone))
        assert "Traceback" not in running.log.read_text()
    log = ds.dataset(running.var / "serving" / "log", partitioning="hive").to_table()
    assert log.num_rows == 9


def test_of_many_large_requests_each_is_answered_or_turned_away(tmp_path):
    """More than there is time for: whoever was taken in is told so in the one shape."""
    invoices = [line(str(number // 5), 1 + number % 360) for number in range(20_000)]
    body = json.dumps(bought({"customer_id": "17850", "lines": invoices})).encode()
    clients, connected = 24, threading.Barrier(25)
    with (
        started(tmp_path, "--serving.max_seconds", "2") as running,
        ThreadPoolExecutor(clients) as pool,
    ):

        def ask(_: int) -> httpx.Response:
            with running.client() as client:
                assert client.get("/livez").status_code == 200
                connected.wait()
                return client.post("/predict_transactions", content=body)

        def all_there() -> bool:
            """Whoever is not there yet may be refused the connection."""
            done = running.count("requests_total", 'endpoint="predict_transactions"')
            return done + in_flight(running) >= clients

        asked = pool.map(ask, range(clients))
        connected.wait()
        running.wait_for(all_there)
        time.sleep(0.5)
        running.wait_for(all_there)  # what is in flight is looked at now and then
        running.launcher.send_signal(signal.SIGTERM)
        answers = list(asked)
        assert running.launcher.wait(60) == 0
        assert "Traceback" not in running.log.read_text(), running.log.read_text()
    assert len(answers) == clients
    for answer in answers:
        assert answer.status_code in (200, 429, 503)
        assert answer.status_code == 200 or answer.json()["code"] in ("busy", "timeout", "ending")


def test_a_killed_worker_is_followed_by_another_and_a_client_that_never_finishes_holds_up_no_end(
    tmp_path,
):
    with started(tmp_path, "--serving.max_seconds", "5") as running:
        arbiter, (worker,) = running.arbiter, running.workers
        assert predict(running) == 200
        worker.kill()
        worker.wait(60)
        assert predict(running) == 200  # after a wait: the port was open all the time
        (another,) = running.workers
        assert running.arbiter == arbiter and another != worker
        lines = running.get("/metrics").text.splitlines()
        serves = [one for one in lines if one.startswith("golden_path_model_info")]
        assert [one.split()[-1] for one in serves] == ["1.0"]  # the dead one is not counted
        counted = 'golden_path_requests_total{endpoint="predict",status="200"} 2.0'
        assert counted in lines  # and what it did is not forgotten
        with closing(connect(running)) as slow:
            slow.sendall(HEAD)
            running.wait_for(lambda: in_flight(running) == 1)
            running.launcher.send_signal(signal.SIGTERM)
            assert running.launcher.wait(60) == 0
        assert not any(one.is_running() for one in (running.launcher, arbiter, another))


@pytest.mark.parametrize("who", ["launcher", "arbiter"])
def test_nothing_is_left_when_one_that_looks_after_the_others_is_killed(tmp_path, who):
    with started(tmp_path) as running:
        arbiter, (worker,) = running.arbiter, running.workers
        (running.launcher if who == "launcher" else arbiter).kill()
        code = running.launcher.wait(60)
        running.wait_for(lambda: not arbiter.is_running() and not worker.is_running())
        assert refused(running)
        assert code == (-signal.SIGKILL if who == "launcher" else 1)
        log = running.log.read_text()
        assert "Traceback" not in log
        assert ("the launcher is gone" in log) or who == "arbiter"
        assert ("the service ended by itself" in log) == (who == "arbiter")
