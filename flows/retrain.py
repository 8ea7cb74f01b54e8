"""When a retraining is due, what forbids it, and the training itself: the part of `make operate`
that decides about champions. The gate alone promotes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from configs.make_command import make
from configs.settings import Settings
from flows.clock import clock_of
from flows.judge import unaccepted_until, verdicts_of_alarms
from flows.watch import Watched
from monitoring import state
from monitoring.facts import Reading, Verdict, add_months, month_of

if TYPE_CHECKING:
    from registry.chain import Record


@dataclass(frozen=True)
class Trigger:
    """Why a retraining is started. evidence: sentences."""

    kind: str  # a verdict's name
    reason: str
    evidence: tuple[str, ...]


def find_trigger(
    settings: Settings, watched: Watched, verdict: Verdict, past: Sequence[Record], clock: date
) -> Trigger | None:
    """Return why to train now: the champion is worse, the labels of a changed demand are there, or
    the calendar says so. There is no reason where a training of a later day was done already."""
    trained = last_trained(past, clock)
    if any(day > clock for day in trainings(past)):
        return None
    if worse := _worse(watched, verdict):
        return Trigger("worse", "the champion ranks worse than it did", worse)
    for one in _judged_until(watched, verdict.month):
        due = one.retrain_due
        if due and date.fromisoformat(due) <= clock and (trained is None or f"{trained}" < due):
            reason = f"demand changed in {one.since}, and its labels are known since {due}"
            return Trigger("changed demand", reason, one.evidence)
    months = settings.operations.retrain_months
    if not months:
        return None
    if trained is None:
        return Trigger("calendar", "no training is on record", ())
    if month_of(trained) <= add_months(month_of(clock), -months):
        return Trigger("calendar", f"the last training was on {trained}", ())
    return None


def why_not(
    settings: Settings,
    watched: Watched,
    trigger: Trigger,
    month: str,
    past: Sequence[Record],
    clock: date,
) -> str:
    """Return why nothing is trained although there is a reason; "" when nothing forbids it."""
    broken = unaccepted_until(settings, month)
    if broken:
        return (
            f"the data of {', '.join(broken)} is broken; repair it and take it over"
            f" ({make('operate', settings, RESTATE=broken[0])}), or accept it as the new normal"
            f" ({make('rebaseline', settings, REASON='why')})"
        )
    cooldown = settings.operations.cooldown_days
    cooldown = settings.features.horizon_days if cooldown is None else cooldown
    trained = last_trained(past, clock)
    if trained is not None and (clock - trained).days < cooldown:
        return f"the last training was on {trained}, less than {cooldown} days ago"
    judged = _judged_until(watched, month)
    due = judged[-1].retrain_due if judged else None
    if trigger.kind == "calendar" and due and 0 < (date.fromisoformat(due) - clock).days < cooldown:
        return (
            f"the labels from after the change of demand are known on {due}, and a training less"
            f" than {cooldown} days before would put that one off"
        )
    return ""


def _worse(watched: Watched, verdict: Verdict) -> tuple[str, ...]:
    """Return what labels say against the champion, in sentences: also where demand has changed,
    which takes precedence in a verdict and may last for a year."""
    if verdict.verdict == "worse":
        return verdict.evidence
    readings = state.read_facts(watched.folder, "readings", Reading, [verdict.month])
    return tuple(
        one.text
        for one in readings
        if one.state == "alarm" and verdicts_of_alarms().get(one.sensor) == "worse"
    )


def _judged_until(watched: Watched, month: str) -> list[Verdict]:
    """Return the verdicts up to a month: later ones, which were judged before it was processed, do
    not count."""
    known, _ = state.read_judged(watched.folder)
    return [one.verdict for one in known if one.verdict.month <= month]


def trainings(past: Sequence[Record]) -> list[date]:
    """Return the clock's days of the trainings that ended with a decision."""
    return [day for entry in past if (day := clock_of(entry))]


def last_trained(past: Sequence[Record], clock: date) -> date | None:
    """Return the last training before this day."""
    return max((day for day in trainings(past) if day < clock), default=None)


def decision_as_of(past: Sequence[Record], clock: date) -> Record | None:
    """Return the gate's decision of a training on this day of the clock."""
    return next((entry for entry in reversed(past) if clock_of(entry) == clock), None)


def write_trigger_once(
    settings: Settings,
    client: Any,
    past: Sequence[Record],
    trigger: Trigger,
    month: str,
    clock: date,
) -> None:
    """Write the trigger into the ledger, unless a command that was killed has written it."""
    from registry.decisions import write_trigger

    for entry in past:
        if entry.action == "trigger" and entry.figures.get("month") == month:
            return
    figures = {
        "month": month,
        "clock": clock.isoformat(),
        "trigger": trigger.kind,
        "evidence": list(trigger.evidence),
    }
    write_trigger(client, settings, reason=trigger.reason, figures=figures, by="operate")


def run_retraining(settings: Settings, show: Callable[[str], None] | None = None) -> None:
    """Train as of the clock; the output goes to the run's log, and line by line to `show`."""
    from rich.console import Console

    from flows.start import run_training

    # A test date that somebody has set is for one training: this one tests on the latest.
    features = settings.features.model_copy(update={"last_as_of": None})
    settings = settings.model_copy(update={"features": features})
    run_training(settings, Console(file=_Lines(show), width=100))


class _Lines(io.StringIO):
    """A stream that passes each line on, without the seconds since the start at its beginning."""

    def __init__(self, show: Callable[[str], None] | None) -> None:
        super().__init__()
        self.show = show

    def write(self, text: str) -> int:
        for line in text.splitlines() if self.show else ():
            if match := re.match(r" *\d+\.\d s  (.*)", line):
                self.show(match[1])  # type: ignore[misc]
        return len(text)
