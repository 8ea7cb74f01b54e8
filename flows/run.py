"""One run: its id, its folder, its log, its clock, and what it leaves for others to read."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import write_file
from common.terminal import visible
from configs.command import RUN_LOG

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from configs.settings import Settings
    from flows.display import Display

ROOT = Path(__file__).parents[1]
log = logging.getLogger("golden_path")


@dataclass
class Run:
    """What a run collects: folder, seconds per stage, peak memory."""

    id: str
    folder: Path
    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - began, 3)

    def elapsed(self) -> float:
        return time.monotonic() - self.started


@dataclass(frozen=True)
class RunContext:
    """What all stages of one run share."""

    settings: Settings
    run: Run
    display: Display
    client: MlflowClient
    parent_run: str  # id of the run in MLflow under which those of the families lie

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[bool], None]]:
        """Time and show a stage; the caller says whether it was reused."""
        reused: list[bool] = []
        with self.run.clock(name):
            yield reused.append
        log.info("%s %s", name, "reused" if reused[-1] else "built")
        self.display.stage_end(name, self.run.seconds[name], reused[-1])


def start_run(var: Path) -> Run:
    """Make a new folder var/runs/<run_id>/, with the log of the run in it."""
    run_id = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder = var.absolute() / "runs" / run_id
    folder.mkdir(parents=True)
    run = Run(run_id, folder)
    _log_to(folder / "run.log")
    threading.Thread(target=_watch_memory, args=(run,), daemon=True).start()
    return run


def finish(run: Run, summary: dict[str, Any]) -> Path:
    """Write summary.json; only then does `latest` point at this run."""
    run.over.set()
    target = run.folder / "summary.json"
    write_file(target, json.dumps(summary, indent=2))
    link = run.folder.parent / f".latest.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(run.folder.name)
    link.replace(run.folder.parent / "latest")
    return target


def code_revision() -> str:
    """Return the git revision, marked `+changes` when the tree differs from it; `unknown` without
    git."""
    try:
        revision = _git("rev-parse", "HEAD")
        return revision + (
            "+changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


class _Safe(logging.Formatter):
    """Escape control characters: a log is read at a terminal too, and names from a file must not
    clear it."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(visible, super().format(record).split("\n")))


class LogFile(logging.FileHandler):  # Prefect takes a handler whose name begins with _ off
    def handleError(self, record: logging.LogRecord) -> None:
        """A line that cannot be written is left out, where logging would print a traceback: with a
        full disk the next file that the run writes says what is wrong."""


def _log_to(file: Path) -> None:
    """Everything any library logs goes to the file; the terminal stays for people."""
    handler = LogFile(file, encoding="utf-8")
    handler.set_name(RUN_LOG)
    handler.setFormatter(_Safe("%(asctime)s %(levelname)-7s %(name)s | %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per call to Prefect's API
    logging.captureWarnings(True)


def _watch_memory(run: Run) -> None:
    """Record the peak of the resident memory of this process and all it started, every quarter
    second until the run is over: another one may follow in the same process."""
    import psutil

    me = psutil.Process()
    while not run.over.wait(0.25):
        total = 0
        for process in [me, *me.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile
        run.peak_memory_mb = max(run.peak_memory_mb, round(total / 1e6, 1))
