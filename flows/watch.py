"""What a month is judged from: the validated log with its months, and the frozen baseline of the
sensors; and where all of it is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import RecordAltered
from configs.make_command import make
from configs.settings import Settings
from flows import data_stages
from flows.clock import today
from ingestion.cut import a_day_of_rows
from ingestion.months import Month, months_of
from ingestion.outcome import DAYS, QUARANTINE, TRANSACTIONS
from ingestion.validate import read_days
from monitoring import state
from monitoring.facts import Reading, add_months, end_of, month_of
from monitoring.measure import SENSORS, Measured, measure_months
from monitoring.sensors import freeze, read_month

WEEKS = 13  # of the log, to see on which days of the week the shop sells


class NotWhole(UserError):
    """The rows of a month are not there, or not all of them."""


@dataclass(frozen=True)
class Watched:
    """The log as it stood when a month was over, or later. validated: the folder of a validated
    batch; batch: its name; later: whether the source has rows after the clock's day too."""

    settings: Settings
    validated: Path
    batch: str
    later: bool = False

    @property
    def transactions(self) -> Path:
        return self.validated / TRANSACTIONS

    @property
    def quarantine(self) -> Path:
        return self.validated / QUARANTINE

    @property
    def folder(self) -> Path:
        return folder_of(self.settings)

    @cached_property
    def months(self) -> list[Month]:
        """The months of the log that have a row before the clock's day, in order."""
        until = today(self.settings)
        return months_of(self.transactions, self.quarantine, until, self.settings.compute)

    @cached_property
    def whole(self) -> list[str]:
        """Those that are over and whole: their rows reach to the last day that the shop is open, or
        to `late_days` before it, or the source goes on after them."""
        clock, late = today(self.settings), self.settings.operations.late_days
        return [
            month.month
            for place, month in enumerate(self.months)
            if end_of(month.month) <= clock
            and (self.later or self._goes_on(place) or self._missing(month) <= late)
        ]

    @cached_property
    def closed(self) -> set[int]:
        """The days of the week, Monday 0, on which the shop hardly sells: of the rows of the last
        thirteen weeks they have less than a tenth of their share."""
        last, sold = self.months[-1].last_day, Counter[int]()
        for day, rows, *_ in read_days(self.validated / DAYS):
            if day is not None and last - timedelta(weeks=WEEKS) < day <= last:
                sold[day.weekday()] += rows
        return {weekday for weekday in range(7) if sold[weekday] < 0.1 * sold.total() / 7}

    def _missing(self, month: Month) -> int:
        """Count the days at the end of a month that have no row though the shop was open, as far as
        is known: it may close at the end of a year, as it did a year ago."""
        without = _days_without(month)
        before = next((m for m in self.months if m.month == add_months(month.month, -12)), None)
        closing = _days_without(before) if before else []
        if any(day.weekday() not in self.closed for day in closing):
            without = without[: max(len(without) - len(closing), 0)]
        return sum(day.weekday() not in self.closed for day in without)

    def _goes_on(self, place: int) -> bool:
        rows = [one.rows + one.anonymous for one in self.months]
        return a_day_of_rows(sum(rows[place + 1 :]), rows[place])


def _days_without(month: Month) -> list[date]:
    """Return the days of a month after its last row."""
    days = (end_of(month.month) - month.last_day).days
    return [month.last_day + timedelta(days=n) for n in range(1, days)]


PAGE = "page.html"  # of monitoring, for people


def folder_of(settings: Settings) -> Path:
    """Return the folder of everything about the data set's months."""
    return settings.var.absolute() / "monitoring" / settings.dataset


def watch(settings: Settings) -> Watched:
    """Open the log as of the clock's day: read what is new in the source, and validate it. Raises
    ContractBroken for a batch that is refused or held."""
    folder = folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    parts = data_stages.ingest(settings)
    stage = data_stages.validate(settings, parts, folder / "contract.html")
    return Watched(settings, stage.folder, parts.batch, parts.later)


def check_there(watched: Watched, month: str) -> None:
    """Raise NotWhole when the month's rows are missing, or do not reach its end."""
    if month in watched.whole:
        return
    last = watched.months[-1].last_day if watched.months else None
    has = any(one.month == month for one in watched.months)
    raise NotWhole(
        f"the rows of {month} are not whole: the log ends on {last}"
        if has
        else f"the rows of {month} are missing: the log ends on {last}",
        where="source",
        next_step=f"bring them, then the same command goes on from {month}"
        + (" (if the shop was closed since: operations.late_days)" if has else ""),
    )


def refuse_table(settings: Settings) -> None:
    """Raise UserError for a labelled table, which has no months."""
    if settings.source.kind == "table":
        raise UserError(
            f"the source of {settings.name} is a labelled table, which has no months to judge",
            where="source.kind",
            next_step="its contract judges each file: "
            + make("score", settings, DATA="new.csv")
            + " holds one whose values are not those that were learnt from",
        )


# --- the frozen baseline of the sensors, and what they read against it ----------------------------


def baselines_of(settings: Settings) -> list[dict[str, Any]]:
    """Return the frozen baselines, the oldest first. Raises UserError for one that was altered."""
    folder = folder_of(settings)
    try:
        return state.baselines(folder)
    except RecordAltered as error:
        raise UserError(
            f"a frozen baseline was altered: {error}",
            where=str(folder / "baseline"),
            next_step="restore it from a copy; or remove it, and freeze a new one:"
            f" {make('rebaseline', settings, REASON='why')}",
        ) from None


def baseline_of(watched: Watched, month: str) -> dict[str, Any] | None:
    """Return the baseline that judges this month; the first one is frozen here. None before it."""
    baselines = baselines_of(watched.settings)
    if baselines:
        return state.baseline_for(baselines, month)
    since = first_judged(watched, month)
    return freeze_baseline(watched, since, "the first one", 1) if since <= month else None


def first_judged(watched: Watched, month: str) -> str:
    """Return the first month that the first baseline judges: `operations.start`, or else the first
    month that is to be judged, but not before the log has the months that a baseline is made of."""
    start = watched.settings.operations.start
    since = month if start is None else month_of(start)
    have = {one.month for one in watched.months}
    last = max(have, default=month)  # whether later months will have rows is not known
    while not all(one in have or one > last for one in _months_before(watched.settings, since)):
        since = add_months(since, 1)
    return since


def freeze_baseline(
    watched: Watched, since: str, reason: str, version: int
) -> dict[str, Any] | None:
    """Freeze a baseline on the months before `since`, write it down and return it; None where the
    log has not enough whole months."""
    months = _months_before(watched.settings, since)
    if not set(months) <= {one.month for one in watched.months}:
        return None
    measured = _measure(watched, end_of(months[-1]))
    sensors = freeze(measured, months)
    content = {
        "version": version,
        "since": since,
        "reason": reason,
        "made_from": {one.month: one.digest for one in watched.months if one.month in months},
        "sensors": sensors,
        # What it was made of, for the page.
        "readings": [asdict(one) for m in months for one in read_month(measured, sensors, m)],
    }
    state.write_baseline(watched.folder, content)
    return content


def read_sensors(watched: Watched, month: str, baseline: dict[str, Any] | None) -> list[Reading]:
    """Return the readings of a month: without a baseline, all are learning."""
    if baseline is not None:
        return read_month(_measure(watched, end_of(month)), baseline["sensors"], month)
    baselines = baselines_of(watched.settings)
    first = baselines[0]["since"] if baselines else first_judged(watched, month)
    count = watched.settings.operations.baseline_months
    text = f"Learning: the baseline is the {count} months before {first}; it judges from then on."
    return [Reading(name, month, "learning", until=first, text=text) for name in SENSORS]


def _months_before(settings: Settings, since: str) -> list[str]:
    count = settings.operations.baseline_months
    return [add_months(since, -n) for n in range(count, 0, -1)]


def _measure(watched: Watched, until: date) -> list[Measured]:
    settings = watched.settings
    return measure_months(
        watched.transactions,
        watched.quarantine,
        until=until,
        declared=settings.source.declared,
        home_country=settings.features.home_country,
        compute=settings.compute,
        folder=watched.folder,
    )
