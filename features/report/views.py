"""Figures as the template takes them: bars as per cent of a rail, rows as cells, shares as text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from features.catalogue import CATALOGUE
from features.report import charts
from features.report.association import Association, Distribution
from features.report.quarantine import EXAMPLES, Quarantine

LONGEST_CELL = 80  # characters of a value in an example


def signed_bars(ranked: list[Association]) -> list[dict[str, Any]]:
    """Where each bar begins and how wide it is, in per cent of the rail, with .5 in the middle."""
    reach = max((max(0.5 - one.low, one.high - 0.5) for one in ranked), default=0) or 0.5

    def place(value: float) -> float:
        return 50 + 50 * (value - 0.5) / reach

    return [
        {
            "name": one.name,
            "roc_auc": one.roc_auc,
            "left": f"{min(50, place(one.roc_auc)):.1f}",
            "width": f"{abs(place(one.roc_auc) - 50):.1f}",
            "range_left": f"{place(one.low):.1f}",
            "range_width": f"{place(one.high) - place(one.low):.1f}",
        }
        for one in ranked
    ]


def curve(found: Distribution) -> dict[str, Any]:
    unit = next((feature.unit for feature in CATALOGUE if feature.name == found.name), "value")
    return {
        "name": found.name,
        "unit": unit,
        "log_scale": found.log_scale,
        "gap": found.gap,
        "chart": charts.cumulative(found),
    }


def example_rows(quarantine: Quarantine) -> dict[str, Any]:
    """The example rows by reason. A column that is empty in all of them is left out, and so is a
    source that is the same everywhere."""
    groups = [
        (
            reason.code,
            [
                row | {"also": [other for other in row["reasons"] if other != reason.code]}
                for row in reason.examples
            ],
        )
        for reason in quarantine.reasons
    ]
    rows = [row for _, group in groups for row in group]
    sources = {row.get("source") for row in rows}
    names = [name for name in (rows[0] if rows else ()) if name != "reasons"]
    if len(sources) == 1 and "source" in names:
        names.remove("source")
    return {
        "most": EXAMPLES,
        "source": sources.pop() if len(sources) == 1 else None,
        "columns": [name for name in names if any(row[name] not in (None, []) for row in rows)],
        "groups": groups,
    }


def percent(part: int, whole: int) -> str:
    """The share, with enough digits that a few rows of a million do not read as none."""
    share = 100 * part / max(whole, 1)
    if share == 0:
        return "–"
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.1g} %" if share >= 0.001 else "< 0.001 %"


def cell(value: Any) -> str:
    """A value of a row as a person reads it."""
    match value:
        case None | []:
            return "–"
        case list():
            return ", ".join(str(part)[:LONGEST_CELL] for part in value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
