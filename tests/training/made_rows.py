"""Small made-up rows with what real ones have: gaps, skew, a constant column, a flag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.table import Rows

FEATURES = ("recency", "orders", "spend", "gap", "is_home", "constant", "empty", "noise")


def make_rows(n: int, seed: int, days: tuple[str, ...] = ("2024-06-01",)) -> Rows:
    """n rows, in equal parts on each of these as-of dates, in order."""
    rng = np.random.default_rng(seed)
    recency = rng.uniform(0, 365, n).round()
    orders = rng.geometric(0.3, n)
    logit = 0.8 - 0.01 * recency + 0.5 * np.log(orders)
    gap = np.where(orders > 1, recency / orders + rng.exponential(20, n), np.nan)
    x = np.column_stack(
        [
            recency,
            orders,
            orders * rng.lognormal(4, 1, n) - 5,
            gap,
            rng.random(n) < 0.9,
            np.full(n, 3.0),
            np.full(n, np.nan),
            rng.normal(size=n),
        ]
    ).astype(np.float32)
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    customers = np.array([f"c{i}" for i in range(n)], dtype=object)
    as_of = np.repeat(np.array(days, dtype="datetime64[D]"), -(-n // len(days)))[:n]
    return Rows(x, y, customers, as_of)


DAYS = {
    "train": ("2024-01-01", "2024-02-01", "2024-03-01"),
    "valid": ("2024-05-01", "2024-06-01"),
    "test": ("2024-09-01",),
}
HORIZON = 90  # days: the fold of May learns from January and February, that of June from March too


def write_table(path: Path, sizes: dict[str, int]) -> Path:
    """A training table with so many rows of each split. The test labels are all null: whoever
    reads them as numbers fails."""
    parts = []
    for seed, (split, n) in enumerate(sizes.items()):
        rows = make_rows(n, seed, DAYS[split])
        columns = {
            "customer_id": pa.array(rows.customer_id, pa.string()),
            "as_of": pa.array(rows.as_of),
            "split": pa.array([split] * n),
        }
        for name, values in zip(FEATURES, rows.x.T, strict=True):
            columns[name] = pa.array(values, mask=np.isnan(values))
        label = [None] * n if split == "test" else rows.y
        columns["label"] = pa.array(label, pa.int8())
        parts.append(pa.table(columns))
    pq.write_table(pa.concat_tables(parts), path)
    return path
