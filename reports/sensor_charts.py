"""Draw the chart of a sensor: its values by month, the band without alarm, and the alarms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import expm1, isfinite
from statistics import median
from typing import TYPE_CHECKING

from markupsafe import Markup

from monitoring.facts import Reading
from reports import charts
from reports.charts import at_month, axes, ends
from reports.svg import INK, NARROW, Hint, chart
from reports.words import LOG_RATIO, NOT_JUDGED, STATES, figure, in_unit, month_name, month_ranges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT, TALL = 158, 200  # of a chart of the width NARROW, and of wider ones


def band(reading: Reading, unit: str) -> tuple[float, float] | None:
    """Return the lowest and the highest value without an alarm; None where there is no limit. A
    share is not below zero."""
    if reading.expected is None or reading.sd is None or reading.limit is None:
        return None
    half = reading.limit * reading.sd
    limits = reading.expected - half, reading.expected + half
    if "share" in unit:
        limits = max(limits[0], 0.0), limits[1]
    return limits if all(map(isfinite, limits)) else None


def sensor_chart(
    name: str,
    title: str,
    unit: str,
    readings: Sequence[Reading],
    first: str,
    last: str,
    width: int = NARROW,
    alarming: bool = True,
) -> Markup:
    """Draw a sensor over its months, from `first` to `last`: its value, its band, the months of the
    baseline shaded, alarms marked. So wide, in pixels. alarming: see `_card` of
    `reports/monitoring.py`."""
    values = {
        reading.month: _drawn(reading.value, unit)
        for reading in readings
        if reading.value is not None and isfinite(reading.value)
    }
    limits = {reading.month: edges for reading in readings if (edges := band(reading, unit))}
    bands = {  # low, high, and what is expected; the months of the baseline are what it is made of
        reading.month: tuple(
            _drawn(value, unit) for value in (*limits[reading.month], reading.expected or 0)
        )
        for reading in readings
        if reading.month in limits and reading.state != "baseline"
    }
    low, high = _ends([*values.values()], [*bands.values()])
    alarms = [one.month for one in readings if one.state == "alarm"]
    word = "alarm" if alarming else "value beyond its limit"
    alarm_text = f"{word} in {month_ranges(alarms)}" if alarms else f"no {word}"

    def draw(fig: Figure, width: int) -> list[Hint]:
        ax = axes(fig, 50, 36, 6, 8)
        _shade(ax, [one.month for one in readings if one.state == "baseline"])
        _bands(ax, {at_month(month): edges for month, edges in bands.items()})
        line = {at_month(month): _clamp(value, low, high) for month, value in values.items()}
        for run in charts.runs([*line]):
            ax.plot(run, [line[x] for x in run], color=INK["soft"], lw=1.2)
        for reading in readings:
            if reading.month in values:
                _reading(
                    ax,
                    reading,
                    values[reading.month],
                    low,
                    high,
                    INK["bad" if alarming else "warn"],
                )
        charts.month_axis(ax, first, last, 6)
        charts.value_axis(ax, low, high, lambda value: _tick(value, unit), 4)
        return [
            charts.month_hint(reading.month, _in_words(reading, unit, limits, word))
            for reading in readings
        ]

    newest = readings[-1] if readings else None
    value = f"; {month_name(newest.month)}: {in_unit(newest.value, unit)}" if newest else ""
    alt = f"{title}, {month_name(first)} to {month_name(last)}: {alarm_text}{value}"
    return chart(name, width, HEIGHT if width == NARROW else TALL, alt, draw)


def _drawn(value: float, unit: str) -> float:
    """A value as it is drawn: a log ratio as the change that it stands for, so that the axis has
    round changes."""
    return expm1(min(value, 100)) if unit == LOG_RATIO else value


def _ends(values: Sequence[float], bands: Sequence[tuple[float, ...]]) -> tuple[float, float]:
    """Return the ends of an axis on which the band can be read: values far outside are cut off."""
    if not bands:
        return ends(values, 1e-9 + 0.2 * max(map(abs, values), default=1.0))
    below, above = min(edges[0] for edges in bands), max(edges[1] for edges in bands)
    margin = 1.5 * median(edges[1] - edges[0] for edges in bands)
    inside = [min(max(value, below - margin), above + margin) for value in values]
    return ends([*inside, below, above], 1e-9)


def _clamp(value: float, low: float, high: float) -> float:
    edge = 0.04 * (high - low)
    return min(max(value, low + edge), high - edge)


def _shade(ax: Axes, months: Iterable[str]) -> None:
    for run in charts.runs([at_month(month) for month in months]):
        ax.axvspan(run[0] - 0.5, run[-1] + 0.5, color=INK["shade"], lw=0, zorder=0)
        ax.annotate(
            "baseline",
            (run[0] - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -11),
            textcoords="offset points",
            color=INK["soft"],
            fontsize=10,
        )


def _bands(ax: Axes, bands: dict[int, tuple[float, ...]]) -> None:
    """One step per month, as the band may be another in each."""
    for run in charts.runs([*bands]):
        edges = [run[0] - 0.5, *(x + 0.5 for x in run)]
        floors, tops, middles = zip(*(bands[x] for x in run), strict=True)
        ax.stairs(tops, edges, baseline=floors, fill=True, color=INK["s0"], alpha=0.16, lw=0)
        ax.stairs(middles, edges, baseline=None, color=INK["s0"], lw=1, ls=(0, (3, 3)))


def _reading(ax: Axes, reading: Reading, value: float, low: float, high: float, loud: str) -> None:
    x, y = at_month(reading.month), _clamp(value, low, high)
    if reading.state == "alarm":
        shape = "D" if y == value else "^" if value > y else "v"  # an arrow: off the chart
        charts.mark(ax, x, y, shape, loud, 8.5)
    elif reading.state == "pending":
        charts.mark(ax, x, y, "s", INK["warn"], 7)
    elif reading.state in NOT_JUDGED:
        charts.mark(ax, x, y, "o", INK["soft"], 5, hollow=True)
    else:
        ink = INK["soft"] if reading.state == "baseline" else INK["s0"]
        charts.mark(ax, x, y, "o", ink, 3.5 if reading.state == "baseline" else 5.5)


def _tick(value: float, unit: str) -> str:
    if unit == LOG_RATIO:
        return f"{figure(100 * value, 0 if abs(value) > 0.095 else 1, '+')} %".replace(".0 ", " ")
    return charts.percent_tick(value) if "share" in unit else in_unit(value, unit)


def _in_words(
    reading: Reading, unit: str, bands: dict[str, tuple[float, float]], alarm: str
) -> str:
    state = alarm if reading.state == "alarm" else STATES[reading.state]
    text = f"{in_unit(reading.value, unit)}, {state}"
    if reading.month in bands:
        low, high = bands[reading.month]
        text += f"; band {in_unit(low, unit)} to {in_unit(high, unit)}"
    return text
