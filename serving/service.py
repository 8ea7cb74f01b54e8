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

from common.files import is_running
from serving.served import read_served

log = logging.getLogger("golden_path.serving")
SERVED = read_served()
ARBITER = os.getppid()
TICK = 0.25  # seconds between looks at what an operator or the launcher did
LOG_SECONDS = 5.0
DEATH_SECONDS = 1.0  # until a worker that died is seen, and another one started; BentoML's are 10


def close_arbiter() -> None:
    """Close the command ports of the arbiter (circus), BentoML's process that minds the workers.

    It takes commands over ZeroMQ, to start any program among them, from whoever on this machine
    connects to one of two ports, and asks for no password; nothing here sends it any. So both ends
    stay within the process. And it gives up the service's port first when it ends, so that a late
    client is refused at once, and does not wait in a queue that nobody reads. To be called once,
    before BentoML makes its arbiter, which is a subclass.
    """
    from circus.arbiter import Arbiter  # BentoML brings it: kantoku, a fork of circus

    begin, stop = Arbiter.__init__, Arbiter.stop

    def begin_within(self: Arbiter, *args: Any, **kwargs: Any) -> None:
        within = {"endpoint": "inproc://commands", "pubsub_endpoint": "inproc://events"}
        begin(self, *args, **(kwargs | within | {"check_delay": DEATH_SECONDS}))

    def stop_listening_first(self: Arbiter, *args: Any, **kwargs: Any) -> Any:
        self.sockets.close_all()  # the workers have their own, and close them too
        return stop(self, *args, **kwargs)

    Arbiter.__init__, Arbiter.stop = begin_within, stop_listening_first


if bentoml.server_context.worker_index is None:  # this process is the arbiter
    close_arbiter()


class GoldenPath:
    """Everything that a worker holds is in its Service."""

    @bentoml.on_startup
    async def start(self) -> None:
        seen = service.touched()  # before the look, or a change in between would be missed
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

    __slots__ = ("app", "champions", "log", "shadow", "work")

    def to_asgi(self, is_main: bool = True) -> Any:
        # Here, in the worker: the arbiter imports this module too, and needs none of it. And the
        # client of the metrics must be imported after BentoML has made their folder.
        from serving import metrics
        from serving.access import Access
        from serving.app import Application
        from serving.limits import Work
        from serving.swap import Champions
        from serving.trial import Trials

        _log_to_stderr()
        metrics.forget_the_dead(is_running)
        self.champions = Champions(SERVED, trials=Trials(SERVED), noted=metrics.note)
        access = Access.of(SERVED.token_variable, SERVED.token_file, SERVED.allowed_hosts)
        self.work = Work(SERVED.max_concurrency, SERVED.max_seconds)
        metrics_file = Path(SERVED.metrics_file) if SERVED.metrics_file else None
        behind = super().to_asgi(is_main)
        self.app = Application(behind, self.champions, access, self.work, metrics_file)
        self.log = None
        if SERVED.log_folder:
            from serving.request_log import RequestLog

            self.log = RequestLog(Path(SERVED.log_folder))
            self.app.on_scored.append(self.log.add)
        self.shadow = None
        if SERVED.shadow_folder:
            from serving.shadow import Shadow

            most = max(1, SERVED.max_concurrency // 2)
            self.shadow = Shadow(SERVED, Trials(SERVED), lambda: self.work.busy > most)
            self.champions.in_shadow = self.shadow.about
            self.app.on_scored.append(self.shadow.offer)
        return self.app

    def touched(self) -> int:
        """When a worker last had the others look, nanoseconds since 1970."""
        try:
            return Path(SERVED.signal_file).stat().st_mtime_ns if SERVED.signal_file else 0
        except OSError:
            return 0

    async def watch(self, seen: int) -> None:
        """Look for a new champion now and then, and at once when another worker has them look."""
        from serving import metrics

        waited = 0.0
        while True:
            await asyncio.sleep(min(TICK, SERVED.watch_seconds))
            waited += min(TICK, SERVED.watch_seconds)
            metrics.BUSY.set(self.work.busy)
            orphaned = os.getppid() != ARBITER  # and its parent now is not ours to end
            if orphaned or (SERVED.launcher is not None and not is_running(SERVED.launcher)):
                log.error("the launcher is gone: the service ends")
                os.kill(os.getpid() if orphaned else ARBITER, signal.SIGTERM)
                return
            touched = self.touched()
            if touched == self.champions.notified_at:  # by this worker itself, which has looked
                seen = touched
            if touched == seen and waited < SERVED.watch_seconds:
                continue
            notified, seen, waited = touched != seen, touched, 0.0
            try:
                await asyncio.to_thread(self.champions.look, notified=notified)
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


def _log_to_stderr() -> None:
    """Our own lines on standard error: with --quiet, BentoML drops them as well."""
    ours, lines = logging.getLogger("golden_path"), logging.StreamHandler()
    lines.setFormatter(logging.Formatter("%(asctime)s worker %(process)d: %(message)s"))
    ours.setLevel(logging.INFO)
    ours.addHandler(lines)
    ours.propagate = False
    # A client that sends nonsense fills nobody's disk: uvicorn warns of each such request.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


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
