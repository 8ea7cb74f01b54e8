"""After a rule or the source was mended, judge again: `make replay`.

Reads what is new in the source, judges every row by the rules as they are now, and moves those of
the quarantine that pass to the valid rows. Says what moved, and that the counts before and after
agree. The next `make train` goes on with the outcome.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.command import make, run_command
from configs.duck import connect, parquet
from configs.settings import Settings
from flows import data_stages
from flows.acceptance import Validated, last_validated
from flows.lock import alone
from ingestion.ingest import check_source
from ingestion.validate import QUARANTINE

ABOUT = "Judge the quarantine again by the present rules and source, and move the rows that pass."


@dataclass(frozen=True)
class Replay:
    """Counts before and after; `moved` left the quarantine, `entered` are new in it."""

    before: dict[str, Any]
    after: dict[str, Any]
    moved: int
    entered: int

    @property
    def reconciles(self) -> bool:
        """Whether every row is accounted for."""
        return (
            all(
                rows["raw"] == rows["valid"] + rows["quarantined"]
                for rows in (self.before, self.after)
            )
            and self.after["quarantined"] - self.before["quarantined"] == self.entered - self.moved
        )


def main(settings: Settings) -> None:
    check_source(settings.source)
    with alone(settings.var, "replay"):
        before = last_validated(settings)
        folder = settings.var.absolute() / "replays" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        folder.mkdir(parents=True)
        parts = data_stages.ingest(settings)
        data_stages.validate(settings, parts, folder / "contract.html")
        after = last_validated(settings)
        replay = reconcile(before, after, settings)
        content = {"from": before.batch, "to": after.batch, **asdict(replay)}
        (folder / "replay.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    _show(replay, before, after, settings)
    if not replay.reconciles:  # cannot be, unless a file was altered meanwhile
        raise AssertionError(f"the counts do not reconcile: {replay}")


def reconcile(before: Validated, after: Validated, settings: Settings) -> Replay:
    """Which rows left the quarantine and which entered it, by source and row."""
    with connect(after.folder.parent, settings.compute) as connection:
        for name, data in (("before", before), ("after", after)):
            connection.execute(
                f"CREATE TEMP VIEW {name} AS SELECT source, source_row"
                f" FROM {parquet(data.folder / QUARANTINE)}"
            )
        moved, entered = (
            connection.execute(query).fetchall()[0][0]
            for query in (
                "SELECT count(*) FROM before ANTI JOIN after USING (source, source_row)",
                "SELECT count(*) FROM after ANTI JOIN before USING (source, source_row)",
            )
        )
    return Replay(before.facts["rows"], after.facts["rows"], moved, entered)


def _show(replay: Replay, before: Validated, after: Validated, settings: Settings) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 150
    table = Table(box=None, pad_edge=False)
    for name in ("", "before", "after", "change"):
        table.add_column(name, justify="left" if not name else "right")
    reasons = dict.fromkeys([*replay.before["reasons"], *replay.after["reasons"]])
    for name in reasons:
        _line(
            table, name, replay.before["reasons"].get(name, 0), replay.after["reasons"].get(name, 0)
        )
    for name, label in (("quarantined", "in quarantine"), ("valid", "valid"), ("raw", "all rows")):
        _line(table, label, replay.before[name], replay.after[name])
    console.print(table)
    same = before.batch == after.batch
    console.print(
        f"{replay.moved:,} rows left the quarantine, {replay.entered:,} entered it."
        + ("" if same else f" The source has changed: batch {before.batch} is now {after.batch}.")
    )
    console.print("Before and after: all rows = valid + in quarantine.", style="dim")
    console.print(f"Next: {make('train', settings)}", style="dim")


def _line(table: Table, name: str, before: int, after: int) -> None:
    change = f"{after - before:+,}" if after != before else ""
    table.add_row(name, f"{before:,}", f"{after:,}", change)


if __name__ == "__main__":
    sys.exit(run_command("flows.replay", ABOUT, main))
