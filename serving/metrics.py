"""What `/metrics` counts: requests, latency, batches, answers, refusals, champions.

Imported where a worker starts: the client library has to see BentoML's folder for the counts of
several workers, which is set by then. A count is written to a mapped file, about a microsecond.
Labels are never taken from a request, so that nobody can fill the memory with them: columns are
those of the bundle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from serving.asked import Champion, Scored

if TYPE_CHECKING:
    from serving.champions import Champions
    from serving.shadow.messages import Done

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
TENTHS = [f"{upper / 10:g}" for upper in range(1, 11)]

REQUESTS = Counter(
    "golden_path_requests", "Requests by endpoint and status", ["endpoint", "status"]
)
LATENCY = Histogram(
    "golden_path_request_seconds", "From the head to the answer", ["endpoint"], buckets=SECONDS
)
BATCH = Histogram("golden_path_batch_rows", "Customers answered in a request", buckets=ROWS)
PREDICTIONS = Counter(
    "golden_path_predictions",
    "Customers by the tenth their probability lies in (its upper end), and by version",
    ["version", "up_to"],
)
UNSEEN = Counter(
    "golden_path_unseen_categories",
    "Customers whose value is none of the column's categories, and counted as other",
    ["column"],
)
REJECTED = Counter("golden_path_rejected_rows", "Rows refused or skipped, by reason", ["reason"])
LEFT_OUT = Counter(
    "golden_path_left_out_lines", "Invoice lines that the contract kept out", ["reason"]
)
SERVES = Gauge(
    "golden_path_model_info",
    "1 per worker for the version that serves",
    ["name", "version", "bundle"],
    multiprocess_mode="livesum",
)
REFUSES = Gauge(
    "golden_path_refused_model_info",
    "1 per worker for the version that should serve and was refused",
    ["name", "version", "bundle", "reason"],
    multiprocess_mode="livesum",
)
CHANGES = Counter(
    "golden_path_champion_changes", "Looks at a new champion, by outcome", ["outcome"]
)
BUSY = Gauge("golden_path_in_flight", "Requests being answered", multiprocess_mode="livesum")
SHADOWS = Gauge(
    "golden_path_shadow_model_info",
    "1 per worker for the version in shadow",
    ["name", "version", "bundle"],
    multiprocess_mode="livesum",
)
NOT_IN_SHADOW = Gauge(
    "golden_path_shadow_refused_model_info",
    "1 per worker for the challenger that should be in shadow and was refused",
    ["name", "version", "bundle", "reason"],
    multiprocess_mode="livesum",
)
SHADOW_ROWS = Counter(
    "golden_path_shadow_rows", "Customers that the version in shadow has scored", ["version"]
)
SHADOW_DROPPED = Counter(
    "golden_path_shadow_dropped_rows", "Customers that it was not asked about", ["reason"]
)
SHADOW_ERRORS = Counter(
    "golden_path_shadow_errors", "Customers for whom it had no answer", ["reason"]
)
SHADOW_SECONDS = Counter(
    "golden_path_shadow_seconds", "Time that it took on its core, its log included", ["version"]
)
LOG_LOST = Counter("golden_path_log_lost_rows", "Rows that the request log had no room for")


class Answered:
    """Counts of one endpoint, looked up once."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._seconds = LATENCY.labels(endpoint).observe
        self._fine = REQUESTS.labels(endpoint, "200").inc

    def count(self, status: int, seconds: float | None = None) -> None:
        """seconds: none where no request was read that could have taken any."""
        if seconds is not None:
            self._seconds(seconds)
        if status == 200:
            self._fine()
        else:
            REQUESTS.labels(self._endpoint, str(status)).inc()


class Scores:
    """Counts what was answered, by the version that answered."""

    def __init__(self) -> None:
        self._tenths: dict[int, list[Counter]] = {}
        # Of a version: column -> its place in x, the code of a category that is not known.
        self._other: dict[int, dict[str, tuple[int, int]]] = {}

    def count(self, scored: Scored) -> None:
        version = scored.champion.model.version
        tenths = self._tenths.get(version)
        if tenths is None:
            tenths = [PREDICTIONS.labels(str(version), upper) for upper in TENTHS]
            self._tenths[version] = tenths
            self._other[version] = _other_codes(scored.champion)
        if other := self._other[version]:
            _count_unseen(scored.x, other)
        n = len(scored.probability)
        BATCH.observe(n)
        if n == 1:
            tenths[min(int(scored.probability[0] * 10), 9)].inc()
            return
        places = np.minimum((scored.probability * 10).astype(int), 9)
        for place, count in enumerate(np.bincount(places, minlength=10).tolist()):
            if count:
                tenths[place].inc(count)


def _other_codes(champion: Champion) -> dict[str, tuple[int, int]]:
    return {
        feature["name"]: (place, len(feature["categories"]))
        for place, feature in enumerate(champion.features)
        if feature.get("categories")
    }


def _count_unseen(x: np.ndarray, other: Mapping[str, tuple[int, int]]) -> None:
    places, codes = zip(*other.values(), strict=True)
    counts = (x[:, places] == np.array(codes)).sum(axis=0)
    for column, count in zip(other, counts.tolist(), strict=True):
        if count:
            UNSEEN.labels(column).inc(count)


def rows_left_out(reasons: Mapping[str, int]) -> None:
    for reason, count in reasons.items():
        REJECTED.labels(reason).inc(count)


def lines_left_out(reasons: Mapping[str, int]) -> None:
    for reason, count in reasons.items():
        LEFT_OUT.labels(reason).inc(count)


def forget_the_dead(alive: Callable[[int], bool]) -> None:
    """Take out what processes that were killed said of themselves: they serve nothing any more."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*.db") if folder else ():
        process = file.stem.rpartition("_")[2]
        if process.isdigit() and not alive(int(process)):
            mark_process_dead(int(process), folder)


class Info:
    """Which labels of a gauge are 1 in this worker."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge, self._said = gauge, tuple[str, ...]()

    def say(self, *labels: str) -> None:
        """These from now on, instead of those before."""
        if self._said and self._said != labels:
            self._gauge.labels(*self._said).set(0)
        if labels:
            self._gauge.labels(*labels).set(1)
        self._said = labels


_SERVES, _REFUSES = Info(SERVES), Info(REFUSES)
in_shadow, not_in_shadow = Info(SHADOWS).say, Info(NOT_IN_SHADOW).say


def shadow_scored(version: int, done: Done) -> None:
    """After a batch of the version in shadow."""
    SHADOW_ROWS.labels(str(version)).inc(done.rows)
    SHADOW_SECONDS.labels(str(version)).inc(done.seconds)
    LOG_LOST.inc(done.lost)
    for reason, rows in (("failed", done.failed), ("no_answer", done.no_answer - done.failed)):
        if rows:
            SHADOW_ERRORS.labels(reason).inc(rows)


def note(outcome: str, champions: Champions) -> None:
    """After a look at the champion that found another one, a bad one, or could not be made."""
    if outcome != "unchanged":
        CHANGES.labels(outcome).inc()
    name, refused = champions.served.name, champions.refused
    if champions.current is not None:
        model = champions.current.model
        _SERVES.say(model.name, str(model.version), model.bundle_sha256[:12])
    if refused is None:
        _REFUSES.say()
    else:
        version, bundle = str(refused.version), refused.bundle_sha256[:12]
        _REFUSES.say(name, version, bundle, refused.reason)
