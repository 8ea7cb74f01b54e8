"""How the numbers of a file are written: 1,234.50 or 1.234,50, with `$` or `kg` or without.

Read the usual way, a price in another notation is text of too many values, and 1.234 a fraction.
So all columns of a file are looked at together: the notation in which most of them are numbers is
drafted as `source.text`, and what it cannot decide or read is reported. The SQL that will read the
file also decides whether a text is a number.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.duck import quoted
from configs.source import Text
from ingestion.canonical import read_number
from ingestion.labelled.columns import DIRTY, given, role_of
from ingestion.text import is_symbol

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Decimal mark and thousands separator, the likelier first; of equally good ones it is the first.
NOTATIONS = (
    *((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")),
    (".", "_"),
)
# What may stand beside some numbers of a column and not beside others.
CURRENCIES = (
    *("US$", "R$", "A$", "C$", "HK$", "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₪", "₫", "₱", "₦"),
    *("zł", "Kč", "kr", "Ft", "Rs", "Rs.", "Fr.", "RM", "CHF", "EUR", "USD", "GBP", "JPY", "INR"),
    *("SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "CAD", "AUD", "CNY", "BRL", "MXN", "ZAR", "TRY"),
)
SHARES = ("%", "‰")
SIZES = ("k", "K", "m", "M", "B", "bn")  # thousands, millions: 2k is no 2
SAMPLE = 500  # different values of a column that are looked at
FEW = 3  # values that can be said to have a form
MOST_SYMBOLS = 8  # of a column: with more they are words
LONGEST_SYMBOL = 20
AROUND = " \u00a0\u2007\u2009\u202f()+-\u2212\u2013"
OUTSIDE = re.compile(r"([^0-9]*)[0-9](?:.*[0-9])?([^0-9]*)", re.DOTALL)


@dataclass(frozen=True)
class Value:
    """rows: that have this text.  before, after: what stands beside its digits; apart: whether a
    blank is before the second.  reads: the notations in which it is a number, with these or without
    them."""

    text: str
    rows: int
    before: str
    after: str
    apart: bool
    reads: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Notation:
    """text: the settings that read the file's numbers.  seen: a column and a value for which they
    differ from those that were given.  doubts: column of numbers -> how they are read, if it may be
    otherwise.  unread: column -> what of it is not read, and what helps."""

    text: Text
    seen: str = ""
    doubts: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def recognised(
    connection: DuckDBPyConnection, names: Collection[str], text: Text, *, of_text: bool
) -> Notation:
    """The notation of the columns of `texts`. What `text` says is kept.

    of_text: whether it is a text file; settings do not change how numbers of any other are read.
    """
    marks = (text.decimal, text.thousands)
    named = ("person", "identifier", "kind", "code", "diagnosis")
    sampled = {n: _sampled(connection, n) for n in names if role_of(n) not in named}
    columns = _values(connection, {name: rows for name, rows in sampled.items() if rows}, text)
    best = max(
        NOTATIONS if marks == (".", "") and of_text else [marks],
        key=lambda one: sum(_are_numbers(values, {one}) for values in columns.values()),
    )
    beside = {
        name: _beside([value for value in values if best in value.reads])
        if of_text and _are_numbers(values, {best})
        else (set[str](), set[str]())
        for name, values in columns.items()
    }
    symbols = set[str]().union(*(sure for sure, _ in beside.values())) - set(text.symbols)
    chosen = text.model_copy(
        update={
            "decimal": best[0],
            "thousands": best[1],
            "symbols": (*text.symbols, *sorted(symbols)),
        }
    )
    as_read = chosen if of_text else Text()
    doubts, unread, seen = {}, {}, ""
    texts = {value.text for values in columns.values() for value in values}
    numbers, as_given = (_read(connection, texts, one) for one in (as_read, text))
    for name, values in columns.items():
        read = {value.text: numbers[value.text] for value in values if value.text in numbers}
        if len(read) < len(values):
            unread[name] = _unread(values, read, beside[name][1], of_text=of_text)
        doubts[name] = _doubts(values, read, as_read)
        differ = [each for each in read if of_text and as_given.get(each) != read[each]]
        seen = seen or "".join(f"{name}: {each!r}" for each in differ[:1])
    return Notation(chosen, seen, doubts, unread)


def _sampled(connection: DuckDBPyConnection, name: str) -> dict[str, int]:
    """Rows by value, of the most frequent values; none if hardly one of them has a digit."""
    value = given(quoted(name))
    rows = connection.execute(
        f"SELECT {value} AS value, count(*) FROM texts WHERE value IS NOT NULL"
        f" GROUP BY 1 ORDER BY 2 DESC, hash(value) LIMIT {SAMPLE}"
    ).fetchall()
    counted = dict(sorted(rows, key=lambda row: (-row[1], row[0])))
    with_digits = sum(rows for each, rows in counted.items() if any(map(str.isdecimal, each)))
    return counted if with_digits * 2 > sum(counted.values()) else {}


def _values(
    connection: DuckDBPyConnection, sampled: dict[str, dict[str, int]], text: Text
) -> dict[str, list[Value]]:
    """The values of each column, and in which notations they are numbers."""
    around = {each: _around(each) for counted in sampled.values() for each in counted}
    symbols = {}
    # Columns with the same symbols are read at once: a query takes longer to plan than to answer.
    together = defaultdict[tuple[str, ...], set[str]](set)
    for name, counted in sampled.items():
        frequent = Counter[str]()
        for each, rows in counted.items():
            frequent.update(dict.fromkeys(filter(None, around[each][:2]), rows))
        most = (symbol for symbol, _ in frequent.most_common(MOST_SYMBOLS))
        symbols[name] = tuple(sorted({*text.symbols, *most}))
        together[symbols[name]].update(counted)
    reads = defaultdict[tuple[tuple[str, ...], str], set[tuple[str, str]]](set)
    for some, texts in together.items():
        for marks in {(text.decimal, text.thousands), *NOTATIONS}:
            form = {"decimal": marks[0], "thousands": marks[1], "symbols": some}
            for each in _read(connection, texts, text.model_copy(update=form)):
                reads[some, each].add(marks)
    return {
        name: [
            Value(each, rows, *around[each], frozenset(reads[symbols[name], each]))
            for each, rows in counted.items()
        ]
        for name, counted in sampled.items()
    }


def _read(connection: DuckDBPyConnection, texts: Collection[str], text: Text) -> dict[str, float]:
    """The numbers among the texts, as they will be read."""
    if not texts:
        return {}
    number = read_number("value", "VARCHAR", text)
    return dict(
        connection.execute(
            f"SELECT value, {number} AS number FROM (SELECT unnest($1) AS value)"
            " WHERE number IS NOT NULL",
            [list(texts)],
        ).fetchall()
    )


def _around(text: str) -> tuple[str, str, bool]:
    """The symbols before and after the digits of a text, and whether the second stands apart."""
    match = OUTSIDE.fullmatch(text)
    if match is None:
        return "", "", False
    before, after = match[1].strip(AROUND), match[2].lstrip(AROUND + ".,").rstrip(AROUND)
    if before not in CURRENCIES:
        before = before.rstrip(".,'’").strip(AROUND)
        apart = match[1].rstrip("+-(\u2212\u2013")[-1:].isspace()  # kg -5
        if before.isalpha() and before not in CURRENCIES and not apart:
            before = ""  # V27 is a code
    before, after = (
        symbol if is_symbol(symbol) and len(symbol) <= LONGEST_SYMBOL else ""
        for symbol in (before, after)
    )
    return before, after, match[2][:1].isspace()


def _rows(values: Iterable[Value]) -> int:
    return sum(value.rows for value in values)


def _are_numbers(values: Sequence[Value], notations: Collection[tuple[str, str]]) -> bool:
    """Whether nearly all are numbers in one of the notations, whatever stands beside them."""
    numbers = _rows(value for value in values if value.reads & set(notations))
    return numbers >= _rows(values) * (1 - DIRTY)


def _beside(values: Sequence[Value]) -> tuple[set[str], set[str]]:
    """Return the texts beside the numbers of a column that may be left out, and those to confirm.

    A currency may stand beside some of them only. Anything else has to be the same for all: two
    would be added up, as 12 % and 0.12 would be, or 2k and 300.
    """
    pairs = Counter[tuple[str, str]]()
    for value in values:
        pairs[value.before, value.after] += value.rows
    (pair, rows), *_ = pairs.most_common(1)
    if rows >= _rows(values) * (1 - DIRTY):
        apart = all(value.apart for value in values if value.after == pair[1])  # 36 months, not 12A
        sure = {*CURRENCIES, *SHARES, *([pair[1]] if apart else [])}
        return set(pair) & sure - {""}, set(pair) - sure - {""}
    symbols = {symbol for pair in pairs for symbol in pair if symbol}
    return (symbols if len(symbols) == 1 and symbols <= set(CURRENCIES) else set()), set()


def _doubts(values: Sequence[Value], read: dict[str, float], text: Text) -> str:
    """Write notes about numbers that may mean something else than what is read."""
    numbers = [value for value in values if value.text in read]
    doubts = [_fractions([value.text for value in values], text)]
    beside = {(value.before, value.after): value.text for value in numbers}
    if len(beside) > 1 and not any(_beside(numbers)):
        some = " and ".join(map(repr, list(beside.values())[:2]))
        doubts.append(
            f"{some} are read as if the same stood beside them: correct the file if it does not"
        )
    for value in numbers:
        if re.search(r"\(|\d\D*[-\u2212\u2013]$", value.text):
            doubts.append(f"{value.text!r} is read as {read[value.text]:g}")
            break
    return "; ".join(filter(None, doubts))


def _fractions(values: Sequence[str], text: Text) -> str:
    """Write a note about numbers like 1.234, which may mean 1,234."""
    form = rf"0|[+-]?[1-9]\d{{0,2}}({re.escape(text.decimal)}\d{{3}})?"
    fractions = [value for value in values if text.decimal in value]
    if len(fractions) < FEW or not all(re.fullmatch(form, value) for value in values):
        return ""
    return (
        f"{fractions[0]} is read as a fraction, though all have three decimals or none: if it is"
        f" {re.sub(r'[.,]', '', fractions[0])}, pass --source.text.thousands {text.decimal}"
        f" --source.text.decimal {',' if text.decimal == '.' else '.'}"
    )


def _unread(
    values: Sequence[Value],
    read: Collection[str],
    units: set[str],
    *,
    of_text: bool,
) -> str:
    """What a person has to change so that the numbers of a column are read."""
    first = repr(values[0].text[:30])
    if any(c.isdecimal() and not c.isascii() for value in values[:FEW] for c in value.text):
        return f"{first} and the like have other digits than 0 to 9, which are not read"
    if units:
        symbols = ",".join(sorted(units))
        return (
            f"{first} and the like are numbers with {symbols!r} beside them, and not read: if it is"
            f" a unit, pass --source.text.symbols {shlex.quote(symbols)}"
        )
    known = {*CURRENCIES, *SHARES, *SIZES, ""}
    amounts = all(v.before in known and (v.after in known or v.apart) for v in values if v.reads)
    if amounts and _are_numbers(values, NOTATIONS):
        if not of_text:
            how = "stored as text, which are not read: store them as numbers"
        else:
            how = "written in another way than source.text says, or in several, and not read:"
            how += " correct that, or the file"
        return f"{first} and the like are numbers {how}"
    if _rows(value for value in values if value.text in read) <= _rows(values) / 2:
        return ""
    others = [value.text[:30] for value in values if value.text not in read]
    digits = [each for each in others if any(map(str.isdecimal, each)) and not each[0].isalpha()]
    words = [each for each in others if not any(map(str.isdecimal, each))]
    steps = []
    if digits:  # V27 between numbers is a code
        steps.append(f"{_some(digits)} are not read: correct them in the file")
    if words:
        steps.append(
            f"if {_some(words)} stand for a missing value, name them in source.table.missing_values"
        )
    return "mostly numbers; " + ", and ".join(steps) if steps else ""


def _some(texts: Sequence[str]) -> str:
    return ", ".join(map(repr, texts))[:80]
