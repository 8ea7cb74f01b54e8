"""Render the data report of a log: what came in, what was left out and why, what the model sees.

Everything is counted inside DuckDB within `compute.memory_mb`. The page holds neither the
time nor the place of its making, so the same data gives the same bytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from common.duck import connect
from configs.settings import Compute
from features.catalogue import CATALOGUE
from features.table import SPLITS
from reports import charts, page, svg
from reports.charts import axes
from reports.log_counts import Log, Quarantine, example_rows, read_log, read_quarantine
from reports.svg import INK, MEDIUM, NARROW, Hint, chart
from reports.table_figures import (
    POINTS,
    SAMPLE,
    AsOf,
    Distribution,
    associations,
    distributions,
    reach_of,
    read_table,
    signed_bars,
)
from reports.words import MONTHS, SPLIT_NAMES, compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADINGS = {
    "source_row": "row",
    "invoice_id": "invoice",
    "product_id": "product",
    "unit_price": "unit price",
    "invoiced_at": "time",
    "customer_id": "customer",
    "also": "other reasons",
}
CHAPTERS = {
    "volumes": "Volumes",
    "missing": "Missing values",
    "quarantine": "Quarantine",
    "season": "Season",
    "target": "Target",
    "features": "Features",
    "distributions": "Distributions",
    "gaps": "Missing features",
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LEAST_DAYS = 10  # of a month that the log covers, for its daily mean to be worth drawing
YEARS = (("test", 2.5), ("valid", 2.0), ("train", 1.3))  # ink and width: newest, one before, older
HEIGHT = 225  # of a chart of the width MEDIUM


@svg.own_style()
def write_data_report(
    parts: list[Path], validated: Path, table: Path, target: Path, *, title: str, compute: Compute
) -> None:
    """Write the report to `target`.

    parts: raw rows in canonical form (Parquet).  validated: the folder with transactions.parquet,
    quarantine.parquet and contract.json.  table: the training table.
    """
    with connect(target.parent, compute) as connection:
        log = read_log(connection, parts, validated)
        quarantine = read_quarantine(connection, validated / "quarantine.parquet", log.buckets)
        learnt = read_table(connection, table)
    ranked = associations(learnt)
    curves = [
        _curve(place, chosen) for place, chosen in enumerate(distributions(learnt, ranked), start=1)
    ]
    lines, lines_note = _lines(log, quarantine)
    revenue, revenue_note = _revenue(log)
    months, years, months_note = _monthly_index(log)
    hours, heat, busiest = _hours(log)
    context = {
        "title": title,
        "chapters": [(a, name) for a, name in CHAPTERS.items() if curves or a != "distributions"],
        "log": log,
        "quarantine": quarantine,
        "why": _why(validated / "contract.json"),
        "examples": example_rows(quarantine),
        "headings": HEADINGS,
        "numeric": ("source_row", "quantity", "unit_price"),
        "long": ("source", "description", "country", "also", "unreadable"),
        "sparkline": svg.sparkline,
        "charts": {
            "lines": lines,
            "revenue": revenue,
            "months": months,
            "target": _target_rate(learnt.as_of, log.buckets.first, log.buckets.last),
        },
        "notes": {"lines": lines_note, "revenue": revenue_note, "months": months_note},
        "years": years,
        "hours": hours,
        "heat": heat,
        "busiest": busiest,
        "table": learnt,
        "sample": SAMPLE,
        "split_names": SPLIT_NAMES,
        "meaning": defaultdict(str, {feature.name: feature.meaning for feature in CATALOGUE}),
        "ranked": signed_bars(ranked),
        "reach": reach_of(ranked),
        "curves": curves,
        "lacking": [(n, shares) for n, shares in learnt.missing.items() if any(shares.values())],
    }
    page.write_page(target, "data.html.jinja", context)


def _why(contract: Path) -> dict[str, str]:
    """Reason -> why the rule exists. The page does without, should the file be of another form."""
    try:
        findings = json.loads(contract.read_text(encoding="utf-8"))["findings"]
        return defaultdict(str, {str(f["code"]): str(f.get("why", "")) for f in findings})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return defaultdict(str)


# --- charts of the log: each with what its axis leaves out, in words -----------------------------


def _lines(log: Log, quarantine: Quarantine) -> tuple[Markup, str]:
    """Raw lines per bucket, the quarantined on top of the valid."""
    valid, out = np.array(log.valid_by_bucket), np.array(quarantine.by_bucket)
    low, high, note = _amount_axis(valid + out, [f"the {name}" for name in _names(log)])

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax, (left, right) = axes(figure, 46, 36, 16, 8), _edges(log)
        kept, total = np.clip(valid, low, high), np.clip(valid + out, low, high)
        charts.bars(ax, left, right, kept, "kept")
        charts.bars(ax, left, right, total - kept, "out", base=kept)
        charts.day_axis(ax, *_span(log), 8)
        charts.value_axis(ax, low, high, compact, 4)
        return _hints(
            log,
            [f"{a:,.0f} valid, {b:,.0f} in quarantine" for a, b in zip(valid, out, strict=True)],
        )

    alt = (
        f"Bars of the lines per {log.buckets.unit}, {log.buckets.first} to {log.buckets.last}: on"
        f" average {np.mean(valid):,.0f} valid and {np.mean(out):,.0f} in quarantine"
    )
    return chart("lines", MEDIUM, HEIGHT, alt, draw), note


def _revenue(log: Log) -> tuple[Markup, str]:
    """Revenue per bucket."""
    money, names = log.revenue_by_bucket, _names(log)
    low, high, note = _amount_axis(money, [f"the {name}" for name in names])

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 46, 36, 16, 8)
        charts.bars(ax, *_edges(log), np.clip(money, low, high), "money")
        charts.day_axis(ax, *_span(log), 8)
        charts.value_axis(ax, low, high, compact, 4)
        return _hints(log, [f"{value:,.0f}" for value in money])

    best = int(np.argmax(money))
    alt = (
        f"Bars of the revenue per {log.buckets.unit}; the highest is {money[best]:,.0f},"
        f" {names[best]}"
    )
    return chart("revenue", MEDIUM, HEIGHT, alt, draw), note


def _monthly_index(log: Log) -> tuple[Markup, list[tuple[str, str]], str]:
    """Revenue per day by month of the year, a line per year; and the ink of each kind of line."""
    by_year = _per_day(log)
    every = {
        f"{MONTHS[month - 1][:3]} {year}": value
        for year, months in by_year.items()
        for month, value in months.items()
    }
    low, high, note = _amount_axis([*every.values()] or [100], [*every] or [""])
    years = sorted(by_year)
    # Of many years the last two stand out, so that ten lines can still be read.
    style = {year: YEARS[min(age, 2)] for age, year in enumerate(reversed(years))}

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 46, 24, 8, 8)
        charts.line(ax, [0.5, 12.5], [100, 100], "soft", 1)
        for year in years:
            ink, thick = style[year]
            for run in charts.runs([*by_year[year]]):
                at = np.clip([by_year[year][month] for month in run], low, high)
                charts.line(ax, run, at, ink, thick)
                if len(run) == 1:
                    charts.mark(ax, run[0], at[0], "o", INK[ink], 6)
        charts.x_ticks(ax, range(1, 13), [name[:3] for name in MONTHS])
        ax.set_xlim(0.5, 12.5)
        charts.value_axis(ax, low, high, compact, 4)
        return []

    peak = max(every, key=lambda month: every[month], default=None)
    highest = f"; the highest is {every[peak]:.0f} in {peak}" if peak else ""
    alt = f"Revenue per day by month, a line per year, where 100 is the middle month{highest}"
    keys = [(style[year][0], str(year)) for year in years[-2:]]
    if years[:-2]:
        older = f"{years[0]} to {years[-3]}" if len(years) > 3 else str(years[0])
        keys.insert(0, (style[years[0]][0], older))
    return chart("months", MEDIUM, HEIGHT, alt, draw), keys, note


def _per_day(log: Log) -> dict[int, dict[int, float]]:
    """Year -> month -> revenue per day, where 100 is the median month: a mean would follow a single
    wrong price."""
    first, last = log.buckets.first, log.buckets.last
    per_day = {}
    for month, money in log.revenue_by_month.items():
        following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
        start, end = max(month, first), min(following, last + timedelta(days=1))
        if (end - start).days >= LEAST_DAYS:
            per_day[month] = money / (end - start).days
    middle = float(np.median([*per_day.values()])) if per_day else 0.0
    by_year: dict[int, dict[int, float]] = {}
    for month, money in per_day.items():
        if middle > 0:
            by_year.setdefault(month.year, {})[month.month] = 100 * money / middle
    return by_year


def _hours(log: Log) -> tuple[list[int], list[tuple[str, list[tuple[int, str]]]], str]:
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


def _amount_axis(
    values: Sequence[float] | np.ndarray, places: Sequence[str]
) -> tuple[float, float, str]:
    """Return the ends of an axis of amounts, which includes 0 and excludes outliers, and a note
    about those. places: what each value is of."""
    bottom, top = charts.robust_ends(np.array(values), 0.1, 3) if len(values) else (0.0, 0.0)
    low, high = 1.04 * min(bottom, 0.0), 1.04 * max(top, 0.0)
    if high == low:
        high = 1.0
    cut = [
        f"{value:,.0f} in {place}"
        for value, place in zip(values, places, strict=True)
        if not low <= value <= high
    ]
    more = f" and {len(cut) - 2} more" if len(cut) > 2 else ""
    note = f"Cut at the end of the axis: {'; '.join(cut[:2])}{more}." if cut else ""
    return low, high, note


def _names(log: Log) -> list[str]:
    return [f"{log.buckets.unit} of {day}" for day in log.buckets.days]


def _span(log: Log) -> tuple[date, date]:
    """The days that an axis of buckets covers: it ends where the last bar ends."""
    days = log.buckets.days
    return days[0], days[-1] + timedelta(
        days={"week": 7, "month": 31, "year": 366}[log.buckets.unit]
    )


def _edges(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Where each bar begins and ends, on an axis of days."""
    first, last = log.buckets.days, _span(log)[1]
    edges = np.array([*(day.toordinal() for day in first), last.toordinal()], dtype=float)
    gap = 0.075 * np.diff(edges)
    return edges[:-1] + gap, edges[1:] - gap


def _hints(log: Log, texts: Sequence[str]) -> list[Hint]:
    edges = [*(day.toordinal() for day in log.buckets.days), _span(log)[1].toordinal()]
    return [
        Hint(edges[place], edges[place + 1], f"{name}: {text}")
        for place, (name, text) in enumerate(zip(_names(log), texts, strict=True))
    ]


# --- charts of the training table ----------------------------------------------------------------


def _target_rate(dates: list[AsOf], first: date, last: date) -> Markup:
    """The share of buyers per as-of date with its interval; test dates are marked without a rate.
    first, last: the days that the axis covers, or more if an as-of date lies beyond."""
    first, last = min(first, *(d.day for d in dates)), max(last, *(d.day for d in dates))
    known = [d for d in dates if d.rate is not None]
    high = min(1.0, 1.15 * max((d.high or 0 for d in known), default=1.0)) or 1.0

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 46, 36, 16, 8)
        for as_of in dates:
            x = as_of.day.toordinal()
            if as_of.rate is None:
                charts.line(ax, [x, x], [0, high], "test", 4, "3 4")
            else:
                charts.whisker(ax, x, as_of.low, as_of.high, INK[as_of.split])
                charts.mark(ax, x, as_of.rate, "o", INK[as_of.split], 7)
        charts.day_axis(ax, first, last, 6 if width <= NARROW else 12)
        charts.value_axis(ax, 0, high, charts.percent_tick, 4)
        return []

    rates = ", ".join(f"{d.day} {d.rate:.0%}" for d in known[-12:] if d.rate is not None)
    alt = (
        f"Share of customers who buy again by as-of date: {rates}. Test dates are marked, not shown"
    )
    return svg.wide_and_narrow("target", (HEIGHT, HEIGHT), alt, draw)


def _curve(place: int, distribution: Distribution) -> dict[str, Any]:
    """Return a feature's distribution by split: its chart, and the texts beside it."""
    units = {feature.name: feature.unit for feature in CATALOGUE}
    return {
        "name": distribution.name,
        "unit": units.get(distribution.name, "value"),
        "log_scale": distribution.log_scale,
        "gap": distribution.gap,
        "chart": _cumulative(f"distribution-{place}", distribution),
    }


def _cumulative(name: str, distribution: Distribution) -> Markup:
    """The share of customers at or below each value, a line per split."""
    pooled = np.concatenate(list(distribution.quantiles.values()))
    low, high = np.quantile(pooled, [0.01, 0.985])
    transform = np.log1p if distribution.log_scale else np.asarray
    start, end = float(transform(low)), float(transform(high))
    if not end > start:
        start, end = start - 0.5, end + 0.5

    def draw(figure: Figure, width: int) -> list[Hint]:
        from matplotlib.ticker import MaxNLocator

        ax = axes(figure, 42, 24, 14, 6)
        for split in SPLITS:
            if split in distribution.quantiles:
                at = np.clip(transform(distribution.quantiles[split].astype(float)), start, end)
                charts.line(ax, at, POINTS, split, 4 if split == "train" else 2)
        ticks = (
            _log_ticks(low, high)
            if distribution.log_scale
            else [v for v in MaxNLocator(4).tick_values(start, end) if start <= v <= end]
        )
        charts.x_ticks(ax, [float(transform(v)) for v in ticks], map(compact, ticks))
        ax.set_xlim(start, end)
        charts.y_ticks(ax, (0, 0.5, 1), ("0%", "50%", "100%"))
        ax.set_ylim(0, 1)
        return []

    medians = ", ".join(f"{split} {q[50]:.3g}" for split, q in distribution.quantiles.items())
    alt = f"Cumulative distribution of {distribution.name} by split; the medians are {medians}"
    return chart(name, NARROW, 150, alt, draw)


def _log_ticks(low: float, high: float) -> list[float]:
    powers = [float(10**power) for power in range(10) if 10**power <= high]
    shown = [power for power in powers if power >= low]
    if len(shown) > 4:
        shown = shown[len(shown) % 2 :: 2]
    return ([0.0] if low <= 0 else []) + shown
