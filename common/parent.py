"""End a process when the one that started it is gone, whether it was killed or not.

The parent starts it with a pipe as standard input and keeps the other end open: the pipe closes
with the parent. `python -m common.parent MODULE ARGUMENT…` runs a module of another library so; it
is started in a session of its own, and all that it has started there ends with it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable


def when_parent_ends(then: Callable[[], object]) -> None:
    """Call `then` in a thread when standard input closes."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        then()

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    when_parent_ends(lambda: os.killpg(os.getpid(), signal.SIGKILL))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
