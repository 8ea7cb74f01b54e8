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


def serving_section(figures: list[dict[str, Any]]) -> list[str]:
    """Lines of the page. figures: what `tests/bench/serving.py` writes."""
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
