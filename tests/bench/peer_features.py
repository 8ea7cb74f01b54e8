"""The same features in pandas and in Polars, written to Parquet as our table is.

    python -m tests.bench.peer_features pandas|polars TRANSACTIONS PRESET TABLE [TIMES]

pandas is the reference that the tests hold the SQL against (`tests/features/reference.py`:
vectorised, one as-of date at a time); Polars works on all dates at once. Neither makes labels.
Prints the seconds, and the largest difference from TABLE, which the SQL made: a peer that did other
work would tell nothing.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from configs.load import load
from configs.settings import Features

ROOT = Path(__file__).parents[1]
KEY = ["as_of", "customer_id"]


def with_pandas(log: Path, settings: Features, days: list[date], target: Path) -> None:
    import pandas as pd

    sys.path.insert(0, str(ROOT / "features"))
    from reference import reference  # type: ignore[import-not-found]

    frame = pd.read_parquet(log)
    parts = [reference(frame, day, settings).assign(as_of=day).reset_index() for day in days]
    pd.concat(parts).sort_values(KEY).to_parquet(target)


def with_polars(log: Path, settings: Features, days: list[date], target: Path) -> None:
    import polars as pl

    from tests.bench.polars_features import features

    features(pl.scan_parquet(log), settings, days).write_parquet(target)


def largest_difference(made: Path, ours: Path) -> float:
    """Over all rows and features, relative to 1 or the value, whichever is larger."""
    names = [name for name in pq.read_schema(ours).names if name not in (*KEY, "split", "label")]
    order = [(name, "ascending") for name in KEY]
    tables = [pq.read_table(file, columns=[*KEY, *names]).sort_by(order) for file in (made, ours)]
    who = [table["customer_id"].to_pylist() for table in tables]
    assert who[0] == who[1], "other customers, or other dates"
    worst = 0.0
    for name in names:
        a, b = (table[name].to_numpy().astype(float) for table in tables)
        assert (np.isnan(a) == np.isnan(b)).all(), f"{name} is missing elsewhere"
        worst = max(worst, float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(b), 1), initial=0)))
    return worst


def main(peer: str, transactions: str, preset: str, table: str, times: str = "1") -> None:
    settings = load(preset, [], {}).features
    days = sorted(set(pq.read_table(table, columns=["as_of"])["as_of"].to_pylist()))
    work = {"pandas": with_pandas, "polars": with_polars}[peer]
    seconds = []
    with tempfile.TemporaryDirectory(dir=Path(table).parent) as name:
        made = Path(name) / "made.parquet"
        for _ in range(int(times) + (int(times) > 1)):
            begun = time.perf_counter()
            work(Path(transactions), settings, days, made)
            seconds.append(time.perf_counter() - begun)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        content = {"seconds": min(seconds[1:] or seconds), "peak_memory_mb": round(peak)}
        print(json.dumps({**content, "difference": largest_difference(made, Path(table))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
