"""Render pages: one Jinja environment, one base template and one style sheet for all of them.

A page is one file that needs nothing else: no script, no font, no network. The same context gives
the same bytes. Templates lie in `templates/`, those of the generated docs in `templates/docs/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import write_file
from common.terminal import on_page
from reports import words

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = {
    "n": words.count,
    "f": words.figure,
    "signed": lambda value, digits=3: words.figure(value, digits, "+"),
    "percent": words.percent,
    "share_of": words.share_of,
    "tiny": words.tiny,
    "measure": words.measure,
    "setting": words.setting,
    "cell": words.cell,
    "name": words.name,
    "rail": words.rail,
    "rail_end": words.rail_end,
    "md": words.markdown,
    "month": words.month_name,
    "short_month": words.short_month,
    "ranges": words.month_ranges,
    "sentence": words.sentence,
    "sensor": words.sensor_name,
    "capital": lambda text: text[:1].upper() + text[1:],
}
GLOBALS = {"interval": words.interval, "in_unit": words.in_unit, "plural": words.plural}


def write_page(target: Path, template: str, context: Mapping[str, Any]) -> None:
    """Render the page into `target`, or leave what stood there before. Raises OSError."""
    write_file(target, render(template, context))


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return the text of a page of `templates/`. Values are escaped in HTML, and control characters
    of texts from outside are made visible."""
    return environment().get_template(template).render(context)


@cache
def environment(visible: bool = True) -> Environment:
    """Return the environment of all templates. visible: False where each text is the project's own
    and may have several lines, as in the docs."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        finalize=on_page if visible else None,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= FILTERS
    env.globals |= GLOBALS
    return env
