"""How the answering of a request is ended from outside its thread, which cannot be ended itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from serving.refusal import Refused


class Stop:
    """`check` raises once it is set; what runs and does not look itself is interrupted."""

    def __init__(self) -> None:
        self._over, self._interrupt = False, _nothing
        self._lock = Lock()

    def check(self) -> None:
        """Raises Refused when nobody waits for the answer any more. To be called now and then."""
        if self._over:
            raise Refused("timeout", "answering took too long; ask about fewer at once")

    @contextmanager
    def calling(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """While something runs that does not look itself, and that `interrupt` ends."""
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
