"""After a rule or the source was repaired, judge again: `make replay`.

Reads what is new in the source, judges every row by the rules as they are now, and moves those of
the quarantine that pass to the valid rows. Says what moved, and that every row is accounted for.
The next `make train` goes on with the outcome.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from common.duck import connect, parquet
from common.terminal import console as terminal
from common.terminal import plain
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows import data_stages
from flows.acceptance import Validated, last_validated
from flows.exclusive import exclusive
from ingestion.outcome import QUARANTINE, TRANSACTIONS
from ingestion.sources import check_source

ABOUT = "Judge the quarantine again by the present rules and source, and move the rows that pass."


@dataclass(frozen=True)
class Replay:
    """Counts before and after, and where rows went. Rows are compared by their content: in a
    repaired file a row may have another place.

    passed: were in quarantine and are valid now.  gone: were in quarantine and are not in the
    source any more as they were.  failed: were valid and are in quarantine now.  new: are in
    quarantine and were not in the source before.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    passed: int
    gone: int
    failed: int
    new: int

    @property
    def reconciles(self) -> bool:
        """Whether every quarantined row is accounted for."""
        change = self.after["quarantined"] - self.before["quarantined"]
        return change == self.failed + self.new - self.passed - self.gone


def main(settings: Settings) -> None:
    check_source(settings.source)
    with exclusive(settings, "replay"):
        before = last_validated(settings)
        folder = settings.var.absolute() / "replays" / f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        folder.mkdir(parents=True)
        parts = data_stages.ingest(settings)
        data_stages.validate(settings, parts, folder / "contract.html")
        after = last_validated(settings)
        replay = reconcile(before.folder, after.folder, before.rows, after.rows, settings)
        content = {"from": before.batch, "to": after.batch, **asdict(replay)}
        (folder / "replay.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    _show(replay, before, after, settings)
    if not replay.reconciles:  # cannot be, unless a file was altered meanwhile
        raise AssertionError(f"the counts do not reconcile: {replay}")


def reconcile(
    before: Path, after: Path, was: dict[str, Any], now: dict[str, Any], settings: Settings
) -> Replay:
    """Compare two validated batches by the content of their rows, copies counted."""
    content = data_stages.open_dataset(settings).content
    with connect(after, settings.compute) as connection:
        for name, folder in (("before", before), ("after", after)):
            for kind, file in (("valid", TRANSACTIONS), ("held", QUARANTINE)):
                # A hash of 64 bits per row: two different rows share one with a chance of one in
                # ten thousand among thirty million.
                connection.execute(
                    f"CREATE TEMP VIEW {kind}_{name} AS"
                    f" SELECT hash({content}) AS row FROM {parquet(folder / file)}"
                )
        left = "(FROM held_before EXCEPT ALL FROM held_after)"
        entered = "(FROM held_after EXCEPT ALL FROM held_before)"
        valid_now = "(FROM valid_after EXCEPT ALL FROM valid_before)"
        valid_before = "(FROM valid_before EXCEPT ALL FROM valid_after)"
        left_count, entered_count, passed, failed = (
            connection.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0]
            for query in (
                left,
                entered,
                f"{left} INTERSECT ALL {valid_now}",
                f"{entered} INTERSECT ALL {valid_before}",
            )
        )
    return Replay(was, now, passed, left_count - passed, failed, entered_count - failed)


def _show(replay: Replay, before: Validated, after: Validated, settings: Settings) -> None:
    console = terminal()
    table = Table(box=None, pad_edge=False)
    for name in ("", "before", "after", "change"):
        table.add_column(name, justify="left" if not name else "right")
    for name in dict.fromkeys([*replay.before["reasons"], *replay.after["reasons"]]):
        was, now = (rows["reasons"].get(name, 0) for rows in (replay.before, replay.after))
        _line(table, name, was, now)
    for name, label in (("quarantined", "in quarantine"), ("valid", "valid"), ("raw", "all rows")):
        _line(table, label, replay.before[name], replay.after[name])
    console.print(table)
    console.print(f"{replay.passed:,} rows of the quarantine pass now and are valid.")
    if replay.failed:
        console.print(f"{replay.failed:,} rows that were valid are in quarantine now.")
    if before.batch != after.batch:
        console.print(
            f"The source has changed (batch {before.batch} is now {after.batch}): {replay.gone:,}"
            f" quarantined rows are not in it any more as they were, {replay.new:,} are new."
        )
    console.print(Text(f"Next: {make('train', settings)}", style="dim"), soft_wrap=True)


def _line(table: Table, name: str, before: int, after: int) -> None:
    change = f"{after - before:+,}" if after != before else ""
    table.add_row(plain(name), f"{before:,}", f"{after:,}", change)


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.replay", ABOUT, main))
