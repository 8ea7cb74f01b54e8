"""HTTP itself, as uvicorn speaks it, with bounds on what it leaves open and on what it holds.

    a head that does not end                   closed after the seconds of a request, or at 64 KiB
    an answer that is not taken                cut off when it is taken far too slowly
    requests sent ahead                        read no further until the one before is answered, and
                                               its answer taken
    what all connections together hold         at most 64 MiB: who has held some longest is cut off
    connections that only stand there          so many at once, others are told to come again
    what is no HTTP                            refused in the one shape, without a line in the log
    an offer to speak something else           not taken up, as HTTP allows: WebSocket, HTTP/2

BentoML starts uvicorn and hands on few of its settings, so this takes the place of its protocol.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from collections.abc import Callable
from typing import Any

import httptools
import uvicorn.config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.refusal import Problem, Refused, invalid

log = logging.getLogger("golden_path.serving")
HEAD_BYTES = 64 * 1024
HEADERS = 100
PIECE = 2048  # bytes that are parsed at once: no more requests wait on a connection than fit in
WAITING_BYTES = 4096  # what such a request takes
HELD_BYTES = 64 * 2**20  # of all connections: sent ahead, or answers that are not taken
SLOWEST = 50_000  # bytes a second of an answer, beyond the seconds of a request
IDLE_SECONDS = 30  # between requests; uvicorn's own limit comes first (serving/process.py)
MOST = 1000  # connections
FILES = 100  # that the process needs besides
NOISE = ("Invalid HTTP request received.", "Unsupported upgrade request.")
SWEEP = 0.5  # seconds
FRAMING = (b"content-length", b"transfer-encoding")


class Flow(FlowControl):
    """Reads no more while there is something unread."""

    ahead = False

    def resume_reading(self) -> None:
        if not self.ahead:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """One connection."""

    seconds = 10.0
    most = MOST
    refused: Callable[[int], None] = staticmethod(lambda status: None)  # told the status
    sweeping = False  # whether the connections are looked after
    flow: Flow
    held = 0  # bytes, of all connections
    cut_off = 0  # connections, since the last sweep

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ws_protocol_class = None
        self._waits_since: float | None = None  # for a head; None: a request is being answered
        self._taken_by: float | None = None  # when the answer must have been taken
        self._overdue: float | None = None  # the deadline that the last sweep found missed
        self._in_head, self._moved, self._idle = False, False, 0
        self._data, self._rest, self._resuming = b"", b"", False
        self._unread, self._ended = bytearray(), False  # what came, and whether nothing more will
        self._held, self._held_since = 0, 0.0
        self._why = ""  # what is wrong with the request
        self._refusal: Refused | None = None  # once the requests before it are answered
        self._running: Any = None  # the request that is being answered: `cycle` is the last read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.flow = Flow(self.transport)
        self._waits_since = self.loop.time()
        if len(self.connections) > self.most:
            self._refuse(Refused("busy", f"{self.most} connections are open; ask again later"))
        elif not Protocol.sweeping:
            Protocol.sweeping = True
            self.loop.call_later(SWEEP, self._sweep, self.loop, self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    # --- what comes ---

    def data_received(self, data: bytes) -> None:
        if self._unread or len(data) > PIECE or self._under_way():
            self._unread += data
            self._go_on()
        else:
            self._parse(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays: whoever only stopped sending still wants the answer."""
        self._ended = self._under_way() or bool(self._unread)
        return self._ended

    def _under_way(self) -> bool:
        """Whether a request is whole, and not answered: until then nothing more is parsed."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _go_on(self) -> None:
        """Parse what has come, as far as it may be."""
        while self._unread and not self.transport.is_closing():
            if self._under_way() or self.flow.write_paused or self._refusal is not None:
                break
            piece = bytes(self._unread[:PIECE])
            del self._unread[:PIECE]
            self._parse(piece)
        if self.transport.is_closing():
            self._unread.clear()
        was_ahead, self.flow.ahead = self.flow.ahead, bool(self._unread)
        if self.flow.ahead:
            self.flow.pause_reading()
        elif was_ahead and len(self.cycle.body) <= HIGH_WATER_LIMIT:  # else uvicorn does it
            self.flow.resume_reading()
        if self._ended and not self._unread and not self._under_way():
            self.transport.close()
        self._weigh()

    def _parse(self, data: bytes) -> None:
        while data and not self.transport.is_closing():
            self._data, self._rest, self._moved = data, b"", False
            super().data_received(data)
            # Bytes that neither end a head nor are a body: heads that grow, trailers, and the like.
            self._idle = 0 if self._moved else self._idle + len(data)
            if self._idle > HEAD_BYTES and not self.transport.is_closing():
                if self._in_head:
                    self._refuse(_no_request(f"has a head of more than {HEAD_BYTES} bytes"))
                self.transport.close()
            data = self._rest

    def on_message_begin(self) -> None:
        if not self._resuming:
            super().on_message_begin()
            self._in_head = self._moved = True
            self._waits_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        if self._in_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes after a body decides nothing
            if len(self.headers) == HEADERS:
                self._why = f"has more than {HEADERS} headers"
                raise ValueError(self._why)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._resuming:
            self._in_head, self._moved, self._waits_since = False, True, None
            super().on_headers_complete()
            if not self.pipeline:
                self._running = self.cycle

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    # --- what goes ---

    def on_response_complete(self) -> None:
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        super().on_response_complete()
        if self.cycle.response_complete:  # none is waiting behind it
            self._waits_since = self.loop.time()
        if self._refusal is not None and not self._under_way():
            self._refuse(self._refusal)
        if self._held or self._ended:
            self._go_on()

    def pause_writing(self) -> None:
        super().pause_writing()
        left = self.transport.get_write_buffer_size()
        self._taken_by = self.loop.time() + self.seconds + left / SLOWEST
        self._weigh()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken_by = None
        self._go_on()

    def send_400_response(self, msg: str) -> None:
        self._refuse(_no_request(self._why or "is no HTTP/1.1"))

    def _unsupported_upgrade_warning(self) -> None:
        """Go on as if nothing had been offered. The parser takes the request to end with its head,
        and what follows for something that is not HTTP: so another one is told how long the body
        is, or the body of this request would be read as the next one."""
        upgrade = sys.exception()
        assert isinstance(upgrade, httptools.HttpParserUpgrade)
        self._rest = self._data[upgrade.args[0] :]
        framing = [b"%s: %s\r\n" % header for header in self.headers if header[0] in FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self._resuming = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing))
        except httptools.HttpParserError:
            self.send_400_response("")
        finally:
            self._resuming = False

    def _refuse(self, refused: Refused) -> None:
        """And close. Requests that were whole before are answered first."""
        if self.transport.is_closing():
            return
        running = self._running
        if running is not None and not running.response_complete and not running.more_body:
            self._refusal = refused
            self._unread.clear()
            return
        body = refused.body()
        headers = {
            **refused.headers,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        head = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join([STATUS_LINE[refused.status], *head, b"\r\n", body]))
        self.transport.close()
        self.refused(refused.status)

    # --- what is held, and for how long ---

    def _weigh(self) -> None:
        """Count what this connection holds. When all hold too much, who began first is cut off."""
        held = len(self._unread) + WAITING_BYTES * len(self.pipeline)
        if self.flow.write_paused:
            held += self.transport.get_write_buffer_size()
        if held and not self._held:
            self._held_since = self.loop.time()
        Protocol.held += held - self._held
        self._held = held
        if held and Protocol.held > HELD_BYTES:
            holding = [one for one in self.connections if isinstance(one, Protocol) and one._held]
            first = min(holding, key=lambda one: one._held_since)
            first._forget()
            self.loop.call_soon(first._cut_off)  # this may be called while something is written

    def _forget(self) -> None:
        """Nothing more comes of this connection."""
        self._unread.clear()
        Protocol.held -= self._held
        self._held, self._taken_by = 0, None
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn tells only the last one that was read
            self._running.message_event.set()

    def _cut_off(self) -> None:
        Protocol.cut_off += 1
        self._forget()
        self.transport.abort()

    def _deadline(self) -> float | None:
        if self._taken_by is not None or self._waits_since is None:
            return self._taken_by
        new = self.cycle is None
        return self._waits_since + (self.seconds if new or self._in_head else IDLE_SECONDS)

    @classmethod
    def _sweep(cls, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        now = loop.time()
        for one in list(connections):
            deadline = one._deadline()
            if deadline is None or now <= deadline:
                continue
            if one._overdue != deadline:
                # What is late may be here: this process was stopped or busy, and has not read it.
                one._overdue = deadline
            elif one._taken_by is not None or one.transport.is_closing():
                one._cut_off()
            elif one._in_head:
                one._waits_since = now
                late = f"the head was not there within {cls.seconds:g} seconds"
                one._refuse(Refused("too_slow", late))
            else:
                one._waits_since = now
                one.transport.close()
        if cls.cut_off:
            log.warning("connections cut off, because answers were not taken: %d", Protocol.cut_off)
            Protocol.cut_off = 0
        loop.call_later(SWEEP, cls._sweep, loop, connections)


def install(seconds: float, refused: Callable[[int], None]) -> None:
    """For every connection of this process; to be called before uvicorn is started.

    seconds: for a head, and for an answer to be taken.  refused: told what was refused here.
    """
    Protocol.seconds, Protocol.refused = seconds, staticmethod(refused)
    Protocol.most = max(1, min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - FILES))
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Protocol.__name__}"
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in NOISE)


def _no_request(what: str) -> Refused:
    return invalid(Problem(what=what, where="request", expected="HTTP/1.1"))
