"""A simulated log as a part in canonical form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.settings import Compute
from configs.source import Source, Text
from ingestion.files import read_file
from simulator.simulator import simulate

ROWS = "rows.parquet"


def simulate_part(source: Source, seed: int, folder: Path, compute: Compute) -> None:
    """Write the part `rows.parquet`, and `truth.json`, which the oracle reads, into the folder."""
    log = simulate(source.simulation, seed, folder).raw
    # From here on a simulated log is a file like any other, in the simulator's own columns.
    plain: dict[str, Any] = {"columns": {}, "time_format": None, "text": Text()}
    read_file(source.model_copy(update=plain), log, folder / ROWS, compute, label="simulated")
    log.unlink()
