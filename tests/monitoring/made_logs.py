"""Logs as a service writes them: of requests, and of a challenger in shadow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MODEL = "golden-path-shop"


def write_requests(
    folder: Path,
    day: date,
    probability: Sequence[float],
    *,
    version: int = 3,
    customers: Sequence[str | None] | None = None,
    features: Mapping[str, Sequence[float | None]] | None = None,
    model: str = MODEL,
    name: str = "101502-4711-000001",
    new: bool = True,
) -> Path:
    """A file of the log of requests. new: with the columns that earlier versions did not have."""
    n = len(probability)
    values = features or {"recency_days": [1.0] * n}
    columns: dict[str, Any] = {"asked_at": _moments(day, n)}
    if new:
        columns |= {"request": pa.array(range(n), pa.int64()), "row": pa.array([0] * n, pa.int32())}
    columns |= {
        "model": pa.array([model] * n),
        "version": pa.array([version] * n, pa.int32()),
        "bundle_sha256": pa.array(["a" * 64] * n),
        "customer": pa.array(customers or [f"c{row}" for row in range(n)], pa.string()),
        "as_of": pa.nulls(n, pa.date32()),
        "features": pa.StructArray.from_arrays(
            [pa.array(one, pa.float32()) for one in values.values()], list(values)
        ),
        "probability": pa.array(probability, pa.float64()),
        "decision": pa.array(np.asarray(probability) >= 0.5),
    }
    return _write(folder, day, name, columns)


def write_shadow(
    folder: Path,
    day: date,
    champion: Sequence[float],
    challenger: Sequence[float | None],
    *,
    versions: tuple[int, int] = (3, 4),
    customers: Sequence[str | None] | None = None,
    as_of: Sequence[date | None] | None = None,
    seconds: tuple[float, float] = (0.001, 0.002),
    call_rows: Sequence[int] | None = None,
    threshold: float | None = 0.5,
    model: str = MODEL,
    name: str = "101502-4712-000001",
) -> Path:
    """A file of the shadow's log: one request a row."""
    n = len(champion)
    columns = {
        "asked_at": _moments(day, n),
        "request": pa.array([hash((day, name, row)) % 2**62 for row in range(n)], pa.int64()),
        "row": pa.array([0] * n, pa.int32()),
        "model": pa.array([model] * n),
        "version": pa.array([versions[1]] * n, pa.int32()),
        "bundle_sha256": pa.array(["b" * 64] * n),
        "customer": pa.array(customers or [None] * n, pa.string()),
        "as_of": pa.array(as_of or [None] * n, pa.date32()),
        "probability": pa.array(challenger, pa.float64()),
        "decision": _decided(challenger, threshold),
        "seconds": pa.array([seconds[1]] * n),
        "call_rows": pa.array(call_rows or [1] * n, pa.int32()),
        "champion_version": pa.array([versions[0]] * n, pa.int32()),
        "champion_bundle_sha256": pa.array(["a" * 64] * n),
        "champion_probability": pa.array(champion, pa.float64()),
        "champion_decision": _decided(champion, threshold),
        "champion_seconds": pa.array([seconds[0]] * n),
        "champion_call_rows": pa.array([1] * n, pa.int32()),
    }
    return _write(folder, day, name, columns)


def _decided(probability: Sequence[float | None], threshold: float | None) -> pa.Array:
    decided = [None if p is None or threshold is None else p >= threshold for p in probability]
    return pa.array(decided, pa.bool_())


def _moments(day: date, n: int) -> pa.Array:
    first = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    moments = [first + timedelta(milliseconds=row) for row in range(n)]
    return pa.array(moments, pa.timestamp("us", "UTC"))


def _write(folder: Path, day: date, name: str, columns: dict[str, Any]) -> Path:
    target = folder / f"date={day}" / f"{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), target)
    return target
