"""The stages on data alone, in a process of their own: seconds of each, and the peak of memory.

    python -m tests.bench.stages PRESET LOG FOLDER [TIMES]

Leaves transactions.parquet and table.parquet in FOLDER, for the peers, and prints one JSON object.
The first of several times is not counted: it loads the libraries.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import great_expectations  # noqa: F401  (imported while a run starts, not while it validates)

from configs.load import load
from features.build import build_table
from features.leaks import check_leaks
from ingestion.files import read_file
from ingestion.outcome import TRANSACTIONS
from ingestion.validate import validate_batch


def measure(preset: str, log: Path, folder: Path) -> dict[str, Any]:
    settings = load(preset, [], {})  # its rules too: the log is that of the preset
    source = settings.source.model_copy(update={"kind": "files", "path": (str(log),)})
    declared, compute = source.declared, settings.compute
    rows, table = folder / "rows.parquet", folder / "table.parquet"
    ends = [time.perf_counter()]
    read_file(source, log, rows, compute)
    ends.append(time.perf_counter())
    outcome = validate_batch([rows], folder, settings.contract, now=datetime.now(), compute=compute)
    ends.append(time.perf_counter())
    build_table(folder / TRANSACTIONS, table, settings.features, declared, compute)
    ends.append(time.perf_counter())
    check_leaks(folder / TRANSACTIONS, table, settings.features, declared, compute)
    ends.append(time.perf_counter())
    names = ("ingest", "validate", "features", "leaks")
    seconds = {
        name: round(end - begun, 3) for name, begun, end in zip(names, ends, ends[1:], strict=False)
    }
    return {"rows": outcome.rows.raw, "reasons": outcome.rows.reasons, **seconds}


def main(preset: str, log: str, folder: str, times: str = "1") -> None:
    several = int(times) + (int(times) > 1)
    runs = [measure(preset, Path(log), Path(folder)) for _ in range(several)]
    counted = runs[1:] or runs
    best = {
        name: min(run[name] for run in counted) if isinstance(value, float) else value
        for name, value in counted[0].items()
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**best, "peak_memory_mb": round(peak)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
