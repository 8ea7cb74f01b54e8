"""The rules of a labelled table, from its settings: what sends a row to quarantine.

Each rule is said twice, in SQL for DuckDB, which judges every row, and as a check for Great
Expectations, which audits a sample; `ingestion/labelled/validate.py` compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from configs.table import LONGEST_TEXT, Column, Table
from ingestion.contract import plain

LARGEST = 3.4028234663852886e38  # of float32, in which models compute: beyond it all is infinite


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
        why = "a row of nobody may be on both sides of the split"
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
