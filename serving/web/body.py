"""The body of a request, once it is whole: bounded in size, in time, and in what others hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from serving.champions import Champions
from serving.refusal import Problem, Refused, shown
from serving.web.work import Slot

Receive = Callable[[], Awaitable[Any]]
JSON = b"application/json"
SMALLEST, LINE_BYTES = 10_000, 512
CLOSE = {"connection": "close"}


def largest(size: str, champions: Champions) -> int:
    """Bytes of a body: more than a full request written generously takes. A bound on memory, not
    on use. size: what bounds it, `rows` or `lines`."""
    limits, champion = champions.limits, champions.current
    if size == "lines":
        return SMALLEST + limits.max_lines * LINE_BYTES
    return SMALLEST + limits.max_rows * (champion.decoder.row_bytes if champion else 0)


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, slot: Slot, most: int
) -> bytes:
    """The body once it is whole; raises Refused when it is no JSON, or seen to be too large, or
    late."""
    kind = headers.get(b"content-type", JSON)
    if kind.partition(b";")[0].strip().lower() != JSON:
        raise _not_json("headers.content-type", kind, "application/json")
    packed = headers.get(b"content-encoding", b"identity")
    if packed.strip().lower() != b"identity":
        raise _not_json("headers.content-encoding", packed, "no encoding")
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most, int(declared))
    try:
        async with asyncio.timeout(slot.max_seconds):
            chunks, size, more = [], 0, True
            while more and size <= most:
                message = await receive()
                if message["type"] == "http.disconnect":
                    # What came before may look whole, and is not.
                    raise Refused("too_slow", "the client went away before the body was there")
                chunk, more = message.get("body", b""), message.get("more_body", False)
                slot.hold(len(chunk))
                chunks.append(chunk)
                size += len(chunk)
    except TimeoutError:
        raise Refused(
            "too_slow",
            f"the body was not there within {slot.max_seconds:g} seconds",
            headers=CLOSE,
        ) from None
    if size > most:
        raise _too_large(most)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _not_json(where: str, sent: bytes, expected: str) -> Refused:
    value = shown(sent.decode("latin-1"))
    problem = Problem(what="must be JSON as it is", where=where, value=value, expected=expected)
    return Refused("content_type", "", problem)


def _too_large(most: int, size: int | None = None) -> Refused:
    problem = Problem(
        what=f"is larger than {most:,} bytes; send fewer customers at once",
        reason="too_long",
        value=f"{size:,} bytes" if size else None,
        expected=f"at most {most:,} bytes",
    )
    return Refused("too_large", "", problem, headers=CLOSE)
