"""Deliver the events of `monitoring/alerts.py`: to a webhook, to Alertmanager, by mail.

    var/monitoring/<data set>/deliveries.jsonl     what was sent, what failed and why, per receiver

An event that could not be sent stays queued and is tried first the next time; the events of one
alert are sent in their order.

**How often.** Each event is sent to each receiver once, with one exception: a process that is
killed between the receiver's answer and the line in `deliveries.jsonl`, or a receiver that takes an
event without saying so within the time limit. Then it is sent again with the same id: the header
Idempotency-Key, the Message-ID of a mail, the labels of Alertmanager's alert.

No log, error or file contains a URL, a token or a password: of a receiver only its host.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.locks import file_lock
from configs.settings import Alerts
from monitoring.alerts import events_of, repair
from monitoring.events import Event
from monitoring.journal import append, read, read_repaired
from monitoring.mail import MAIL, mails
from monitoring.receivers import Failure, Receiver
from monitoring.webhook import WEBHOOK, webhook

log = logging.getLogger("golden_path")
DELIVERIES = "deliveries.jsonl"
LOCK = ".delivery.lock"
DONE = ("sent", "left out")


@dataclass(frozen=True)
class Sent:
    """An event that a receiver took. receiver: `webhook`, or `mail:` and the address."""

    event: Event
    receiver: str


@dataclass(frozen=True)
class Queued:
    """An event that a receiver has not got yet. reason: why, in words; host: whose."""

    event: Event
    receiver: str
    host: str
    reason: str


@dataclass(frozen=True)
class Delivery:
    sent: tuple[Sent, ...]
    queued: tuple[Queued, ...]

    def check(self, folder: Path) -> None:
        """Raise UserError when anything is queued, so that the command ends with an exit code other
        than 0 after everything else is done."""
        if self.queued:
            reasons = dict.fromkeys(f"{one.host}: {one.reason}" for one in self.queued)
            count = len({one.event.id for one in self.queued})
            raise UserError(
                f"{count} {'alert is' if count == 1 else 'alerts are'} queued, as a receiver could"
                f" not be reached or refused them ({'; '.join(reasons)})",
                where=str(folder / DELIVERIES),
                next_step="repair the receiver, then run the same command again: it sends what is"
                " queued, and repeats nothing else",
            )


def check_receivers(alerts: Alerts, environ: Mapping[str, str]) -> None:
    """Raise UserError where the environment lacks what the settings need: before a long command
    starts, not after it. Sends nothing."""
    for error in receivers_of(alerts, environ, "")[1]:
        raise error


def deliver(folder: Path, alerts: Alerts, environ: Mapping[str, str]) -> Delivery:
    """Send each receiver the events that it does not have yet.

    A receiver that cannot be reached, or does not answer in time, is not tried again in this call.
    One that the settings name for the first time, after others, gets the alerts that are open and
    not those that were over by then.

    Parameters
    ----------
    folder: of the data set, under var/monitoring.
    environ: has the URL, the token and the password.

    Raises UserError, after the other receivers were served, when a variable is missing or a setting
    cannot be used: it names the variable and never its value.
    """
    with file_lock(folder / LOCK, wait=None):
        events = list({event.id: event for event in repair(folder)}.values())
        receivers, errors = receivers_of(alerts, environ, folder.resolve().name)
        done_by_receiver = _done_of(folder, names_of(alerts), events)
        delivered: list[Sent] = []
        queued: list[Queued] = []
        for receiver in receivers:
            done = done_by_receiver[receiver.name]
            _send_missing(folder, receiver, events, done, delivered, queued)
        for one in queued:
            log.warning("alert %s is queued for %s: %s", one.event.id, one.host, one.reason)
    for error in errors:
        raise error
    return Delivery(tuple(delivered), tuple(queued))


def count_queued(folder: Path) -> int:
    """Count the events that some receiver of the last delivery has not got. Changes nothing."""
    lines = read(folder / DELIVERIES)
    names = _named(lines) or []
    done = {(line["receiver"], line["event"]) for line in lines if line.get("state") in DONE}
    ids = {event.id for event in events_of(folder)}
    return sum(any((name, one) not in done for name in names) for one in ids)


def names_of(alerts: Alerts) -> list[str]:
    """Name the receivers of the settings. Each mail address is one, so that a mail that one of them
    cannot get is not sent to the others again."""
    first = [WEBHOOK] if alerts.webhook != "none" else []
    return first + [f"{MAIL}:{address}" for address in dict.fromkeys(alerts.mail_to)]


def receivers_of(
    alerts: Alerts, environ: Mapping[str, str], dataset: str
) -> tuple[list[Receiver], list[UserError]]:
    """Make the receivers, and the errors of those whose settings or environment are wrong.

    dataset: the name of the data set, for the texts. SSL_CERT_FILE of the environment names
    certificates to trust instead of the system's.
    """
    receivers: list[Receiver] = []
    errors: list[UserError] = []
    for wanted, make in ((alerts.webhook != "none", webhook), (alerts.smtp_host, mails)):
        if wanted:
            try:
                receivers += make(alerts, environ, dataset)
            except UserError as error:
                errors.append(error)
    return receivers, errors


def _send_missing(
    folder: Path,
    receiver: Receiver,
    events: Sequence[Event],
    done: set[str],
    delivered: list[Sent],
    queued: list[Queued],
) -> None:
    """Send one receiver what it has not got."""
    down: Failure | None = None
    waiting: set[tuple[str, str]] = set()  # alerts of which an event is queued
    for place, event in enumerate(events):
        if event.id in done:
            continue
        key = (event.sensor, event.first_month)
        if down is not None:
            reason = down.reason
        elif key in waiting:
            reason = "an earlier event of the same alert is queued"
        else:
            before = [one for one in events[:place] if (one.sensor, one.first_month) == key]
            failure = receiver.send(event, before)
            _note(folder, receiver, event, failure)
            if failure is None:
                delivered.append(Sent(event, receiver.name))
                continue
            reason, down = failure.reason, failure if failure.down else None
        waiting.add(key)
        queued.append(Queued(event, receiver.name, receiver.host, reason))


def _note(folder: Path, receiver: Receiver, event: Event, failure: Failure | None) -> None:
    line: dict[str, Any] = {"event": event.id, "receiver": receiver.name, "host": receiver.host}
    line |= {"state": "sent"} if failure is None else {"state": "failed", "reason": failure.reason}
    append(folder / DELIVERIES, line | {"time": _now()})


def _done_of(folder: Path, names: list[str], events: Sequence[Event]) -> dict[str, set[str]]:
    """Find for each receiver the events that it need not get (any more)."""
    file = folder / DELIVERIES
    lines = read_repaired(file)
    done_by_receiver: dict[str, set[str]] = {name: set() for name in names}
    for line in lines:
        if line.get("state") in DONE and line["receiver"] in done_by_receiver:
            done_by_receiver[line["receiver"]].add(line["event"])
    before = _named(lines)
    if before == names:
        return done_by_receiver
    if before is not None:  # the first receivers get all events
        newest = {(event.sensor, event.first_month): event.state for event in events}
        for name in names:
            for event in () if name in before else events:
                over = newest[event.sensor, event.first_month] == "resolved"
                if over and event.id not in done_by_receiver[name]:
                    line = {"event": event.id, "receiver": name, "state": "left out"}
                    append(file, line | {"time": _now()})
                    done_by_receiver[name].add(event.id)
    append(file, {"receivers": names, "time": _now()})
    return done_by_receiver


def _named(lines: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The receivers of the previous delivery; None where there was none."""
    return next((line["receivers"] for line in reversed(lines) if "receivers" in line), None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
