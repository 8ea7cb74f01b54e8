"""What Ctrl-C does: the command ends at once, with one line and exit code 130.

Every command survives `kill -9`, so nothing has to be unwound. Raising KeyboardInterrupt instead
would take as long as the libraries above it please, and some of them swallow or print it. A command
that has more to do, such as a training run, adds to this (`flows/stopping.py`).
"""

from __future__ import annotations

import os
import signal

CODE = 130  # what a shell calls a command that was ended by Ctrl-C
MESSAGE = "Interrupted. Finished stages are kept: the same command goes on from there.\n"


def exit_on_ctrl_c() -> None:
    """To be called before the imports, which take a second. Where Ctrl-C is ignored, as in the
    background of a script, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, exit_interrupted)


def exit_interrupted(*_: object) -> None:
    """End this process now, as a signal handler or otherwise."""
    if os.isatty(1):
        os.write(1, b"\x1b[?25h")  # a progress bar hides the cursor
    os.write(2, b"\n" * os.isatty(2) + MESSAGE.encode())
    os._exit(CODE)
