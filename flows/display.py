"""What a person sees while a run is under way, and the table at its end.

At a terminal the search is drawn as bars; in a pipe or in CI the same facts come as plain lines.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from common.terminal import console as terminal
from common.terminal import visible

REUSED = "reused, nothing it depends on has changed"
EVERY = 5.0  # seconds between two plain lines about the same family


class Display:
    def __init__(self, console: Console | None = None) -> None:
        self.console = console or terminal()
        self._began = time.monotonic()
        self._families: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._progress = Progress(
            TextColumn("  {task.description:9}"),
            BarColumn(24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def say(self, text: str) -> None:
        at = f"{time.monotonic() - self._began:6.1f} s  "
        self.console.print(Text.assemble((at, "dim"), visible(text)), soft_wrap=True)

    def stage(self, name: str, note: str = "") -> None:
        if note:
            self.say(f"{name}: {note}")

    def stage_end(self, name: str, seconds: float, reused: bool) -> None:
        self.say(f"{name}: {REUSED if reused else f'{seconds:.1f} s'}")

    # --- the search -------------------------------------------------------------------------

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def family_start(self, family: str, trials: int, seconds: float) -> None:
        with self._lock:
            bar = self._progress.add_task(family, total=trials, note="starting")
            now = time.monotonic()
            self._families[family] = {
                "bar": bar,
                "trials": trials,
                "seconds": seconds,
                "began": now,
                "spoke": now,
            }

    def family_stage(self, family: str, name: str) -> None:
        with self._lock:
            state = self._families[family]
            if name == "tuning":
                state["began"] = time.monotonic()
            self._progress.update(state["bar"], note=name)
            if not self.console.is_terminal and name != "tuning":
                self.say(f"{family}: {name}")

    def trial(self, family: str, event: dict[str, Any]) -> None:
        """One finished trial: how many, the best so far, and about how long it will still take."""
        with self._lock:
            state = self._families[family]
            done, now = event["number"] + 1, time.monotonic()
            best = "none yet" if event["best"] is None else f"{event['best']:.4f}"
            spent = now - state["began"]
            left = min(spent / done * (state["trials"] - done), max(state["seconds"] - spent, 0))
            note = f"best recalibrated log loss {best}, about {left:.0f} s left"
            self._progress.update(TaskID(state["bar"]), completed=done, note=note)
            if not self.console.is_terminal and (
                now - state["spoke"] > EVERY or done == state["trials"]
            ):
                state["spoke"] = now
                self.say(f"{family}: trial {done}/{state['trials']}, {note}")

    def family_end(self, family: str, loss: float, reused: bool) -> None:
        with self._lock:
            state = self._families[family]
            self._progress.update(TaskID(state["bar"]), note=f"recalibrated log loss {loss:.4f}")
            self._progress.stop_task(TaskID(state["bar"]))
            how = REUSED if reused else f"{time.monotonic() - state['began']:.1f} s"
            self.say(f"{family}: recalibrated log loss {loss:.4f}, {how}")
