"""The slow reader of invoice lines: every problem, with its customer, line and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any

import msgspec

from configs.source import Form
from configs.table import LONGEST_TEXT
from ingestion.canonical import EXACT
from serving.asked import Limits
from serving.reading import required, sized, strangers
from serving.refusal import REQUEST, SHOWN, Place, Problem, Refused, invalid

FIRST = date(1900, 1, 1)  # no time of a log is read as an earlier one
OPTIONAL = ("description",)  # of the declared columns; no feature is made from it
LARGEST = float.fromhex("0x1.fffffffffffffp+1023")

WHOLE_NUMBERS = ("quantity",)
NUMBERS = (*WHOLE_NUMBERS, "unit_price", "amount")
ISO = "such as 2011-09-10T12:30:00"


@dataclass(frozen=True)
class Kind:
    """What a column of a line may be, besides null. whole: a number without a fraction."""

    text: bool
    number: bool
    whole: bool
    words: str  # for people


def kinds_of(columns: Sequence[str], form: Form) -> dict[str, Kind]:
    """Column -> what it may be, of a source of this form."""
    return {name: _kind(name, form) for name in columns}


def _kind(name: str, form: Form) -> Kind:
    if name in NUMBERS:
        whole = name in WHOLE_NUMBERS
        words = f"a whole number to {EXACT:,}" if whole else "a number"
        if form.text is not None:
            marks = f"decimal mark {form.text.decimal}"
            marks += f", thousands {form.text.thousands}" if form.text.thousands else ""
            marks += f", symbols {' '.join(form.text.symbols)}" if form.text.symbols else ""
            words += f", or text of one as the source writes it ({marks})"
        return Kind(form.text is not None, True, whole, f"{words}, or null")
    if name != "invoiced_at":
        return Kind(True, False, False, "text, or null")
    if form.time_format is None:
        return Kind(True, False, False, f"text of a time, {ISO}, or null")
    words = f"a time as the source writes it ({form.time_format}), or ISO, {ISO}, or null"
    return Kind(True, True, False, words)  # some sources count the seconds or the days


def latest_as_of(last_day: date | None = None) -> date:
    """Tomorrow: what is known by the end of today is known by then. The day is UTC's.

    last_day: of the log that the champion learnt from. The time of a simulated shop may be ahead of
    ours: then it is the day after.
    """
    known = datetime.now(UTC).date()
    return (known if last_day is None else max(known, last_day)) + timedelta(days=1)


def read_whole(
    request: Any, limits: Limits, last_day: date | None = None
) -> tuple[date, list[Any]]:
    """The as-of date and the customers; raises Refused for what concerns all of the request.

    last_day: see `latest_as_of`."""
    names = ("as_of", "customers")
    if not isinstance(request, dict):
        expected = '{"as_of": "2011-09-10", "customers": [...]}'
        raise invalid(REQUEST.problem("wrong_type", "must be an object", None, request, expected))
    problems = strangers(request, names) + required(request, names)
    as_of = None
    if "as_of" in request:
        as_of, wrong = _day(request["as_of"], latest_as_of(last_day))
        problems += wrong
    customers: list[Any] = []
    if "customers" in request:
        try:
            customers = sized(request["customers"], "customers", limits.max_rows)
        except Refused as refused:
            problems += refused.problems
    problems += too_many(sum(_count(customer) for customer in customers), limits)
    if problems or as_of is None:
        raise invalid(*problems)
    return as_of, customers


def too_many(lines: int, limits: Limits) -> list[Problem]:
    """The problem of a request with that many lines, if it is one."""
    if lines <= limits.max_lines:
        return []
    what, expected = "must have at most {:,} lines in all", "1 to {:,} lines"
    return [
        Problem(
            what=what.format(limits.max_lines),
            where="customers",
            reason="too_long",
            field="customers",
            value=f"{lines:,} lines",
            expected=expected.format(limits.max_lines),
        )
    ]


def _count(customer: Any) -> int:
    lines = customer.get("lines") if isinstance(customer, dict) else None
    return len(lines) if isinstance(lines, list) else 0


def _day(value: Any, latest: date) -> tuple[date | None, list[Problem]]:
    expected = f"a day from {FIRST} to {latest} (tomorrow, UTC)"
    reason, what, day = "invalid", "must be a day as YYYY-MM-DD", None
    if not isinstance(value, str):
        reason = "wrong_type"
    else:
        try:
            day = msgspec.convert(value, date)
        except msgspec.ValidationError:
            pass
        else:
            if FIRST <= day <= latest:
                return day, []
            late = day > latest
            reason = "in_future" if late else "out_of_range"
            what = f"must be at most {latest}, tomorrow" if late else f"must be at least {FIRST}"
    return None, [REQUEST.problem(reason, what, "as_of", value, expected)]


def find_problems(
    place: Place, customer: Any, columns: Mapping[str, Kind], limits: Limits, *, guess: bool
) -> Iterator[Problem]:
    """What is wrong with one customer: the types of everything in it."""
    names = ("customer_id", "lines")
    if not isinstance(customer, dict):
        expected = "an object of customer_id and lines"
        yield place.problem("wrong_type", "must be an object", None, customer, expected)
        return
    yield from strangers(customer, names, place, guess=guess)
    yield from required(customer, names, place)
    if "customer_id" in customer:
        yield from _customer_id(customer["customer_id"], place)
    if "lines" in customer:
        try:
            # How many there are in all has been asked already.
            lines = sized(customer["lines"], "lines", limits.max_lines, place)
        except Refused as refused:
            yield from refused.problems
            return
        for number, line in enumerate(lines):
            few = guess and number < SHOWN  # a guess takes a millisecond
            yield from _line(Place(place.row, number), line, columns, guess=few)


def _customer_id(value: Any, place: Place) -> list[Problem]:
    expected = f"text of 1 to {LONGEST_TEXT} characters"
    if not isinstance(value, str):
        reason, what = "wrong_type", "must be text"
    elif not value:
        reason, what = "blank", "must not be blank"
    elif len(value) > LONGEST_TEXT:
        reason, what = "too_long", f"must have at most {LONGEST_TEXT} characters"
    else:
        return []
    return [place.problem(reason, what, "customer_id", value, expected)]


def _line(
    place: Place, line: Any, columns: Mapping[str, Kind], *, guess: bool
) -> Iterator[Problem]:
    if not isinstance(line, dict):
        expected = f"an object of {', '.join(columns)}"
        yield place.problem("wrong_type", "must be an object", None, line, expected)
        return
    yield from strangers(line, list(columns), place, guess=guess)
    for name, kind in columns.items():
        if name in line:
            reason, what = _type(line[name], kind)
            if what:
                yield place.problem(reason, what, name, line[name], kind.words)
        elif name not in OPTIONAL:
            what = "is required, null where there is no value"
            yield place.problem("required", what, name, expected=kind.words)


def _type(value: Any, kind: Kind) -> tuple[str, str]:
    """Reason and what is wrong with a value of a line; two empty texts if nothing."""
    if value is None or (kind.text and isinstance(value, str)):
        return "", ""
    number = "a whole number" if kind.whole else "a number"
    wanted = " or ".join([number] * kind.number + ["text"] * kind.text)
    wrong = ("wrong_type", f"must be {wanted}, or null")
    if not kind.number or isinstance(value, bool) or not isinstance(value, int | float):
        return wrong
    if not kind.whole:
        finite = abs(value) <= LARGEST if isinstance(value, int) else isfinite(value)
        return ("", "") if finite else ("not_finite", "must be a finite number")
    if isinstance(value, float) and not value.is_integer():  # 3.0 is whole, as JSON Schema has it
        return wrong
    return ("", "") if abs(value) <= EXACT else ("out_of_range", f"must be within ±{EXACT:,}")
