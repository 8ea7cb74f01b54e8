"""What a column of an unknown table seems to hold, and why: the guesses behind `make adopt`.

A guess is made from all rows, by counting; every one says its reason, because a person has to be
able to disagree. What cannot be a feature as it is (identifiers, dates, free text, columns that
say nothing) is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from configs.duck import literal, quoted
from configs.table import OWN
from ingestion.canonical import read_number
from ingestion.labelled.rules import LARGEST
from ingestion.mapping import NO_VALUE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from configs.source import Text

# Texts that exports write where there is no value. `None` and `-` are not among them: both are
# honest categories too often.
NO_VALUES = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "?", r"\N")
CATEGORIES = 30  # the most frequent are named, the others are one
COVERED = 0.5  # of the rows that those must hold, or the column is no category
DIRTY = 0.02  # share of values that may be unreadable in a column of numbers
FREE_TEXT = 60  # characters of a value on average
ALL_DIFFERENT = 0.9  # values over rows: from there on a text names its row
DATES = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y%m%d", "%d-%b-%Y")
AN_ID = re.compile(
    r"(^|[ _.-])(id|uuid|guid|key|nr|no|number|index)$|[a-z](ID|Id|Key|Nr)$|^Unnamed"
)


@dataclass(frozen=True)
class Guess:
    """kind: what becomes of the column.  reason: what of its values says so.  check: what a person
    should look at, if anything.  values, low, missing: of the contract (`configs/table.py`).
    absent: the texts among its values that stand for a missing one."""

    name: str
    kind: Literal["number", "category", "id", "leave_out"]
    reason: str
    check: str = ""
    values: tuple[str, ...] = ()
    low: float | None = None
    missing: bool = False
    absent: tuple[str, ...] = ()


def guess(
    connection: DuckDBPyConnection, name: str, kind: str, text: Text | None, *, has_id: bool
) -> Guess:
    """The guess about a column of the relation `texts`, whose columns are text or NULL.

    kind: its type in the file.  text: how numbers are written, of a text file.  has_id: whether
    another column already names the rows.
    """
    if NO_VALUE.match(kind) and kind != "BOOLEAN":
        return Guess(name, "leave_out", f"values of type {kind} are no single ones")
    if name.casefold() in OWN:
        why = f"a feature cannot be called {name}: rename it in the file to use it"
        return Guess(name, "leave_out", why, check=why)
    if kind.startswith(("DATE", "TIME")):
        return Guess(name, "leave_out", "dates", check=_DATES)
    column = quoted(name)
    absent = tuple(text for text, _ in present(connection, column))
    value = given(column)
    number = read_number("value", "VARCHAR", text)
    rows, filled, distinct, numbers, whole, low, high, longest, different_numbers, infinite = (
        connection.execute(f"""
            WITH given AS (SELECT {value} AS value FROM texts),
            read AS (SELECT value, {number} AS number, abs(number) <= {LARGEST!r} AS finite
                     FROM given)
            SELECT count(*), count(value), count(DISTINCT value), count(number),
                   count(number) FILTER (finite AND number = floor(number)),
                   min(number) FILTER (finite), max(number) FILTER (finite),
                   avg(length(value)), count(DISTINCT number),
                   count(number) FILTER (NOT finite AND NOT isnan(number))
            FROM read
        """).fetchall()[0]
    )
    gaps = rows - filled
    missing = f", {gaps:,} missing" if gaps else ""
    if not filled:
        return Guess(name, "leave_out", "no row has a value")
    if distinct == 1 and not gaps:
        return Guess(name, "leave_out", "every row has the same value")
    if numbers >= filled * (1 - DIRTY):
        if filled == numbers == whole == different_numbers and not gaps:
            if high - low == rows - 1:
                return _identifier(name, "whole numbers without a gap, one for each row", has_id)
            if AN_ID.search(name):
                return _identifier(name, "a different whole number in each row", has_id)
        if _dates(connection, value, filled):
            return Guess(name, "leave_out", "dates", check=_DATES)
        return _number_column(
            connection,
            name,
            value,
            number,
            absent,
            rows,
            filled,
            numbers,
            distinct,
            infinite,
            low,
            high,
        )
    if longest > FREE_TEXT:
        return Guess(name, "leave_out", f"free text, {longest:.0f} characters on average")
    if distinct == filled == rows:
        return _identifier(name, "a different text in each row", has_id)
    if _dates(connection, value, filled):
        return Guess(name, "leave_out", f"dates{missing}", check=_DATES)
    if AN_ID.search(name) and distinct > CATEGORIES:
        return Guess(
            name,
            "leave_out",
            f"by its name an identifier, {distinct:,} different ones in {filled:,} rows",
            check="rows of one may stand on both sides of a drawn split: if so, give the table a"
            " split column",
        )
    if distinct > ALL_DIFFERENT * filled and distinct > CATEGORIES:
        return Guess(name, "leave_out", f"{distinct:,} different texts in {filled:,} rows")
    top = connection.execute(
        f"SELECT value, count(*) FROM (SELECT {value} AS value FROM texts)"
        f" WHERE value IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {CATEGORIES}"
    ).fetchall()
    covered = sum(count for _, count in top)
    if covered < COVERED * filled:
        return Guess(
            name,
            "leave_out",
            f"{distinct:,} different texts, of which the {CATEGORIES} most frequent hold only"
            f" {covered / filled:.0%} of the rows",
        )
    counted = ", ".join(f"{value} {count:,}" for value, count in top[:4])
    more = f" and {len(top) - 4} more" if len(top) > 4 else ""
    check = ""
    if distinct > CATEGORIES:
        more += f"; {distinct - CATEGORIES:,} rarer ones count as other"
        check = f"{distinct:,} different texts: the {CATEGORIES} most frequent are told apart"
    return Guess(
        name,
        "category",
        f"{distinct:,} texts: {counted}{more}{missing}",
        check,
        values=tuple(value for value, _ in top),
        missing=gaps > 0,
        absent=absent,
    )


_DATES = "make a number of it (days before the question is asked) if it may be used"


def _identifier(name: str, reason: str, has_id: bool) -> Guess:
    if has_id:
        return Guess(name, "leave_out", f"another identifier: {reason}")
    return Guess(name, "id", reason)


def _number_column(
    connection: DuckDBPyConnection,
    name: str,
    value: str,
    number: str,
    absent: tuple[str, ...],
    rows: int,
    filled: int,
    numbers: int,
    distinct: int,
    infinite: int,
    low: float | None,
    high: float | None,
) -> Guess:
    if low is None or high is None:
        return Guess(name, "leave_out", "no row has a finite number")
    reason = f"{distinct:,} numbers from {low:g} to {high:g}"
    checks = []
    if rows > filled:
        reason += f", {rows - filled:,} missing"
    if numbers < filled:
        found = connection.execute(
            f"SELECT DISTINCT value FROM (SELECT {value} AS value FROM texts)"
            f" WHERE value IS NOT NULL AND {number} IS NULL ORDER BY 1 LIMIT 3"
        ).fetchall()
        shown = ", ".join(repr(text[:30]) for (text,) in found)
        checks.append(f"{filled - numbers:,} rows go to quarantine: no number is {shown}")
    elif 2 < distinct <= 10 and float(low).is_integer() and float(high).is_integer():
        checks.append("few whole numbers: if they are codes without an order, make it a category")
    if infinite:
        rows_of = f"{infinite:,} row{'s go' if infinite > 1 else ' goes'} to quarantine"
        checks.append(f"{rows_of}: infinite, or beyond what float32 can hold")
    if low >= 0:
        reason += "; none below 0"
    return Guess(
        name,
        "number",
        reason,
        "; ".join(checks),
        low=0.0 if low >= 0 else None,
        missing=rows > filled,
        absent=absent,
    )


def given(column: str) -> str:
    """SQL of a text, NULL where it is a word for a missing value."""
    return f"CASE WHEN {column} NOT IN ({', '.join(map(literal, NO_VALUES))}) THEN {column} END"


def present(connection: DuckDBPyConnection, column: str) -> list[tuple[str, int]]:
    """Which words for a missing value the column of `texts` holds, and in how many rows."""
    wanted = ", ".join(map(literal, NO_VALUES))
    return connection.execute(
        f"SELECT {column}, count(*) FROM texts WHERE {column} IN ({wanted}) GROUP BY 1 ORDER BY 1"
    ).fetchall()


def _dates(connection: DuckDBPyConnection, text: str, filled: int) -> bool:
    """Whether nearly all values are dates of this and the last century in one of the usual ways."""
    for form in DATES:
        day = f"try_strptime(left(value, {len('19991231') if form == '%Y%m%d' else 10}), '{form}')"
        whole = "length(value) = 8" if form == "%Y%m%d" else "true"
        if form == "%d-%b-%Y":
            day = f"try_strptime(value, '{form}')"
        found = connection.execute(
            f"SELECT count(*) FROM (SELECT {text} AS value FROM texts)"
            f" WHERE {whole} AND year({day}) BETWEEN 1900 AND 2100"
        ).fetchall()[0][0]
        if found >= filled * (1 - DIRTY):
            return True
    return False
