"""How much is done at once, counted without a service around it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from serving.errors import Refused
from serving.limits import HELD_BYTES, THREADS, WAITING, Stop, Work


def left(work: Work) -> tuple[int, int, int]:
    return work.busy, work.held, work.threaded


def run(work: Work, *tasks: Coroutine[Any, Any, Any]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_places_and_bytes_are_counted_and_one_request_may_have_any_size():
    work = Work(9, 1.0)
    with work.slot() as large, work.slot() as other:
        for _ in range(3):
            large.hold(HELD_BYTES // 2)
        with pytest.raises(Refused) as caught:
            other.hold(1)
        assert caught.value.code == "busy" and caught.value.headers["connection"] == "close"
    assert left(work) == (0, 0, 0)
    with work.slot() as other:
        other.hold(HELD_BYTES)
    work = Work(2, 1.0)
    with work.slot(), work.slot(), pytest.raises(Refused, match="2 requests are being answered"):
        work.slot().__enter__()


def test_a_request_that_would_wait_behind_too_many_is_refused():
    work, go = Work(99, 20.0), threading.Event()

    async def ask() -> bytes:
        with work.slot() as slot:
            slot.hold(10)
            return await slot.run(lambda: b"answered" if go.wait(20) else b"", Stop())

    async def free() -> None:
        while work.threaded < WAITING:
            await asyncio.sleep(0.01)
        assert left(work) == (WAITING, 10 * WAITING, WAITING)
        go.set()

    *answers, _ = run(work, *(ask() for _ in range(WAITING + 3)), free())
    assert answers[:WAITING] == [b"answered"] * WAITING
    assert [one.code for one in answers[WAITING:]] == ["busy"] * 3
    assert left(work) == (0, 0, 0)


def test_a_thread_that_outlives_its_request_keeps_its_slot_until_it_is_done():
    work, go, stops = Work(99, 0.1), threading.Event(), [Stop() for _ in range(THREADS + 2)]
    answered: list[Stop] = []

    async def ask(stop: Stop) -> None:
        with work.slot() as slot:
            slot.hold(10)
            try:
                await slot.run(lambda: go.wait(60), stop)
            finally:
                answered.append(stop)

    async def watch() -> None:
        while len(answered) < len(stops):
            await asyncio.sleep(0.01)
        # Those who waited for a thread are forgotten with their request.
        assert left(work) == (THREADS, 10 * THREADS, THREADS)
        go.set()
        while work.busy:
            await asyncio.sleep(0.01)

    *answers, watched = run(work, *(ask(stop) for stop in stops), watch())
    assert watched is None and [one.code for one in answers] == ["timeout"] * (THREADS + 2)
    for stop in stops:
        with pytest.raises(Refused, match="took too long"):
            stop.check()
    assert left(work) == (0, 0, 0)


def test_a_cancelled_request_frees_its_slot_and_stops_its_thread():
    work, stop, began = Work(9, 20.0), Stop(), threading.Event()

    def long() -> bytes:
        began.set()
        while True:
            stop.check()

    async def cancelled() -> None:
        async def ask() -> None:
            with work.slot() as slot:
                await slot.run(long, stop)

        task = asyncio.create_task(ask())
        await asyncio.to_thread(began.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    work._pool.shutdown(wait=True)  # which ends only if the thread does
    assert left(work) == (0, 0, 0)


def test_a_thread_that_ends_after_the_service_causes_no_error(caplog):
    work, go = Work(9, 0.05), threading.Event()

    async def ask() -> None:
        with work.slot() as slot, pytest.raises(Refused):
            await slot.run(lambda: go.wait(20), Stop())

    asyncio.run(ask())
    go.set()  # the loop is closed
    work._pool.shutdown(wait=True)
    assert caplog.text == ""


def test_a_call_is_interrupted_only_while_it_runs():
    stop, hits = Stop(), list[str]()
    with stop.calling(lambda: hits.append("first")):
        pass
    with stop.calling(lambda: hits.append("second")):
        stop.set()
    stop.set()
    assert hits == ["second"]
    with pytest.raises(Refused), stop.calling(lambda: hits.append("never")):
        raise AssertionError("nothing is begun any more")
