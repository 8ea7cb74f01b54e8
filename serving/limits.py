"""What bounds the answering: of one request its size and time, of a worker what it does at once.

A request that finds no place is refused at once: a queue that grows helps nobody.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from serving.errors import Refused

THREADS = 2
WAITING = 4 * THREADS  # in threads, or waiting for one
TICK = 0.25  # seconds between looks at the clock
HELD_BYTES = 64 * 2**20  # of bodies that are arriving or being answered


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for."""

    max_rows: int
    max_lines: int
    max_explained: int


class Stop:
    """Stops a request that is late: `check` raises, and a call within `calling` is interrupted."""

    def __init__(self) -> None:
        self._over, self._interrupt = False, _nothing
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises Refused when no client waits for the answer. Call it now and then."""
        if self._over:
            raise Refused("timeout", "answering took too long; send fewer customers at once")

    @contextmanager
    def calling(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Around a call that cannot call `check` itself; `interrupt` ends it."""
        with self._lock:
            self.check()
            self._interrupt = interrupt
        try:
            yield
        finally:
            with self._lock:  # from here on it cannot hit what runs next
                self._interrupt = _nothing

    def set(self) -> None:
        with self._lock:
            self._over = True
            self._interrupt()


def _nothing() -> None:
    """Nothing runs that has to be interrupted."""


class Work:
    def __init__(self, max_concurrency: int, max_seconds: float) -> None:
        self.max_concurrency, self.max_seconds = max_concurrency, max_seconds
        self.busy = self.threaded = self.held = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")
        self._inline: tuple[float, Stop] | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """Raises Refused when every slot is taken."""
        if self.busy >= self.max_concurrency:
            raise _busy(f"{self.busy} requests are being answered")
        slot = Slot(self)
        self.busy += 1
        try:
            yield slot
        finally:
            slot.leave()

    def inline(self, answer: Callable[[], bytes], stop: Stop) -> bytes:
        """The answer, here in the event loop. Raises Refused where the model takes too long."""
        self._inline = time.monotonic() + self.max_seconds, stop
        try:
            return answer()
        finally:
            self._inline = None

    def _watch(self) -> None:
        """The event loop cannot look at the clock while it waits for a model."""
        while not self._closed.wait(TICK):
            inline = self._inline
            if inline is not None and time.monotonic() > inline[0]:
                inline[1].set()

    def close(self) -> None:
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)


class Slot:
    """The place of one request, from its body to its answer."""

    def __init__(self, work: Work) -> None:
        self._work, self._outlived, self._held = work, False, 0

    @property
    def max_seconds(self) -> float:
        return self._work.max_seconds

    def hold(self, size: int) -> None:
        """So many bytes more of its body. Raises Refused when all requests together have too many;
        one alone may have any number."""
        work = self._work
        if work.held > self._held and work.held + size > HELD_BYTES:
            raise _busy("the requests being read are large", {"connection": "close"})
        work.held += size
        self._held += size

    def may_run(self) -> None:
        """Raises Refused when too many others have a thread, or wait for one."""
        if self._work.threaded >= WAITING:
            raise _busy(f"{self._work.threaded} long requests are being answered")

    async def run(self, answer: Callable[[], bytes], stop: Stop) -> bytes:
        """The answer from a thread. Raises Refused when it takes too long, or would have to wait
        for too many others."""
        work = self._work
        self.may_run()
        work.threaded += 1
        future: Future[bytes] = work._pool.submit(answer)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), work.max_seconds)
        except TimeoutError:
            # A thread cannot be ended: its slot is taken until it is done.
            if not future.cancelled() and not future.done():
                self._outlived = True
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: _call(loop, self._free))
            raise Refused(
                "timeout", f"no answer within {work.max_seconds:g} seconds; send fewer customers"
            ) from None
        finally:
            stop.set()  # nobody waits any more
            if not self._outlived:
                work.threaded -= 1

    def leave(self) -> None:
        if not self._outlived:
            self._free()

    def _free(self) -> None:
        self._work.busy -= 1
        self._work.held -= self._held
        self._work.threaded -= self._outlived


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the service has ended meanwhile
        loop.call_soon_threadsafe(callback)


def _busy(why: str, headers: dict[str, str] | None = None) -> Refused:
    return Refused("busy", f"{why}; try again in a moment", headers=headers)
