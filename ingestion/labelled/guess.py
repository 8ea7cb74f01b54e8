"""Guess what a column of an unknown table holds, and why, for `make adopt`.

A guess is made by counting all rows, and has a reason, so that a person can disagree. What cannot
be a feature as it is (identifiers, dates, free text, constant columns) is left out. Values are
judged as text, so that digits get the same guess whether the file holds them as text, as whole
numbers or as floating-point numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from common.spelling import spellings
from configs.rules import Contract
from configs.table import LONGEST_TEXT, OWN
from ingestion.labelled.columns import (
    CATEGORIES,
    DIRTY,
    IS_ROUNDED,
    LONG,
    OPAQUE,
    Column,
    Facts,
    Role,
    counted_time,
    days_of,
    is_saved_index,
    may_number_rows,
    role_of,
    words,
)
from ingestion.mapping import NO_VALUE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from configs.source import Text

HOLD_SHARE = Contract.model_fields["hold_share"].default  # reading the contract takes 20 ms
COVERED = 0.5  # of the rows that those must hold, or the column is not a category
FREE_TEXT = 60  # characters of a value on average
ALL_DIFFERENT = 0.9  # values over rows: from there on a text names its row
SPECIAL = 0.002  # share of rows from which on 999 is not chance
FLOAT32 = 2**24  # models compute in float32, where the whole numbers beyond it have gaps
SMALLEST = 1.2e-38  # and have less and less digits below this one
# By themselves, such rows may be on both sides of a split.
REPEATS = (
    "rows of one may stand on both sides of a drawn split: if so, name it in source.table.group, or"
    " give the table a split column"
)


@dataclass(frozen=True)
class Guess:
    """kind: the use of the column; `group` is an identifier that several rows share.
    reason: why, by its values.  check: what a person should look at, if anything.
    values, low, missing: of the contract (`configs/table.py`).  absent: the texts among its values
    that stand for a missing one.  rank: of several identifiers, the highest is taken.
    lost: a warning about lost digits, also given where another column is the identifier."""

    name: str
    kind: Literal["number", "category", "id", "group", "leave_out"]
    reason: str
    check: str = ""
    values: tuple[str, ...] = ()
    low: float | None = None
    missing: bool = False
    absent: tuple[str, ...] = ()
    rank: int = 0
    lost: str = ""


def guess(connection: DuckDBPyConnection, name: str, kind: str, text: Text | None) -> Guess:
    """Guess the use of a column of the relation `texts`, whose columns are text or NULL.

    kind: its type in the file.  text: how numbers are written, of a text file.  Identifiers are
    candidates: which of them names the rows is decided among all columns (`draft.py`).
    """
    if len(name) > LONGEST_TEXT:
        why = f"its name has more than {LONGEST_TEXT} characters: shorten it in the file to use it"
        return Guess(name, "leave_out", why, check=why)
    if "\0" in name:
        why = "its name holds a zero byte: rename it in the file to use it"
        return Guess(name, "leave_out", why, check=why)
    if NO_VALUE.match(kind) and kind != "BOOLEAN":
        return Guess(name, "leave_out", f"values of type {kind} are not single values")
    if kind.startswith(("DATE", "TIME")):
        return Guess(name, "leave_out", "dates", check=_DATES)
    column = Column(connection, name, text)
    facts = column.facts()
    guessed = replace(_guess(column, facts, role_of(name)), lost=_lost(column, facts))
    if guessed.kind in ("number", "category") and name.casefold() in OWN:
        why = f"a feature cannot be called {name}: rename it in the file to use it"
        return Guess(name, "leave_out", why, check=why)
    return guessed


CODES = "digits taken for a code"  # how the check of such a column begins
_TOO_MANY = "if it may be used, make fewer of them in the file, such as by their first characters"
_DATES = "make a number of it (days before the question is asked) if it may be used"


def _guess(column: Column, facts: Facts, role: Role) -> Guess:
    name = column.name
    if not facts.filled:
        return Guess(name, "leave_out", "no row has a value")
    if facts.distinct == 1 and facts.filled == facts.rows:
        return Guess(name, "leave_out", "every row has the same value")
    if _numbers_rows(name, facts):
        return Guess(name, "leave_out", "the number of the row")
    gaps = _missing(facts.rows - facts.filled)
    counts = not facts.running and role not in ("person", "identifier", "number")
    if counts and (since := days_of(name, facts)):
        return Guess(name, "leave_out", f"dates: {since}{gaps}", f"taken for dates: {_DATES}")
    if guessed := _identifier(column, facts, role):
        return guessed
    if column.is_date(facts):
        return Guess(name, "leave_out", "dates" + gaps, check=_DATES)
    bare = (
        role == "person" and len(words(name)) == 1 and (facts.high or 0) < LONG
    )  # persons, counted
    coded = role in ("person", "identifier", "kind", "code") and facts.all_whole and not bare
    coded = coded or (role == "diagnosis" and facts.numeric) or facts.like_codes
    if coded and facts.distinct > 2 and facts.numbers:
        why = "they begin with zeros" if facts.padded else "letters stand among them"
        if not facts.like_codes:
            why = "by its name"
        guessed = _category(column, facts, role, f"{CODES} ({why})")
        return replace(
            guessed, check="; ".join(filter(None, [guessed.check, _lost(column, facts)]))
        )
    if facts.numeric:
        return _number(column, facts)
    return _category(column, facts, role)


def _numbers_rows(name: str, facts: Facts) -> bool:
    if not facts.all_whole or not may_number_rows(name):
        return False
    if is_saved_index(name):  # of a part of the rows, or of several files
        return facts.unique or (facts.low or 0) >= 0
    return facts.running


def _identifier(column: Column, facts: Facts, role: Role) -> Guess | None:
    """Recognise an identifier: of each row (`id`), or of several rows (`group`); None for any other
    column."""
    name = column.name
    if facts.numeric and not facts.all_whole:
        return None  # it has fractions: it measures
    if facts.length > FREE_TEXT or facts.too_long:
        return None
    check = _lost(column, facts)
    long = facts.all_whole and (facts.high or 0) >= LONG
    many = facts.distinct > CATEGORIES
    named = role in ("person", "identifier") or (
        role == "number" and many and (long or not facts.numeric)
    )
    what = "whole number" if facts.all_whole else "text"
    if facts.unique:
        if named:
            reason = f"by its name, and a different {what} in each row"
            return Guess(name, "id", reason, check, rank=4 if role == "person" else 3)
        if facts.running:
            return Guess(name, "id", "whole numbers without a gap, one for each row", check)
        phrases = not facts.numeric and facts.blanks * 2 > facts.rows
        if phrases or role in ("code", "kind"):
            return Guess(name, "leave_out", f"a different {what} in each row", check)
        if not facts.numeric or facts.huge:
            return Guess(name, "id", f"a different {what} in each row", check, rank=2)
        return None
    several = many or (role == "person" and len(words(name)) > 1 and facts.distinct > 4)
    if named and several:
        reason = f"by its name an identifier, {facts.distinct:,} different ones in"
        reason += f" {facts.filled:,} rows"
        unique = facts.distinct == facts.filled
        gaps = facts.rows - facts.filled
        checks = [f"{rows_that(gaps, 'have', 'has')} none"] * (gaps > 0)
        if gaps > facts.rows * DIRTY or not many:
            checks += [check] if check else [REPEATS] * (not unique)
            return Guess(name, "leave_out", reason, "; ".join(checks))
        went = rows_that(gaps, "without one go", "without one goes")
        checks = [f"{went} to quarantine"] * (gaps > 0)
        checks += [check] * bool(check)
        if unique:
            return Guess(name, "id", reason, "; ".join(checks), rank=-1)
        checks.append("rows of one stay on one side of the split")
        rank = 2 if role == "person" else 1
        return Guess(name, "group", reason, "; ".join(checks), rank=rank)
    if facts.huge:
        why = "whole numbers beyond 15 digits, which hardly measure anything"
        return Guess(name, "leave_out", why, check or REPEATS)
    return None


def _lost(column: Column, facts: Facts) -> str:
    """Write a warning about identifiers and codes of which a spreadsheet has dropped digits."""
    if facts.rounded:
        return (
            f"{facts.rounded:,} values such as {column.some(IS_ROUNDED)} were rounded by a"
            " spreadsheet, which makes one of several: export them as text"
        )
    if facts.huge and column.count("suffix(value, '0')") == facts.filled:
        return "all end in 0: a spreadsheet keeps 15 digits of a number; export them as text"
    return ""


def _number(column: Column, facts: Facts) -> Guess:
    name = column.name
    if facts.low is None or facts.high is None:
        return Guess(name, "leave_out", "no row has a finite number")
    low, high = facts.low + 0.0, facts.high + 0.0  # -0.0 is 0
    beyond = ""
    if facts.infinite > facts.filled * HOLD_SHARE:
        beyond = f"{facts.infinite:,} numbers are infinite, or beyond what float32 can hold"
    elif 0 < max(abs(low), abs(high)) < SMALLEST:
        beyond = f"numbers from {low:g} to {high:g}, which are 0 in float32"
    if beyond:
        unit = "models compute in float32: write them in another unit in the file to use them"
        return Guess(name, "leave_out", beyond, check=unit)
    reason = f"{facts.distinct:,} numbers from {low:g} to {high:g}"
    gaps = facts.rows - facts.filled
    reason += _missing(gaps)
    checks = []
    if facts.numbers < facts.filled:
        shown = column.some(f"{column.number} IS NULL")
        checks.append(f"{_to_quarantine(facts.filled - facts.numbers)}: not a number: {shown}")
    elif 2 < facts.distinct <= 10 and float(low).is_integer() and float(high).is_integer():
        checks.append("few whole numbers: if they are codes without an order, make it a category")
    if facts.infinite:
        rows_text = _to_quarantine(facts.infinite)
        checks.append(f"{rows_text}: infinite, or beyond what float32 can hold")
    if max(abs(low), abs(high)) > FLOAT32:
        checks.append(
            f"models compute in float32, in which neighbouring numbers beyond {FLOAT32:,} are one:"
            " if it names something, leave it out"
        )
    elif facts.like_accounts:
        checks.append(
            f"whole numbers of {len(f'{low:.0f}')} digits each: if they name something (an account,"
            " a postcode), leave it out, or make it the group or a category"
        )
    many = facts.all_whole and facts.distinct > CATEGORIES
    if many and (days := counted_time(facts, ["excel_days"])):
        checks.append(f"if they are dates ({days}), leave it out, or {_DATES}")
    if special := _special(column, facts, low, high):
        checks.append(special)
    if low >= 0:
        reason += "; none below 0"
    return Guess(
        name,
        "number",
        reason,
        "; ".join(checks),
        low=0.0 if low >= 0 else None,
        missing=gaps > 0,
        absent=column.absent,
    )


def _special(column: Column, facts: Facts, low: float, high: float) -> str:
    """Write a note about 999 or -1 among other numbers: it may stand for a missing value."""
    high_text, special = f"{high:.0f}", None
    if high.is_integer() and len(high_text) > 2 and set(high_text) == {"9"}:
        special = high
    elif low in (-1, -9, -99, -999, -9999):  # and nothing else is below 0
        others = column.count(f"{column.number} < 0 AND {column.number} > {low!r}")
        special = None if others else low
    if special is None:
        return ""
    rows = column.count(f"{column.number} = {special!r}")
    if rows < SPECIAL * facts.filled:
        return ""
    return (
        f"{special:.0f} in {rows:,} rows: if it stands for a missing value, and in no other column"
        " for a number, name it in source.table.missing_values"
    )


def _category(column: Column, facts: Facts, role: Role, coded: str = "") -> Guess:
    """coded: why digits are not numbers here, in words."""
    name, distinct, filled = column.name, facts.distinct, facts.filled
    out = Guess(name, "leave_out", "", coded)
    if facts.length > FREE_TEXT and facts.too_long <= filled * DIRTY:
        return replace(out, reason=f"free text, {facts.length:.0f} characters on average")
    if facts.too_long > filled * DIRTY:
        return replace(
            out,
            reason=f"{facts.too_long:,} texts of more than {LONGEST_TEXT} characters",
            check=f"the service takes {LONGEST_TEXT} characters: shorten them in the file if it may"
            " be used",
        )
    if distinct > ALL_DIFFERENT * filled and distinct > CATEGORIES:
        return replace(out, reason=f"{distinct:,} different texts in {filled:,} rows")
    top = column.most_frequent()
    covered = sum(count for _, count in top)
    if covered < COVERED * filled:
        reason = (
            f"{distinct:,} different texts, of which the {CATEGORIES} most frequent hold only"
            f" {covered / filled:.0%} of the rows"
        )
        checks = [coded, _TOO_MANY if coded or role in ("code", "kind", "diagnosis") else ""]
        if column.count(OPAQUE) >= filled * (1 - DIRTY):
            checks = [REPEATS]
        return replace(out, reason=reason, check="; ".join(filter(None, checks)))
    counted = ", ".join(f"{value} {count:,}" for value, count in top[:4])
    more = f" and {len(top) - 4} more" if len(top) > 4 else ""
    checks = [f"{coded}: if they measure something, make it a number"] if coded else []
    if distinct > len(top):
        more += f"; {distinct - len(top):,} rarer ones count as other"
        if distinct > CATEGORIES:
            checks.append(f"{distinct:,} texts: the {CATEGORIES} most frequent are categories")
    # Codes with other digits are other categories: 250.8 and 250.80 are two diagnoses.
    groups = spellings([value for value, _ in top]) if not coded else [[value] for value, _ in top]
    if spelt := [group for group in groups if len(group) > 1]:
        if len(groups) == 1 and filled == facts.rows:
            return replace(out, reason=f"every row has the same value: {_spelt(spelt)}")
        checks.append(
            f"{_spelt(spelt)}: taken for one category; if they differ, name each of them in values"
        )
    if facts.too_long:
        checks.append(
            f"{_to_quarantine(facts.too_long)}: a text of more than {LONGEST_TEXT} characters,"
            " which the service does not take"
        )
    gaps = facts.rows - filled
    return Guess(
        name,
        "category",
        f"{distinct:,} texts: {counted}{more}{_missing(gaps)}",
        "; ".join(checks),
        values=tuple(group[0] for group in groups),
        missing=gaps > 0,
        absent=column.absent,
    )


def _spelt(groups: list[list[str]]) -> str:
    """`'Red', 'RED'; 'Blue', 'blue' and 3 more`."""
    shown = "; ".join(", ".join(repr(text[:30]) for text in group[:4]) for group in groups[:3])
    return shown + (f" and {len(groups) - 3} more" if groups[3:] else "")


def rows_that(count: int, plural: str, singular: str) -> str:
    """`2 rows go`, `1 row goes`."""
    return f"{count:,} rows {plural}" if count != 1 else f"1 row {singular}"


def _to_quarantine(rows: int) -> str:
    return rows_that(rows, "go", "goes") + " to quarantine"


def _missing(gaps: int) -> str:
    return f", {gaps:,} missing" if gaps else ""
