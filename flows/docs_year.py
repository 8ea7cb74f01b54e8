"""The measured parts of docs/operations.md: the simulated year of `make bench-year`, and what
`make drill` found."""

from __future__ import annotations

import textwrap
from typing import Any

from flows.docs_monitoring import put_sections

PICTURES = "year-*.png"  # of the year's page, beside its figures


def fill(text: str, year: dict[str, Any] | None, drill: dict[str, Any] | None) -> str:
    """The page with its measured parts; those that were not measured yet are left as they are.

    year: what `tests/bench/year.py` writes.  drill: what `tests/drills/operate.py` writes.
    """
    found: dict[str, list[str]] = {}
    if year:
        found["year"] = _year(year)
    if drill:
        found["drill"] = _drill(drill)
    return put_sections(text, found)


def _year(found: dict[str, Any]) -> list[str]:
    year = found["rate"]
    lines = ["```text", *year["table"]]
    for paragraph in year["told"]:
        lines += ["", *textwrap.wrap(paragraph, 79)]
    twin = " ".join(found["none"]["told"])
    lines += [
        *("```", ""),
        *textwrap.wrap(f"Its twin, of the same seed without the change: {twin}", 103),
        "",
        *_readings(year, found["none"]),
        "",
        f"What `make bench-year` counted, on {found['cores']} cores:",
        "",
        "| figure | measured | limit |",
        "|---|---:|---:|",
    ]
    for item in found["figures"]:
        sign = "at most" if item["better"] == "lower" else "at least"
        limit = "" if item["limit"] is None else f"{sign} {item['limit']:,g}"
        measured = f"{item['value']:,.0f} {item['unit']}".strip()
        lines.append(f"| {item['name']} | {measured} | {limit} |")
    return lines


def _readings(year: dict[str, Any], twin: dict[str, Any]) -> list[str]:
    """What the sensor read in both, side by side."""
    return [
        "How far `invoices` was from what was expected, in standard deviations (z):",
        "",
        "| | " + " | ".join(year["z"]) + " |",
        "|---|" + "---:|" * len(year["z"]),
        "| the year | " + " | ".join(map(_z, year["z"].values())) + " |",
        "| its twin | " + " | ".join(map(_z, twin["z"].values())) + " |",
    ]


def _z(z: float | None) -> str:
    return "–" if z is None else f"{round(z, 1) + 0.0:+.1f}"


def _drill(found: dict[str, Any]) -> list[str]:
    said = (
        f"The last `make drill` killed it {found['tried']} times: after each stage, within each"
        f" rename, between ledger and alias, and at random moments. In {found['survived']} of these"
        " cases the same command, typed again, left what an undisturbed run leaves."
    )
    return textwrap.wrap(said, 103)
