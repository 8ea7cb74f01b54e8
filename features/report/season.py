"""The season: revenue by month, a line per year; and the hours in which lines are written."""

from __future__ import annotations

from datetime import date, timedelta

from markupsafe import Markup

from features.report import plot
from features.report.log import Log
from features.report.plot import Tick

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LEAST_DAYS = 10  # of a month that the log covers, for its daily mean to be worth drawing


def monthly_index(log: Log) -> tuple[Markup, list[tuple[str, str]]]:
    """Revenue per day by month of the year, a line per year; and what each kind of line is."""
    mean = log.revenue / ((log.last - log.first).days + 1)
    by_year: dict[int, dict[int, float]] = {}
    for month, money in log.revenue_by_month.items():
        start, end = max(month, log.first), min(_next_month(month), log.last + timedelta(days=1))
        covered = (end - start).days
        if covered >= LEAST_DAYS and mean > 0:
            by_year.setdefault(month.year, {})[month.month] = 100 * money / covered / mean
    every = [value for year in by_year.values() for value in year.values()]
    low, high, y = plot.count_axis(max(every, default=100), min(every, default=0))
    years = sorted(by_year)
    # Of many years the last two stand out, so that ten lines can still be read.
    names = {year: f"year-{min(age, 2)}" for age, year in enumerate(reversed(years))}
    shapes = [plot.segment(0, (100 - low) / (high - low), 1, (100 - low) / (high - low), "level")]
    for year in years:
        runs = _runs(by_year[year])
        for months in runs:
            shapes.append(
                plot.line(
                    [(month - 0.5) / 12 for month in months],
                    [(by_year[year][month] - low) / (high - low) for month in months],
                    names[year] + (" dot" if len(months) == 1 else ""),
                )
            )
    peak = max(((v, m, yr) for yr, ms in by_year.items() for m, v in ms.items()), default=None)
    highest = f"; the highest is {peak[0]:.0f} in {MONTHS[peak[1] - 1]} {peak[2]}" if peak else ""
    chart = plot.frame(
        shapes,
        [Tick((n + 0.5) / 12, name, minor=n % 3 != 0) for n, name in enumerate(MONTHS)],
        y,
        f"Revenue per day by month, a line per year, where 100 is the mean of the log{highest}",
    )
    keys = [(names[year], str(year)) for year in years[-2:]]
    if years[:-2]:
        older = f"{years[0]} to {years[-3]}" if len(years) > 3 else str(years[0])
        keys.insert(0, (names[years[0]], older))
    return chart, keys


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
