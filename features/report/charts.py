"""The pictures of the report, from figures to markup. Each says in its `alt` what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from markupsafe import Markup

from features.report import plot
from features.report.association import POINTS, Distribution
from features.report.log import Log
from features.report.plot import Tick, compact
from features.report.table import SPLITS, AsOf


def lines_over_time(log: Log) -> Markup:
    """Raw lines per bucket: the valid ones, and the quarantined on top of them."""
    valid, out = log.valid_by_bucket, log.quarantine.by_bucket
    totals = [a + b for a, b in zip(valid, out, strict=True)]
    _, high, y = plot.count_axis(max(totals, default=0))
    unit = log.buckets.unit
    return plot.frame(
        [
            plot.bars([v / high for v in valid], "valid-row"),
            plot.bars([v / high for v in out], "out", [v / high for v in valid]),
            plot.hints(
                [
                    f"{unit} of {day}: {a:,.0f} valid, {b:,.0f} in quarantine"
                    for day, a, b in zip(log.buckets.days, valid, out, strict=True)
                ]
            ),
        ],
        _bucket_ticks(log),
        y,
        f"Bars of the lines per {unit}, {log.first} to {log.last}: on average"
        f" {np.mean(valid):,.0f} valid and {np.mean(out):,.0f} in quarantine",
    )


def revenue_over_time(log: Log) -> Markup:
    money = log.revenue_by_bucket
    low, high, y = plot.count_axis(max(money, default=0), min(money, default=0))
    zero = -low / (high - low)
    unit = log.buckets.unit
    best = log.buckets.days[int(np.argmax(money))]
    return plot.frame(
        [
            plot.bars([m / (high - low) for m in money], "money", [zero] * len(money)),
            plot.hints(
                [
                    f"{unit} of {day}: {amount:,.0f}"
                    for day, amount in zip(log.buckets.days, money, strict=True)
                ]
            ),
        ],
        _bucket_ticks(log),
        y,
        f"Bars of the revenue per {unit}; the highest is {max(money):,.0f}, {unit} of {best}",
    )


def sparkline(values: Sequence[float], name: str) -> Markup:
    """Bars without axes, for a cell of a table; the highest fills the cell."""
    high = max(values, default=0)
    if high <= 0:
        return Markup("")
    return Markup(
        '<svg class="spark" viewBox="0 0 {0} {0}" preserveAspectRatio="none" aria-hidden="true">'
        "{1}</svg>"
    ).format(plot.SIDE, plot.bars([max(v, 0) / high for v in values], name, gap=0))


def target_rate(dates: list[AsOf], first: date, last: date) -> Markup:
    """The share of buyers per as-of date with its interval; test dates as bands without a rate."""
    days = max((last - first).days, 1)
    known = [d for d in dates if d.rate is not None]
    high = min(1.0, 1.15 * max((d.high or 0 for d in known), default=1.0)) or 1.0
    shapes = []
    for d in dates:
        x = (d.day - first).days / days
        if d.rate is None or d.low is None or d.high is None:
            shapes.append(plot.segment(x, 0, x, 1, "sealed"))
        else:
            shapes.append(plot.segment(x, d.low / high, x, d.high / high, f"{d.split} whisker"))
            shapes.append(plot.dot(x, d.rate / high, d.split))
    said = ", ".join(f"{d.day} {d.rate:.0%}" for d in known[-12:] if d.rate is not None)
    return plot.frame(
        shapes,
        plot.time_ticks(first, last),
        [Tick(v / high, f"{v:.0%}") for v in plot.nice_ticks(0, high)],
        f"Share of customers who buy again by as-of date: {said}. Test dates are marked, not shown",
    )


def cumulative(found: Distribution) -> Markup:
    """The share of customers at or below each value, a line per split."""
    pooled = np.concatenate(list(found.quantiles.values()))
    low, high = np.quantile(pooled, [0.01, 0.985])
    transform = np.log1p if found.log_scale else np.asarray
    start, end = float(transform(low)), float(transform(high))
    if not end > start:
        start, end = start - 0.5, end + 0.5
    values = _log_ticks(low, high) if found.log_scale else plot.nice_ticks(low, high, 4)

    def place(value: np.ndarray | float) -> np.ndarray:
        return np.clip((transform(np.asarray(value, dtype=float)) - start) / (end - start), 0, 1)

    said = ", ".join(f"{split} {found.quantiles[split][50]:.3g}" for split in found.quantiles)
    return plot.frame(
        [
            plot.line(place(found.quantiles[split]), POINTS, f"{split} curve")
            for split in SPLITS
            if split in found.quantiles
        ],
        _apart([Tick(float(place(v)), compact(v)) for v in values]),
        [Tick(share, f"{share:.0%}") for share in (0, 0.5, 1)],
        f"Cumulative distribution of {found.name} by split; the medians are {said}",
        "small",
    )


def _bucket_ticks(log: Log) -> list[Tick]:
    """Time ticks over bars: the axis ends where the last bar ends."""
    days = log.buckets.days
    if not days:
        return []
    length = {"week": 7, "month": 31, "year": 366}[log.buckets.unit]
    return plot.time_ticks(days[0], days[-1] + timedelta(days=length))


def _log_ticks(low: float, high: float) -> list[float]:
    powers = [float(10**power) for power in range(10) if 10**power <= high]
    shown = [power for power in powers if power >= low]
    if len(shown) > 4:
        shown = shown[len(shown) % 2 :: 2]
    return ([0.0] if low <= 0 else []) + shown


def _apart(ticks: list[Tick]) -> list[Tick]:
    """Without the ticks whose labels would run into the one before."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or tick.at - kept[-1].at > 0.12:
            kept.append(tick)
    return kept
