"""Rows from whichever source the settings name, in canonical form."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

from configs.settings import Source
from ingestion.files import read_file

ROWS, TRUTH = "rows.parquet", "truth.json"


def ingest(source: Source, seed: int, folder: Path) -> None:
    """Write `rows.parquet` into the folder (see `ingestion/canonical.py`), and for simulated data
    `truth.json`, which the oracle reads. Raises UserError for a file that cannot be read."""
    if source.kind == "simulated":
        from ingestion.simulation.simulator import simulate

        log = simulate(source.simulation, seed, folder).raw
        # From here on a simulated log is a file like any other.
        read_file(source.model_copy(update={"path": log, "columns": {}}), folder / ROWS)
        log.unlink()
    else:
        read_file(source, folder / ROWS)


def last_day(source: Source) -> date | None:
    """The last day that a row can honestly carry, where the source knows it."""
    if source.kind == "simulated":
        return source.simulation.start + timedelta(days=source.simulation.days - 1)
    return None
