"""Connections: what waits on them, what they hold, and when they are given up.

uvicorn on loopback with our protocol and a small application, in this process: so that a test can
say when the connections are looked after, and depends on no clock.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import uvicorn

from serving.web import protocol
from serving.web.protocol import HEADERS, PIECE, Protocol

ASK = b"GET /%d HTTP/1.1\r\n\r\n"
LARGE = (
    3_000_000  # bytes of an answer: more than the kernel holds for two sockets with small buffers
)
SECONDS = 60  # until a test gives up


class Server:
    """Answers a number with the number, `/large` with much, `/wait` once it is let go on."""

    def __init__(self) -> None:
        self.go_on, self.asked = threading.Event(), 0
        config = uvicorn.Config(
            self.app,
            **{"http": Protocol, "loop": "uvloop", "lifespan": "off", "interface": "asgi3"},
            log_config=None,
            access_log=False,
            port=0,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        eventually(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        self.loop = asyncio.get_running_loop()
        body = scope["path"].encode()
        if body == b"/large":
            body = b"x" * LARGE
        if body == b"/wait":
            await asyncio.to_thread(self.go_on.wait, SECONDS)
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        for at in range(0, len(body), 100_000):
            more = at + 100_000 < len(body)
            chunk = body[at : at + 100_000]
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

    def connect(self, *sent: bytes, buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(b"".join(sent))
        return connection

    def connections(self) -> list[Protocol]:
        return list(self.server.server_state.connections)  # type: ignore[arg-type]

    def of(self, connection: socket.socket) -> Protocol:
        """The other end."""
        (found,) = [x for x in self.connections() if x.client == connection.getsockname()]
        return found

    def sweep(self, times: int = 1) -> None:
        """The connections are looked after, with all that has come in between."""
        for _ in range(times):
            done = threading.Event()

            def look(done: threading.Event = done) -> None:
                Protocol._sweep(self.loop, self.server.server_state.connections)
                self.loop.call_later(0.01, done.set)

            self.loop.call_soon_threadsafe(look)
            assert done.wait(SECONDS)

    def close(self) -> None:
        self.go_on.set()
        self.server.should_exit = True
        self.thread.join(SECONDS)


def eventually(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(protocol, "SWEEP", 1e6)  # a test looks itself
    monkeypatch.setattr(Protocol, "sweeping", False)
    monkeypatch.setattr(Protocol, "seconds", 0.0)  # whatever is not there yet is late
    found = Server()
    with closing(found), closing(found.connect(ASK % 0)) as first:
        assert answers(first, 1) == [b"/0"]
        yield found
    eventually(lambda: not found.connections())
    assert Protocol.held == 0, "nothing is held for who is not there any more"


def answers(connection: socket.socket, n: int) -> list[bytes]:
    """The bodies of the next n answers, and a status that is not 200."""
    found = []
    with connection.makefile("rb") as stream:
        for _ in range(n):
            status = stream.readline().split()[1]
            headers = dict(x.split(b": ", 1) for x in iter(stream.readline, b"\r\n"))
            body = stream.read(int(headers[b"content-length"]))
            found.append(body if status == b"200" else status + b" " + body)
    return found


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.slow
def test_what_is_asked_ahead_waits_unread_and_is_answered_in_order(server: Server) -> None:
    n = 20_000
    with closing(server.connect(ASK.replace(b"%d", b"wait"))) as connection:
        eventually(lambda: server.asked == 2)
        sent = b"".join(ASK % number for number in range(n))
        sending = threading.Thread(target=connection.sendall, args=(sent,))
        sending.start()
        eventually(lambda: Protocol.held > 0)
        waiting = server.of(connection)
        server.sweep(2)
        assert len(waiting._unread) <= 300_000 < len(sent), "one read of the event loop"
        assert len(waiting.pipeline) <= PIECE / len(ASK)
        assert server.asked == 2, "the next one has not begun"
        server.go_on.set()
        assert answers(connection, n + 1) == [b"/wait", *(b"/%d" % number for number in range(n))]
        sending.join()
        eventually(lambda: Protocol.held == 0)


def test_when_all_hold_too_much_who_began_first_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HELD_BYTES", 500_000)
    wait, long = (
        ASK.replace(b"%d", b"wait"),
        ASK.replace(b"\r\n\r\n", b"\r\nx: %s\r\n\r\n" % (b"y" * 1000)),
    )
    with ExitStack() as stack:
        opened = []
        for number in range(8):
            one = stack.enter_context(closing(server.connect(wait)))
            eventually(lambda n=number: server.asked == n + 2)  # type: ignore[misc]
            ours = server.of(one)
            one.sendall(long % number * 90)
            eventually(lambda ours=ours: ours._held > 0)  # type: ignore[misc]
            opened.append(one)
        assert ended(opened[0]), "the first one"
        server.go_on.set()
        assert answers(opened[-1], 91) == [b"/wait", *[b"/7"] * 90]


def test_who_only_stops_sending_is_answered(server: Server) -> None:
    with closing(server.connect(*(ASK % number for number in range(3_000)))) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert answers(connection, 3_000) == [b"/%d" % number for number in range(3_000)]
        assert ended(connection)
    with closing(server.connect(ASK % 1, b"GET /2 HT")) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert answers(connection, 1) == [b"/1"]
        assert ended(connection)


def test_what_was_asked_before_a_request_that_is_refused_is_answered_first(server: Server) -> None:
    wait = ASK.replace(b"%d", b"wait")
    with closing(server.connect(wait, ASK % 1, b"what is this\r\n\r\n")) as connection:
        server.go_on.set()
        first, second, third = answers(connection, 3)
        assert (first, second) == (b"/wait", b"/1")
        assert third.startswith(b"400 ") and b"is no HTTP/1.1" in third
        assert ended(connection)


@pytest.mark.parametrize("more", [0, 1])
def test_a_head_may_have_so_many_headers(server: Server, more: int) -> None:
    head = (ASK % 1).replace(b"\r\n\r\n", b"\r\n") + b"a:\r\n" * (HEADERS + more) + b"\r\n"
    with closing(server.connect(head)) as connection:
        (said,) = answers(connection, 1)
    assert said.startswith(b"400 ") and b"more than 100 headers" in said if more else said == b"/1"


def test_what_is_late_is_given_up_only_when_it_is_not_there(server: Server) -> None:
    """A service that was stopped for a while finds what came meanwhile, and answers it."""
    with closing(server.connect(b"GET /1 ")) as late, closing(server.connect(b"GET /1 ")) as never:
        eventually(lambda: sum(one._in_head for one in server.connections()) == 2)
        server.sweep()
        late.sendall(b"HTTP/1.1\r\n\r\n")
        assert answers(late, 1) == [b"/1"]
        server.sweep(2)
        (said,) = answers(never, 1)
        assert said.startswith(b"408 ") and ended(never)
        late.sendall(ASK % 2)  # however long it has been idle: uvicorn looks after that
        assert answers(late, 1) == [b"/2"]


def test_a_client_that_does_not_read_is_cut_off_with_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol, "SLOWEST", 1e12)
    caplog.set_level(logging.INFO)
    large = ASK.replace(b"%d", b"large")
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(closing(server.connect(large * 3, buffer=4096)))
        eventually(lambda: sum(one.flow.write_paused for one in server.connections()) == 3)
        assert Protocol.held > 0
        server.sweep()
        assert len(server.connections()) == 4, "they may be reading just now"
        sweeps = 1
        while len(server.connections()) > 1:
            server.sweep()
            sweeps += 1
        server.sweep()
    said = [one.getMessage() for one in caplog.records if one.name == "golden_path.serving"]
    assert len(said) <= sweeps, "a line for all that a sweep has found"
    assert sum(int(one.rpartition(": ")[2]) for one in said) == 3
    assert [one for one in caplog.records if one.name == "uvicorn.error" and one.levelno > 20] == []
