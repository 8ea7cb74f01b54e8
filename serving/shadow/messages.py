"""What a worker and the process of a challenger say to each other, through two pipes.

The worker says an Order, then one batch after the other: an Asked and several Handed. The process
says Ready, then Done for each batch. A frame is its length and its messages, and a message its
length and its MessagePack: so a worker encodes each request when it is answered, and only joins
them later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import IO, Any, TypeVar

import msgspec

from serving.messages import Model

HEAD = 4  # bytes with the length of a frame, or of a message
T = TypeVar("T")
encode = msgspec.msgpack.Encoder().encode


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to open, where to keep the answers, and the bounds."""

    name: str
    version: int
    folder: str
    bundle_sha256: str
    shadow_folder: str
    key_file: str
    share: float
    max_seconds: float
    opening_megabytes: int


class Ready(msgspec.Struct, frozen=True):
    """The features that it takes, in order; or why it cannot be opened."""

    features: list[dict[str, Any]] = []
    why: str = ""


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """Whose answers the requests of a batch are: the champion, and its features in order."""

    champion: Model
    names: list[str]


class Handed(msgspec.Struct, frozen=True, array_like=True):
    """A request that the champion has answered. asked_at: nanoseconds since 1970.  seconds: of the
    champion's call for call_rows rows.  ids: of the n rows that have an answer.  x: float32 (n, f).
    probability: the champion's, float64 (n,)."""

    request: int
    asked_at: int
    as_of: date | None
    call_rows: int
    seconds: float
    ids: Sequence[str | None]
    x: bytes
    probability: bytes


@dataclass(frozen=True)
class Batch:
    """Requests that one champion has answered."""

    asked: Asked
    requests: list[Handed]


class Done(msgspec.Struct, frozen=True, array_like=True):
    """rows: scored, of which no_answer have no probability, failed of them because a call failed.
    seconds: on its core; elapsed: on the clock.  lost: rows that could not be written.  why: of the
    last failure."""

    rows: int
    no_answer: int
    failed: int
    seconds: float
    elapsed: float
    lost: int
    why: str


def framed(*messages: bytes) -> bytes:
    """With their length before them, as the other end reads them."""
    content = b"".join(messages)
    return len(content).to_bytes(HEAD, "little") + content


def encoded(message: msgspec.Struct) -> bytes:
    """A message of a frame."""
    content = encode(message)
    return len(content).to_bytes(HEAD, "little") + content


def decoded(frame: bytes) -> list[bytes]:
    """The messages of a frame."""
    messages, at = [], 0
    while at < len(frame):
        end = at + HEAD + int.from_bytes(frame[at : at + HEAD], "little")
        messages.append(frame[at + HEAD : end])
        at = end
    return messages


def read_frame(stream: IO[bytes]) -> bytes | None:
    """None at the end of the stream."""
    head = _read(stream, HEAD)
    return None if head is None else _read(stream, int.from_bytes(head, "little"))


def read_message(stream: IO[bytes], kind: type[T]) -> T | None:
    """The one message of a frame; None at the end of the stream."""
    frame = read_frame(stream)
    return None if frame is None else msgspec.msgpack.decode(decoded(frame)[0], type=kind)


def write_message(stream: IO[bytes], message: msgspec.Struct) -> None:
    """A frame of one message. Raises OSError when nobody reads."""
    left = memoryview(framed(encoded(message)))
    while left:
        left = left[stream.write(left) :]


def batch_of(frame: bytes) -> Batch:
    """What a worker hands over."""
    first, *others = decoded(frame)
    decode = msgspec.msgpack.Decoder(Handed).decode
    asked = msgspec.msgpack.decode(first, type=Asked)
    return Batch(asked, [decode(one) for one in others])


def _read(stream: IO[bytes], size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        piece = stream.read(size - len(content))
        if not piece:
            return None
        content += piece
    return bytes(content)
