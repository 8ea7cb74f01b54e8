"""How a training run ends by Ctrl-C, SIGTERM or a closed terminal: within seconds, and recorded.

A thread of its own does what has to be done and then ends the process, while the main thread waits
in its signal handler. So it does not matter what the main thread was doing, be it an import, a
query or a library that swallows KeyboardInterrupt. Nothing of it is unwound: a run that is ended
here goes on like one that was killed (`flows/stage.py`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from common.errors import UserError
from common.interrupt import exit_interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT = 3.5  # seconds; after that the process ends, whatever of it is done
_to_do: list[Callable[[], None]] = []
_handled: list[signal.Signals] = []
_begun = threading.Lock()


def end_on_signals() -> None:
    """Let the signals end this process, and with it every process that it started."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_wait, args=[reader], name="stopping", daemon=True).start()
    _handled[:] = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    install_handlers()
    # The system writes here at once; a Python handler has to wait for what the main thread does.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def install_handlers() -> None:
    """Install the handlers again, where a library has put its own: Prefect does so for each
    flow."""
    for number in _handled:
        signal.signal(number, _stay)


def before_the_end(act: Callable[[], None]) -> None:
    """Call `act` when a signal ends this process. It must not need a lock of the main thread's."""
    _to_do.append(act)


def wait_if_ending() -> None:
    """Wait in a thread that sees a process end, where this process is ending too: that is not a
    failure to report."""
    if _begun.locked():
        time.sleep(2 * LIMIT)


def _wait(reader: int) -> None:
    while os.read(reader, 1)[0] not in _handled:
        pass
    _end()


def _stay(*_: object) -> None:
    """Handle the signal: the main thread goes no further."""
    time.sleep(LIMIT)  # `_wait` is at work, unless a library took the wakeup descriptor from it
    _end()


def _end() -> None:
    if not _begun.acquire(blocking=False):
        time.sleep(2 * LIMIT)
    processes = psutil.Process().children(recursive=True)
    late = threading.Timer(LIMIT, _exit, [processes])
    late.daemon = True
    late.start()
    for process in processes:
        with suppress(psutil.Error):
            if "training.fit" in process.cmdline():
                process.kill()  # now: this process may be killed before it is done here
    for act in _to_do:
        with suppress(Exception):
            act()
    _exit(processes)


def end_because(error: UserError) -> None:
    """End this process, and every one that it started, with this error: for a thread that sees why
    the command must not go on. What it has finished is kept, as after a kill."""
    os.write(2, f"{error}\n".encode(errors="backslashreplace"))
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    os._exit(1)


def _exit(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    exit_interrupted()
