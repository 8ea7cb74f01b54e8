"""HTTP itself, as uvicorn speaks it, with a bound on what it leaves open.

    a head that does not end                   closed after the seconds of a request, or at 64 KiB
    an answer that is not taken                cut off when it is taken far too slowly
    connections that only stand there          so many at once, others are told to come again
    what is no HTTP                            refused in the one shape, without a line in the log
    an offer to speak something else           not taken up, as HTTP allows: WebSocket, HTTP/2

BentoML starts uvicorn and hands on none of its settings, so this takes the place of its protocol.
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
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.refusal import Problem, Refused, invalid

HEAD_BYTES = 64 * 1024
SLOWEST = 50_000  # bytes a second of an answer, beyond the seconds of a request
MOST = 1000  # connections
FILES = 100  # that the process needs besides
NOISE = ("Invalid HTTP request received.", "Unsupported upgrade request.")
SWEEP = 0.5  # seconds
FRAMING = (b"content-length", b"transfer-encoding")


class Protocol(HttpToolsProtocol):
    """One connection."""

    seconds = 10.0
    most = MOST
    refused: Callable[[int], None] = staticmethod(lambda status: None)  # told the status
    sweeping = False  # whether the connections are looked after

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ws_protocol_class = None
        self._waits_since: float | None = None  # for a head; None: a request is being answered
        self._taken_by: float | None = None  # when the answer must have been taken
        self._in_head, self._moved, self._idle = False, False, 0
        self._data, self._rest, self._resuming = b"", b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._waits_since = self.loop.time()
        if len(self.connections) > self.most:
            self._refuse(Refused("busy", f"{self.most} connections are open; ask again later"))
        elif not Protocol.sweeping:
            Protocol.sweeping = True
            self.loop.call_later(SWEEP, self._sweep, self.loop, self.connections)

    def data_received(self, data: bytes) -> None:
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

    def on_url(self, url: bytes) -> None:
        if self._in_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes after a body decides nothing
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._resuming:
            self._in_head, self._moved, self._waits_since = False, True, None
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # none is waiting behind it
            self._waits_since = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        left = self.transport.get_write_buffer_size()
        self._taken_by = self.loop.time() + self.seconds + left / SLOWEST

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken_by = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(_no_request("is no HTTP/1.1"))

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

    @classmethod
    def _sweep(cls, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        now = loop.time()
        for one in list(connections):
            if one._taken_by is not None and now > one._taken_by:
                one.transport.abort()
            elif one._waits_since is not None and now > one._waits_since + cls.seconds:
                one._waits_since = None
                if one._in_head:
                    late = f"the head was not there within {cls.seconds:g} seconds"
                    one._refuse(Refused("too_slow", late))
                else:
                    one.transport.close()
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
