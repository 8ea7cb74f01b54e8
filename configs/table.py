"""The settings of a labelled table: one row per example (`source.kind: table`).

`columns` is the contract of the table: every column that is a feature, with what it may hold.
`make adopt` drafts it from a file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from common.spelling import BLANKS
from configs.section import Section, Words

# Characters of a category, an identifier or the name of a feature: what is longer, no stage takes.
LONGEST_TEXT = 300
# Characters of all names, values and meanings: a bundle's description has a limit too
# (`registry/bundle.py`), and JSON may take 12 bytes for a character.
LARGEST_CONTRACT = 500_000
OWN = (
    "customer_id",
    "as_of",
    "split",
    "label",
    "split_label",
    "split_group",
)  # columns of the training table beside features


def _as_text(value: Any) -> Any:
    """YAML reads 1 as a number, and Yes, No, On and Off as truth values."""
    if isinstance(value, bool):
        raise ValueError(
            'YAML reads yes, no, on, off, true and false as truth values: quote it, "Yes"'
        )
    # As it was written, where that is known: 1.50 is not 1.5.
    return str(getattr(value, "written", value)) if isinstance(value, int | float) else value


Value = Annotated[str, BeforeValidator(_as_text)]
Values = Annotated[tuple[Value, ...], Field(strict=False)]


class Column(Section):
    """What a column of the table holds: a number, or one of a list of texts."""

    type: Literal["number", "category"] = Field(description="what it holds")
    values: Values = Field((), description="the categories; any other value counts as `other`")
    low: float | None = Field(None, description="the least a number may be")
    high: float | None = Field(None, description="the most a number may be")
    missing: bool = Field(False, description="whether a row may have no value")
    unit: str = Field("", description="of a number")
    meaning: str = Field("", description="in words")

    @model_validator(mode="after")
    def _fits(self) -> Column:
        if self.type == "category":
            if not self.values:
                raise ValueError("a category needs values: the texts that it may hold")
            if len(set(self.values)) < len(self.values):
                raise ValueError("the same value is named twice")
            if any(value != value.strip(BLANKS) or not value for value in self.values):
                raise ValueError("a value must not be empty, nor begin or end with a blank")
            if long := next((value for value in self.values if len(value) > LONGEST_TEXT), None):
                raise ValueError(
                    f"the value {long[:40]!r}… has {len(long):,} characters, and the service takes"
                    f" {LONGEST_TEXT}: shorten it in the file, or leave the column out"
                )
            if self.low is not None or self.high is not None:
                raise ValueError("low and high are for numbers")
        elif self.values:
            raise ValueError("values are for a category")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"low is {self.low:g}, above high, {self.high:g}: no number can be valid"
            )
        return self


class Table(Section):
    """Which column of a table is what, and how it is split."""

    target: str | None = Field(None, description="the column to predict; it has two values")
    positive: Value | None = Field(None, description="the value of the target that is predicted")
    id: str | None = Field(None, description="the column that names a row; none: its row number")
    group: str | None = Field(
        None,
        description="column whose equal values stay on one side of the split, such as a person with"
        " several rows; not a feature",
    )
    leave_out: Words = Field((), description="columns that are not read")
    split: str | None = Field(
        None, description="column that says train, valid or test; none: drawn by the seed"
    )
    valid_share: float = Field(
        0.2, ge=0.05, le=0.4, description="rows of a drawn split to validate on"
    )
    test_share: float = Field(0.2, ge=0.05, le=0.4, description="rows of a drawn split to test on")
    missing_values: Values = Field(
        (), description="texts that stand for a missing value, besides blanks and NaN"
    )
    columns: dict[str, Column] = Field(
        default_factory=dict, description="feature -> what it holds: the table's contract"
    )

    @model_validator(mode="after")
    def _one_part_each(self) -> Table:
        named = [*self.columns, *self.leave_out]
        named += [
            name for name in (self.target, self.id, self.group, self.split) if name is not None
        ]
        folded = [name.casefold() for name in named]
        for name in named:
            if folded.count(name.casefold()) > 1:
                raise ValueError(
                    f"the column {name!r} is named twice: it is one of columns, target, id,"
                    " group, split or leave_out (letter case does not count)"
                )
        for name in named:
            if "\0" in name and name not in self.leave_out:
                raise ValueError(
                    f"the name {name[:40]!r} holds a zero byte, at which Parquet ends it: rename it"
                    " in the file, or leave it out"
                )
        for name in self.columns:
            if name.casefold() in OWN:
                raise ValueError(
                    f"a feature cannot be called {name!r}: the training table has a column of that"
                    " name of its own; rename it in the file, or leave it out"
                )
            if len(name) > LONGEST_TEXT:
                raise ValueError(
                    f"the name {name[:40]!r}… has {len(name):,} characters, at most {LONGEST_TEXT}"
                    " are taken: shorten it in the file, or leave the column out"
                )
        held = sum(
            len("".join((name, column.unit, column.meaning or name, *column.values)))
            for name, column in self.columns.items()
        )
        if held > LARGEST_CONTRACT:
            raise ValueError(
                f"the names, values and meanings of the columns have {held:,} characters, and a"
                f" bundle takes {LARGEST_CONTRACT:,}: leave columns out, or name fewer values"
            )
        return self
