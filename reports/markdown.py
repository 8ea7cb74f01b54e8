"""Render the templates of the docs, `templates/docs/`: whole pages, or sections of pages written by
hand, between comments `<!-- name -->` and `<!-- /name -->`. And what their tables hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from reports.page import environment

if TYPE_CHECKING:
    from jinja2 import Environment

Cells = list[list[str]]


def render(template: str, **context: Any) -> str:
    """Return the text of a page of `templates/docs/`."""
    return _environment().get_template(f"docs/{template}.md.jinja").render(context)


def fill(text: str, template: str, sections: Sequence[str], **context: Any) -> str:
    """Replace these sections of a page: the section `x` by the macro `section_x`."""
    macros = _environment().get_template(f"docs/{template}.md.jinja").make_module(context)
    for name in sections:
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        section = getattr(macros, f"section_{name}")().rstrip()
        text = f"{before}{begin}{section}\n{end}{rest.split(end)[1]}"
    return text


@cache
def _environment() -> Environment:
    env = environment(visible=False)
    env.filters |= {"rows": rows, "amount": amount, "limit": limit, "z": standard}
    return env


def rows(cells: Iterable[Sequence[str]]) -> str:
    """Write the lines of a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def bars_escaped(cells: Iterable[str]) -> list[str]:
    """Write cells in which `|` is text."""
    return [cell.replace("|", "\\|") for cell in cells]


def amount(figure: float | str, unit: str = "") -> str:
    """Write three digits that count, or thousands; a text as it is."""
    if isinstance(figure, str):
        return figure
    return f"{f'{figure:,.0f}' if abs(figure) > 99 else f'{figure:.3g}'} {unit}".strip()


def limit(item: dict[str, Any]) -> str:
    """Write the limit of a measured figure, in words."""
    sign = "at most" if item.get("better", "lower") == "lower" else "at least"
    return "" if item["limit"] is None else f"{sign} {item['limit']:,g}"


def standard(z: float | None) -> str:
    """Write standard deviations from what was expected."""
    return "–" if z is None else f"{round(z, 1) + 0.0:+.1f}"


def between(interval: dict[str, float], digits: int, sign: str = "") -> str:
    """Write an interval in brackets."""
    return f"[{interval['low']:{sign}.{digits}f}, {interval['high']:{sign}.{digits}f}]"


def with_interval(scores: dict[str, float], metric: str, digits: int = 4, ends: int = 3) -> str:
    """Write a figure with its interval, whose ends have so many digits."""
    interval = {"low": scores[f"{metric}_low"], "high": scores[f"{metric}_high"]}
    return f"{scores[metric]:.{digits}f} {between(interval, ends)}"


def signed(difference: dict[str, float]) -> str:
    """Write a difference with its interval."""
    return f"{difference['difference']:+.4f} {between(difference, 4, '+')}"
