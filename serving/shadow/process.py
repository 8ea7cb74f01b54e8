"""The process of a challenger, as a worker has it: started, handed batches, ended."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from common.errors import UserError
from registry.champion import ModelVersion
from serving.asked import Champion
from serving.opening import OtherContract, changed_features
from serving.quiet import VARIABLES
from serving.served import Served
from serving.shadow.messages import HEAD, Done, Order, Ready, decoded, read_message, write_message
from serving.trial import OWN, ROOT

PIPE_BYTES = 2**20  # what Linux lets anyone have
END_SECONDS = 3.0  # to write what it holds
# One core, and memory that its bound can count.
ENVIRONMENT = OWN | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Ended(Exception):
    """The process has ended by itself."""


@dataclass
class Process:
    """The process of one challenger, which has its bundle open, and the batch that it is at."""

    found: ModelVersion
    child: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    closed: bool = False
    limit: int = 1  # rows of the next batch, as fast as it is
    rows: int = 0  # of the batch that it is at; 0: it waits for one
    told: str = ""  # what was last said of it in the output
    lock: threading.Lock = field(default_factory=threading.Lock)
    _unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    _heard: bytes = b""

    @property
    def key(self) -> tuple[int, str]:
        return self.found.version, self.found.bundle_sha256

    def send(self, frame: bytes, rows: int) -> None:
        """A batch, as far as the pipe takes it now. Raises OSError when it has ended."""
        self._unsent, self.rows = memoryview(frame), rows
        self._send()

    def done(self) -> Done | None:
        """What became of the batch; None while it is at it. Raises OSError or Ended."""
        self._send()
        assert self.child.stdout is not None
        with suppress(BlockingIOError):
            heard = os.read(self.child.stdout.fileno(), 2**16)
            if not heard:
                raise Ended
            self._heard += heard
        size = HEAD + int.from_bytes(self._heard[:HEAD], "little")
        if len(self._heard) < max(size, HEAD + 1):
            return None
        frame, self._heard, self.rows = self._heard[HEAD:size], self._heard[size:], 0
        return msgspec.msgpack.decode(decoded(frame)[0], type=Done)

    def _send(self) -> None:
        assert self.child.stdin is not None
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self.child.stdin.fileno(), self._unsent) :]

    def end(self) -> None:
        """Let it write what it holds, then insist."""
        assert self.child.stdin is not None and self.child.stdout is not None
        with self.lock:  # not while the event loop writes to it
            self.closed = True
            with suppress(OSError):
                self.child.stdin.close()
        try:
            self.child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()


def start(
    served: Served,
    found: ModelVersion,
    champion: Champion,
    begun: Callable[[subprocess.Popen[bytes] | None], None],
) -> Process:
    """The process, ready to score. Raises UserError where it cannot open the bundle, or the bundle
    asks for other features than the champion.

    begun: told the child while it opens the bundle, and None afterwards: who ends the service
    meanwhile kills it.
    """
    assert served.log_folder is not None and served.shadow_folder is not None
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.Popen(
        [sys.executable, "-m", "serving.shadow.scorer"],
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
            name=found.name,
            version=found.version,
            folder=str(found.bundle),
            bundle_sha256=found.bundle_sha256,
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
        if differ := changed_features(champion.features, ready.features):
            raise OtherContract(
                f"it asks for other features than the one that serves: {', '.join(differ[:3])}"
            )
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
    return Process(found, child)
