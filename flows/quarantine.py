"""What is in quarantine and why: `make quarantine`, or `make quarantine REASON=duplicate`."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from configs.command import make, run_command
from configs.duck import connect, parquet
from configs.errors import UserError
from configs.settings import Settings
from configs.source import CANONICAL, Source, Text
from flows.acceptance import Validated, last_seen
from ingestion.contract import in_words
from ingestion.labelled.rules import LARGEST, table_rules
from ingestion.validate import QUARANTINE

ABOUT = "Show the rows that the last batch has in quarantine, by reason."
FEW, MANY = 2, 20  # examples of each reason, and of the one asked for
LONG = 60  # characters of a value


def main(reason: str | None, settings: Settings) -> None:
    found = last_seen(settings)
    rows, console = found.rows, Console(highlight=False)
    if not console.is_terminal:
        console.width = 150
    console.print(
        f"Batch {found.batch}: {rows['raw']:,} rows = {rows['valid']:,} valid"
        f" + {rows['quarantined']:,} in quarantine"
    )
    if found.why:
        console.print(f"[bold]This batch is {escape(found.why)}[/]")
    for name, count in rows["warned"].items():
        console.print(f"{count:,} rows are warned of: {name}")
    if not rows["quarantined"]:
        return
    if reason is not None and reason not in rows["reasons"]:
        raise UserError(
            f"no row is in quarantine for {reason!r}",
            where=str(found.folder / QUARANTINE),
            next_step=f"the reasons are {', '.join(rows['reasons'])}",
        )
    console.print(_counts(rows, settings))
    for name in [reason] if reason else rows["reasons"]:
        console.print()
        few = MANY if reason else FEW
        if settings.source.kind == "table":
            console.print(_of_table(found, name, few, settings.source))
        else:
            console.print(_examples(found, name, few))
    console.print(
        f"All of them, with every column: {found.folder / QUARANTINE}", style="dim", soft_wrap=True
    )
    console.print(f"After mending a rule or the source: {make('replay', settings)}", style="dim")


def _counts(rows: dict[str, Any], settings: Settings) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("reason", "rows", "share", "rule", "why"):
        table.add_column(name, justify="right" if name in ("rows", "share") else "left")
    known = _rules(settings)
    for name, count in sorted(rows["reasons"].items(), key=lambda item: -item[1]):
        words = known.get(name, ("no rule any more", ""))
        table.add_row(name, f"{count:,}", f"{count / rows['raw']:.2%}", *words)
    table.caption = "a row may have several reasons"
    return table


def _rules(settings: Settings) -> dict[str, tuple[str, str]]:
    """Name of a rule about rows -> the rule in words, and why it is one."""
    if settings.source.kind == "table":
        return {r.name: (r.words, r.why) for r in table_rules(settings.source.table)}
    return {name: (in_words(rule), rule.why) for name, rule in settings.contract.rules.items()}


def _examples(found: Validated, reason: str, count: int) -> Table:
    """Some rows of the reason, as they are, and what of them could not be read."""
    columns, rows = _read(found, reason, count, ", ".join((*CANONICAL, "unreadable")))
    table = Table(title=reason, title_justify="left", box=None, pad_edge=False)
    # A column that is empty in every row, such as the one that is missing, says nothing twice.
    shown = [i for i, name in enumerate(columns) if any(row[i] not in (None, []) for row in rows)]
    for i in shown:
        table.add_column(columns[i], overflow="ellipsis", no_wrap=True, max_width=28)
    for row in rows:
        table.add_row(*(_cell(row[i]) for i in shown))
    return table


def _of_table(found: Validated, reason: str, count: int, source: Source) -> Table:
    """Some rows of the reason: a table may have any number of columns, so only those at fault."""
    _, rows = _read(found, reason, count, "reasons, cells, unreadable")
    named = source.table.id
    table = Table(title=reason, title_justify="left", box=None, pad_edge=False)
    for name in ("source", "row", *([named] if named else []), "reasons", "what stands there"):
        table.add_column(escape(name), overflow="fold")
    for place, number, reasons, cells, unreadable in rows:
        of = [_short(cells.get(named))] if named else []
        there = [f"{name} = {_short(cells.get(name))}" for name in at_fault(reasons, cells, source)]
        there += [_short(each.replace("=", " = ", 1)) for each in unreadable]
        told = (place, str(number), *of, "\n".join(reasons), "\n".join(there))
        table.add_row(*map(escape, told))
    return table


def at_fault(reasons: list[str], cells: dict[str, str | None], source: Source) -> list[str]:
    """The columns that the reasons speak of, but for unreadable ones, in the order of the file."""
    table = source.table
    found = {f"missing_{name}": name for name in table.columns}
    found |= {f"out_of_range_{name}": name for name in table.columns}
    found |= {"no_label": table.target or "", "unknown_split": table.split or ""}
    found |= {"no_group": table.group or ""}
    wanted = {found[reason] for reason in reasons if reason in found}
    if "infinite_value" in reasons:
        numbers = {name for name, column in table.columns.items() if column.type == "number"}
        wanted |= {name for name in numbers if _infinite(cells.get(name), source.text)}
    return [name for name in cells if name in wanted]


def _infinite(text: str | None, written: Text) -> bool:
    plain = text or ""
    for part in (written.thousands, *written.symbols):
        plain = plain.replace(part, "")
    try:
        return abs(float(plain.replace(written.decimal, "."))) > LARGEST
    except ValueError:
        return False


def _read(found: Validated, reason: str, count: int, columns: str) -> tuple[list[str], list[Any]]:
    with connect() as connection:
        result = connection.execute(
            f"SELECT source, source_row, {columns} FROM {parquet(found.folder / QUARANTINE)}"
            " WHERE list_contains(reasons, ?) ORDER BY source, source_row LIMIT ?",
            [reason, count],
        )
        return [name for name, *_ in result.description or ()], result.fetchall()


def _short(text: str | None) -> str:
    """One line of it: a value may be long, and go over many."""
    if text is None:
        return "–"
    line = " ".join(text.split())
    return line if len(line) <= LONG else line[:LONG] + "…"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return escape(", ".join(value))
    return "–" if value is None else escape(str(value))


def arguments(words: list[str]) -> tuple[str | None, list[str]]:
    """The word before the options, if there is one, and the options."""
    first = words[0] if words and not words[0].startswith("-") else None
    return first, words[1:] if first is not None else words


if __name__ == "__main__":
    asked, options = arguments(sys.argv[1:])
    sys.exit(run_command("flows.quarantine", ABOUT, partial(main, asked), options))
