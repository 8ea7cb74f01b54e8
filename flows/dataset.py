"""What a run needs of its data, whatever it is: a log of transactions, or a labelled table.

`flows/log_stages.py` has the data set of a log, `flows/table_stages.py` that of a labelled table;
`open_dataset` in `flows/data_stages.py` opens the one that the settings name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from configs.settings import Settings
from features.facts import TableFacts
from flows.stage import Stage
from ingestion.batches import Batch, name_of
from ingestion.expectations import Check, write_project
from ingestion.facts import Finding, ValidationResult

ROWS, TRUTH, TABLE = "rows.parquet", "truth.json", "table.parquet"
ValidatedStage = Stage[ValidationResult]  # the stage of a validated batch
TableStage = Stage[TableFacts]  # the stage of a training table


@dataclass(frozen=True)
class Parts:
    """The raw rows in the form that validation reads, and of simulated ones the truth."""

    paths: list[Path]
    hashes: list[str]
    truth: Path | None
    reused: int
    later: bool = False  # whether the source goes on after `operations.today`

    @property
    def batch(self) -> str:
        return name_of(self.hashes)


class Dataset(Protocol):
    """The stages from the source to the training table, and what commands ask about the rows."""

    @property
    def settings(self) -> Settings: ...

    @property
    def content(self) -> str:
        """SQL of the content of a raw row, the same for the quarantine and the valid rows."""

    @property
    def before(self) -> date | None:
        """Batches are compared with those whose last row is of an earlier day; None: with any."""

    def read(self) -> Parts:
        """Read what is new in the source. Raises UserError for what cannot be read."""

    def validate(self, parts: Parts, page: Path) -> ValidatedStage:
        """The validated batch: valid rows and quarantine. Its page goes to `page`.

        Raises ContractBroken when a rule of severity stop is broken, and when the batch is held
        (`flows/acceptance.py`).
        """

    def build_table(self, validated: ValidatedStage) -> TableStage:
        """Build the training table, check it against its contract and for leaks. Raises
        UserError."""

    def write_report(
        self, parts: Parts, validated: ValidatedStage, table: TableStage, page: Path
    ) -> None:
        """Write the page about the data."""

    def rules(self) -> Mapping[str, tuple[str, str]]:
        """Name of a rule about rows -> the rule in words, and why it is one."""

    def at_fault(self, reasons: list[str], cells: dict[str, Any]) -> list[str]:
        """Return the columns to show of a row in quarantine, but for unreadable ones. cells: its
        values by name, in the order of the file."""

    def suites(self) -> dict[str, Sequence[Check]]:
        """What Great Expectations checks: `rows`, `batch` and `table` -> the checks of each."""

    def changes(self, stage: ValidatedStage, last: Batch | None) -> dict[str, float | None]:
        """The measures of the change rules: this batch beside the one that was accepted last."""

    def columns_at_fault(self, finding: Finding, stage: ValidatedStage, last: Batch | None) -> str:
        """Which columns a change rule finds at fault, in words; "" where it is about none."""


def keep_suites(data: Dataset) -> None:
    """Keep what Great Expectations checks of the data set as a project of its own, which opens with
    `great_expectations.get_context(mode="file", project_root_dir="var/great_expectations")`."""
    settings = data.settings
    folder = settings.var.absolute() / "great_expectations"
    write_project(folder, settings.dataset, data.suites())
