"""The challenger in shadow of the champion: it scores the same rows, after the answer, unseen.

Of one worker: which version that is, the rows that wait for it, and its process (how it is held:
`shadow_process.py`; what it does: `shadow_scorer.py`). An answer costs a copy of its rows into a
bounded queue; ten times a second the event loop passes on what waits, one batch at a time and
without waiting for it. No other thread is needed: it would take turns with the answers. When the
queue is full, or many requests are being answered, what comes is dropped and counted. Whatever
becomes of the challenger, no client notices.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from common.errors import UserError
from registry.champion import ModelVersion
from serving import metrics
from serving.champion import Champion, Scored
from serving.opening import OtherContract, changed_features
from serving.responses import ShadowVersion
from serving.served import Served
from serving.shadow_process import (
    EncodedBatch,
    Ended,
    Process,
    ScoredRequest,
    encode,
    framed,
    start,
)
from serving.swap import reason_of
from serving.trial import LONGEST, Trials

log = logging.getLogger("golden_path.serving")
MOST_ROWS = 20_000  # that wait
MOST_BYTES = 16 * 2**20
TURN_SECONDS = 0.1
BATCH_BYTES = 2**19  # a batch of more is not begun: copying it takes a tenth of a millisecond
BATCH_SECONDS = 1.0  # that a batch should take: what is under way is lost at the end
LONGEST_WAIT = 60.0  # until a process that died is started again: 1, 2, 4 … seconds


class Shadow:
    """The challenger in shadow, in one worker."""

    def __init__(self, served: Served, trials: Trials, crowded: Callable[[], bool]) -> None:
        """crowded: whether so much is being answered that nothing is to be handed over."""
        self._served, self._trials, self._crowded = served, trials, crowded
        self._queue: deque[tuple[Champion, int, bytes]] = (
            deque()
        )  # rows, and an encoded ScoredRequest
        self._rows = self._bytes = 0
        self._dropped: Counter[str] = Counter()  # rows, by reason
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._refused: ShadowVersion | None = None
        self._unknown = ""  # why the last look found out nothing
        self._deaths, self._again_at = 0, 0.0
        self._starting: subprocess.Popen[bytes] | None = None
        self._closed = self._offer_failed = False

    # --- while requests are answered -------------------------------------------------------------

    def offer(self, scored: Scored) -> None:
        """Take the rows in, or drop them; called for each answer, from several threads."""
        if self._process is None:
            return
        try:
            self._offer(scored)
        except Exception:  # the answer goes its way, whatever is wrong here
            if not self._offer_failed:
                self._offer_failed = True
                log.exception("nothing can be handed over to the challenger in shadow")

    def _offer(self, scored: Scored) -> None:
        n = len(scored.x)
        reason = "busy" if self._crowded() else "full"
        if reason == "busy" or self._rows + n > MOST_ROWS or self._bytes > MOST_BYTES:
            with self._lock:
                self._dropped[reason] += n
            return
        encoded = encode(
            ScoredRequest(
                scored.request,
                time.time_ns(),
                scored.as_of,
                scored.call_rows,
                scored.seconds,
                scored.ids,
                scored.x.tobytes(),
                scored.probability.tobytes(),
            )
        )
        with self._lock:
            self._rows += n
            self._bytes += len(encoded)
            self._queue.append((scored.champion, n, encoded))

    async def hand_over(self) -> None:
        """What waits, a batch at a time, until the worker ends."""
        while True:
            await asyncio.sleep(TURN_SECONDS)
            process = self._process
            if process is not None:
                try:
                    with process.lock:
                        if not process.closed:
                            self._turn(process)
                except Exception as error:
                    self._died(process, error)
                self._count_dropped()

    def _turn(self, process: Process) -> None:
        """Raises OSError or Ended where the process has."""
        if process.rows:
            done = process.done()
            if done is None:
                return
            rate = done.rows / max(done.elapsed, 1e-3)
            process.limit = max(1, int(BATCH_SECONDS * rate))
            metrics.shadow_scored(process.version.version, done)
            if done.why not in ("", process.logged):
                process.logged = done.why
                log.error("version %s in shadow: %s", process.version.version, done.why)
        frame, rows = self._take(process.limit)
        if rows:
            process.send(frame, rows)

    def _take(self, limit: int) -> tuple[bytes, int]:
        """A frame of the oldest requests of one champion that wait, and how many rows: of one
        request, if there is any, and of more up to so many rows. b"", 0: none waits."""
        taken: list[msgspec.Raw] = []
        rows = size = 0
        champion = None
        with self._lock:
            while self._queue:
                whose, n, encoded = self._queue[0]
                full = rows + n > limit or size > BATCH_BYTES
                if champion is not None and (full or whose is not champion):
                    break
                champion, rows, size = whose, rows + n, size + len(encoded)
                taken.append(msgspec.Raw(encoded))
                self._queue.popleft()
            self._rows -= rows
            self._bytes -= size
        if champion is None:
            return b"", 0
        names = [feature["name"] for feature in champion.features]
        return framed(EncodedBatch(champion.model, names, taken)), rows

    def _died(self, process: Process, error: Exception) -> None:
        """It is started again at the next look; after a short life, some time later."""
        process.closed = True
        process.child.kill()
        metrics.SHADOW_ERRORS.labels("ended").inc(process.rows)
        lived = time.monotonic() - process.began
        self._deaths = 1 if lived > LONGEST_WAIT else self._deaths + 1
        self._again_at = time.monotonic() + min(2.0 ** (self._deaths - 1), LONGEST_WAIT)
        how = "" if isinstance(error, Ended | OSError) else f": {error!r}"
        log.error("the process of version %s in shadow has ended%s", process.version.version, how)

    def _count_dropped(self) -> None:
        if self._dropped:
            with self._lock:
                dropped, self._dropped = self._dropped, Counter()
            for reason, rows in dropped.items():
                metrics.SHADOW_DROPPED.labels(reason).inc(rows)

    def about(self) -> ShadowVersion | None:
        """What GET /model says."""
        process = self._process
        if process is not None:
            return ShadowVersion(*process.key, "ended" if process.closed else "scoring")
        return self._refused

    # --- who it is -------------------------------------------------------------------------------

    def look(self, champion: Champion | None, *, again: bool = False) -> None:
        """Look up the challenger; start, swap or end its process as the alias says.

        again: try one that has been refused once more. Takes as long as a trial does: to be called
        in a thread, one at a time.
        """
        try:
            challenger, serves = self._served.find_challenger(), self._served.find()
        except UserError as error:
            if self._unknown != error.what:
                log.error("the challenger cannot be looked up: %s", error.what)
            self._unknown = error.what
            return
        self._unknown = ""
        champions = {one.version for one in (serves, champion and champion.model) if one}
        if challenger is None or champion is None or challenger.version in champions:
            self._stop(
                f"version {challenger.version} is champion"
                if challenger
                else "there is no challenger"
            )
            self._say_refused(None)
            return
        key, process = (challenger.version, challenger.bundle_sha256), self._process
        if process is not None and process.key == key:
            if process.closed and time.monotonic() >= self._again_at:
                self._swap(challenger, champion, again)
            return
        refused = self._refused and (self._refused.version, self._refused.bundle_sha256)
        if refused == key and not again:
            return
        self._deaths = 0
        self._swap(challenger, champion, again)

    def close(self) -> None:
        """End the process, and a trial under way."""
        self._closed = True
        self._trials.close()
        starting = self._starting
        if starting is not None:
            starting.kill()
        self._stop("the service ends")

    def _swap(self, challenger: ModelVersion, champion: Champion, again: bool) -> None:
        """The process of this version instead of that of the one before."""
        old = self._process
        try:
            self._trials.check(challenger, again=again)
            new = start(self._served, challenger, self._begun)
            if differ := changed_features(champion.features, new.features):
                new.end()
                names = ", ".join(differ[:3])
                raise OtherContract(
                    f"it takes other features than the champion that serves: {names}"
                )
        except Exception as error:  # a bundle can be wrong in ways that no list holds
            if self._closed:
                return
            why = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._stop(f"version {challenger.version} is challenger")
            log.error("version %s is not put in shadow: %s", challenger.version, why[:LONGEST])
            key = (challenger.version, challenger.bundle_sha256)
            self._say_refused(ShadowVersion(*key, "refused", reason_of(error), why[:LONGEST]))
            return
        self._process = new
        self._say_refused(None)
        metrics.in_shadow(self._served.name, str(challenger.version), challenger.bundle_sha256[:12])
        log.info(
            "version %s is in shadow of version %s", challenger.version, champion.model.version
        )
        if old is not None:
            self._end(old)
        if self._closed:  # meanwhile
            self._stop("the service ends")

    def _begun(self, child: subprocess.Popen[bytes] | None) -> None:
        self._starting = child
        if child is not None and self._closed:  # meanwhile
            child.kill()

    def _stop(self, why: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._end(process)
        with self._lock:
            self._dropped["ended"] += self._rows
            self._queue.clear()
            self._rows = self._bytes = 0
        self._count_dropped()
        metrics.in_shadow()
        log.info("version %s is no longer in shadow: %s", process.version.version, why)

    def _end(self, process: Process) -> None:
        died = process.closed
        process.end()
        if process.rows and not died:  # what it was at, and nobody hears of any more
            metrics.SHADOW_ERRORS.labels("ended").inc(process.rows)

    def _say_refused(self, refused: ShadowVersion | None) -> None:
        self._refused = refused
        if refused is None:
            metrics.not_in_shadow()
        else:
            name, version = self._served.name, str(refused.version)
            metrics.not_in_shadow(name, version, refused.bundle_sha256[:12], refused.reason)
