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
from configs.command import make, run_command
from configs.settings import Settings
from configs.source import CANONICAL, Source
from configs.source import Text as Written
from flows.acceptance import Validated, last_seen
from flows.data_stages import open_dataset
from ingestion.labelled.rules import LARGEST
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
    console.print(_counts(rows, settings))
    for name in [reason] if reason else rows["reasons"]:
        console.print()
        console.print(_examples(batch, name, MANY if reason else FEW, settings.source))
    for line in (
        f"All of them, with every column: {batch.folder / QUARANTINE}",
        f"After repairing a rule or the source: {make('replay', settings)}",
    ):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _counts(rows: dict[str, Any], settings: Settings) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("reason", "rows", "share", "rule", "why"):
        right = name in ("rows", "share")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    known = open_dataset(settings).rules()
    for name, count in sorted(rows["reasons"].items(), key=lambda item: -item[1]):
        words = known.get(name, ("not a rule any more", ""))
        share = f"{count / rows['raw']:.2%}"
        table.add_row(plain(name), f"{count:,}", share, *(plain(each, LONGEST) for each in words))
    table.caption = "a row may have several reasons"
    return table


def _examples(batch: Validated, reason: str, count: int, source: Source) -> Table:
    """Make a table of some rows with this reason. A log's rows are shown in full; a table may have
    any number of columns, so only its identifier and the columns at fault are shown."""
    of_table, named = source.kind == "table", source.table.id
    columns = "cells" if of_table else ", ".join(CANONICAL)
    names, rows = _read(batch, reason, count, f"reasons, unreadable, {columns}")
    table = Table(title=plain(reason), title_justify="left", box=None, pad_edge=False)
    heads = ["source", "row", "reasons", "what stands there"]
    if of_table and named:
        heads.insert(2, named)
    for head in heads:
        table.add_column(plain(head), overflow="fold")
    for place, number, reasons, unreadable, *values in rows:
        cells = values[0] if of_table else dict(zip(names[4:], values, strict=True))
        shown = at_fault(reasons, cells, source) if of_table else _filled(cells)
        there = [f"{name} = {_short(cells.get(name))}" for name in shown]
        there += [_short(each.replace("=", " = ", 1)) for each in unreadable or ()]
        row = [
            visible(place),
            str(number),
            *("\n".join(map(visible, x)) for x in (reasons, there)),
        ]
        if of_table and named:
            row.insert(2, _short(cells.get(named)))
        table.add_row(*map(Text, row))
    return table


def _filled(cells: dict[str, Any]) -> list[str]:
    return [name for name, value in cells.items() if value is not None]


def at_fault(reasons: list[str], cells: dict[str, str | None], source: Source) -> list[str]:
    """Return the columns that the reasons are about, except unreadable ones, in the order of the
    file."""
    table = source.table
    column_of = {f"missing_{name}": name for name in table.columns}
    column_of |= {f"out_of_range_{name}": name for name in table.columns}
    column_of |= {"no_label": table.target or "", "unknown_split": table.split or ""}
    column_of |= {"no_group": table.group or ""}
    wanted = {column_of[reason] for reason in reasons if reason in column_of}
    if "infinite_value" in reasons:
        numbers = {name for name, column in table.columns.items() if column.type == "number"}
        wanted |= {name for name in numbers if _infinite(cells.get(name), source.text)}
    return [name for name in cells if name in wanted]


def _infinite(text: str | None, written: Written) -> bool:
    digits = text or ""
    for part in (written.thousands, *written.symbols):
        digits = digits.replace(part, "")
    try:
        return abs(float(digits.replace(written.decimal, "."))) > LARGEST
    except ValueError:
        return False


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
