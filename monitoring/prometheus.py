"""Write what monitoring knows as metrics for Prometheus.

    var/monitoring/<data set>/golden_path.prom

`write_textfile` writes the file that node_exporter's textfile collector reads and that the service
adds to its own `/metrics`. It has the state after the latest judged month; Prometheus keeps the
past.

Labels come from a bounded set: data set, sensor, state, verdict, version (the newest ten), severity
and command.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

from common.files import write_sealed
from common.terminal import short
from monitoring.alerts import Alert
from monitoring.facts import (
    Estimate,
    Performance,
    Reading,
    State,
    Verdict,
    VerdictName,
    end_of,
)

MOST_VERSIONS = 10
MOST_SENSORS = 50
MOST_TEXT = 100  # characters of a label
# Name -> what it is, and its labels after `dataset`. Times are seconds since 1970, UTC.
METRICS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "golden_path_month_end_timestamp_seconds": ("End of the latest judged month", ()),
    "golden_path_verdict": ("1 for the verdict of the latest judged month", ("verdict",)),
    "golden_path_verdict_since_timestamp_seconds": (
        "Beginning of the first month of the same verdict in a row",
        (),
    ),
    "golden_path_retrain_due_timestamp_seconds": (
        "When a retraining can learn from changed demand",
        (),
    ),
    "golden_path_sensor_value": ("Value of the sensor, in its own unit", ("sensor",)),
    "golden_path_sensor_expected": ("What the baseline expects of the sensor", ("sensor",)),
    "golden_path_sensor_z": ("(value - expected) / sd", ("sensor",)),
    "golden_path_sensor_limit": ("The sensor alarms where |z| is above it", ("sensor",)),
    "golden_path_sensor_rows": ("Rows or events that the value is made of", ("sensor",)),
    "golden_path_sensor_state": ("1 for the state of the sensor", ("sensor", "state")),
    "golden_path_roc_auc": ("ROC AUC where the labels are known", ("version",)),
    "golden_path_roc_auc_low": ("Low end of its 95 % interval", ("version",)),
    "golden_path_roc_auc_high": ("High end of its 95 % interval", ("version",)),
    "golden_path_expected_buyers": ("Sum of the probabilities of these rows", ("version",)),
    "golden_path_observed_buyers": ("How many of these rows bought", ("version",)),
    "golden_path_estimated_roc_auc": (
        "ROC AUC before labels are known, if the probabilities are right",
        ("version",),
    ),
    "golden_path_estimated_roc_auc_low": ("Low end of its 95 % interval", ("version",)),
    "golden_path_estimated_roc_auc_high": ("High end of its 95 % interval", ("version",)),
    "golden_path_estimated_buyers": ("Sum of the probabilities of the latest scores", ("version",)),
    "golden_path_scored_rows": ("Customers in the latest scores", ()),
    "golden_path_champion_version": ("Version of the champion", ()),
    "golden_path_alerts_open": ("Alerts that are open", ("severity",)),
    "golden_path_alerts_queued": ("Alerts that are not delivered to every receiver yet", ()),
    "golden_path_last_success_timestamp_seconds": (
        "When the command last succeeded",
        ("command",),
    ),
}


@dataclass(frozen=True)
class Standing:
    """The state after a judged month; what is not known is left out.

    verdict, readings: of the latest judged month.  performance: of each version, over the as-of
    dates whose labels are known.  estimates: of the latest scores.
    scored_rows: customers in them.  queued: `delivery.count_queued`.  successes: of the commands
    score, monitor and operate, when they last succeeded.
    """

    dataset: str
    verdict: Verdict | None = None
    readings: Sequence[Reading] = ()
    performance: Sequence[Performance] = ()
    estimates: Sequence[Estimate] = ()
    champion: int | None = None
    scored_rows: int | None = None
    alerts: Sequence[Alert] = ()
    queued: int = 0
    successes: Mapping[str, datetime] = field(default_factory=dict)


_Sample = tuple[str, tuple[str, ...], float | None]


def write_textfile(target: Path, standing: Standing) -> None:
    """Write the metrics in Prometheus' text format, sealed (`common/files.py`): in a
    temporary file that is renamed, so that no collector sees half of them. Raises OSError."""
    write_sealed(target, render(standing))


def render(standing: Standing) -> str:
    """Format the metrics as text, version 0.0.4. Values that are not finite are left out."""
    from prometheus_client import generate_latest
    from prometheus_client.core import GaugeMetricFamily

    families: dict[str, GaugeMetricFamily] = {}
    for name, labels, value in _samples(standing):
        if value is None or not math.isfinite(value):
            continue
        if name not in families:
            about, names = METRICS[name]
            families[name] = GaugeMetricFamily(name, about, labels=("dataset", *names))
        families[name].add_metric(
            [short(label, MOST_TEXT) for label in (standing.dataset, *labels)], value
        )
    ordered = [families[name] for name in METRICS if name in families]
    registry: Any = SimpleNamespace(collect=lambda: ordered)  # all that it uses of one
    return generate_latest(registry).decode()


def _samples(standing: Standing) -> Iterator[_Sample]:
    """Name, labels after `dataset`, value."""
    if standing.verdict is not None:
        yield from _of_verdict(standing.verdict)
    for reading in standing.readings[:MOST_SENSORS]:
        yield from _of_reading(reading)
    for performance in _newest(standing.performance):
        labels = (str(performance.version),)
        yield "golden_path_roc_auc", labels, performance.roc_auc
        yield "golden_path_roc_auc_low", labels, performance.roc_auc_low
        yield "golden_path_roc_auc_high", labels, performance.roc_auc_high
        yield "golden_path_expected_buyers", labels, performance.predicted * performance.rows
        yield "golden_path_observed_buyers", labels, performance.observed * performance.rows
    for estimate in _newest(standing.estimates):
        labels = (str(estimate.version),)
        yield "golden_path_estimated_roc_auc", labels, estimate.roc_auc
        yield "golden_path_estimated_roc_auc_low", labels, estimate.low
        yield "golden_path_estimated_roc_auc_high", labels, estimate.high
        yield "golden_path_estimated_buyers", labels, estimate.expected_buyers
    yield "golden_path_scored_rows", (), standing.scored_rows
    yield "golden_path_champion_version", (), standing.champion
    for severity in ("page", "ticket"):
        count = sum(one.over is None and one.severity == severity for one in standing.alerts)
        yield "golden_path_alerts_open", (severity,), count
    yield "golden_path_alerts_queued", (), standing.queued
    for command, at in standing.successes.items():
        yield "golden_path_last_success_timestamp_seconds", (command,), at.timestamp()


def _of_verdict(verdict: Verdict) -> Iterator[_Sample]:
    yield "golden_path_month_end_timestamp_seconds", (), _midnight(end_of(verdict.month))
    for name in get_args(VerdictName):
        yield "golden_path_verdict", (name,), name == verdict.verdict
    since = date.fromisoformat(f"{verdict.since}-01")
    yield "golden_path_verdict_since_timestamp_seconds", (), _midnight(since)
    if verdict.retrain_due:
        due = date.fromisoformat(verdict.retrain_due)
        yield "golden_path_retrain_due_timestamp_seconds", (), _midnight(due)


def _of_reading(reading: Reading) -> Iterator[_Sample]:
    labels = (reading.sensor,)
    yield "golden_path_sensor_value", labels, reading.value
    yield "golden_path_sensor_expected", labels, reading.expected
    yield "golden_path_sensor_z", labels, reading.z
    yield "golden_path_sensor_limit", labels, reading.limit
    yield "golden_path_sensor_rows", labels, reading.n
    for state in get_args(State):
        yield "golden_path_sensor_state", (reading.sensor, state), state == reading.state


def _newest(figures: Sequence[Any]) -> list[Any]:
    """Keep one per version, the last one given; of the newest versions."""
    by_version = {one.version: one for one in figures}
    return [by_version[version] for version in sorted(by_version)[-MOST_VERSIONS:]]


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()
