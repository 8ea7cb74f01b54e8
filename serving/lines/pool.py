"""Prepared statements for any thread: a request takes one, and may be cut off with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import LifoQueue
from threading import Lock
from typing import Any

from serving.lines.judged import Prepared


@dataclass
class Call:
    """A request that waits for a connection, or has one."""

    connection: Any = None
    cut_off: bool = False


class Pool:
    """A DuckDB connection runs one query at a time, so each call takes one for as long as it needs;
    the one given back last comes first, because its memory is warm."""

    def __init__(self, opened: Sequence[Prepared]) -> None:
        self.opened = opened
        self.free: LifoQueue[Prepared] = LifoQueue()
        for one in opened:
            self.free.put(one)
        self.calls: dict[int, Call] = {}
        self._lock = Lock()

    @contextmanager
    def take(self, who: object) -> Iterator[tuple[Prepared, Call]]:
        """A statement to run, once one is free. It is up to the caller to look at `cut_off`."""
        call, prepared = Call(), None
        with self._lock:
            self.calls[id(who)] = call
        try:
            prepared = self.free.get()
            with self._lock:
                call.connection = prepared.connection
            yield prepared, call
        finally:
            # From here on an interruption finds nothing, and cannot hit the next call.
            with self._lock:
                del self.calls[id(who)]
            if prepared is not None:
                self.free.put(prepared)

    def interrupt(self, who: object | None = None) -> None:
        """Cut off one call, or all: the query that it runs raises duckdb.InterruptException."""
        with self._lock:
            for key, call in self.calls.items():
                if who is None or key == id(who):
                    call.cut_off = True
                    if call.connection is not None:
                        call.connection.interrupt()

    def close(self) -> None:
        for one in self.opened:
            one.close()
