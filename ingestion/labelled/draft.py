"""A file and its target → a drafted table: guesses about every column, and the settings of them."""

from __future__ import annotations

import re
import shlex
import tempfile
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import connect, quoted
from common.errors import UserError
from common.terminal import short
from configs.source import Text
from configs.table import Table
from ingestion.files import Opened, explained, opened
from ingestion.labelled.columns import given, present
from ingestion.labelled.guess import CODES, REPEATS, Guess, guess
from ingestion.labelled.notation import Notation, recognised
from ingestion.labelled.read import as_text
from ingestion.labelled.rules import check_target, in_words, same_classes
from ingestion.sources import check_file
from ingestion.workbook import padded_columns, uncomputed_columns

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# A positive word, and the negative words it needs beside it; without any, it is always positive.
NO = {
    **dict.fromkeys(("yes", "true", "positive", "ja", "oui", "sim"), ()),
    **dict.fromkeys(("y", "si", "sí"), ("n", "no")),
    "j": ("n",),
    "t": ("f",),
    "pos": ("neg",),
    "1": ("0", "-1"),
}

ZEROS = (
    "the workbook shows zeros in front (00001) that the stored number (1) does not have: if other"
    " systems write them, store the column as text"
)

UNCOMPUTED = "formulas without a stored value"


@dataclass(frozen=True)
class Draft:
    """positive: the value that is predicted, and why_positive.  labels: value -> rows; unlabelled:
    rows without one, absent: the texts that stand there for none -> rows.  guesses: of every other
    column, in the order of the file.  text: how the file is written.  checks: what a person should
    look at, beside what the guesses say."""

    rows: int
    target: str
    positive: str
    why_positive: str
    labels: list[tuple[str, int]]
    unlabelled: int
    absent: list[tuple[str, int]]
    guesses: list[Guess]
    text: Text
    checks: list[str]

    @property
    def id(self) -> str | None:
        return next((guess.name for guess in self.guesses if guess.kind == "id"), None)

    @property
    def group(self) -> str | None:
        return next((guess.name for guess in self.guesses if guess.kind == "group"), None)

    @property
    def missing_values(self) -> tuple[str, ...]:
        """Texts that stand for a missing value in the target, or in a column that is a feature."""
        kept = [guess for guess in self.guesses if guess.kind in ("number", "category")]
        absent = {text for guess in kept for text in guess.absent}
        return tuple(sorted(absent | {text for text, _ in self.absent}))


def draft(path: Path, target: str, text: Text, positive: str | None = None) -> Draft:
    """Guess what every column of the file is.

    Raises UserError for a file that cannot be read, a target that it lacks or that is not binary,
    and a table in which no column is left to learn from.
    """
    _check_file(path, text)
    with tempfile.TemporaryDirectory() as name, explained(path, text):
        folder = Path(name)
        with (
            connect(folder, ordered=True) as connection,
            opened(connection, path, text, [target], folder) as file,
        ):
            _check_column(file.types, target, path, file.hint)
            each = ", ".join(
                f"{as_text(quoted(name), kind)} AS {quoted(name)}"
                for name, kind in file.types.items()
            )
            query = f"CREATE TEMP TABLE texts AS SELECT {each} FROM {file.relation}"
            file.check_rows(connection.execute(query).fetchall()[0][0], path)
            shown = padded_columns(path)
            zeros = {name for place, name in enumerate(file.types) if place in shown}
            computed = uncomputed_columns(path)
            uncomputed = {name for place, name in enumerate(file.types) if place in computed}
            if target in uncomputed:
                raise UserError(
                    f"the target {target!r} holds {UNCOMPUTED}",
                    where=str(path),
                    next_step="open the workbook in a spreadsheet and save it, which computes them",
                )
            others = [name for name in file.types if name != target]
            notation = recognised(connection, others, text, of_text=file.text is not None)
            return _draft(connection, file, target, notation, positive, path, zeros, uncomputed)


def _draft(
    connection: DuckDBPyConnection,
    file: Opened,
    target: str,
    notation: Notation,
    positive: str | None,
    path: Path,
    zeros: set[str],
    uncomputed: set[str],
) -> Draft:
    # As validation will read it: the words for a missing value are not labels.
    classes = connection.execute(
        f"SELECT {given(quoted(target))}, count(*) FROM texts GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    spelt = same_classes(classes, positive)
    if spelt:
        counts: dict[str | None, int] = {}
        for value, count in classes:
            label = value if value is None else spelt[value]
            counts[label] = counts.get(label, 0) + count
        classes = sorted(counts.items(), key=lambda item: -item[1])
    labels = [(value, count) for value, count in classes if value is not None]
    absent = present(connection, quoted(target))
    chosen, why = _positive(labels, positive)
    if positive is not None and len(labels) == 2 and positive not in dict(labels):
        raise UserError(
            f"the target is never {positive!r}, which is to be predicted: it is {in_words(labels)}",
            where="--positive",
            next_step=f'ARGS="--positive {shlex.quote(labels[-1][0])}", or'
            f" {shlex.quote(labels[0][0])} (letter case counts)",
        )
    check_target(classes, Table(target=target, positive=chosen), absent)
    text = notation.text if file.text is not None else None
    guesses = [
        _hinted(guess(connection, name, kind, text), notation, name in zeros, name in uncomputed)
        for name, kind in file.types.items()
        if name != target
    ]
    guesses = _one_identifier(guesses)
    if not any(guess.kind in ("number", "category") for guess in guesses):
        reasons = "; ".join(f"{guess.name}: {guess.reason}" for guess in guesses[:6])
        raise UserError(
            f"no column is left to learn from ({reasons or 'the target is the only one'})",
            where=str(path),
            next_step="bring a file with columns that describe its rows; if the values were"
            " separated wrongly, pass --source.text.delimiter",
        )
    rows = sum(count for _, count in classes)
    unlabelled = rows - sum(count for _, count in labels)
    checks = []
    if spelt:
        checks.append(f"{', '.join(map(repr, spelt))} in the target are spellings of two classes")
    if positive is None and (question := _question(labels, why)):
        checks.append(question)
    if notation.seen:
        checks.append(
            f"numbers are read as {_in_words(notation.text)}, because of {notation.seen}: if it is"
            " otherwise, pass --source.text.decimal, .thousands or .symbols"
        )
    return Draft(
        rows, target, chosen or "", why, labels, unlabelled, absent, guesses, notation.text, checks
    )


def _hinted(guessed: Guess, notation: Notation, zeros: bool, uncomputed: bool) -> Guess:
    """Add to a guess the notes about how its numbers are written, or displayed."""
    hints = notation.doubts if guessed.kind == "number" else notation.unread
    if guessed.check.startswith(CODES):  # they are written as codes are
        hints = {}
    checks = [hints.get(guessed.name, ""), ZEROS * zeros, guessed.check]
    if uncomputed:
        checks.append(f"{UNCOMPUTED}: open the workbook in a spreadsheet and save it")
    return replace(guessed, check="; ".join(filter(None, checks)))


def _in_words(text: Text) -> str:
    parts = [f"decimal mark {text.decimal!r}"]
    parts += [f"thousands separator {text.thousands!r}"] * bool(text.thousands)
    parts += [f"symbols {' '.join(text.symbols)}"] * bool(text.symbols)
    return ", ".join(parts)


def _one_identifier(guesses: list[Guess]) -> list[Guess]:
    """Keep the best identifier of rows and the best identifier of groups, the first of equally good
    ones; leave out the other identifiers."""
    best = {
        kind: max((g for g in guesses if g.kind == kind), key=lambda g: g.rank, default=None)
        for kind in ("id", "group")
    }
    result = []
    for guessed in guesses:
        if guessed.kind in best and guessed is not best[guessed.kind]:
            check = guessed.lost or REPEATS * (guessed.kind == "group")
            reason = f"another identifier: {guessed.reason}"
            guessed = replace(guessed, kind="leave_out", reason=reason, check=check)
        result.append(guessed)
    return result


def _positive(labels: list[tuple[str, int]], given: str | None) -> tuple[str | None, str]:
    """Choose the value to predict, and say why; there may be more or fewer than two labels."""
    if given is not None:
        return given, "as given"
    plain = {_plain(value): value for value, _ in labels}
    for word, value in plain.items():
        if word in NO and (not NO[word] or set(NO[word]) & set(plain)):
            return value, "it reads as a yes"
    if not labels:
        return "", ""
    value, count = labels[-1]
    return value, f"the rarer one: {in_words([(value, count)])}"


def _question(labels: list[tuple[str, int]], why: str) -> str:
    """Write a question about the positive value, where the two labels do not show which it is."""
    if not why.startswith("the rarer"):
        return ""
    other, taken = (short(value, 40) for value in (labels[0][0], labels[-1][0]))
    return (
        f"the classes are {other} and {taken}, and nothing says which of them is the outcome: the"
        f" rarer, {taken}, is taken; for the other, pass --positive {shlex.quote(other)}"
    )


def _plain(label: str) -> str:
    """`Yes`, `True.` and `1.0` as `yes`, `true` and `1`."""
    return re.sub(r"\.0*$", "", label.casefold())


def _check_file(path: Path, text: Text) -> None:
    """Check the file as any other, with messages that do not name a setting."""
    try:
        check_file(path, text)
    except UserError as error:
        if error.what.endswith("not text"):
            raise UserError(error.what, where=str(path), next_step=error.next_step) from None
        is_file = path.is_file() and path.stat().st_size > 0
        step = ', and if it is text: ARGS="--source.text.any_suffix true"' if is_file else ""
        raise UserError(
            error.what,
            where=str(path),
            next_step=f"give the path of a file: make adopt DATA=FILE TARGET=COLUMN{step}",
        ) from None


def _check_column(types: dict[str, str], target: str, path: Path, hint: str) -> None:
    if target in types and "\0" in target:
        raise UserError(
            f"the name {target[:40]!r} holds a zero byte, at which Parquet ends it",
            where=str(path),
            next_step="rename the column in the file",
        )
    if target in types:
        return
    same = [name for name in types if name.strip().casefold() == target.strip().casefold()]
    near = same or get_close_matches(target, types, n=1)
    values = [name for name in types if re.fullmatch(r"\s*[-+$€]?[0-9][0-9.,:/-]*%?\s*", name)]
    steps = []
    if hint and values:  # a text file
        steps.append(
            f"If the first line is a row already ({values[0]!r} is a value), name the columns of"
            ' the file: ARGS="--source.text.names a,b,…".'
        )
    steps += [
        f"did you mean {near[0]!r}?" if near else "",
        "Name the column that holds the outcome: TARGET=COLUMN.",
        f'{hint} As in ARGS="--source.text.skip_lines 1"' if hint else "",
        "The header must be the first row of its sheet." * path.name.lower().endswith(".xlsx"),
    ]
    if same:
        steps = [f"name it as the file does: TARGET={shlex.quote(same[0])}"]
    raise UserError(
        f"the file has no column {target!r}",
        where=f"{path}: its columns are {', '.join(list(types)[:40])}",
        next_step=" ".join(step for step in steps if step),
    )
