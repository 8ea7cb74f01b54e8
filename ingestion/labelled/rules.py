"""The rules of a labelled table, from its settings: what sends a row to quarantine, and what the
target must be for the table to be one to learn from.

Each rule about rows is said twice, in SQL for DuckDB, which judges every row, and as a check for
Great Expectations, which audits a sample; `ingestion/labelled/validate.py` compares the two. A
target that is not binary is refused by name: several classes, numbers, one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from common.errors import UserError
from common.spelling import spellings
from configs.table import LONGEST_TEXT, Column, Table
from ingestion.contract import plain

LARGEST = 3.4028234663852886e38  # of float32, in which models compute: beyond it all is infinite
SHOWN = 8  # values in a message
CONTINUOUS = 20  # a target of so many different numbers is taken for a measured one


@dataclass(frozen=True)
class TableRule:
    """broken: SQL that is true for a row that breaks the rule (NULL counts as false).
    column: of the frame that Great Expectations audits.  check: its expectation and arguments."""

    name: str
    column: str
    broken: str
    words: str
    why: str
    check: dict[str, Any] = field(default_factory=dict)
    setting: str = "source.table"  # where it can be changed

    @property
    def bounded(self) -> bool:
        """Whether it is about the range of a column of numbers."""
        return "min_value" in self.check

    def expectation(self) -> dict[str, Any]:
        meta = {"code": self.name, "why": self.why}
        return {"meta": meta, "severity": "warning", "column": self.column, **self.check}


def table_rules(table: Table) -> list[TableRule]:
    """In the order in which reasons are reported."""
    rules = [
        _at_most(
            "unreadable_value",
            "unreadable_values",
            0,
            "every number can be read as one",
            "a value could not be read as its column's type",
        ),
        _at_most(
            "infinite_value",
            "infinite_values",
            0,
            "every number is finite",
            "infinite, or beyond what float32 can hold: models compute in it",
        ),
    ]
    if table.target is not None:  # none: rows that are to be scored
        why = "nothing to learn from"
        rules.append(_present("no_label", "label", f"{table.target} is there", why))
    if table.id is not None:
        rules += [
            _present(
                "no_id",
                "id",
                f"{table.id} is there, with all its digits and at most {LONGEST_TEXT} characters",
                "a row must have its identifier",
            ),
            _at_most(
                "duplicate_id",
                "copy_number",
                1,
                f"{table.id} names one row",
                "the same example twice would be learnt from and tested on; the first is kept",
            ),
        ]
    if table.group is not None:
        why = "a row without a group may be on both sides of the split"
        words = f"{table.group} is there, with all its digits"
        rules.append(_present("no_group", "group_id", words, why))
    if table.split is not None:
        rules.append(
            _at_most(
                "unknown_split",
                "stray_split",
                0,
                f"{table.split} is train, valid or test",
                "a row must belong to a split",
            )
        )
    for place, (name, column) in enumerate(table.columns.items()):
        rules += _of_column(name, column, f"v{place}")
    return rules


def _of_column(name: str, column: Column, place: str) -> list[TableRule]:
    rules = []
    if not column.missing:
        why = "this column is never missing"
        rules.append(_present(f"missing_{name}", place, f"{name} is there", why))
        rules[-1] = replace(rules[-1], setting=f"source.table.columns.{name}.missing")
    if column.type == "number" and (column.low is not None or column.high is not None):
        rules.append(_between(name, place, column))
    return rules


def _between(name: str, place: str, column: Column) -> TableRule:
    limits = [f"{place} < {_number(column.low)}"] * (column.low is not None)
    limits += [f"{place} > {_number(column.high)}"] * (column.high is not None)
    if column.low is None:
        words = f"at most {plain(column.high)}"
    elif column.high is None:
        words = f"at least {plain(column.low)}"
    else:
        words = f"{plain(column.low)} to {plain(column.high)}"
    return TableRule(
        f"out_of_range_{name}",
        place,
        " OR ".join(limits),
        f"{name} is {words}",
        "outside of what the column may hold",
        {
            "type": "ExpectColumnValuesToBeBetween",
            "min_value": column.low,
            "max_value": column.high,
        },
        f"source.table.columns.{name}",
    )


def _present(name: str, column: str, words: str, why: str) -> TableRule:
    check = {"type": "ExpectColumnValuesToNotBeNull"}
    return TableRule(name, column, f"{column} IS NULL", words, why, check)


def _at_most(name: str, column: str, high: int, words: str, why: str) -> TableRule:
    check = {"type": "ExpectColumnValuesToBeBetween", "max_value": high}
    return TableRule(name, column, f"{column} > {high}", words, why, check)


def _number(value: float | None) -> str:
    return f"CAST('{value!r}' AS DOUBLE)"


def check_target(
    labels: Sequence[tuple[str | None, int]], table: Table, absent: Sequence[tuple[str, int]] = ()
) -> None:
    """labels: value of the target (None: missing) and its rows, the most frequent first.
    absent: the texts of the file that count as a missing label, for the message.

    Raises UserError unless there are two values, of which one is the positive one.
    """
    place = f"column {table.target}, source.table.target"
    values, rows = _values(labels, place)
    if len(values) > 2:
        raise not_binary(values, place)
    if len(values) == 1:
        raise UserError(
            f"the target has one class only: all {rows:,} rows that have a label are"
            f" {values[0][0]!r}" + (f"; not a label: {in_words(absent)}" if absent else ""),
            where=place,
            next_step="bring rows of the other class too, or name another target"
            + ("; if that is the other class, give it another word in the file" * bool(absent)),
        )
    if table.positive not in [value for value, _ in values]:
        raise UserError(
            f"the target is never {table.positive!r}, which is to be predicted: it is"
            f" {in_words(values)}",
            where="source.table.positive",
            next_step=f"set it to {values[-1][0]!r} or {values[0][0]!r} (letter case counts)",
        )


def same_classes(labels: Sequence[tuple[str | None, int]], positive: str | None) -> dict[str, str]:
    """Of a target of more than two values that is binary where letter case, and `1.0` for `1`, do
    not count: each value -> the one that it stands for, which is `positive` where it may be."""
    values = [value for value, _ in labels if value is not None]
    groups = spellings(values) if 2 < len(values) <= CONTINUOUS else []
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
        " rest), or correct the rows that have another value",
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
