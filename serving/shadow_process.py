"""The process of a challenger as a worker has it, and what the two send each other.

The worker sends an Order, then one Batch after the other; the process answers Ready, then Done for
each batch. A message is its length and its MessagePack. The requests of a batch are encoded when
they are answered (`encode`), and only joined later.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from common.errors import UserError
from registry.champion import ModelVersion
from serving.responses import Model
from serving.served import VARIABLES, Served
from serving.trial import OWN, ROOT

HEAD = 4  # bytes with the length of a message
T = TypeVar("T")
encode = msgspec.msgpack.Encoder().encode
PIPE_BYTES = 2**20  # what Linux lets anyone have
END_SECONDS = 10.0  # to write what it holds, on a machine that is busy too
# One core, and memory that its bound can count.
ENVIRONMENT = OWN | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


# --- messages ------------------------------------------------------------------------------------


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


class ScoredRequest(msgspec.Struct, frozen=True, array_like=True):
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


class Batch(msgspec.Struct, frozen=True):
    """Requests that one champion has answered, and its features in order."""

    champion: Model
    names: list[str]
    requests: list[ScoredRequest]


class EncodedBatch(msgspec.Struct, frozen=True):
    """A Batch whose requests are encoded already."""

    champion: Model
    names: list[str]
    requests: list[msgspec.Raw]


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


def framed(message: msgspec.Struct) -> bytes:
    """A message with its length before it, as the other end reads it."""
    content = encode(message)
    return len(content).to_bytes(HEAD, "little") + content


def read_message(stream: IO[bytes], kind: type[T]) -> T | None:
    """The next message; None at the end of the stream."""
    head = _read(stream, HEAD)
    content = None if head is None else _read(stream, int.from_bytes(head, "little"))
    return None if content is None else msgspec.msgpack.decode(content, type=kind)


def write_message(stream: IO[bytes], message: msgspec.Struct) -> None:
    """Raises OSError when nobody reads."""
    left = memoryview(framed(message))
    while left:
        left = left[stream.write(left) :]


def _read(stream: IO[bytes], size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        piece = stream.read(size - len(content))
        if not piece:
            return None
        content += piece
    return bytes(content)


# --- the process ---------------------------------------------------------------------------------


class Ended(Exception):
    """The process has ended by itself."""


@dataclass
class Process:
    """The process of one challenger, which has its bundle open, and the batch that it is at."""

    version: ModelVersion
    child: subprocess.Popen[bytes]
    features: list[dict[str, Any]]  # of its bundle
    began: float = field(default_factory=time.monotonic)
    closed: bool = False
    limit: int = 1  # rows of the next batch, as fast as it is
    rows: int = 0  # of the batch that it is at; 0: it waits for one
    logged: str = ""  # the failure of it that was logged last
    lock: threading.Lock = field(default_factory=threading.Lock)
    _unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    _received: bytes = b""

    @property
    def key(self) -> tuple[int, str]:
        return self.version.version, self.version.bundle_sha256

    def send(self, frame: bytes, rows: int) -> None:
        """A batch, as far as the pipe takes it now. Raises OSError when it has ended."""
        self._unsent, self.rows = memoryview(frame), rows
        self._send()

    def done(self) -> Done | None:
        """What became of the batch; None while it is at it. Raises OSError or Ended."""
        self._send()
        assert self.child.stdout is not None
        with suppress(BlockingIOError):
            received = os.read(self.child.stdout.fileno(), 2**16)
            if not received:
                raise Ended
            self._received += received
        size = HEAD + int.from_bytes(self._received[:HEAD], "little")
        if len(self._received) < max(size, HEAD + 1):
            return None
        content, self._received, self.rows = self._received[HEAD:size], self._received[size:], 0
        return msgspec.msgpack.decode(content, type=Done)

    def _send(self) -> None:
        assert self.child.stdin is not None
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self.child.stdin.fileno(), self._unsent) :]

    def end(self) -> None:
        """Let it write what it holds, then kill it."""
        assert self.child.stdin is not None and self.child.stdout is not None
        with self.lock:  # not while the event loop writes to it
            self.closed = True
            with suppress(OSError):
                self.child.stdin.close()
        if hasattr(os, "SCHED_IDLE"):  # it need not give way any more, where the system allows that
            with suppress(OSError):
                os.sched_setscheduler(self.child.pid, os.SCHED_OTHER, os.sched_param(0))
        try:
            self.child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()


def start(
    served: Served,
    version: ModelVersion,
    begun: Callable[[subprocess.Popen[bytes] | None], None],
) -> Process:
    """The process, ready to score. Raises UserError where it cannot open the bundle.

    begun: called with the child while it opens the bundle, so that the end of the service can kill
    it, and with None afterwards.
    """
    assert served.log_folder is not None and served.shadow_folder is not None
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, "-m", "serving.shadow_scorer"],
        cwd=ROOT,
        env=VARIABLES | os.environ | ENVIRONMENT | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        # Ctrl-C reaches the launcher alone. Not a session of its own: Linux shares the cores among
        # sessions (autogroup), and SCHED_IDLE gives way within a session alone.
        process_group=0,
    )
    begun(child)
    try:
        order = Order(
            name=version.name,
            version=version.version,
            folder=str(version.bundle),
            bundle_sha256=version.bundle_sha256,
            shadow_folder=served.shadow_folder,
            key_file=str(Path(served.log_folder).with_suffix(".key")),
            share=served.shadow_share,
            max_seconds=served.max_seconds,
            opening_megabytes=served.opening_megabytes,
        )
        assert child.stdin is not None and child.stdout is not None
        ready = None
        with suppress(OSError):
            write_message(child.stdin, order)
            ready = read_message(child.stdout, Ready)
        if ready is None:
            raise UserError("its process ended before it had opened the bundle")
        if ready.why:
            raise UserError(ready.why)
        with suppress(OSError, AttributeError):  # Linux alone has it
            fcntl.fcntl(child.stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
    except BaseException:
        child.kill()
        child.wait()
        raise
    finally:
        begun(None)
    return Process(version, child, ready.features)
