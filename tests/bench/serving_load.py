"""Load on an HTTP server, from a process of its own: several connections that never stop asking.

    python -m tests.bench.serving_load URL CONNECTIONS SECONDS FILE

FILE holds requests as JSON, [{"path": ..., "body": text, "times": n}, ...]; each connection walks
through them again and again, each in its `times`. A connection asks anew once it has its answer, so
what is measured is a closed loop, as wrk has it: every latency is kept, and no percentile comes
from a histogram. Requests are ready-made bytes, and of an answer only the status and the length
are read, so that one core asks several times what a worker can answer; `busy` says how much of
its core the generator took: near 1, it was itself what limited the figures.

Prints one JSON object: requests, per_second, p50, p99 and slowest in milliseconds, busy, statuses.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

WARM_UP = 0.3  # seconds that are not counted


class Connection(asyncio.Protocol):
    """One request after the other, without end."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self.requests, self.done = requests, done
        self.latencies: list[tuple[float, float]] = []  # when it was asked, seconds
        self.statuses: Counter[int] = Counter()
        self.buffer, self.whole = b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        self.asked = time.perf_counter()
        self.transport.write(next(self.requests))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        if not self.whole:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            self.whole = head + 4 + _length(self.buffer[:head])
        if len(self.buffer) < self.whole:
            return
        self.latencies.append((self.asked, time.perf_counter() - self.asked))
        self.statuses[int(self.buffer[9:12])] += 1
        self.buffer, self.whole = b"", 0
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(
                ConnectionError(f"the server has closed a connection: {error or 'no error'}")
            )


def _length(head: bytes) -> int:
    """Of the body; every server measured here says it."""
    lowered = head.lower()
    start = lowered.index(b"content-length:") + 15
    end = lowered.find(b"\r\n", start)
    return int(lowered[start : end if end > 0 else None])


async def load(
    url: str, connections: int, seconds: float, requests: list[dict[str, object]]
) -> dict[str, object]:
    parts = urlsplit(url)
    raw = [_raw(parts.netloc, one) for one in requests for _ in range(int(str(one["times"])))]
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, lambda: done.done() or done.set_result(None))
    opened = []
    for place in range(connections):
        walk = _walk(raw, place * len(raw) // connections)
        _, connection = await loop.create_connection(
            lambda walk=walk: Connection(walk, done),
            parts.hostname,
            parts.port,  # type: ignore[misc]
        )
        opened.append(connection)
    await asyncio.wait([done], timeout=WARM_UP)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.wait([done], timeout=seconds)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    if done.done():
        done.result()
    else:
        done.set_result(None)
    found = sorted(s for one in opened for at, s in one.latencies if at >= began)
    statuses = sum((one.statuses for one in opened), Counter[int]())
    for one in opened:
        one.transport.close()
    return {
        "requests": len(found),
        "per_second": len(found) / took,
        "p50": 1000 * found[len(found) // 2],
        "p99": 1000 * found[int(len(found) * 0.99)],
        "slowest": 1000 * found[-1],
        "busy": cpu / took,
        "statuses": statuses,
    }


def _raw(host: str, request: dict[str, object]) -> bytes:
    body = str(request["body"]).encode()
    head = f"POST {request['path']} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _walk(raw: list[bytes], place: int) -> Iterator[bytes]:
    while True:
        yield raw[place % len(raw)]
        place += 1


def main(url: str, connections: str, seconds: str, file: str) -> None:
    requests = json.loads(Path(file).read_text(encoding="utf-8"))
    print(json.dumps(uvloop.run(load(url, int(connections), float(seconds), requests))))


if __name__ == "__main__":
    main(*sys.argv[1:])
