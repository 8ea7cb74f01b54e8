"""`python -m tests.drills.killed_at POINT ARGUMENT…`: `make operate` with these arguments, which is
killed with SIGKILL, by itself, at a point of its way.

POINT is JSON, one of

    {"call": "flows.judge:judge", "when": "after", "nth": 2}    a function, by the module it is
                                                                looked up in, before or after it
    {"rename": "verdicts/month=*.json", "when": "before"}       a file or folder that is renamed to
                                                                this pattern, or has just been
    {"list": "FILE"}                                            nowhere: the names that are renamed
                                                                to are listed in the file

Nothing in the code is changed for it: renames are heard of by an audit hook.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(words: list[str]) -> int:
    point = json.loads(words[0])
    if "call" in point:
        _wrap(**point)
    elif "rename" in point:
        sys.addaudithook(_at_rename(**point))
    else:
        sys.addaudithook(_list(Path(point["list"])))
    from configs.command import run_command
    from flows import operate

    return run_command(
        "flows.operate", operate.ABOUT, operate.main, words[1:], options=operate.OPTIONS
    )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap(call: str, when: str, nth: int = 1) -> None:
    module, _, name = call.partition(":")
    holder = importlib.import_module(module)
    original, calls = getattr(holder, name), [0]

    @functools.wraps(original)
    def wrapped(*args: Any, **others: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and when == "before":
            _die()
        found = original(*args, **others)
        if calls[0] == nth:
            _die()
        return found

    setattr(holder, name, wrapped)


def _at_rename(rename: str, when: str, nth: int = 1) -> Callable[[str, tuple[Any, ...]], None]:
    seen = [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.kill":  # our own
            return
        if seen[0] == nth:  # whatever comes after the rename
            _die()
        if event == "os.rename" and fnmatch.fnmatch(os.fspath(args[1]), f"*/{rename}"):
            seen[0] += 1
            if seen[0] == nth and when == "before":
                _die()

    return hook


def _list(file: Path) -> Callable[[str, tuple[Any, ...]], None]:
    output = file.open("a", encoding="utf-8")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.rename":
            print(os.fspath(args[1]), file=output, flush=True)

    return hook


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
