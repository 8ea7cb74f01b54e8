"""Text from outside, made safe to show. A name in somebody's file may hold escape sequences that
clear the screen, line ends, marks that turn the direction of writing, or brackets that Rich takes
for markup: it is shown as what it is, and does nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

JOINERS = "\u200c\u200d"  # inside of words and emoji
WIDE = 150  # columns of a log: nobody wants its lines folded at 80
NARROW = 80
LINES, CHARACTERS = 20, 2000  # of one part of an error
CELL = 60  # characters of a name or a value in a table


def visible(text: object) -> str:
    r"""The text on one line, with everything that is not a printable character as `\x1b`, `\n`,
    `\u202e`."""
    return "".join(
        c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def short(text: object, most: int = CELL) -> str:
    """The same, cut to `most` characters."""
    shown = visible(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def bounded(text: str, indent: str) -> str:
    """A text of several lines, safe and of bounded length; later lines are indented, so that none
    passes for a line of ours."""
    lines = [visible(line) for line in text.strip().split("\n")]
    more = f"… and {len(lines) - LINES:,} more lines" if len(lines) > LINES else ""
    kept = "\n".join(line.strip() for line in lines[:LINES])
    if len(kept) > CHARACTERS:
        more = f"… and {len(kept) - CHARACTERS:,} more characters" + (f" {more}" if more else "")
        kept = kept[:CHARACTERS]
    return "\n".join([*kept.split("\n"), *([more] if more else [])]).replace("\n", f"\n{indent}")


def on_page(value: object) -> object:
    """What Jinja writes: a text from outside with its control characters made visible. Markup of
    ours stays as it is."""
    return visible(value) if type(value) is str else value


def console() -> Console:
    """Where commands print: as wide as the terminal is, in a pipe as COLUMNS says. Not narrower
    than the tables need: a terminal folds the lines, and a folded table loses its figures."""
    from rich.console import Console

    terminal = Console(highlight=False, emoji=False)
    if not terminal.is_terminal and "COLUMNS" not in os.environ:
        terminal.width = WIDE
    terminal.width = max(terminal.width, NARROW)
    return terminal


def say(console: Console, text: object, style: str = "") -> None:
    """A sentence, folded between words; in a log it stays one line."""
    from rich.text import Text

    console.print(Text(visible(text), style=style), soft_wrap=console.width >= WIDE)


def plain(text: object, most: int = CELL, style: str = "") -> Text:
    """Any text as a cell of a table: safe, short, and nothing in it is markup."""
    from rich.text import Text

    return Text(short(text, most), style=style)


def facts(*rows: tuple[str, str]) -> Table:
    """Heads and texts side by side; what has no head belongs to the one above."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=9, style="bold")
    grid.add_column(overflow="fold")
    for head, text in rows:
        if not text:
            continue
        grid.add_row(head, Text(visible(text), style="" if head else "dim"))
    return grid
