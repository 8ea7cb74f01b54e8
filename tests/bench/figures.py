"""A measured figure, beside its limit and its peers."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.table import Table

Peers = dict[str, float | str]


def figure(
    name: str,
    value: float,
    unit: str = "s",
    limit: float | None = None,
    better: str = "lower",
    peers: Peers | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "limit": limit,
        "better": better,
        "peers": {
            peer: round(found, 4) if isinstance(found, float) else found
            for peer, found in (peers or {}).items()
        },
    }


def share(hits: int, of: int) -> dict[str, Any]:
    """hits of so many, as a share with its exact 95 % interval."""
    from scipy.stats import binomtest

    if not of:
        return {"hits": 0, "of": 0, "share": None, "low": 0.0, "high": 1.0}
    interval = binomtest(hits, of).proportion_ci(0.95, "exact")
    return {
        "hits": hits, "of": of, "share": hits / of,
        "low": float(interval.low), "high": float(interval.high),
    }  # fmt: skip


def show(figures: list[dict[str, Any]]) -> None:
    table = Table("figure", "value", "limit", "peers", title=f"on {os.cpu_count()} cores", box=None)
    for item in figures:
        limit, value = item["limit"], item["value"]
        over = limit is not None and (value > limit if item["better"] == "lower" else value < limit)
        peers = ", ".join(f"{name} {_plain(found)}" for name, found in item["peers"].items())
        shown = f"{value:,.4g} {item['unit']}" + ("  MISSED" if over else "")
        table.add_row(item["name"], shown, "" if limit is None else f"{limit:,g}", peers)
    Console(width=130).print(table)


def _plain(found: float | str) -> str:
    return found if isinstance(found, str) else f"{found:,.4g}"
