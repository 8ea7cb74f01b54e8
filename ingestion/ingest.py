"""Rows from whichever source the settings name, as parts in canonical form.

Files: `files.expand` and `files.read_file`, a part for each. Databases: `database.read_new`.
Labelled tables: `labelled/read.py`. Simulated: here.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from configs.settings import Compute
from configs.source import Source, Text
from ingestion.files import expand, read_file

ROWS, TRUTH = "rows.parquet", "truth.json"


def check_source(source: Source) -> None:
    """Raises UserError for a source that cannot be read, as far as that can be known without
    reading it: asked before anything is started."""
    if source.kind == "files":
        expand(source)
    elif source.kind == "table":
        from ingestion.labelled.read import check_table

        check_table(source)
    elif source.kind == "database":
        from ingestion.database import check_database

        check_database(source)


def simulate_part(source: Source, seed: int, folder: Path, compute: Compute) -> None:
    """Write the part `rows.parquet`, and `truth.json`, which the oracle reads, into the folder."""
    from ingestion.simulation.simulator import simulate

    log = simulate(source.simulation, seed, folder).raw
    # From here on a simulated log is a file like any other, in the simulator's own columns.
    plain: dict[str, Any] = {"columns": {}, "time_format": None, "text": Text()}
    read_file(source.model_copy(update=plain), log, folder / ROWS, compute, label="simulated")
    log.unlink()


def last_day(source: Source) -> date | None:
    """The last day that a row can honestly carry, where the source knows it."""
    if source.kind == "simulated":
        return source.simulation.start + timedelta(days=source.simulation.days - 1)
    return None
