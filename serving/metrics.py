"""What `/metrics` answers: the counts of this service, and the file that monitoring wrote.

Imported where a worker starts: the client library has to see BentoML's folder for the counts of
several workers, which is set by then. A count is written to a mapped file, about a microsecond.
Labels are never taken from a request, so that nobody can fill the memory with them: columns are
those of the bundle.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from common.files import RecordAltered, read_sealed
from serving.champion import Champion, Scored
from serving.shadow_process import Done
from serving.swap import Champions

log = logging.getLogger("golden_path.serving")

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
TENTHS = [f"{upper / 10:g}" for upper in range(1, 11)]

REQUESTS = Counter(
    "golden_path_requests", "Requests by endpoint and status", ["endpoint", "status"]
)
LATENCY = Histogram(
    "golden_path_request_seconds", "Request duration in seconds", ["endpoint"], buckets=SECONDS
)
BATCH = Histogram("golden_path_batch_rows", "Customers answered in a request", buckets=ROWS)
PREDICTIONS = Counter(
    "golden_path_predictions",
    "Customers by the tenth their probability lies in (its upper end), and by version",
    ["version", "up_to"],
)
UNSEEN = Counter(
    "golden_path_unseen_categories",
    "Customers whose value is not one of the column's categories, and counts as other",
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
    "golden_path_champion_changes", "Lookups of a new champion, by outcome", ["outcome"]
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
    "golden_path_shadow_dropped_rows", "Customers that the shadow did not score", ["reason"]
)
SHADOW_ERRORS = Counter(
    "golden_path_shadow_errors", "Customers for whom it had no answer", ["reason"]
)
SHADOW_SECONDS = Counter(
    "golden_path_shadow_seconds", "Time that it took on its core, its log included", ["version"]
)
LOG_LOST = Counter("golden_path_log_lost_rows", "Rows that the request log lost")


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
    """Remove the gauges of processes that were killed: they serve nothing any more."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*.db") if folder else ():
        process = file.stem.rpartition("_")[2]
        if process.isdigit() and not alive(int(process)):
            mark_process_dead(int(process), folder)


class Info:
    """Which labels of a gauge are 1 in this worker."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge, self._labels = gauge, tuple[str, ...]()

    def say(self, *labels: str) -> None:
        """These from now on, instead of those before."""
        if self._labels and self._labels != labels:
            self._gauge.labels(*self._labels).set(0)
        if labels:
            self._gauge.labels(*labels).set(1)
        self._labels = labels


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
    """Count a look at the champion that found another version, refused one, or failed."""
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


# --- what monitoring wrote (`golden_path.prom`) --------------------------------------------------
#
# The file is read at each scrape, by whichever worker answers it: so several workers do not
# multiply it. It is checked before it is passed on: bounded in size, sealed, parsed, only gauges of
# ours that the service does not have itself. A file that is not like that is left out, and the
# scrape goes on.

PREFIX = "golden_path_"
MOST_BYTES, MOST_SAMPLES, MOST_LABELS, MOST_TEXT = 500_000, 5_000, 5, 200
STATE = "golden_path_monitoring_file"
STATES = ("passed on", "missing", "refused")


def with_monitoring(own: str, file: Path) -> str:
    """own: the service's metrics in the text format.  Returns them with those of the file, and with
    a gauge that says what became of it."""
    try:
        more = _checked(read_sealed(file, MOST_BYTES), own)
        state = "passed on"
    except FileNotFoundError:
        more, state = "", "missing"
    except Exception as error:  # whatever it holds: the service's own metrics are answered
        ours = isinstance(error, RecordAltered | OSError)
        _warn(f"{file} is not passed on: {error if ours else type(error).__name__}")
        more, state = "", "refused"
    lines = [f"# HELP {STATE} 1 for what became of the file of monitoring's metrics"]
    lines += [f"# TYPE {STATE} gauge"]
    lines += [f'{STATE}{{state="{one}"}} {float(one == state)}' for one in STATES]
    return f"{own.rstrip()}\n{more}" + "\n".join(lines) + "\n"


@lru_cache(maxsize=100)
def _warn(text: str) -> None:
    """Once, not at every scrape."""
    log.warning(text)


def _checked(text: str, own: str) -> str:
    """The metrics of the file, written anew from what was read in them. Raises RecordAltered, or
    whatever the parser raises."""
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    ours = set(re.findall(r"^(?:# TYPE )?(\w+)", own, re.MULTILINE)) | {STATE}
    families = list(text_string_to_metric_families(text))
    seen: set[Any] = set()
    for family in families:
        if family.type != "gauge" or not family.name.startswith(PREFIX):
            raise RecordAltered("it holds metrics other than gauges of this project")
        if family.name in ours:
            raise RecordAltered("it holds a metric of the service's own")
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            long = any(len(part) > MOST_TEXT for pair in labels for part in pair)
            if sample.name != family.name or sample.timestamp is not None or long:
                raise RecordAltered("a sample is not as monitoring writes it")
            if len(labels) > MOST_LABELS or (sample.name, labels) in seen:
                raise RecordAltered("a sample appears twice, or has too many labels")
            seen.add((sample.name, labels))
    if len(seen) > MOST_SAMPLES:
        raise RecordAltered(f"it holds more than {MOST_SAMPLES:,} samples")
    registry: Any = SimpleNamespace(collect=lambda: families)  # all that is asked of one
    return generate_latest(registry).decode()


async def with_file(
    behind: Callable[..., Awaitable[None]],
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
    file: Path,
) -> None:
    """Have `behind`, an ASGI application, answer a scrape, and add the file to its answer."""
    start: dict[str, Any] = {}
    body = bytearray()

    async def kept(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body", False):
            return
        text = bytes(body)
        if start["status"] == 200 and text:
            text = (await asyncio.to_thread(with_monitoring, text.decode(), file)).encode()
        headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        headers.append((b"content-length", str(len(text)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    await behind(scope, receive, kept)
