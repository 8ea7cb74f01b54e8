"""What a month is judged from: the validated log, its months, and where all of it is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

from common.errors import UserError
from configs.command import make
from configs.settings import Settings
from flows import data_stages
from flows.clock import today
from ingestion.batches import dataset_of
from ingestion.cut import a_day_of_rows
from ingestion.months import Month, months_of
from ingestion.outcome import DAYS, QUARANTINE, TRANSACTIONS
from ingestion.validate import read_days
from monitoring.facts import add_months, end_of

WEEKS = 13  # of the log, to see on which days of the week the shop sells


class NotWhole(UserError):
    """The rows of a month are not there, or not all of them."""


@dataclass(frozen=True)
class Watched:
    """The log as it stood when a month was over, or later. validated: the folder of a validated
    batch; batch: its name; later: whether the source has rows of after the clock's day too."""

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
        return {weekday for weekday in range(7) if 70 * sold[weekday] < sold.total()}

    def _missing(self, month: Month) -> int:
        """The days at the end of a month that have no row though the shop was open, as far as can
        be told: it may close at the end of a year, as it did a year ago."""
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
    """The days of a month after its last row."""
    days = (end_of(month.month) - month.last_day).days
    return [month.last_day + timedelta(days=n) for n in range(1, days)]


PAGE = "page.html"  # of monitoring, for people


def folder_of(settings: Settings) -> Path:
    """Where everything about the data set's months is kept."""
    return settings.var.absolute() / "monitoring" / dataset_of(settings)


def watch(settings: Settings) -> Watched:
    """Read what is new in the source, and validate it. Raises ContractBroken for a batch that is
    refused or held."""
    folder = folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    parts = data_stages.ingest(settings)
    stage = data_stages.validate(settings, parts, folder / "contract.html")
    return Watched(settings, stage.folder, parts.batch, parts.later)


def check_there(watched: Watched, month: str) -> None:
    """Raises NotWhole when the month's rows are not there, or not to its end."""
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
    """Raises UserError for a labelled table, which has no months."""
    if settings.source.kind == "table":
        raise UserError(
            f"the source of {settings.name} is a labelled table, which has no months to judge",
            where="source.kind",
            next_step="its contract judges each file: "
            + make("score", settings, DATA="new.csv")
            + " holds one whose values are not those that were learnt from",
        )
