"""The part of docs/speed.md about `make score`, from `make bench-scoring`."""

from __future__ import annotations

from typing import Any

ABOUT = """
## Batch scoring

What the last `make bench-scoring` measured: one run of the real command, as a whole process, on a
made log of ten lines a customer. Polars makes the same features from the same valid rows, asks the
same model and writes the same two files in the same run. It does not validate, makes no digest of
the rows and does not work out what moved a score most. CPU is the time on all cores together: it
says more than seconds where other work was going on, as the load average shows.

| figure | measured | limit | Polars |
|---|---:|---:|---:|"""


def scoring_section(figures: list[dict[str, Any]]) -> list[str]:
    """Lines of the page. figures: what `tests/bench/scoring.py` writes."""
    lines = [ABOUT]
    for item in figures:
        sign = "at most" if item["better"] == "lower" else "at least"
        limit = "" if item["limit"] is None else f"{sign} {item['limit']:,g}"
        peer = _plain(item["peers"]["polars"]) if "polars" in item["peers"] else ""
        measured = f"{_plain(item['value'])} {item['unit']}".strip()
        lines.append(f"| {item['name']} | {measured} | {limit} | {peer} |")
    return lines


def _plain(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) > 99 else f"{figure:.3g}"
