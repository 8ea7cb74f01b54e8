"""Draft the settings of a labelled table from its file: `make adopt DATA=FILE TARGET=COLUMN`.

Every line of the draft is a guess with its reason; nothing is trained. The next command is printed.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table
from rich.text import Text

from common.errors import UserError
from common.files import write_file
from common.terminal import console as terminal
from common.terminal import plain, say, short, visible
from configs.command import run_command
from configs.load import FOLDER, NAME, load, presets
from configs.make_command import make, typed, where
from configs.settings import Settings
from configs.source import Text as Written
from configs.table import Table as Shares
from features.from_table import least_rows
from ingestion.labelled.draft import Draft, draft
from ingestion.labelled.guess import Guess, rows_that
from ingestion.labelled.rules import in_words

ABOUT = """Draft the settings of a labelled table: DATA is its file, TARGET the column to predict.
Where the format of a text file cannot be detected, set it by --source.text.*"""
OPTIONS = {
    "output": "where to write them (default: configs/<name of the file>.yaml)",
    "positive": "the value of the target that is predicted",
}
FLAGS = {"force": "write over a file that is there"}
LONGEST = 600  # characters of a reason, or of what is to be checked
SHIPPED = ("contract", "default", "online_retail", "smoke", "year")  # never written over


def main(
    settings: Settings,
    data: str | None = None,
    target: str | None = None,
    output: str | None = None,
    positive: str | None = None,
    force: bool = False,
) -> None:
    if not data or not target:  # make hands over what was not given as an empty text
        raise UserError(
            "a file and the column to predict must be named",
            where="command line",
            next_step="make adopt DATA=FILE TARGET=COLUMN",
        )
    path = _home(data)
    value = ("--positive", positive) if positive else ()
    again = partial(make, "adopt", settings, *value, DATA=data, TARGET=target)
    place = _place(output and str(_home(output)), path, force, again)
    drafted = draft(path, target, settings.source.text, positive)
    write_file(place, preset(drafted, path))
    name = place.stem if place.parent.resolve() == FOLDER.resolve() else str(place)
    load(name, (), {})  # a draft that would be refused is a fault of ours, and shown here
    _show(drafted, place, typed("train", *where(settings), CONFIG=name))


def _home(path: str) -> Path:
    """Expand `~` at the start of a path: make passes it on unchanged."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or no HOME
        return Path(path)


def _place(output: str | None, data: Path, force: bool, again: Callable[..., str]) -> Path:
    """Return the file to write the draft to. again: the command as it was typed, with further
    words."""
    place = Path(output) if output else FOLDER / f"{_cleaned(data.name.split('.')[0])}.yaml"
    if place.suffix not in (".yaml", ".yml"):
        raise UserError(
            f"a preset is a YAML file, and {place.name!r} does not end in .yaml",
            where="--output",
            next_step=again("--output", str(_free(place))),
        )
    other = FOLDER / f"{place.stem}.yaml"
    clash = place.stem in presets() and other.resolve() != place.resolve()
    if not NAME.fullmatch(place.stem) or place.stem in SHIPPED or clash:
        raise UserError(
            f"a preset cannot be called {place.stem!r}: its name also names a model and a data set",
            where=str(place),
            next_step=again("--output", str(_free(place))),
        )
    if place.exists() and not force:
        raise UserError(
            f"{place} exists already, and may hold somebody's decisions",
            where=str(place),
            next_step=f"{again('--output', str(_free(place)))}; or to write over it:"
            f" {again(*(('--output', output) if output else ()), '--force')}",
        )
    return place


def _cleaned(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:100] or "table"


def _free(place: Path) -> Path:
    """Return a path in the same folder whose name is allowed and not taken."""
    stem, taken = _cleaned(place.stem), {*presets(), *SHIPPED}
    free = (f"{stem}_{number}" if number > 1 else stem for number in itertools.count(1))
    return next(
        beside
        for name in free
        if name not in taken and not (beside := place.with_name(f"{name}.yaml")).exists()
    )


def preset(drafted: Draft, data: Path) -> str:
    """Render the draft as YAML, each guess with its reason."""
    inside = data.resolve().is_relative_to(Path.cwd())
    shown = data.resolve().relative_to(Path.cwd()) if inside else data.resolve()
    columns = len(drafted.guesses) + 1
    checks = [f"# CHECK: {_line(check)}" for check in drafted.checks]
    size = f"{drafted.rows:,} rows, {columns} columns"
    lines = [
        f"# Drafted by `make adopt` from {_line(data.name)} ({size}).",
        "# Every line is a guess, its reason beside it: change what is wrong.",
        *checks,
        "source:",
        "  kind: table",
        f"  path: {_text(str(shown))}",
        *_written(drafted.text),
        "  table:",
        f"    target: {_text(drafted.target)}  # {_line(in_words(drafted.labels))}",
        f"    positive: {_text(drafted.positive)}  # {_line(drafted.why_positive)}",
    ]
    left_out = [guess for guess in drafted.guesses if guess.kind == "leave_out"]
    for kind in ("id", "group"):
        lines += [
            f"    {kind}: {_text(guess.name)}  # {_because(guess)}"
            for guess in drafted.guesses
            if guess.kind == kind
        ]
    if left_out:
        lines.append("    leave_out:")
        lines += [f"      - {_text(guess.name)}  # {_because(guess)}" for guess in left_out]
    if drafted.missing_values:
        values = ", ".join(map(_text, drafted.missing_values))
        lines.append(f"    missing_values: [{values}]  # texts that mean a missing value")
    lines.append(
        "    # split: COLUMN  # where a column says train, valid or test; else it is drawn"
    )
    lines.append("    columns:")
    for guess in drafted.guesses:
        if guess.kind in ("number", "category"):
            lines += _column(guess)
    return "\n".join(lines) + "\n"


def _column(guess: Guess) -> list[str]:
    parts = [f"type: {guess.kind}"]
    if guess.kind == "category":
        parts.append(f"values: [{', '.join(map(_text, guess.values))}]")
    if guess.low is not None:
        parts.append(f"low: {guess.low:g}")
    if guess.missing:
        parts.append("missing: true")
    comment = [f"      # {_line(guess.reason)}"]
    if guess.check:
        comment.append(f"      # CHECK: {_line(guess.check)}")
    return [*comment, f"      {_text(guess.name)}: {{{', '.join(parts)}}}"]


def _because(guess: Guess) -> str:
    return _line(guess.reason) + (f"; CHECK: {_line(guess.check)}" if guess.check else "")


def _written(text: Written) -> list[str]:
    given = text.model_dump(exclude_defaults=True)
    if not given:
        return []
    return ["  text:", *(f"    {key}: {json.dumps(value)}" for key, value in given.items())]


def _text(value: str) -> str:
    """Quote a text: a plain Yes would be a truth value, and 1 a number."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(map(_shown, escaped)) + '"'


def _shown(character: str) -> str:
    """Escape a character for YAML, which takes control characters only by their number."""
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _line(text: str) -> str:
    """Join a value into one line: a comment must not contain line ends."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))[:LONGEST]


def _show(drafted: Draft, place: Path, command: str) -> None:
    console = terminal()
    for line in (
        f"{drafted.rows:,} rows; the target {short(drafted.target)} is {in_words(drafted.labels)}",
        f"predicted is {short(repr(drafted.positive))}: {drafted.why_positive}",
    ):
        say(console, line)
    table = Table(box=None, pad_edge=False)
    for head in ("column", "guess", "because"):
        table.add_column(head, overflow="fold", no_wrap=head == "guess")
    kinds = {"leave_out": "left out", "id": "identifier", "group": "group of rows"}
    for guess in drafted.guesses:
        kind = kinds.get(guess.kind, guess.kind)
        table.add_row(plain(guess.name), kind, plain(_line(guess.reason), LONGEST))
    console.print(table)
    checks = [f"{guess.name}: {guess.check}" for guess in drafted.guesses if guess.check]
    if drafted.unlabelled:
        words = f" (not a label: {in_words(drafted.absent)})" if drafted.absent else ""
        some = (f"have no label{words}, and go", f"has no label{words}, and goes")
        checks.append(f"{rows_that(drafted.unlabelled, *some)} to quarantine")
    rarest, count = drafted.labels[-1]
    if count < (least := least_rows(Shares())):
        checks.append(
            f"the table is too small to train on: {in_words([(rarest, count)])}, and a drawn split"
            f" needs at least {least} rows of each class"
        )
    checks += drafted.checks
    if drafted.id is None:
        checks.append("no column identifies the rows: they are identified by their row number")
    if drafted.missing_values:
        checks.append(f"{', '.join(drafted.missing_values)} are read as missing values")
    checks.append(
        "no column may be filled in after the outcome: training stops at one that is too good by"
        " itself, and cannot see the others"
    )
    console.print("\nCheck:")
    for check in checks:
        say(console, f"  - {short(_line(check), LONGEST)}")
    for line in (f"\nWritten: {visible(place)}", f"Next:    {command}"):
        console.print(Text(line), soft_wrap=True)


def run(words: Sequence[str] | None = None) -> int:
    """`make adopt`, with these words after it."""
    return run_command(
        *("flows.commands.adopt", ABOUT, main, words),
        arguments=("data", "target"),
        options=OPTIONS,
        flags=FLAGS,
    )


if __name__ == "__main__":
    sys.exit(run())
