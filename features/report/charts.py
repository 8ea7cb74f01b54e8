"""The pictures of the log, from figures to markup. Each says in its `alt` what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from markupsafe import Markup

from features.report import plot
from features.report.log import Log
from features.report.plot import Tick, robust_ends
from features.report.quarantine import Quarantine

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LEAST_DAYS = 10  # of a month that the log covers, for its daily mean to be worth drawing


@dataclass(frozen=True)
class Cut:
    """An axis of amounts that holds 0 and ends where the strays begin. note: what it leaves out."""

    low: float
    high: float
    ticks: list[Tick]
    note: str

    def place(self, value: float) -> float:
        """0 at the bottom, 1 at the top; a stray stops at the end of the axis."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


def cut_axis(values: Sequence[float], places: Sequence[str]) -> Cut:
    """places: what each value is of, for the note."""
    bottom, top = robust_ends(np.array(values), 0.1, 3) if len(values) else (0.0, 0.0)
    low, high, ticks = plot.count_axis(top, bottom)
    cut = [
        f"{value:,.0f} in {place}"
        for value, place in zip(values, places, strict=True)
        if not low <= value <= high
    ]
    more = f" and {len(cut) - 2} more" if len(cut) > 2 else ""
    note = f"Cut at the end of the axis: {'; '.join(cut[:2])}{more}." if cut else ""
    return Cut(low, high, ticks, note)


def lines_over_time(log: Log, quarantine: Quarantine) -> tuple[Markup, str]:
    """Raw lines per bucket, the quarantined on top of the valid; and what the axis leaves out."""
    valid, out = log.valid_by_bucket, quarantine.by_bucket
    totals = [a + b for a, b in zip(valid, out, strict=True)]
    axis = cut_axis(totals, [f"the {name}" for name in _names(log)])
    base = [axis.place(v) for v in valid]
    chart = plot.frame(
        [
            plot.bars(base, "valid-row"),
            plot.bars([axis.place(t) - b for t, b in zip(totals, base, strict=True)], "out", base),
            plot.hints(
                [
                    f"{name}: {a:,.0f} valid, {b:,.0f} in quarantine"
                    for name, a, b in zip(_names(log), valid, out, strict=True)
                ]
            ),
        ],
        _bucket_ticks(log),
        axis.ticks,
        f"Bars of the lines per {log.buckets.unit}, {log.buckets.first} to {log.buckets.last}: on"
        f" average {np.mean(valid):,.0f} valid and {np.mean(out):,.0f} in quarantine",
    )
    return chart, axis.note


def revenue_over_time(log: Log) -> tuple[Markup, str]:
    """Revenue per bucket; and what the axis leaves out."""
    money = log.revenue_by_bucket
    axis = cut_axis(money, [f"the {name}" for name in _names(log)])
    zero = axis.place(0)
    best = int(np.argmax(money))
    chart = plot.frame(
        [
            plot.bars([axis.place(m) - zero for m in money], "money", [zero] * len(money)),
            plot.hints([f"{n}: {m:,.0f}" for n, m in zip(_names(log), money, strict=True)]),
        ],
        _bucket_ticks(log),
        axis.ticks,
        f"Bars of the revenue per {log.buckets.unit}; the highest is {money[best]:,.0f},"
        f" {_names(log)[best]}",
    )
    return chart, axis.note


def monthly_index(log: Log) -> tuple[Markup, list[tuple[str, str]], str]:
    """Revenue per day by month of the year, a line per year; what each kind of line is; and what
    the axis leaves out."""
    by_year = _per_day(log)
    every = {
        f"{MONTHS[month - 1]} {year}": value
        for year, months in by_year.items()
        for month, value in months.items()
    }
    axis = cut_axis([*every.values()] or [100], [*every] or [""])
    years = sorted(by_year)
    # Of many years the last two stand out, so that ten lines can still be read.
    names = {year: f"year-{min(age, 2)}" for age, year in enumerate(reversed(years))}
    shapes = [plot.segment(0, axis.place(100), 1, axis.place(100), "level")]
    for year in years:
        for months in _runs(by_year[year]):
            shapes.append(
                plot.line(
                    [(month - 0.5) / 12 for month in months],
                    [axis.place(by_year[year][month]) for month in months],
                    names[year] + (" dot" if len(months) == 1 else ""),
                )
            )
    peak = max(every, key=lambda month: every[month], default=None)
    highest = f"; the highest is {every[peak]:.0f} in {peak}" if peak else ""
    chart = plot.frame(
        shapes,
        [Tick((n + 0.5) / 12, name, minor=n % 3 != 0) for n, name in enumerate(MONTHS)],
        axis.ticks,
        f"Revenue per day by month, a line per year, where 100 is the middle month{highest}",
    )
    keys = [(names[year], str(year)) for year in years[-2:]]
    if years[:-2]:
        older = f"{years[0]} to {years[-3]}" if len(years) > 3 else str(years[0])
        keys.insert(0, (names[years[0]], older))
    return chart, keys, axis.note


def _per_day(log: Log) -> dict[int, dict[int, float]]:
    """Year -> month -> revenue per day, where 100 is the median month: a mean would follow a single
    wrong price."""
    first, last = log.buckets.first, log.buckets.last
    per_day = {}
    for month, money in log.revenue_by_month.items():
        start, end = max(month, first), min(_next_month(month), last + timedelta(days=1))
        if (end - start).days >= LEAST_DAYS:
            per_day[month] = money / (end - start).days
    middle = float(np.median([*per_day.values()])) if per_day else 0.0
    by_year: dict[int, dict[int, float]] = {}
    for month, money in per_day.items():
        if middle > 0:
            by_year.setdefault(month.year, {})[month.month] = 100 * money / middle
    return by_year


def hours_heat(log: Log) -> tuple[list[int], list[tuple[str, list[tuple[int, str]]]], str]:
    """The hours in use, a row of (strength of 100, text) per weekday, and the busiest cell."""
    used = [hour for _, hour in log.lines_by_hour]
    hours = list(range(min(used), max(used) + 1))
    most = max(log.lines_by_hour.values())
    heat = [
        (
            name,
            [
                (round(100 * lines / most), f"{100 * lines / log.valid:.1f} %")
                for lines in (log.lines_by_hour.get((weekday, hour), 0) for hour in hours)
            ],
        )
        for weekday, name in enumerate(WEEKDAYS)
    ]
    weekday, hour = max(log.lines_by_hour, key=lambda place: (log.lines_by_hour[place], place))
    return hours, heat, f"{WEEKDAYS[weekday]} at {hour}"


def _runs(months: dict[int, float]) -> list[list[int]]:
    """Months that follow each other: a line does not cross a month without a figure."""
    runs: list[list[int]] = []
    for month in sorted(months):
        if runs and runs[-1][-1] == month - 1:
            runs[-1].append(month)
        else:
            runs.append([month])
    return runs


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _names(log: Log) -> list[str]:
    return [f"{log.buckets.unit} of {day}" for day in log.buckets.days]


def _bucket_ticks(log: Log) -> list[Tick]:
    """Time ticks over bars: the axis ends where the last bar ends."""
    days = log.buckets.days
    if not days:
        return []
    length = {"week": 7, "month": 31, "year": 366}[log.buckets.unit]
    return plot.time_ticks(days[0], days[-1] + timedelta(days=length))
