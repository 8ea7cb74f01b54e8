"""How the numbers of a file are written: 1,234.50 or 1.234,50, with `$` or `%` or without.

Read the usual way, a price in another notation is text of too many values, and 1.234 a fraction.
So all columns of a file are looked at together: the notation in which most of them are numbers is
drafted as `source.text`, and what it cannot decide is said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from configs.duck import quoted
from configs.source import Text
from ingestion.labelled.facts import DIRTY, given
from ingestion.labelled.names import says

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Decimal mark and thousands separator, the likelier first; of equally good ones it is the first.
NOTATIONS = (
    *((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")),
)
SYMBOLS = (
    *("US$", "R$", "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₪", "zł", "Kč", "kr", "CHF"),
    *("EUR", "USD", "GBP", "JPY", "%", "‰"),
)
SAMPLE = 500  # different values of a column that are looked at
FEW = 3  # values that can be said to have a form
BLANK = " \u00a0\u202f"
_SYMBOL = "|".join(map(re.escape, SYMBOLS))
WRITTEN = re.compile(
    rf"[+-]?(?P<before>{_SYMBOL})?[{BLANK}]?[+-]?"
    rf"(?P<digits>[.,]?\d(?:[\d.,'’{BLANK}]*[\d.,])?(?:[eE][+-]?\d+)?)"
    rf"[{BLANK}]?(?P<after>{_SYMBOL})?"
)


@dataclass(frozen=True)
class Notation:
    """text: the settings that read the file's numbers.  seen: a column and a value for which they
    differ from those that were given.  hints: column -> what cannot be decided or read."""

    text: Text
    seen: str = ""
    fractions: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def recognised(
    connection: DuckDBPyConnection, names: Collection[str], text: Text, *, of_text: bool
) -> Notation:
    """The notation of the columns of `texts`. What `text` says is kept.

    of_text: whether it is a text file; settings do not change how numbers of any other are read.
    """
    columns = {name: _sample(connection, name) for name in names}
    given_marks = (text.decimal, text.thousands)
    marks = [given_marks] if given_marks != (".", "") or not of_text else [*NOTATIONS]
    usable = {
        name: values
        for name, values in columns.items()
        if values and says(name) not in ("person", "identifier", "kind", "code", "diagnosis")
    }
    best = max(marks, key=lambda one: sum(_share(v, *one) >= 1 - DIRTY for v in usable.values()))
    symbols = {
        symbol
        for values in usable.values()
        if of_text and _share(values, *best) >= 1 - DIRTY
        for symbol in _one_symbol(values) - set(text.symbols)
    }
    chosen = Text(
        **{
            **text.model_dump(),
            "decimal": best[0],
            "thousands": best[1],
            "symbols": (*text.symbols, *sorted(symbols)),
        }
    )
    as_read = chosen if of_text else Text()
    plain = {
        name: sum(_readable(value, as_read) for value in values) >= len(values) * (1 - DIRTY)
        for name, values in usable.items()
    }
    return Notation(
        chosen,
        _seen(usable, text, chosen),
        {name: _fractions(usable[name], chosen) for name in usable if plain[name] and of_text},
        {
            name: _unread(usable[name], as_read, of_text=of_text)
            for name in usable
            if not plain[name]
        },
    )


def _sample(connection: DuckDBPyConnection, name: str) -> list[str]:
    value = given(quoted(name))
    rows = connection.execute(
        f"SELECT {value} AS value FROM texts WHERE value IS NOT NULL"
        f" GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {SAMPLE}"
    ).fetchall()
    return [text for (text,) in rows]


def _share(values: Sequence[str], decimal: str, thousands: str) -> float:
    """The share of the values that are numbers in that notation, with whatever symbols."""
    return sum(_is_number(value, decimal, thousands) for value in values) / len(values)


def _is_number(value: str, decimal: str, thousands: str) -> bool:
    found = WRITTEN.fullmatch(value)
    if found is None:
        return False
    mark = re.escape(decimal)
    groups = {" ": f"[{BLANK}]", "'": "['’]"}.get(thousands, re.escape(thousands))
    whole = rf"(\d+|[1-9]\d{{0,2}}({groups}\d{{3}})+)" if groups else r"\d+"
    form = rf"({whole}({mark}\d*)?|{mark}\d+)([eE][+-]?\d+)?"
    return re.fullmatch(form, found["digits"]) is not None


def _symbols(value: str) -> set[str]:
    found = WRITTEN.fullmatch(value)
    return {part for part in (found["before"], found["after"]) if part} if found else set()


def _one_symbol(values: Sequence[str]) -> set[str]:
    """The symbol of a column, if it has one. Two would be added up, as 12 % and 0.12 would be."""
    each = [_symbols(value) for value in values]
    found = set[str]().union(*each)
    shares = found & {"%", "‰"} and sum(map(bool, each)) < len(each) * (1 - DIRTY)
    return found if len(found) == 1 and not shares else set()


def _readable(value: str, text: Text) -> bool:
    known = _symbols(value) <= set(text.symbols)
    return known and _is_number(value, text.decimal, text.thousands)


def _seen(columns: dict[str, list[str]], given_text: Text, chosen: Text) -> str:
    for name, values in columns.items():
        for value in values:
            if _readable(value, chosen) and not _readable(value, given_text):
                return f"{name}: {value!r}"
    return ""


def _fractions(values: Sequence[str], text: Text) -> str:
    """What is to be said of 1.234, if it may be a thousand and some."""
    form = rf"0|[+-]?[1-9]\d{{0,2}}({re.escape(text.decimal)}\d{{3}})?"
    fractions = [value for value in values if text.decimal in value]
    if len(fractions) < FEW or not all(re.fullmatch(form, value) for value in values):
        return ""
    return (
        f"{fractions[0]} is read as a fraction, though all have three decimals or none: if it is"
        f" {re.sub(r'[.,]', '', fractions[0])}, pass --source.text.thousands {text.decimal}"
        f" --source.text.decimal {',' if text.decimal == '.' else '.'}"
    )


def _unread(values: Sequence[str], text: Text, *, of_text: bool) -> str:
    """What a person has to change so that the numbers of a column are read."""
    if any(_share(values, *notation) >= 1 - DIRTY for notation in NOTATIONS):
        if not of_text:
            how = "stored as text, which are not read: store them as numbers"
        else:
            how = "written in another way than source.text says, and not read: mend that, or them"
        return f"{values[0]!r} and the like are numbers {how}"
    read = {value for value in values if _readable(value, text)}
    if len(read) <= len(values) / 2:
        return ""
    others = ", ".join(repr(value[:30]) for value in values if value not in read)
    return (
        f"mostly numbers; the others are {others[:100]}: if they stand for a missing value, name"
        " them in source.table.missing_values"
    )
