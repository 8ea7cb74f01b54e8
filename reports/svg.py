"""Charts by Matplotlib as SVG inside a page: text stays text, and colours are the page's variables.

Matplotlib draws with placeholder colours, which are replaced by `var(--name)`, so that one chart
serves the light page and the dark one. The same figure gives the same bytes: ids follow from the
chart's name, and no time is written into it. A unit of the chart is a pixel of the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from common.terminal import visible
from monitoring.facts import add_months
from reports.words import figure as shown
from reports.words import month_name, short_month

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = (
    *("text", "soft", "line", "card", "page", "good", "warn", "bad", "worse", "shade"),
    *("s0", "s1", "s2", "s3", "s4", "s5"),
)
INK = {name: f"#01f0{place:02x}" for place, name in enumerate(NAMES)}  # the placeholders
SERIES = 6  # colours of versions; they are used again from the seventh on
MARKERS = "osD^vP"  # a version is known by its marker too
SIZE = 11  # of the text, in pixels
WIDE, MEDIUM, NARROW = 980, 400, 330  # widths of a chart: the whole page, half of it, a phone
STYLE = {
    "svg.fonttype": "none",
    "font.size": SIZE,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Hint:
    """The tooltip between two places on the x axis."""

    left: float
    right: float
    text: str

    @classmethod
    def of_month(cls, month: str, text: str) -> Hint:
        return cls(at_month(month) - 0.5, at_month(month) + 0.5, f"{short_month(month)}: {text}")


Draw = Callable[["Figure", int], Iterable[Hint]]  # (figure, its width) -> hints for its first axes


@contextmanager
def own_style() -> Iterator[None]:
    """Matplotlib's own defaults and those above, whatever the user's configuration says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def chart(name: str, width: int, height: int, alt: str, draw: Draw, kind: str = "") -> Markup:
    """One chart. name: unique on the page, made of letters, digits and `-`; alt: what it shows, for
    people who cannot see it."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = name
    figure = Figure(figsize=(width / 72, height / 72))
    figure.patch.set_visible(False)
    hints = list(draw(figure, width))
    written = StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None})
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>'
    ).format(
        kind,
        width,
        height,
        visible(alt),
        Markup(_inner(written.getvalue(), name)),
        _hints(figure, hints, height) if hints else "",
    )


def wide_and_narrow(
    name: str, heights: tuple[int, int], alt: str, draw: Draw, narrow: Draw | None = None
) -> Markup:
    """A chart over the whole page, and the same drawn for a phone; the page shows one of them."""
    return chart(f"{name}-w", WIDE, heights[0], alt, draw, "for-wide") + chart(
        f"{name}-n", NARROW, heights[1], alt, narrow or draw, "for-narrow"
    )


def axes(
    figure: Figure, left: float, bottom: float, right: float, top: float, height: float = 0
) -> Axes:
    """Axes with so many pixels around them; with a height, the space above is left free."""
    width, whole = (72 * side for side in figure.get_size_inches())
    tall = height or whole - bottom - top
    made = figure.add_axes(
        (left / width, bottom / whole, (width - left - right) / width, tall / whole)
    )
    made.patch.set_visible(False)
    for side in ("top", "left", "right"):
        made.spines[side].set_visible(False)
    made.spines["bottom"].set(color=INK["line"], linewidth=1)
    made.tick_params(length=0, labelcolor=INK["soft"], labelsize=SIZE, pad=5)
    made.grid(axis="y", color=INK["line"], linewidth=1)
    made.set_axisbelow(True)
    return made


def month_axis(made: Axes, first: str, last: str, most: int, days: bool = False) -> None:
    """Months on the x axis: at most so many labels, the year below the first and below each
    January. A label stands at its month's middle, with `days` at its first day (`at_day`)."""
    shift = -0.5 if days else 0.0
    count = at_month(last) - at_month(first) + 1
    step = next((step for step in (1, 2, 3, 6) if count / step <= most), 12)
    every = max(1, -(-count // (12 * most)))  # of many years, not each is named
    ticks: list[float] = []
    labels: list[str] = []
    for offset in range(count):
        month = add_months(first, offset)
        year, number = month.split("-")
        if (int(number) - 1) % step or (step == 12 and int(year) % every):
            continue
        if step == 12:
            labels.append(year)
        else:
            name = month_name(month)[:3]
            labels.append(f"{name}\n{year}" if not ticks or number == "01" else name)
        ticks.append(at_month(month) + shift)
    if not ticks:  # a few months, none of them of the step
        ticks, labels = [at_month(first) + shift], [month_name(first)]
    made.set_xticks(ticks, labels)
    made.set_xlim(at_month(first) - 0.6, at_month(last) + 0.6)


def at_month(month: str) -> int:
    """A month as a number on an axis."""
    year, number = map(int, month.split("-"))
    return year * 12 + number - 1


def at_day(day: str) -> float:
    """A day on the same axis, where months stand at their middle."""
    return at_month(day[:7]) - 0.5 + (int(day[8:10]) - 1) / 31


def ends(values: Iterable[float | None], least: float, room: float = 0.08) -> tuple[float, float]:
    """The ends of a y axis that holds the values, at least so far apart."""
    known = [value for value in values if value is not None] or [0.0]
    low, high = min(known), max(known)
    least = max(least, 1e-6 * max(abs(low), abs(high)))  # what a float can tell apart
    middle, half = (low + high) / 2, max((high - low) / 2, least / 2) * (1 + 2 * room)
    return middle - half, middle + half


def value_axis(
    made: Axes, low: float, high: float, show: Callable[[float], str], most: int
) -> None:
    """Round values on the y axis, written by `show`."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = [float(tick) for tick in found if low <= tick <= high]
    made.set_yticks(ticks, [show(tick) for tick in ticks])
    made.set_ylim(low, high)


def runs(numbers: Sequence[int]) -> list[list[int]]:
    """Numbers that follow each other, together: a line does not cross a month without a figure."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def colour(version: int) -> str:
    """The colour of a version."""
    return INK[f"s{(version - 1) % SERIES}"]


def marker(version: int) -> str:
    return MARKERS[(version - 1) % SERIES]


def mark(
    made: Axes, x: float, y: float, shape: str, ink: str, size: float, hollow: bool = False
) -> None:
    """One marker, `size` pixels wide."""
    fill, edge = (INK["card"], ink) if hollow else (ink, INK["card"])
    made.plot(
        [x],
        [y],
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
    made: Axes, x: float, low: float | None, high: float | None, ink: str, **style: Any
) -> None:
    if low is not None and high is not None:
        made.plot([x, x], [low, high], color=ink, lw=1.5, zorder=3, **style)


def percent_tick(share: float) -> str:
    """A share on an axis, without digits that are noughts."""
    return f"{100 * share:.3g} %".replace("-", "−")


def auc_tick(value: float) -> str:
    """0.75 or 0.775: two digits where they are enough."""
    return shown(value, 2 if abs(value * 100 - round(value * 100)) < 1e-6 else 3)


def compact(value: float) -> str:
    """12.5k or 3M: an amount as short as an axis wants it."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def dashed(made: Axes, points: Sequence[tuple[float, float]]) -> None:
    """What was expected, or was before: a dashed line with hollow squares."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    made.plot(
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


def solid(made: Axes, points: Sequence[tuple[float, float]]) -> None:
    """What is: a line with dots."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    made.plot(x, y, color=INK["s0"], lw=1.8, marker="o", ms=5.5, clip_on=False)


def _inner(written: str, name: str) -> str:
    """What stands within <svg>: without what a page does not need, in a third of the bytes."""
    text = written[written.index("<svg") :]
    text = text[text.index(">") + 1 : text.rindex("</svg>")]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", text)  # of groups: not unique on a page
    text = re.sub(r'(id="|href="#|url\(#)([mp][0-9a-f]{10})', rf"\1{name}-\2", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font-family: [^;\"]*;? ?|font: ([\d.]+px) [^;\"]*", _font, text)
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", text)
    text = re.sub(r"#01f0([0-9a-f]{2})", lambda found: _variable(found[1]), text)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"> <", "><", text).strip()


def _font(found: re.Match[str]) -> str:
    return f"font-size: {found[1]}" if found[1] else ""


def _variable(place: str) -> str:
    return f"var(--{NAMES[int(place, 16)]})"


def _hints(figure: Figure, hints: Iterable[Hint], height: int) -> Markup:
    made = figure.axes[0]
    (low, bottom), (high, top) = made.transAxes.transform([(0, 0), (1, 1)]) * 72 / figure.dpi
    drawn = []
    for hint in hints:
        (left, _), (right, _) = (
            made.transData.transform([(hint.left, 0), (hint.right, 0)]) * 72 / figure.dpi
        )
        left, right = max(left, low), min(right, high)
        drawn.append(
            Markup(
                '<rect class="hint" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{}</title></rect>"
            ).format(left, height - top, max(right - left, 0), top - bottom, visible(hint.text))
        )
    return Markup("").join(drawn)
