"""Small labelled tables as CSV files, for tests of `source.kind: table`."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.load import load
from configs.settings import Settings
from configs.table import Column, Table

HEADER = ("member", "age", "visits", "plan", "left")
TABLE: dict[str, Any] = {
    "target": "left",
    "positive": "Yes",
    "id": "member",
    "columns": {
        "age": {"type": "number", "low": 0, "high": 120, "missing": True},
        "visits": {"type": "number", "low": 0},
        "plan": {"type": "category", "values": ["basic", "plus"], "missing": True},
    },
}
Row = list[Any]


def made_rows(count: int = 300, seed: int = 1) -> list[Row]:
    """Members who leave the more surely the fewer visits they make; some values are missing, and
    the plan `trial` is one that the settings do not name."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        visits = draw.randrange(0, 30)
        age = "" if draw.random() < 0.05 else draw.randrange(18, 90)
        plan = draw.choice(["basic", "basic", "plus", "trial", ""])
        left = "Yes" if draw.random() < (0.7 if visits < 10 else 0.25) else "No"
        rows.append([f"m{number:05}", age, visits, plan, left])
    return rows


def save(file: Path, rows: Sequence[Row], header: Sequence[str] = HEADER) -> Path:
    with file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])
    return file


def table(**changes: Any) -> Table:
    """The settings of such a table. A change of None takes a setting away."""
    tree = {name: value for name, value in {**TABLE, **changes}.items() if value is not None}
    return Table(**{**tree, "columns": {n: Column(**c) for n, c in tree["columns"].items()}})


def settings(file: Path | str, var: Path, *arguments: str, **changes: Any) -> Settings:
    """The settings of a run on the file."""
    base = load("default", ["--var", str(var), *arguments], {})
    source = base.source.model_copy(
        update={"kind": "table", "path": (str(file),), "table": table(**changes)}
    )
    return base.model_copy(update={"source": source, "name": "members"})
