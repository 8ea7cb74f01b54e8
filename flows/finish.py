"""The end of a command: deliver the alerts, write the page and the metrics, and when each command
last ended well."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.errors import UserError
from common.files import RecordAltered, read_record, write_record
from configs.settings import Settings
from flows.champion_facts import scores_until
from flows.clock import today
from flows.run import log
from flows.watch import folder_of
from monitoring import alerts, state
from monitoring.delivery import count_queued, deliver
from monitoring.facts import Estimate, Performance, Reading
from monitoring.request_files import merge_days
from serving.served import METRICS

COMMANDS = ("score", "monitor", "operate")
SUCCEEDED = "succeeded"  # the folder of the records: one for each command


@contextmanager
def finished(settings: Settings, command: str | None = None) -> Iterator[None]:
    """At the end of the block, also where it raises: deliver the alerts, and write the metrics and
    the page. Raises UserError after all of it where an alert could not be delivered and is queued.
    command: whose success is recorded, if any."""
    stopped: Exception | None = None
    try:
        yield
    except Exception as error:
        stopped = error
    try:
        finish(settings, command if stopped is None else None)
    except UserError as error:
        if stopped is None:
            raise
        print(error, file=sys.stderr)
    except Exception:
        if stopped is None:
            raise
        log.exception("what ends a command failed too, after the command had failed")
    if stopped is not None:
        raise stopped


def finish(settings: Settings, command: str | None = None) -> None:
    """Deliver the alerts, and write the metrics and the page. Raises UserError, after all of it,
    where an alert could not be delivered: it is queued. command: see `finished`."""
    from flows.monitoring_page import write_monitoring_page

    folder, delivery = folder_of(settings), None
    try:
        delivery = deliver(folder, settings.alerts, os.environ)
    finally:
        try:
            _merge_request_logs(settings)
            write_monitoring_page(settings)
            if command is not None and delivery is not None and not delivery.queued:
                write_success(settings, command)
        finally:
            write_metrics(settings)
    delivery.check(folder)


def _merge_request_logs(settings: Settings) -> None:
    """Merge the files of days before yesterday: a service may still be writing yesterday's."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    for name in ("log", "shadow"):
        merge_days(settings.var.absolute() / "serving" / name, yesterday)


@contextmanager
def recorded(settings: Settings, command: str) -> Iterator[None]:
    """At the end of the block, unless it raises: record that the command has succeeded, and write
    the metrics. Metrics that cannot be written do not make the command fail."""
    yield
    try:
        write_success(settings, command)
        write_metrics(settings)
    except (UserError, OSError) as error:
        log.warning("the metrics were not written: %s", getattr(error, "what", error))


def write_metrics(settings: Settings) -> None:
    """Write the metrics of the data set, which the service shows on /metrics too. Raises OSError,
    and UserError for scores that were altered."""
    from monitoring.prometheus import Standing, write_textfile
    from registry.champion import champion_now

    folder = folder_of(settings)
    judged, _ = state.read_judged(folder)
    newest = judged[-1:]
    scores = scores_until(settings, today(settings))
    champion = champion_now(settings)
    write_textfile(
        folder / METRICS,
        Standing(
            dataset=settings.dataset,
            verdict=judged[-1].verdict if judged else None,
            readings=state.facts_of(folder, newest, "readings", Reading),
            performance=state.facts_of(folder, newest, "pooled", Performance),
            estimates=state.facts_of(folder, newest, "estimates", Estimate),
            champion=champion.version if champion else None,
            scored_rows=scores[-1].rows if scores else None,
            alerts=alerts.alerts_of(folder),
            queued=count_queued(folder),
            successes=read_successes(folder),
        ),
    )


def write_success(settings: Settings, command: str) -> None:
    """Record that the command has succeeded now, also where it found its work done already."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    file = folder_of(settings) / SUCCEEDED / f"{command}.json"
    write_record(file, {"command": command, "ended": now})


def read_successes(folder: Path) -> dict[str, datetime]:
    """Return command -> when it last succeeded, without those that have no readable record. folder:
    of the data set's monitoring."""
    successes = {}
    for command in COMMANDS:
        try:
            record = read_record(folder / SUCCEEDED / f"{command}.json")
            successes[command] = datetime.fromisoformat(record["ended"])
        except FileNotFoundError:
            continue
        except (OSError, RecordAltered, LookupError, TypeError, ValueError) as error:
            log.warning("when %s last ended well is not known: %s", command, error)
    return successes
