"""The process of a challenger in shadow: it scores what the champion has answered, and keeps both.

    python -m serving.shadow_scorer    reads and writes what `shadow_process.py` says

    var/serving/shadow/date=2026-11-23/101502-4712-000003.parquet    one row per customer scored

A worker of the service starts it and hands over feature rows. It computes when nothing else wants a
core (Linux: SCHED_IDLE; elsewhere nice), and at most a share of one; its memory is bounded as that
of a trial is. A row of its log has the same `request` and `row` as that of the champion in the log
of requests, and both answers. The folder is another one, so that a count of the log of requests
counts each answer once.

Seconds are those of the model's call on its core, divided by the rows of the call. Rows are merged
for speed, but the last request of a batch is scored by itself, as the champion scored it: seconds
can be compared where `call_rows` is `champion_call_rows`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from common.customer_hash import hashed, read_key
from registry.bundle import load_bundle
from serving.request_log import decisions, repeated, write_table
from serving.shadow_process import Batch, Done, Order, Ready, read_message, write_message
from serving.trial import LONGEST, bound_memory

if TYPE_CHECKING:
    import pyarrow as pa

NICE = 10  # while it opens the bundle; afterwards it is as low as the system allows
CALL_SECONDS = 0.005  # of a call of merged rows: short, so that whoever wants the core has it soon
CALL_ROWS = 1000
WARM_SECONDS = 0.02  # a call that takes longer is as long when it is made again
WRITE_SECONDS = 15.0
MOST_HELD = 50_000  # rows, then they are written at once
TICK = 0.25  # seconds between looks at the clock, and at the parent
ORPHAN_SECONDS = 5.0  # to write what is held, once the parent is gone


@dataclass(frozen=True)
class Held:
    """A batch that is scored and not yet written: of its first rows, so many as there are values.
    Each array (rows,)."""

    batch: Batch
    probability: np.ndarray
    seconds: np.ndarray  # a row
    call_rows: np.ndarray


class Scorer:
    """The bundle, open; and what is scored and not yet written."""

    def __init__(self, order: Order) -> None:
        """Raises UserError, or any error that the files of the bundle cause."""
        self.order, self._key = order, read_key(Path(order.key_file))
        self._parent = os.getppid()
        self.bundle = load_bundle(Path(order.folder), expected_sha256=order.bundle_sha256)
        self.bundle.predict(np.zeros((1, len(self.bundle.features)), np.float32))
        self._step = 1  # rows of a call, as its speed allows
        self._held: list[Held] = []
        self._held_rows = self._lost = self._number = 0
        self._write_at = self._paid = 0.0
        self._why = ""
        self._running: tuple[float, Any] | None = None  # processor time to end it at, its options

    def serve(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        """Score until the other end closes, then write what is held."""
        threading.Thread(target=self._watch, daemon=True).start()
        self._paid = time.process_time()
        with suppress(OSError):  # the worker is gone
            while True:
                wait = self._write_at - time.monotonic() if self._held else None
                if not select.select([requests], [], [], wait and max(wait, 0))[0]:
                    self.write()
                    continue
                batch = read_message(requests, Batch)
                if batch is None:
                    break
                write_message(replies, self._score(batch, requests))
        self.write()
        if self._lost:  # the worker does not read replies any more
            print(f"{self._lost} rows are lost: {self._why}", file=sys.stderr, flush=True)

    def _score(self, batch: Batch, requests: IO[bytes]) -> Done:
        x, began, began_at = self._features(batch), time.process_time(), time.monotonic()
        n = len(x)
        probability, seconds = np.full(n, np.nan), np.zeros(n)
        call_rows, failed, at = np.zeros(n, np.int32), 0, 0
        last = batch.requests[-1]
        # The last by itself, as the champion scored it, so that its seconds can be compared.
        merged = n - len(last.ids) if len(last.ids) == last.call_rows else n
        while at < n:
            end = min(at + self._step, merged) if at < merged else n
            scored, took, why = self._call(x[at:end])
            if at >= merged and not why and took < WARM_SECONDS:
                # The champion is at work all the time, and this one was not: once more, warm.
                scored, took, why = self._call(x[at:end])
            if why:
                failed, self._why = failed + end - at, why
            else:
                probability[at:end] = scored
            seconds[at:end], call_rows[at:end] = took / (end - at), end - at
            if end <= merged:
                fitting = int(CALL_SECONDS * (end - at) / max(took, 1e-6))
                self._step = max(1, min(CALL_ROWS, fitting))
            at = end
            if self._rest(requests):  # a worker that waits for this batch and sends has ended
                break
        answers = probability[:at]
        answers[~((answers >= 0) & (answers <= 1))] = np.nan
        self._hold(Held(batch, answers, seconds[:at], call_rows[:at]))
        lost, self._lost, why, self._why = self._lost, 0, self._why, ""
        none = int(np.isnan(answers).sum())
        took = time.process_time() - began
        return Done(at, none, failed, took, time.monotonic() - began_at, lost, why)

    def _features(self, batch: Batch) -> np.ndarray:
        """Return the features of all rows, float32 (n, f), in the order of this bundle."""
        names = batch.names
        values = np.frombuffer(b"".join([one.x for one in batch.requests]), np.float32)
        x = values.reshape(-1, len(names))
        ours = [feature["name"] for feature in self.bundle.features]
        return x if names == ours else x[:, [names.index(name) for name in ours]]

    def _call(self, x: np.ndarray) -> tuple[np.ndarray, float, str]:
        """Probabilities (n,), the seconds on its core, and why there are none, if so."""
        from onnxruntime import RunOptions

        options, why, probability = RunOptions(), "", x[:0]
        options.log_severity_level = 4
        self._running = time.process_time() + self.order.max_seconds, options
        began = time.thread_time()
        try:
            probability = self.bundle.predict(x, options)
        except Exception as error:  # of values that its graph cannot take, or no memory
            why = f"{type(error).__name__}: {error}"[:LONGEST]
        finally:
            self._running = None
        return probability, time.thread_time() - began, why

    def _rest(self, requests: IO[bytes]) -> bool:
        """Wait until what was computed is no more than its share; whether the worker has ended."""
        used = time.process_time() - self._paid
        ended = select.select([requests], [], [], used * (1 / self.order.share - 1))[0]
        self._paid = time.process_time()
        return bool(ended)

    def _hold(self, held: Held) -> None:
        if not self._held:
            self._write_at = time.monotonic() + WRITE_SECONDS
        self._held.append(held)
        self._held_rows += len(held.probability)
        if self._held_rows >= MOST_HELD:
            self.write()

    def write(self) -> None:
        """Write the held batches, one file for each day."""
        held, self._held, self._held_rows = self._held, [], 0
        by_day: dict[date, list[Held]] = {}
        for one in held:
            by_day.setdefault(_moment(one.batch.requests[0].asked_at).date(), []).append(one)
        for several in by_day.values():
            self._number += 1
            try:
                table = self._table(several)
                first = _moment(several[0].batch.requests[0].asked_at)
                write_table(table, Path(self.order.shadow_folder), first, self._number)
            except Exception as error:  # a full disk, no memory: scoring goes on
                self._lost += sum(len(one.probability) for one in several)
                self._why = f"the log of the challenger in shadow cannot be written: {error}"

    def _table(self, held: Sequence[Held]) -> pa.Table:
        import pyarrow as pa

        parts = [_rows_of(one, self._key) for one in held]
        joined: dict[str, list[Any]] = {
            name: [value for part in parts for value in part[name]] for name in parts[0]
        }
        probability = np.concatenate([one.probability for one in held])
        order, n = self.order, len(probability)
        return pa.table(
            {
                "asked_at": pa.array(joined["asked_at"], pa.timestamp("us", "UTC")),
                "request": pa.array(joined["request"], pa.int64()),
                "row": pa.array(joined["row"], pa.int32()),
                "model": pa.array([order.name] * n, pa.string()),
                "version": pa.array([order.version] * n, pa.int32()),
                "bundle_sha256": pa.array([order.bundle_sha256] * n, pa.string()),
                "customer": pa.array(joined["customer"], pa.string()),
                "as_of": pa.array(joined["as_of"], pa.date32()),
                "probability": pa.array(probability, pa.float64(), from_pandas=True),
                "decision": decisions(probability, self.bundle.threshold),
                "seconds": pa.array(np.concatenate([one.seconds for one in held]), pa.float64()),
                "call_rows": pa.array(np.concatenate([one.call_rows for one in held]), pa.int32()),
                "champion_version": pa.array(joined["champion_version"], pa.int32()),
                "champion_bundle_sha256": pa.array(joined["champion_bundle_sha256"], pa.string()),
                "champion_probability": pa.array(joined["champion_probability"], pa.float64()),
                "champion_decision": pa.array(joined["champion_decision"], pa.bool_()),
                "champion_seconds": pa.array(joined["champion_seconds"], pa.float64()),
                "champion_call_rows": pa.array(joined["champion_call_rows"], pa.int32()),
            }
        )

    def _watch(self) -> None:
        """End a call that takes for ever, and this process some seconds after its parent."""
        orphan_since = None
        while True:
            time.sleep(TICK)
            running = self._running
            if running is not None and time.process_time() > running[0]:
                running[1].terminate = True
            if os.getppid() != self._parent:
                orphan_since = orphan_since or time.monotonic()
                if time.monotonic() - orphan_since > ORPHAN_SECONDS:
                    os._exit(1)


def _rows_of(held: Held, key: bytes) -> dict[str, list[Any]]:
    """What the batch says of the rows that were scored, by column."""
    requests, n = held.batch.requests, len(held.probability)
    model, counts = held.batch.champion, [len(one.ids) for one in requests]
    theirs = np.frombuffer(b"".join([one.probability for one in requests]), np.float64)
    rows = {
        "asked_at": repeated([_moment(one.asked_at) for one in requests], counts),
        "request": repeated([one.request for one in requests], counts),
        "row": [row for count in counts for row in range(count)],
        "customer": [hashed(key, name) for one in requests for name in one.ids],
        "as_of": repeated([one.as_of for one in requests], counts),
        "champion_version": [model.version] * len(theirs),
        "champion_bundle_sha256": [model.bundle_sha256] * len(theirs),
        "champion_probability": theirs.tolist(),
        "champion_decision": decisions(theirs, model.threshold).to_pylist(),
        "champion_seconds": repeated(
            [one.seconds / max(one.call_rows, 1) for one in requests], counts
        ),
        "champion_call_rows": repeated([one.call_rows for one in requests], counts),
    }
    return {name: values[:n] for name, values in rows.items()}


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _give_way() -> None:
    """Compute only when nothing else wants a core, from here on, in every thread."""
    with suppress(OSError):
        os.nice(19 - NICE)
    if not hasattr(os, "SCHED_IDLE"):  # Linux has it
        return
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
        with suppress(OSError):
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    # BentoML ends a worker with its children, and what is held is to be written: this one ends when
    # its input does.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    requests = open(0, "rb", buffering=0)  # noqa: SIM115  (read to its last byte and no more)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is not a message
    os.nice(NICE)
    order = read_message(requests, Order)
    if order is None:
        return
    import onnxruntime
    import pyarrow.parquet  # noqa: F401  (what is needed anyway comes before the bound)

    onnxruntime.set_default_logger_severity(4)
    bound_memory(order.opening_megabytes)
    try:
        scorer = Scorer(order)
    except Exception as error:  # a bundle can be wrong in ways that no list holds
        why = getattr(error, "what", f"{type(error).__name__}: {error}")
        write_message(replies, Ready(why=why[:LONGEST]))
        return
    write_message(replies, Ready(scorer.bundle.features))
    _give_way()
    scorer.serve(requests, replies)
    os._exit(0)  # what the bundle left behind is not tidied up


if __name__ == "__main__":
    main()
