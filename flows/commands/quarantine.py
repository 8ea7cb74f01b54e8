"""What is in quarantine and why: `make quarantine`, or `make quarantine REASON=duplicate`."""

from __future__ import annotations

import sys
from typing import Any

from rich.table import Table
from rich.text import Text

from common.duck import connect, parquet
from common.errors import UserError
from common.terminal import console as terminal
from common.terminal import plain, say, short, visible
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows.acceptance import Validated, last_seen
from flows.data_stages import open_dataset
from flows.dataset import Dataset
from ingestion.outcome import QUARANTINE

ABOUT = "Show the rows that the last batch has in quarantine, by reason."
FEW, MANY = 2, 20  # examples of each reason, and of the one that is named
LONGEST = 400  # characters of a rule


def main(settings: Settings, reason: str | None = None) -> None:
    batch = last_seen(settings)
    rows, console = batch.rows, terminal()
    console.print(
        f"Batch {batch.batch}: {rows['raw']:,} rows = {rows['valid']:,} valid"
        f" + {rows['quarantined']:,} in quarantine"
    )
    if batch.why:
        say(console, f"This batch is {batch.why}", style="bold")
    for name, count in rows["warned"].items():
        say(console, f"{count:,} rows are warned of: {short(name)}")
    if not rows["quarantined"]:
        return
    if reason is not None and reason not in rows["reasons"]:
        raise UserError(
            f"no row is in quarantine for {reason!r}",
            where=str(batch.folder / QUARANTINE),
            next_step=f"the reasons are {', '.join(rows['reasons'])}",
        )
    data = open_dataset(settings)
    console.print(_counts(rows, data))
    for name in [reason] if reason else rows["reasons"]:
        console.print()
        console.print(_examples(data, batch, name, MANY if reason else FEW))
    for line in (
        f"All of them, with every column: {batch.folder / QUARANTINE}",
        f"After repairing a rule or the source: {make('replay', settings)}",
    ):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _counts(rows: dict[str, Any], data: Dataset) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("reason", "rows", "share", "rule", "why"):
        right = name in ("rows", "share")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    known = data.rules()
    for name, count in sorted(rows["reasons"].items(), key=lambda item: -item[1]):
        words = known.get(name, ("not a rule any more", ""))
        share = f"{count / rows['raw']:.2%}"
        table.add_row(plain(name), f"{count:,}", share, *(plain(each, LONGEST) for each in words))
    table.caption = "a row may have several reasons"
    return table


def _examples(data: Dataset, batch: Validated, reason: str, count: int) -> Table:
    """Make a table of some rows with this reason: their identifier, and what is at fault."""
    named = data.settings.source.table.id
    names, rows = _read(batch, reason, count, f"reasons, unreadable, {data.content}")
    table = Table(title=plain(reason), title_justify="left", box=None, pad_edge=False)
    for head in ("source", "row", *([named] if named else []), "reasons", "values"):
        table.add_column(plain(head), overflow="fold")
    for place, number, reasons, unreadable, *values in rows:
        by_name = dict(zip(names[4:], values, strict=True))
        cells = by_name.get("cells", by_name)
        there = [f"{name} = {_short(cells.get(name))}" for name in data.at_fault(reasons, cells)]
        there += [_short(each.replace("=", " = ", 1)) for each in unreadable or ()]
        table.add_row(
            Text(visible(place)),
            Text(str(number)),
            *([Text(_short(cells.get(named)))] if named else []),
            *(Text("\n".join(map(visible, lines))) for lines in (reasons, there)),
        )
    return table


def _read(batch: Validated, reason: str, count: int, columns: str) -> tuple[list[str], list[Any]]:
    with connect() as connection:
        result = connection.execute(
            f"SELECT source, source_row, {columns} FROM {parquet(batch.folder / QUARANTINE)}"
            " WHERE list_contains(reasons, ?) ORDER BY source, source_row LIMIT ?",
            [reason, count],
        )
        return [name for name, *_ in result.description or ()], result.fetchall()


def _short(value: object) -> str:
    """Shorten a value to one line."""
    return "–" if value is None else short(" ".join(str(value).split()))


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.quarantine", ABOUT, main, arguments=("reason",)))
