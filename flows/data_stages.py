"""The data of a run, as stages: a log (`flows/log_stages.py`) or a labelled table
(`flows/table_stages.py`). What `make train`, `make score`, `make replay` and others begin with."""

from __future__ import annotations

from pathlib import Path

from configs.settings import Settings
from flows.dataset import Dataset, Parts, ValidatedStage
from flows.log_stages import Log
from flows.table_stages import LabelledTable


def open_dataset(settings: Settings) -> Dataset:
    """Return the data set that the settings name."""
    return LabelledTable(settings) if settings.source.kind == "table" else Log(settings)


def ingest(settings: Settings) -> Parts:
    """Read what is new in the source. Raises UserError for what cannot be read.

    With `operations.today`, a log is as it stood before that day.
    """
    return open_dataset(settings).read()


def validate(settings: Settings, parts: Parts, page: Path) -> ValidatedStage:
    """Validate the parts as a batch: valid rows, quarantine, rows per day of a log. Its page goes
    to `page`.

    Raises ContractBroken when a rule of severity stop is broken, and when the batch differs too
    much from the last accepted one and nobody has released it.
    """
    return open_dataset(settings).validate(parts, page)
