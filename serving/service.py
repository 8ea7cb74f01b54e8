"""The service: `bentoml serve serving.service:service`, started by `python -m serving`.

BentoML starts it in one or more workers, each of which looks after its own champion.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from pathlib import Path
from typing import Any

import bentoml

from serving.served import read_served

if bentoml.server_context.worker_index is None:  # the arbiter
    from serving.arbiter import close_doors

    close_doors()

log = logging.getLogger("golden_path.serving")
SERVED = read_served()
ARBITER = os.getppid()
TICK = 0.25  # seconds between looks at what an operator or the launcher did
LOG_SECONDS = 5.0


class GoldenPath:
    """Everything that a worker holds is in its front (`serving/web/front.py`)."""

    @bentoml.on_startup
    async def start(self) -> None:
        seen = service.touched()  # before the look, or what is told in between would be missed
        await asyncio.to_thread(service.champions.look)
        # What is loaded now stays: a full collection need not walk through it at every turn.
        gc.collect()
        gc.freeze()
        tasks = [service.watch(seen), *([service.write_log()] if service.log else [])]
        if service.shadow:
            tasks += [service.watch_shadow(seen), service.shadow.hand_over()]
        self.tasks = [asyncio.create_task(task) for task in tasks]

    @bentoml.on_shutdown
    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        service.close()


class Service(bentoml.Service[GoldenPath]):
    """BentoML's service, with our application before its own."""

    __slots__ = ("champions", "front", "log", "shadow", "work")

    def to_asgi(self, is_main: bool = True) -> Any:
        # Here, in the worker: the arbiter imports this module too, and needs none of it. And the
        # client of the metrics must be imported after BentoML has made their folder.
        from serving import metrics
        from serving.champions import Champions
        from serving.trial import Trials
        from serving.web import protocol
        from serving.web.access import Access
        from serving.web.front import Front
        from serving.web.work import Work

        _say_what_happens()
        metrics.forget_the_dead(_alive)
        self.champions = Champions(SERVED, trials=Trials(SERVED), noted=metrics.note)
        access = Access.of(SERVED.token_variable, SERVED.token_file, SERVED.allowed_hosts)
        self.work = Work(SERVED.max_concurrency, SERVED.max_seconds)
        metrics_file = Path(SERVED.metrics_file) if SERVED.metrics_file else None
        behind = super().to_asgi(is_main)
        self.front = Front(behind, self.champions, access, self.work, metrics_file)
        protocol.install(SERVED.max_seconds, self.front.answered["other"].count)
        self.log = None
        if SERVED.log_folder:
            from serving.request_log import RequestLog

            self.log = RequestLog(Path(SERVED.log_folder))
            self.front.on_scored.append(self.log.add)
        self.shadow = None
        if SERVED.shadow_folder:
            from serving.shadow.challenger import Shadow

            most = max(1, SERVED.max_concurrency // 2)
            self.shadow = Shadow(SERVED, Trials(SERVED), lambda: self.work.busy > most)
            self.champions.in_shadow = self.shadow.about
            self.front.on_scored.append(self.shadow.offer)
        return self.front

    def touched(self) -> int:
        """When another worker was last told to look."""
        try:
            return Path(SERVED.signal_file).stat().st_mtime_ns if SERVED.signal_file else 0
        except OSError:
            return 0

    async def watch(self, seen: int) -> None:
        """Look for a new champion every now and then, and at once when another worker was told."""
        from serving import metrics

        waited = 0.0
        while True:
            await asyncio.sleep(min(TICK, SERVED.watch_seconds))
            waited += min(TICK, SERVED.watch_seconds)
            metrics.BUSY.set(self.work.busy)
            alone = os.getppid() != ARBITER  # and its parent now is not ours to end
            if alone or (SERVED.launcher is not None and not _alive(SERVED.launcher)):
                log.error("the launcher is gone: the service ends")
                os.kill(os.getpid() if alone else ARBITER, signal.SIGTERM)
                return
            touched = self.touched()
            if touched == self.champions.told:  # by this worker itself, which has looked
                seen = touched
            if touched == seen and waited < SERVED.watch_seconds:
                continue
            told, seen, waited = touched != seen, touched, 0.0
            try:
                await asyncio.to_thread(self.champions.look, told=told)
            except Exception:
                log.exception("the champion could not be looked up")

    async def watch_shadow(self, seen: int) -> None:
        """Look for a challenger as often as for a champion, and beside it: its trial may take
        long. One that was refused is tried again when an operator has all workers look."""
        assert self.shadow is not None
        while True:
            touched = self.touched()
            again, seen = touched != seen, touched
            try:
                await asyncio.to_thread(self.shadow.look, self.champions.current, again=again)
            except Exception:
                log.exception("the challenger could not be looked up")
            await asyncio.sleep(SERVED.watch_seconds)

    async def write_log(self) -> None:
        """Every few seconds what was answered."""
        from serving import metrics

        assert self.log is not None
        while True:
            await asyncio.sleep(LOG_SECONDS)
            try:
                metrics.LOG_LOST.inc(await asyncio.to_thread(self.log.write))
            except Exception:
                log.exception("the log of requests failed")

    def close(self) -> None:
        self.champions.close()
        if self.shadow is not None:
            self.shadow.close()
        self.work.close()
        if self.log is not None:
            self.log.write()


def _say_what_happens() -> None:
    """Our own lines on standard error: BentoML is told to be quiet, and is about ours too."""
    ours, lines = logging.getLogger("golden_path"), logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(asctime)s worker %(process)d: %(message)s"))
    ours.setLevel(logging.INFO)
    ours.addHandler(lines)
    ours.propagate = False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


service = Service(
    name="golden_path",
    inner=GoldenPath,
    config={
        "workers": SERVED.workers,
        # Only what is left to BentoML's application: it keeps each request's timer until it fires.
        "traffic": {"timeout": 5},
        "logging": {"access": {"enabled": False}},
    },
)
