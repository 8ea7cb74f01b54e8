"""Render a run's report (report.html) and its model card (model_card.md).

Both come from the same sections (`model_sections.py`). The same context gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports import model_charts, model_sections, page, svg
from reports.model_context import ReportContext
from training.importance import CAVEAT, WITHIN_DATES

PAGES = {"report.html": "model.html.jinja", "model_card.md": "model_card.md.jinja"}
CHAPTERS = {
    "verdict": "Verdict",
    "data": "Data",
    "comparison": "Comparison",
    "folds": "Validation",
    "curves": "Curves",
    "calibration": "Calibration",
    "value": "Value of contact",
    "importance": "Importance",
    "slices": "Slices",
    "tuning": "Tuning",
    "checks": "Checks",
    "again": "Reproduce",
}


@svg.own_style()
def write_model_report(context: ReportContext, folder: Path) -> list[Path]:
    """Write report.html and model_card.md into `folder`; return their paths."""
    sections = _sections(context)
    for name, template in PAGES.items():
        page.write_page(folder / name, template, sections)
    return [folder / name for name in PAGES]


def _sections(context: ReportContext) -> dict[str, Any]:
    """Every figure and chart of both pages."""
    sections: dict[str, Any] = {
        "verdict": model_sections.verdict(context),
        "data": model_sections.data(context),
        "comparison": model_sections.comparison(context),
        "folds": model_sections.folds(context),
        "calibration": model_sections.calibration(context),
        "contact": model_sections.contact(context),
        "importance": model_sections.importance(context),
        "slices": model_sections.slices(context),
        "tuning": model_sections.tuning(context),
        "exports": model_sections.exports(context),
        "again": model_sections.reproduction(context),
    }
    model = context.summary["model"]
    return sections | {
        "title": f"{model['name']}, version {model['version']}",
        "summary": context.summary,
        "settings": context.settings,
        "latency": context.evaluation.latency,
        "titles": model_sections.TITLES,
        "lines": model_charts.lines_of(context),
        "charts": model_charts.drawn(context, sections),
        "caveat": f"{CAVEAT} {WITHIN_DATES}" if sections["data"]["dated"] else CAVEAT,
        "card_params": model_sections.parameters(context),
        "chapters": {a: name for a, name in CHAPTERS.items() if sections.get(a, True)},
    }
