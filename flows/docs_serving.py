"""The service's part of docs/speed.md, from `make bench-serving`."""

from __future__ import annotations

from typing import Any

PEERS = ("FastAPI", "BentoML", "MLflow", "ONNX Runtime")
ABOUT = """
## The service

What the last `make bench-serving` measured: 8 connections, single rows or 100, one worker where
nothing else is said. All answer with the same model in the same run, and agree: a plain typed
FastAPI application, a plain typed BentoML service, MLflow's scoring server, and ONNX Runtime alone
in a process, without HTTP. The load has one of the cores.
"""
SHADOW = """
### With a challenger in shadow

The service with a challenger in shadow beside one without, each with the same champion and a log
of requests, on one half of the cores; the load has the other half. They are asked in turn, and the
challenger's process stands still while the one without is: before and after each round with the
shadow. A figure is the median over the rounds, and a ratio that of two medians; `the two without`
is the larger of those before and after over the smaller. The slow challenger has thousands of trees
and may drop rows; the twin is the champion's own bundle.
"""


def serving_section(figures: list[dict[str, Any]]) -> list[str]:
    """Lines of the page. figures: what `tests/bench/serving.py` writes."""
    first, last = _of_shadow(figures)
    return _table(figures[:first] + figures[last:]) + _shadow(figures[first:last])


def _of_shadow(figures: list[dict[str, Any]]) -> tuple[int, int]:
    """Where the figures of the shadow begin and end; they are one after the other, and the load
    average comes after them."""
    places = [n for n, one in enumerate(figures) if "in shadow" in one["name"]]
    if not places:
        return len(figures), len(figures)
    rest = range(places[0], len(figures))
    end = next((n for n in rest if figures[n]["name"].startswith("load average")), len(figures))
    return places[0], end


def _shadow(figures: list[dict[str, Any]]) -> list[str]:
    if not figures:
        return []
    lines = [SHADOW, "| figure | measured | limit | without |", "|---|---:|---:|---|"]
    for item in figures:
        limit = "" if item["limit"] is None else f"at most {item['limit']:,g}"
        beside = ", ".join(
            _plain(x) if name == "without" else f"{name}: {_plain(x)}"
            for name, x in item["peers"].items()
        )
        measured = f"{_plain(item['value'])} {item['unit']}".strip()
        lines.append(f"| {item['name'].strip()} | {measured} | {limit} | {beside} |")
    return lines


def _table(figures: list[dict[str, Any]]) -> list[str]:
    head = ["figure", "measured", "limit", *PEERS]
    lines = [ABOUT, f"| {' | '.join(head)} |", "|---|---:|---:" + "|---:" * len(PEERS) + "|"]
    for item in figures:
        sign = "at most" if item["better"] == "lower" else "at least"
        limit = "" if item["limit"] is None else f"{sign} {item['limit']:,g}"
        beside = [f"{name}: {_plain(x)}" for name, x in item["peers"].items() if name not in PEERS]
        measured = f"{_plain(item['value'])} {item['unit']}".strip()
        measured += f" ({', '.join(beside)})" if beside else ""
        peers = [_plain(item["peers"][name]) if name in item["peers"] else "" for name in PEERS]
        lines.append(f"| {' | '.join([item['name'], measured, limit, *peers])} |")
    return lines


def _plain(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) > 99 else f"{figure:.3g}"
