"""How much a worker does at once: a bound on requests, threads for long ones, a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from serving.refusal import Refused

THREADS = 2


class Work:
    """Who finds no place is answered at once: a queue that grows helps nobody."""

    def __init__(self, max_concurrency: int, max_seconds: float) -> None:
        self.max_concurrency, self.max_seconds = max_concurrency, max_seconds
        self.busy = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="answers")

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Raises Refused when every place is taken."""
        if self.busy >= self.max_concurrency:
            raise Refused("busy", f"{self.busy} requests are being answered; ask again in a moment")
        self.busy += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Place:
    def __init__(self, work: Work) -> None:
        self._work, self._running = work, False

    async def run(self, answer: Callable[[Any], bytes], asked: Any) -> bytes:
        """The answer from a thread. Raises Refused when it takes too long."""
        work = self._work
        future: Future[bytes] = work._pool.submit(answer, asked)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), work.max_seconds)
        except TimeoutError:
            # A thread cannot be ended: its place is taken until it is done.
            if not future.cancelled() and not future.done():
                self._running = True
                loop = asyncio.get_running_loop()
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free))
                transactions = getattr(getattr(asked, "champion", None), "transactions", None)
                if transactions is not None:
                    transactions.interrupt(asked)
            raise Refused(
                "timeout", f"no answer within {work.max_seconds:g} seconds; ask about fewer"
            ) from None

    def leave(self) -> None:
        if not self._running:
            self._free()

    def _free(self) -> None:
        self._work.busy -= 1
