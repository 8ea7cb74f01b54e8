"""Put a chart of Matplotlib into a page as SVG.

Text stays text, and colours are the page's variables: Matplotlib draws with placeholder colours,
which are replaced by `var(--name)`, so that one chart serves the light page and the dark one. The
same figure gives the same bytes: ids follow from the chart's name, and no time is written into it.
A unit of the chart is a pixel of the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from markupsafe import Markup

from common.terminal import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = (
    *("text", "soft", "line", "card", "page", "good", "warn", "bad", "worse", "shade"),
    *("s0", "s1", "s2", "s3", "s4", "s5"),
    *("kept", "out", "money", "train", "valid", "test", "raw"),
)
INK = {name: f"#01f0{place:02x}" for place, name in enumerate(NAMES)}  # the placeholders
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


Draw = Callable[["Figure", int], Iterable[Hint]]  # (figure, its width) -> hints for its first axes


@contextmanager
def own_style() -> Iterator[None]:
    """Use Matplotlib's own defaults and those above, whatever the user's configuration says. For
    `with`, and as a decorator of a function that draws."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def chart(name: str, width: int, height: int, alt: str, draw: Draw, kind: str = "") -> Markup:
    """Draw one chart. name: unique on the page, made of letters, digits and `-`; alt: what it
    shows, for people who cannot see it."""
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
    """Draw a chart over the whole page, and the same for a phone; the page shows one of them."""
    return chart(f"{name}-w", WIDE, heights[0], alt, draw, "for-wide") + chart(
        f"{name}-n", NARROW, heights[1], alt, narrow or draw, "for-narrow"
    )


def sparkline(values: Sequence[float], ink: str) -> Markup:
    """Draw bars without axes for a cell of a table, which they fill; the highest is as high as it.
    Not by Matplotlib: a table has one in each of up to hundreds of rows."""
    high = max(values, default=0)
    if high <= 0:
        return Markup("")
    drawn = "".join(
        f"M{place} 100V{100 - 100 * value / high:.1f}h1V100z"
        for place, value in enumerate(values)
        if value > 0
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 {} 100" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="{}" style="fill: var(--{})"/></svg>'
    ).format(len(values), drawn, ink)


def _inner(written: str, name: str) -> str:
    """Return the content of <svg> without what a page does not need: a third of the bytes."""
    text = written[written.index("<svg") :]
    text = text[text.index(">") + 1 : text.rindex("</svg>")]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", text)  # of groups: not unique on a page
    text = re.sub(r'(id="|href="#|url\(#)([mp][0-9a-f]{10})', rf"\1{name}-\2", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font-family: [^;\"]*;? ?|font: ([\d.]+px) [^;\"]*", _font, text)
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    text = re.sub(r"<[^>]*>", _rounded, text)
    text = re.sub(r"#01f0([0-9a-f]{2})", lambda match: _variable(match[1]), text)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"> <", "><", text).strip()


def _rounded(tag: re.Match[str]) -> str:
    """A tag with two digits behind its points; the labels between tags stay as they are."""
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag[0])


def _font(match: re.Match[str]) -> str:
    return f"font-size: {match[1]}" if match[1] else ""


def _variable(place: str) -> str:
    return f"var(--{NAMES[int(place, 16)]})"


def _hints(figure: Figure, hints: Iterable[Hint], height: int) -> Markup:
    ax = figure.axes[0]
    (low, bottom), (high, top) = ax.transAxes.transform([(0, 0), (1, 1)]) * 72 / figure.dpi
    drawn = []
    for hint in hints:
        (left, _), (right, _) = (
            ax.transData.transform([(hint.left, 0), (hint.right, 0)]) * 72 / figure.dpi
        )
        left, right = max(left, low), min(right, high)
        drawn.append(
            Markup(
                '<rect class="hint" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{}</title></rect>"
            ).format(left, height - top, max(right - left, 0), top - bottom, visible(hint.text))
        )
    return Markup("").join(drawn)
