"""The slow reader of invoice lines: every problem, with its customer, line and field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any

import msgspec

from ingestion.canonical import EXACT, MAPPED
from serving.asked import Limits
from serving.problems import LONGEST_ID, sized, strangers
from serving.refusal import SHOWN, Problem, Refused, shown

FIRST = date(1900, 1, 1)  # no time of a log is read as an earlier one
OPTIONAL = ("description",)  # of the declared columns; no feature is made from it
LARGEST = float.fromhex("0x1.fffffffffffffp+1023")

TEXT, WHOLE, NUMBER = "text, or null", f"a whole number to {EXACT:,}, or null", "a number, or null"
WORDS = {
    **{name: TEXT for name, kind in MAPPED.items() if kind == "VARCHAR"},
    "invoiced_at": "text of a time, such as 2011-09-10T12:30:00, or null",
    "quantity": WHOLE,
    "unit_price": NUMBER,
    "amount": NUMBER,
}


def latest_as_of() -> date:
    """Tomorrow: what is known by the end of today is known by then. The day is UTC's."""
    return datetime.now(UTC).date() + timedelta(days=1)


def read_whole(request: Any, limits: Limits) -> tuple[date, list[Any]]:
    """The as-of date and the customers; raises Refused for what concerns all of the request."""
    names = ("as_of", "customers")
    if not isinstance(request, dict):
        expected = '{"as_of": "2011-09-10", "customers": [...]}'
        raise Refused(
            "invalid",
            "",
            Problem(
                what="must be an object",
                reason="wrong_type",
                value=shown(request),
                expected=expected,
            ),
        )
    problems = strangers(request, names)
    problems += [
        Problem(what="is required", where=name, reason="required", field=name)
        for name in names
        if name not in request
    ]
    as_of = None
    if "as_of" in request:
        as_of, wrong = _day(request["as_of"])
        problems += wrong
    customers: list[Any] = []
    if "customers" in request:
        try:
            customers = sized(request["customers"], "customers", limits.max_rows)
        except Refused as refused:
            problems += refused.problems
    lines = sum(_count(customer) for customer in customers)
    if lines > limits.max_lines:
        problems.append(
            Problem(
                what=f"must have at most {limits.max_lines:,} lines in all",
                where="customers",
                reason="too_long",
                value=f"{lines:,} lines",
                expected=f"1 to {limits.max_lines:,} lines",
            )
        )
    if problems or as_of is None:
        raise Refused("invalid", "", *problems)
    return as_of, customers


def _count(customer: Any) -> int:
    lines = customer.get("lines") if isinstance(customer, dict) else None
    return len(lines) if isinstance(lines, list) else 0


def _day(value: Any) -> tuple[date | None, list[Problem]]:
    latest = latest_as_of()
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
    problem = Problem(
        what=what,
        where="as_of",
        reason=reason,
        field="as_of",
        value=shown(value),
        expected=expected,
    )
    return None, [problem]


def find_problems(row: int, customer: Any, columns: Sequence[str], *, guess: bool) -> list[Problem]:
    """What is wrong with one customer: the types of everything in it."""
    place, names = f"customers[{row}]", ("customer_id", "lines")
    if not isinstance(customer, dict):
        expected = "an object of customer_id and lines"
        return [_wrong("wrong_type", "must be an object", place, customer, expected, row)]
    found = strangers(customer, names, place, row, guess=guess)
    found += [
        _wrong("required", "is required", f"{place}.{name}", None, None, row, field=name)
        for name in names
        if name not in customer
    ]
    if "customer_id" in customer:
        found += _customer_id(customer["customer_id"], place, row)
    if "lines" in customer:
        try:
            # How many there may be is asked of all customers together.
            lines = sized(customer["lines"], f"{place}.lines", _count(customer) or 1, row)
        except Refused as refused:
            return [*found, *refused.problems]
        for number, line in enumerate(lines):
            found += _line(row, number, line, columns, guess=guess and len(found) < SHOWN)
    return found


def _customer_id(value: Any, place: str, row: int) -> list[Problem]:
    expected = f"text of 1 to {LONGEST_ID} characters"
    if not isinstance(value, str):
        reason, what = "wrong_type", "must be text"
    elif not value:
        reason, what = "blank", "must not be blank"
    elif len(value) > LONGEST_ID:
        reason, what = "too_long", f"must have at most {LONGEST_ID} characters"
    else:
        return []
    where = f"{place}.customer_id"
    return [_wrong(reason, what, where, value, expected, row, field="customer_id", sent=True)]


def _line(
    row: int, number: int, line: Any, columns: Sequence[str], *, guess: bool
) -> list[Problem]:
    place = f"customers[{row}].lines[{number}]"
    if not isinstance(line, dict):
        expected = f"an object of {', '.join(columns)}"
        return [_wrong("wrong_type", "must be an object", place, line, expected, row, number)]
    found = strangers(line, columns, place, row, number, guess=guess)
    for name in columns:
        where, expected = f"{place}.{name}", WORDS[name]
        if name not in line:
            if name not in OPTIONAL:
                what = "is required, null where there is no value"
                found.append(_wrong("required", what, where, None, expected, row, number, name))
            continue
        reason, what = _type(line[name], expected)
        if what:
            found.append(_wrong(reason, what, where, line[name], expected, row, number, name))
    return found


def _type(value: Any, expected: str) -> tuple[str, str]:
    """Reason and what is wrong with a value of a line; two empty texts if nothing."""
    if value is None:
        return "", ""
    if expected == WHOLE:
        if isinstance(value, bool) or not isinstance(value, int):
            return "wrong_type", "must be a whole number, or null"
        return ("", "") if abs(value) <= EXACT else ("out_of_range", f"must be within ±{EXACT:,}")
    if expected == NUMBER:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "wrong_type", "must be a number, or null"
        finite = abs(value) <= LARGEST if isinstance(value, int) else isfinite(value)
        return ("", "") if finite else ("not_finite", "must be a finite number")
    return ("", "") if isinstance(value, str) else ("wrong_type", "must be text, or null")


def _wrong(
    reason: str,
    what: str,
    where: str,
    value: Any,
    expected: str | None,
    row: int,
    line: int | None = None,
    field: str | None = None,
    *,
    sent: bool = False,
) -> Problem:
    said = shown(value) if sent or value is not None else None
    return Problem(
        what=what,
        where=where,
        reason=reason,
        row=row,
        line=line,
        field=field,
        value=said,
        expected=expected,
    )
