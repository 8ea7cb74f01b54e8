"""The same features in plain pandas: `tests/features/reference.py` at every as-of date.

    python -m tests.bench.peer_features TRANSACTIONS [CONFIG]

Prints {"seconds": …, "rows": …}; neither labels nor a file are made.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import pandas as pd

from configs.load import load
from features.splits import as_of_dates

REFERENCE = Path(__file__).parents[1] / "features" / "reference.py"


def main(transactions: str, config: str = "online_retail") -> int:
    spec = importlib.util.spec_from_file_location("reference", REFERENCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = load(config).features
    begun = time.perf_counter()
    log = pd.read_parquet(transactions)
    days = log.loc[log["quantity"] > 0, "invoiced_at"]
    splits = as_of_dates(days.min().date(), days.max().date(), settings)
    dates = [day for split in splits.values() for day in split]
    table = pd.concat([module.reference(log, day, settings) for day in dates])
    print(json.dumps({"seconds": time.perf_counter() - begun, "rows": len(table)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
