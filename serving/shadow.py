"""The challenger in shadow of the champion: it scores the same rows, after the answer, unseen.

Of one worker: which version that is, the rows that wait for it, and its process
(`serving/shadow_process.py`). An answer costs one append to a bounded queue; a thread hands the
rows over a few times a second, one batch at a time. When the queue is full, or many requests are
being answered, what comes is dropped and counted. Whatever becomes of the challenger, no client
notices.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from configs.errors import UserError
from registry.models import ModelVersion
from serving import metrics
from serving.asked import Champion, Scored
from serving.champions import reason_of
from serving.messages import ShadowVersion
from serving.opening import OtherContract, changed_features
from serving.quiet import VARIABLES
from serving.served import Served
from serving.shadow_process import Batch, Done, Handed, Order, Ready, read_frame, write_frame
from serving.trial import LONGEST, OWN, ROOT, Trials

log = logging.getLogger("golden_path.serving")
MOST_ROWS = 20_000  # that wait
MOST_BYTES = 16 * 2**20
GATHER_SECONDS = 0.1  # between two looks at the queue
BATCH_ROWS = 2000
BATCH_SECONDS = 1.0  # that a batch should take: what is under way is lost at the end
END_SECONDS = 3.0  # to write what it holds
LONGEST_WAIT = 60.0  # until a process that died is started again: 1, 2, 4 … seconds
# One core, and memory that its bound can count.
ENVIRONMENT = OWN | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Ended(Exception):
    """The process has ended by itself."""


@dataclass
class Process:
    """The process of one challenger, which has its bundle open."""

    found: ModelVersion
    child: subprocess.Popen[bytes]
    features: list[dict[str, object]]
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> tuple[int, str]:
        return self.found.version, self.found.bundle_sha256

    def score(self, batch: Batch) -> Done:
        """Raises Ended."""
        assert self.child.stdin is not None and self.child.stdout is not None
        done = None
        with suppress(OSError, ValueError):  # ValueError: `end` has closed it
            write_frame(self.child.stdin, batch)
            done = read_frame(self.child.stdout, Done)
        if done is None:
            raise Ended
        return done

    def end(self) -> None:
        """Let it write what it holds, then insist."""
        self.closed.set()
        assert self.child.stdin is not None
        with suppress(OSError):
            self.child.stdin.close()
        try:
            self.child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Shadow:
    """Who is in shadow in this worker."""

    def __init__(self, served: Served, trials: Trials, crowded: Callable[[], bool]) -> None:
        """crowded: whether so much is being answered that nothing is to be handed over."""
        self._served, self._trials, self._crowded = served, trials, crowded
        self._queue: deque[tuple[int, Scored]] = deque()  # when it was answered, in nanoseconds
        self._rows = self._bytes = 0
        self._dropped: Counter[str] = Counter()  # rows, by reason
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._refused: ShadowVersion | None = None
        self._unknown = ""  # why the last look found out nothing
        self._deaths, self._again_at = 0, 0.0
        self._starting: subprocess.Popen[bytes] | None = None
        self._closed = self._offer_failed = False

    # --- while requests are answered ---

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
        n, size = len(scored.x), scored.x.nbytes
        with self._lock:
            if self._crowded():
                self._dropped["busy"] += n
            elif self._rows + n > MOST_ROWS or self._bytes + size > MOST_BYTES:
                self._dropped["full"] += n
            else:
                self._rows += n
                self._bytes += size
                self._queue.append((time.time_ns(), scored))

    def about(self) -> ShadowVersion | None:
        """What GET /model says."""
        process = self._process
        if process is not None:
            state = "ended" if process.closed.is_set() else "scoring"
            return ShadowVersion(*process.key, state)
        return self._refused

    # --- who it is ---

    def look(self, champion: Champion | None, *, again: bool = False) -> None:
        """Look up the challenger; start, swap or end its process as the alias says.

        again: try one that has been refused once more. One thread at a time.
        """
        try:
            found, serves = self._served.find_challenger(), self._served.find()
        except UserError as error:
            if self._unknown != error.what:
                log.error("the challenger cannot be looked up: %s", error.what)
            self._unknown = error.what
            return
        self._unknown = ""
        champions = {one.version for one in (serves, champion and champion.model) if one}
        if found is None or champion is None or found.version in champions:
            self._stop(f"version {found.version} is champion" if found else "nobody is challenger")
            self._say_refused(None)
            return
        key, process = (found.version, found.bundle_sha256), self._process
        if process is not None and process.key == key:
            if process.closed.is_set() and time.monotonic() >= self._again_at:
                self._swap(found, champion, again)
            return
        refused = self._refused and (self._refused.version, self._refused.bundle_sha256)
        if refused == key and not again:
            return
        self._deaths = 0
        self._swap(found, champion, again)

    def close(self) -> None:
        """End the process, and a trial under way."""
        self._closed = True
        self._trials.close()
        starting = self._starting
        if starting is not None:
            starting.kill()
        self._stop("the service ends")

    def _swap(self, found: ModelVersion, champion: Champion, again: bool) -> None:
        """The process of this version instead of that of the one before."""
        old = self._process
        try:
            self._trials.check(found, again=again)
            new = self._started(found, champion)
        except Exception as error:  # a bundle can be wrong in ways that no list holds
            if self._closed:
                return
            why = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._stop(f"version {found.version} is challenger")
            log.error("version %s is not put in shadow: %s", found.version, why[:LONGEST])
            key = (found.version, found.bundle_sha256)
            self._say_refused(ShadowVersion(*key, "refused", reason_of(error), why[:LONGEST]))
            return
        self._process = new
        self._say_refused(None)
        model = (self._served.name, str(found.version), found.bundle_sha256[:12])
        metrics.in_shadow(*model)
        log.info("version %s is in shadow of version %s", found.version, champion.model.version)
        threading.Thread(target=self._hand_over, args=[new], name="shadow", daemon=True).start()
        if old is not None:
            old.end()
        if self._closed:  # meanwhile
            new.end()

    def _started(self, found: ModelVersion, champion: Champion) -> Process:
        """Raises UserError where the bundle cannot be opened, or asks for other features."""
        served = self._served
        assert served.log_folder is not None and served.shadow_folder is not None
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._starting = child = subprocess.Popen(
            [sys.executable, "-m", "serving.shadow_process"],
            cwd=ROOT,
            env=VARIABLES | os.environ | ENVIRONMENT | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C reaches the launcher alone
        )
        try:
            order = Order(
                name=found.name,
                version=found.version,
                folder=str(found.bundle),
                bundle_sha256=found.bundle_sha256,
                shadow_folder=served.shadow_folder,
                key_file=str(Path(served.log_folder).with_suffix(".key")),
                share=served.shadow_share,
                max_seconds=served.max_seconds,
                opening_megabytes=served.opening_megabytes,
            )
            assert child.stdin is not None and child.stdout is not None
            ready = None
            with suppress(OSError):
                write_frame(child.stdin, order)
                ready = read_frame(child.stdout, Ready)
            if ready is None:
                raise UserError("its process ended before it had opened the bundle")
            if ready.why:
                raise UserError(ready.why)
            if differ := changed_features(champion.features, ready.features):
                raise OtherContract(
                    f"it asks for other features than the one that serves: {', '.join(differ[:3])}"
                )
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            self._starting = None
        return Process(found, child, ready.features)

    def _stop(self, why: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.end()
        with self._lock:
            self._dropped["ended"] += self._rows
            self._queue.clear()
            self._rows = self._bytes = 0
        self._count_dropped()
        metrics.in_shadow()
        log.info("version %s is no longer in shadow: %s", process.found.version, why)

    def _say_refused(self, refused: ShadowVersion | None) -> None:
        self._refused = refused
        if refused is None:
            metrics.not_in_shadow()
        else:
            bundle = refused.bundle_sha256[:12]
            name, version = self._served.name, str(refused.version)
            metrics.not_in_shadow(name, version, bundle, refused.reason)

    # --- the thread that hands over ---

    def _hand_over(self, process: Process) -> None:
        """One batch after the other, until the process is closed."""
        limit, told, began = 1, "", time.monotonic()
        taken: list[tuple[int, Scored]] = []
        version = process.found.version
        while not process.closed.wait(GATHER_SECONDS):
            try:
                while not process.closed.is_set() and (taken := self._take(limit)):
                    began_batch = time.monotonic()
                    done = process.score(_batch(taken, process.features))
                    took = time.monotonic() - began_batch
                    limit = max(1, min(BATCH_ROWS, int(BATCH_SECONDS * done.rows / took)))
                    metrics.shadow_scored(version, done)
                    if done.why not in ("", told):
                        told = done.why
                        log.error("version %s in shadow: %s", version, told)
                    self._count_dropped()
                self._count_dropped()
            except Exception as error:
                metrics.SHADOW_ERRORS.labels("ended").inc(sum(len(one.x) for _, one in taken))
                if process.closed.is_set():  # as it was told
                    return
                lived = time.monotonic() - began
                self._deaths = 1 if lived > LONGEST_WAIT else self._deaths + 1
                self._again_at = time.monotonic() + min(2.0 ** (self._deaths - 1), LONGEST_WAIT)
                process.closed.set()
                process.child.kill()
                code = process.child.wait()
                how = f"with code {code}" if isinstance(error, Ended) else f"for {error!r}"
                log.error("the process of version %s in shadow has ended %s", version, how)

    def _take(self, limit: int) -> list[tuple[int, Scored]]:
        """The oldest requests of one champion that wait: at least one, if there is any, and at
        most so many rows."""
        taken: list[tuple[int, Scored]] = []
        rows = 0
        with self._lock:
            while self._queue:
                scored = self._queue[0][1]
                other = taken and scored.champion is not taken[0][1].champion
                if other or (taken and rows + len(scored.x) > limit):
                    break
                rows += len(scored.x)
                self._bytes -= scored.x.nbytes
                taken.append(self._queue.popleft())
            self._rows -= rows
        return taken

    def _count_dropped(self) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, Counter()
        for reason, rows in dropped.items():
            metrics.SHADOW_DROPPED.labels(reason).inc(rows)


def _batch(taken: list[tuple[int, Scored]], features: list[dict[str, object]]) -> Batch:
    """All of one champion, with its features in the order that the challenger has them."""
    champion = taken[0][1].champion
    x = np.concatenate([scored.x for _, scored in taken])
    ours, theirs = ([one["name"] for one in both] for both in (champion.features, features))
    if ours != theirs:
        x = x[:, [ours.index(name) for name in theirs]]
    return Batch(
        champion.model,
        [
            Handed(one.request, at, one.as_of, len(one.x), one.call_rows, one.seconds)
            for at, one in taken
        ],
        [name for _, one in taken for name in one.ids],
        np.ascontiguousarray(x, np.float32).tobytes(),
        np.concatenate([one.probability for _, one in taken]).tobytes(),
    )
