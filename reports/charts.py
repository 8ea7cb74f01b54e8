"""Draw what charts consist of: axes of months, days, shares and amounts, lines, bars, markers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.facts import add_months
from reports.svg import INK, SIZE, Hint
from reports.words import compact, month_name, short_month
from reports.words import figure as shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

SERIES = 6  # colours of versions; they are used again from the seventh on
MARKERS = "osD^vP"  # a version is known by its marker too
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 2")  # a candidate by its line, in pixels
SHARES = (0, 0.25, 0.5, 0.75, 1)
PAD = 5  # pixels between an axis and its labels
LABEL: dict[str, Any] = {"color": INK["soft"], "fontsize": SIZE}


def axes(
    figure: Figure, left: float, bottom: float, right: float, top: float, height: float = 0
) -> Axes:
    """Add axes with so many pixels around them; with a height, the space above is left free."""
    width, whole = (72 * side for side in figure.get_size_inches())
    tall = height or whole - bottom - top
    ax = figure.add_axes(
        (left / width, bottom / whole, (width - left - right) / width, tall / whole)
    )
    ax.patch.set_visible(False)
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set(color=INK["line"], linewidth=1)
    # Named by `x_ticks` and `y_ticks`: Matplotlib makes three lines and two texts of each tick, and
    # measures every label, which takes longer than all the rest of a chart.
    ax.xaxis.set_visible(False)
    ax.yaxis.set_visible(False)
    return ax


def x_ticks(ax: Axes, places: Iterable[float], labels: Iterable[str]) -> None:
    """Name places on the x axis."""
    transform, vertical, horizontal = ax.get_xaxis_text1_transform(PAD)
    for place, label in zip(places, labels, strict=True):
        ax.text(place, 0, label, transform=transform, va=vertical, ha=horizontal, **LABEL)


def y_ticks(ax: Axes, places: Sequence[float], labels: Iterable[str], *, grid: bool = True) -> None:
    """Name places on the y axis, with a line across at each."""
    if grid:
        across = ax.get_yaxis_transform()
        ax.hlines(places, 0, 1, INK["line"], linewidth=1, transform=across, zorder=0.5)
    transform, vertical, horizontal = ax.get_yaxis_text1_transform(PAD)
    for place, label in zip(places, labels, strict=True):
        ax.text(0, place, label, transform=transform, va=vertical, ha=horizontal, **LABEL)


def share_axis(ax: Axes) -> None:
    """Let the x axis run from 0 to 1."""
    x_ticks(ax, SHARES, [f"{share:g}" for share in SHARES])
    ax.set_xlim(0, 1)


def share_axes(ax: Axes) -> None:
    """Let both axes run from 0 to 1."""
    share_axis(ax)
    y_ticks(ax, SHARES, [f"{share:g}" for share in SHARES])
    ax.set_ylim(0, 1)


def month_axis(
    ax: Axes,
    first: str,
    last: str,
    most: int,
    days: bool = False,
    span: tuple[float, float] | None = None,
) -> None:
    """Name months on the x axis, at most so many. A label stands at its month's middle, with
    `days` at its first day (`at_day`). span: the ends of the axis, if not those of the months."""
    low, high = span or (at_month(first) - 0.6, at_month(last) + 0.6)
    shift = -0.5 if days else 0.0
    ticks = [
        (at_month(month) + shift, text)
        for month, text in month_ticks(first, last, most) or [(first, month_name(first))]
    ]
    ticks = [(place, text) for place, text in ticks if low <= place <= high]
    x_ticks(ax, [place for place, _ in ticks], [text for _, text in ticks])
    ax.set_xlim(low, high)


def day_axis(ax: Axes, first: date, last: date, most: int) -> None:
    """Put days on the x axis, as ordinal numbers, and name at most so many months."""
    ticks = [
        (date.fromisoformat(f"{month}-01").toordinal(), text)
        for month, text in month_ticks(f"{first:%Y-%m}", f"{last:%Y-%m}", most, first.day > 1)
    ] or [(first.toordinal(), f"{first.day} {month_name(f'{first:%Y-%m}')}")]
    x_ticks(ax, [day for day, _ in ticks], [text for _, text in ticks])
    ax.set_xlim(first.toordinal(), max(last.toordinal(), first.toordinal() + 1))


def month_ticks(first: str, last: str, most: int, after: bool = False) -> list[tuple[str, str]]:
    """Return the months that an axis names, at most so many, with their labels: the year below
    the first and below each January, of many years the year alone. after: without the first month
    itself."""
    count = at_month(last) - at_month(first) + 1
    step = next((step for step in (1, 2, 3, 6) if count / step <= most), 12)
    every = max(1, -(-count // (12 * most)))  # of many years, not each is named
    ticks: list[tuple[str, str]] = []
    for offset in range(1 if after else 0, count):
        month = add_months(first, offset)
        year, number = month.split("-")
        if (int(number) - 1) % step or (step == 12 and int(year) % every):
            continue
        name = month_name(month)[:3]
        label = f"{name}\n{year}" if not ticks or number == "01" else name
        ticks.append((month, year if step == 12 else label))
    return ticks


def at_month(month: str) -> int:
    """Return a month as a number on an axis."""
    year, number = map(int, month.split("-"))
    return year * 12 + number - 1


def at_day(day: str) -> float:
    """Return a day on the same axis, where months stand at their middle."""
    return at_month(day[:7]) - 0.5 + (int(day[8:10]) - 1) / 31


def month_hint(month: str, text: str) -> Hint:
    """Return the tooltip over a month of a month axis."""
    return Hint(at_month(month) - 0.5, at_month(month) + 0.5, f"{short_month(month)}: {text}")


def value_axis(ax: Axes, low: float, high: float, show: Callable[[float], str], most: int) -> None:
    """Name round values on the y axis, written by `show`."""
    from matplotlib.ticker import MaxNLocator

    candidates = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = [float(tick) for tick in candidates if low <= tick <= high]
    y_ticks(ax, ticks, [show(tick) for tick in ticks])
    ax.set_ylim(low, high)


def ends(values: Iterable[float | None], least: float, margin: float = 0.08) -> tuple[float, float]:
    """Return the ends of a y axis that holds the values, at least so far apart."""
    known = [value for value in values if value is not None] or [0.0]
    low, high = min(known), max(known)
    least = max(least, 1e-6 * max(abs(low), abs(high)))  # what a float can tell apart
    middle, half = (low + high) / 2, max((high - low) / 2, least / 2) * (1 + 2 * margin)
    return middle - half, middle + half


def padded(values: Iterable[float | None]) -> tuple[float, float]:
    """Return the ends of a y axis that holds the values, with a small margin."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    size = max(abs(low), abs(high), 1e-6)
    margin = max(0.06 * (high - low), 1e-9 * size) if high > low else 0.05 * size
    return low - margin, high + margin


def robust_ends(
    values: np.ndarray, share: float, reach: float, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the lowest and the highest value that an axis should hold, so that a stray one does
    not press all others flat.

    The quantiles `share` and 1 - `share` are moved apart by `reach` times their distance; the ends
    are the outermost values in between. Few values, or values that are all equal, have no stray.
    """
    order = np.argsort(values, kind="stable")
    sorted_values = np.asarray(values, dtype=float)[order]
    so_far = np.cumsum(np.ones(len(order)) if weights is None else weights[order])
    low = sorted_values[np.searchsorted(so_far, share * so_far[-1], side="right")]
    high = sorted_values[np.searchsorted(so_far, (1 - share) * so_far[-1], side="left")]
    margin = reach * (high - low)
    inside = sorted_values[(sorted_values >= low - margin) & (sorted_values <= high + margin)]
    return float(inside[0]), float(inside[-1])


def tick_text(low: float, high: float) -> Callable[[float], str]:
    """Return how ticks between two values are written: short, but so that they differ."""
    return compact if high - low > 0.02 * max(abs(low), abs(high)) else "{:.4f}".format


def percent_tick(share: float) -> str:
    """Write a share on an axis, without digits that are noughts."""
    return f"{100 * share:.3g} %".replace("-", "−")


def auc_tick(value: float) -> str:
    """Write 0.75 or 0.775: two digits where they are enough."""
    return shown(value, 2 if abs(value * 100 - round(value * 100)) < 1e-6 else 3)


def line(ax: Axes, x: ArrayLike, y: ArrayLike, ink: str, width: float = 2, dash: str = "") -> None:
    """Draw a line. dash: lengths in pixels, as the keys of a page have them."""
    style = (0, tuple(float(part) / width for part in dash.split())) if dash else "-"
    ax.plot(x, y, color=INK[ink], lw=width, ls=style, clip_on=False, solid_capstyle="round")


def dashed(ax: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw what was expected, or was before: a dashed line with hollow squares."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    ax.plot(
        x,
        y,
        color=INK["s1"],
        lw=1.4,
        ls=(0, (4, 3)),
        marker="s",
        ms=5,
        mfc=INK["card"],
        mec=INK["s1"],
        clip_on=False,
    )


def solid(ax: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw what is: a line with dots."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    ax.plot(x, y, color=INK["s0"], lw=1.8, marker="o", ms=5.5, clip_on=False)


def bars(
    ax: Axes,
    left: ArrayLike,
    right: ArrayLike,
    heights: ArrayLike,
    ink: str,
    base: ArrayLike = 0.0,
) -> None:
    """Draw bars as one shape: hundreds of them cost and weigh little more than one."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    x0, x1, height, low = np.broadcast_arrays(*map(np.asarray, (left, right, heights, base)))
    drawn = height != 0
    x0, x1, low, high = (v[drawn] for v in (x0, x1, low, low + height))
    corners = np.stack([(x0, low), (x0, high), (x1, high), (x1, low), (x0, low)]).transpose(2, 0, 1)
    if not len(corners):
        return
    codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(corners)
    shape = Path(corners.reshape(-1, 2), codes)
    ax.add_patch(PathPatch(shape, facecolor=INK[ink], lw=0, clip_on=False))


def mark(
    ax: Axes, x: ArrayLike, y: ArrayLike, shape: str, ink: str, size: float, hollow: bool = False
) -> None:
    """Draw markers of one kind, `size` pixels wide."""
    fill, edge = (INK["card"], ink) if hollow else (ink, INK["card"])
    ax.plot(
        np.atleast_1d(x),
        np.atleast_1d(y),
        marker=shape,
        ms=size,
        mfc=fill,
        mec=edge,
        mew=1.4 if hollow else 0.8,
        ls="",
        clip_on=False,
        zorder=4,
    )


def whisker(
    ax: Axes, x: float, low: float | None, high: float | None, ink: str, **style: Any
) -> None:
    """Draw an interval, if there is one."""
    if low is not None and high is not None:
        whiskers(ax, x, low, high, ink, **style)


def whiskers(
    ax: Axes, x: ArrayLike, low: ArrayLike, high: ArrayLike, ink: str, **style: Any
) -> None:
    """Draw an interval at each place."""
    ax.vlines(x, low, high, ink, linewidth=1.5, capstyle="projecting", zorder=3, **style)


def colour(version: int) -> str:
    """Return the colour of a version."""
    return INK[f"s{(version - 1) % SERIES}"]


def marker(version: int) -> str:
    return MARKERS[(version - 1) % SERIES]


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """Group numbers that follow each other: a line does not cross a month without a figure."""
    groups: list[list[int]] = []
    for number in sorted(set(numbers)):
        if groups and groups[-1][-1] == number - 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
