"""The story told twice: report.html for the eyes, model_card.md for the record.

Each page needs nothing else: no script, no font, no network. The same story gives the same bytes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from common.terminal import on_page, visible
from training.importance import CAVEAT, WITHIN_DATES
from training.report import charts, facts, findings
from training.report.story import Story

FOLDER = Path(__file__).parent
PAGES = {"report.html": "run_report.html.jinja", "model_card.md": "model_card.md.jinja"}
CHAPTERS = {
    "verdict": "Verdict",
    "data": "Data",
    "contest": "Contest",
    "folds": "Validation",
    "curves": "Curves",
    "calibration": "Calibration",
    "value": "Value of contact",
    "importance": "Importance",
    "slices": "Slices",
    "tuning": "Tuning",
    "checks": "Checks",
    "again": "Again",
}


def write_run_report(story: Story, folder: Path) -> list[Path]:
    """Write report.html and model_card.md into `folder`; returns their paths."""
    told = tell(story)
    written = []
    for name, template in PAGES.items():
        target = folder / name
        aside = folder / f".{name}.{os.getpid()}"
        aside.write_text(_render(template, told), encoding="utf-8")
        aside.replace(target)
        written.append(target)
    return written


def tell(story: Story) -> dict[str, Any]:
    """Every figure and picture of both pages."""
    told: dict[str, Any] = {
        "verdict": facts.verdict(story),
        "data": facts.data(story),
        "contest": facts.contest(story),
        "folds": facts.folds(story),
        "calibration": findings.calibration(story),
        "contact": findings.contact(story),
        "importance": findings.importance(story),
        "slices": findings.slices(story),
        "tuning": facts.tuning(story),
        "exports": facts.exports(story),
        "again": facts.reproduction(story),
    }
    chapters = {anchor: name for anchor, name in CHAPTERS.items() if told.get(anchor, True)}
    return told | {
        "title": f"{story.summary['model']['name']}, version {story.summary['model']['version']}",
        "summary": story.summary,
        "settings": story.settings,
        "latency": story.evaluation.latency,
        "titles": facts.TITLES,
        "series": charts.series(story),
        "charts": charts.drawn(story, told),
        "caveat": f"{CAVEAT} {WITHIN_DATES}" if told["data"]["dated"] else CAVEAT,
        "card_params": facts.parameters(story),
        "chapters": chapters,
    }


def _render(template: str, told: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = template.endswith(".html.jinja")
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=page,
        undefined=StrictUndefined,
        finalize=on_page,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "n": lambda value: "–" if value is None else f"{value:,.0f}",
        "f": figure,
        "signed": lambda value, digits=4: figure(value, digits, "+"),
        "percent": lambda share: "–" if share is None else f"{100 * share:.1f} %",
        "tiny": lambda value: "–" if value is None else f"{value:.1e}",
        "value": plain,
        "rail": rail,
        "md": markdown,
    }
    return environment.get_template(template).render(told)


def figure(value: float | None, digits: int = 4, sign: str = "") -> str:
    """The number with so many digits; a dash where there is none."""
    if value is None:
        return "–"
    shown = f"{value:{sign}.{digits}f}"
    return shown if float(shown) else f"{0:.{digits}f}"  # no minus before a zero


def plain(value: object) -> str:
    """A parameter or a setting as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rail(value: float, low: float, high: float) -> str:
    """Where a value stands between the ends of a rail, in per cent."""
    if not high > low:
        return "50.0"
    return f"{100 * min(max((value - low) / (high - low), 0.0), 1.0):.1f}"


def markdown(text: object) -> str:
    """Any text as a cell of a Markdown table: nothing in it is markup."""
    one_line = visible(" ".join(str(text).split()))
    escaped = re.sub(r"([\\`*_{}\[\]|#~$!])", r"\\\1", one_line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
