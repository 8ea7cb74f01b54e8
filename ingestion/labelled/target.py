"""Is the target binary? What is not is refused by name: several classes, numbers, one class."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import UserError
from common.spelling import alike
from configs.table import Table

SHOWN = 8  # values in a message
CONTINUOUS = 20  # from so many different numbers on a target is taken for a measured one


def check_target(
    labels: Sequence[tuple[str | None, int]], table: Table, absent: Sequence[tuple[str, int]] = ()
) -> None:
    """labels: value of the target (None: missing) and its rows, the most frequent first.
    absent: what stands in the file where the label was taken for missing, to be said.

    Raises UserError unless there are two values, of which one is the positive one.
    """
    place = f"column {table.target}, source.table.target"
    values, rows = _values(labels, place)
    if len(values) > 2:
        raise not_binary(values, place)
    if len(values) == 1:
        raise UserError(
            f"the target has one class only: all {rows:,} rows that have a label are"
            f" {values[0][0]!r}" + (f"; no label is {in_words(absent)}" if absent else ""),
            where=place,
            next_step="bring rows of the other class too, or name another target"
            + ("; if that is the other class, give it another word in the file" * bool(absent)),
        )
    if table.positive not in [value for value, _ in values]:
        raise UserError(
            f"the target never is {table.positive!r}, which is to be predicted: it is"
            f" {in_words(values)}",
            where="source.table.positive",
            next_step=f"set it to {values[-1][0]!r} or {values[0][0]!r} (letter case counts)",
        )


def same_classes(labels: Sequence[tuple[str | None, int]], positive: str | None) -> dict[str, str]:
    """Of a target of more than two values that is binary where letter case, and `1.0` for `1`, do
    not count: each value -> the one that it stands for, which is `positive` where it may be."""
    values = [value for value, _ in labels if value is not None]
    groups = alike(values) if 2 < len(values) <= CONTINUOUS else []
    if len(groups) != 2:
        return {}
    chosen = [positive if positive in group else group[0] for group in groups]
    return {text: one for one, group in zip(chosen, groups, strict=True) for text in group}


def not_binary(values: Sequence[tuple[str, int]], place: str) -> UserError:
    what = f"binary targets only: this one has {len(values):,} values: {in_words(values)}"
    if len(values) >= CONTINUOUS and all(_is_number(value) for value, _ in values):
        what = (
            f"binary targets only: this one holds {len(values):,} different numbers, from"
            f" {min(values, key=_size)[0]} to {max(values, key=_size)[0]}; regression is not done"
        )
    return UserError(
        what,
        where=place,
        next_step="make a column of two values of it (above a limit or not; one class or the"
        " rest), or correct the rows of a value that is none",
    )


def _values(
    labels: Sequence[tuple[str | None, int]], place: str
) -> tuple[list[tuple[str, int]], int]:
    values = [(value, count) for value, count in labels if value is not None]
    if not labels:
        raise UserError("the table has no rows", where=place, next_step="bring some")
    if not values:
        raise UserError(
            f"the label is missing in all {sum(count for _, count in labels):,} rows",
            where=place,
            next_step="name the column that holds the outcome, or bring rows that have one",
        )
    return values, sum(count for _, count in values)


def in_words(values: Sequence[tuple[str, int]]) -> str:
    """`'Yes' (10 rows), 'No' (1 row) and 3 more`."""
    shown = [f"{v[:60]!r} ({n:,} row{'s' * (n != 1)})" for v, n in values[:SHOWN]]
    return ", ".join(shown) + (f" and {len(values) - SHOWN:,} more" if values[SHOWN:] else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _size(value: tuple[str, int]) -> float:
    return float(value[0])
