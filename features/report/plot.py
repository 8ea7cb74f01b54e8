"""A small plotting kit: shapes in SVG that stretch with the page, and text in HTML that does not.

A picture of fixed width is either cut off on a phone or shrunk until nobody can read its numbers.
Here the shapes live in a square of 1000 x 1000 that the browser stretches to the room there is
(strokes keep their width), and tick labels stand beside it as text of the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from math import floor, log10

import numpy as np
from markupsafe import Markup

from common.terminal import visible

SIDE = 1000


@dataclass(frozen=True)
class Tick:
    at: float  # 0 at the left or bottom, 1 at the right or top
    label: str
    minor: bool = False  # left out where the page is narrow


def frame(
    shapes: Iterable[Markup], x: Sequence[Tick], y: Sequence[Tick], alt: str, kind: str = ""
) -> Markup:
    """Shapes with their axes. `alt` is what a person who cannot see the picture is told."""
    grid = path((f"M0 {_y(t.at)}H{SIDE}" for t in y), "grid")
    svg = Markup(
        '<svg viewBox="0 0 {0} {0}" preserveAspectRatio="none" aria-hidden="true">{1}{2}</svg>'
    ).format(SIDE, grid, Markup("").join(shapes))
    across = [
        Markup('<b style="left:{}%"{}>{}</b>').format(
            _short(100 * t.at), Markup(' class="minor"') if t.minor else "", visible(t.label)
        )
        for t in x
    ]
    up = [
        Markup('<i style="bottom:{}%">{}</i>').format(_short(100 * t.at), visible(t.label))
        for t in y
    ]
    return Markup('<div class="plot {}" role="img" aria-label="{}">{}{}</div>').format(
        kind, visible(alt), svg, Markup("").join(across + up)
    )


def bars(
    heights: Sequence[float], name: str, base: Sequence[float] | None = None, gap: float = 0.15
) -> Markup:
    """One bar per value, over the whole width; heights and bases as shares of the picture."""
    base = base or [0.0] * len(heights)
    width = SIDE / max(len(heights), 1)
    return path(
        (
            f"M{_short(width * (place + gap / 2))} {_y(bottom)}h{_short(width * (1 - gap))}"
            f"V{_y(bottom + height)}h{_short(-width * (1 - gap))}z"
            for place, (height, bottom) in enumerate(zip(heights, base, strict=True))
            if height
        ),
        name,
    )


def line(x: Iterable[float], y: Iterable[float], name: str) -> Markup:
    points = [f"{_x(a)} {_y(b)}" for a, b in zip(x, y, strict=True)]
    if len(points) == 1:  # no length, but the stroke's round end makes it a dot
        points *= 2
    return path(["M" + "L".join(points)] if points else [], name)


def segment(x0: float, y0: float, x1: float, y1: float, name: str) -> Markup:
    return line((x0, x1), (y0, y1), name)


def dot(x: float, y: float, name: str) -> Markup:
    return line((x,), (y,), f"{name} dot")


def hints(texts: Sequence[str]) -> Markup:
    """What the pointer is told over each of so many columns."""
    width = SIDE / max(len(texts), 1)
    return Markup("").join(
        Markup('<rect class="hint" x="{}" width="{}" height="{}"><title>{}</title></rect>').format(
            _short(width * place), _short(width), SIDE, visible(text)
        )
        for place, text in enumerate(texts)
    )


def sparkline(values: Sequence[float], name: str) -> Markup:
    """Bars without axes, for a cell of a table; the highest fills the cell."""
    high = max(values, default=0)
    if high <= 0:
        return Markup("")
    return Markup(
        '<svg class="spark" viewBox="0 0 {0} {0}" preserveAspectRatio="none" aria-hidden="true">'
        "{1}</svg>"
    ).format(SIDE, bars([max(v, 0) / high for v in values], name, gap=0))


def path(pieces: Iterable[str], name: str) -> Markup:
    drawn = "".join(pieces)
    return Markup('<path class="{}" d="{}"/>').format(name, drawn) if drawn else Markup("")


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values from low to high, about `count` steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    unit = 10 ** floor(log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [round(step * number, 12) for number in range(first, last + 1)]


def count_axis(highest: float, lowest: float = 0.0) -> tuple[float, float, list[Tick]]:
    """The ends of an axis of amounts that holds 0, and its ticks."""
    high, low = max(highest, 0.0), min(lowest, 0.0)
    if high == low:
        high = 1.0
    values = nice_ticks(low, high * 1.04)
    low = min(low, values[0])
    high = max(high * 1.04, values[-1])
    return low, high, [Tick((v - low) / (high - low), compact(v)) for v in values]


def time_ticks(first: date, last: date) -> list[Tick]:
    """Januaries alone where the log is long, else quarters or months as well."""
    days = max((last - first).days, 1)
    step = 12 if days > 4 * 366 else 3 if days > 250 else 1
    every = max(1, round(days / 365.25 / 8)) if step == 12 else 1
    ticks = []
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        day = date(month // 12, month % 12 + 1, 1)
        years = day.year - first.year
        if month % step or day < first or (step == 12 and years % every):
            continue
        label = str(day.year) if step == 12 or day.month == 1 else f"{day:%b}"
        minor = {
            1: month % 2 != 0,
            3: days > 500 and month % 6 != 0,
            12: days > 6 * 366 and years // every % 2 == 0,
        }[step]
        ticks.append(Tick((day - first).days / days, label, minor))
    return ticks


def robust_ends(
    values: np.ndarray, share: float, reach: float, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """The lowest and the highest value that an axis should hold, so that a stray one does not press
    all others flat.

    The quantiles `share` and 1 - `share` are moved apart by `reach` times their distance; the ends
    are the outermost values in between. Few values, or values that are all alike, have no stray.
    """
    order = np.argsort(values, kind="stable")
    sorted_values = np.asarray(values, dtype=float)[order]
    so_far = np.cumsum(np.ones(len(order)) if weights is None else weights[order])
    low = sorted_values[np.searchsorted(so_far, share * so_far[-1], side="right")]
    high = sorted_values[np.searchsorted(so_far, (1 - share) * so_far[-1], side="left")]
    room = reach * (high - low)
    inside = sorted_values[(sorted_values >= low - room) & (sorted_values <= high + room)]
    return float(inside[0]), float(inside[-1])


def compact(value: float) -> str:
    """12.5k or 3M: an amount as short as an axis wants it."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def _x(share: float) -> str:
    return _short(SIDE * share)


def _y(share: float) -> str:
    return _short(SIDE * (1 - share))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
