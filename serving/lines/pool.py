"""Prepared statements for any thread: a request takes one for as long as it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import LifoQueue

from serving.lines.judged import Prepared


class Pool:
    """A DuckDB connection runs one query at a time. The one given back last comes first, because
    its memory is warm."""

    def __init__(self, opened: Sequence[Prepared]) -> None:
        self.opened = opened
        self.free: LifoQueue[Prepared] = LifoQueue()
        for one in opened:
            self.free.put(one)

    @contextmanager
    def take(self) -> Iterator[Prepared]:
        """A statement to run, once one is free."""
        prepared = self.free.get()
        try:
            yield prepared
        finally:
            self.free.put(prepared)

    def close(self) -> None:
        for one in self.opened:
            one.close()
