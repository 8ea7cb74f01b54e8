"""`python -m flows.with_parent MODULE ARGUMENT…`: the module ends with the process that started it.

The parent holds the other end of its standard input, and starts it in a session of its own. When
the parent is gone, killed or not, so is all that the module has started in that session.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(os.getpid(), signal.SIGKILL)  # with what the module has started


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
