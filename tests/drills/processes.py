"""Commands that a drill starts, ends and looks after, and the drill's own workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from configs.environment import QUIET

ROOT = Path(__file__).parents[2]
LIMIT = 300.0  # seconds for one run
GONE = 15.0  # seconds for what a killed process leaves to notice it
SIDE_BY_SIDE = 2

T = TypeVar("T")


@contextmanager
def started(
    command: Sequence[str], said: Path, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """The command, with what it says in the file `said`, and nothing of the user's environment but
    these variables. Killed at the end of the block, where it is still there."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    with said.open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=QUIET | kept | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def run(command: Sequence[str], said: Path, **variables: str) -> tuple[int, str]:
    """The command to its end: its exit code, and what it said."""
    with started(command, said, **variables) as process:
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            return -1, f"no end after {LIMIT:.0f} s"
    return code, said.read_text(encoding="utf-8", errors="replace")


def still_there(processes: Sequence[psutil.Process]) -> list[str]:
    """The command lines of those that do not end within seconds; they are killed then."""
    _, left = psutil.wait_procs(processes, timeout=GONE)
    words = []
    for one in left:
        with suppress(psutil.Error):
            if one.status() != psutil.STATUS_ZOMBIE:
                words.append(" ".join(one.cmdline())[-80:])
                one.kill()
    return words


def side_by_side(
    work: Callable[[list[T], Any], None], todo: Sequence[T], count: int = SIDE_BY_SIDE
) -> Iterator[Any]:
    """What `work(part, results)` puts into the queue `results`, for each of `todo` one thing, from
    so many processes. Raises what it puts there as an exception."""
    results: Any = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=work, args=(list(todo[n::count]), results))
        for n in range(min(count, len(todo)))
    ]
    for worker in workers:
        worker.start()
    for _ in todo:
        result = results.get(timeout=10 * LIMIT)
        if isinstance(result, Exception):
            for worker in workers:
                worker.terminate()
            raise result
        yield result
    for worker in workers:
        worker.join()
