"""What a request of invoice lines must be, made from the columns that the source declared.

Two readers, as in `serving/schema.py`: a msgspec Struct takes what is right in one pass; what it
refuses is read once more, slowly, which names every problem with its customer, line and field. Only
types are judged here. Whether a line counts is the data contract's part (`serving/judged.py`), as
in training: a quantity of 0 or a time that is no time is a line to leave out, not a bad request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ingestion.canonical import EXACT, MAPPED
from serving.asked import Limits, Skipped
from serving.problems import LONGEST_ID, parse, sized, strangers
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
TYPES: dict[str, Any] = {
    TEXT: str | None,
    WORDS["invoiced_at"]: str | None,
    WHOLE: Annotated[int, Meta(ge=-EXACT, le=EXACT)] | None,
    NUMBER: float | None,
}


@dataclass(frozen=True)
class Lines:
    """A request that can be answered. rows: the customers' places in it; customers: Structs of
    customer_id and lines."""

    as_of: date
    rows: Sequence[int]
    customers: Sequence[Any]
    skipped: list[Skipped]


class LinesDecoder:
    """Reads requests with lines of these columns (`settings.source.declared`)."""

    def __init__(self, declared: frozenset[str]) -> None:
        self.columns = tuple(name for name in MAPPED if name in declared - {"customer_id"})
        self.request = request_type(self.columns)
        self._decode = msgspec.json.Decoder(self.request).decode

    def read(self, body: bytes, limits: Limits, skip: bool) -> Lines:
        """The customers of a request. Raises Refused; with `skip` only for the request as a whole,
        and when no customer is good.

        limits: of which max_rows and max_lines count.
        """
        try:
            request: Any = self._decode(body)
        # Text that is no UTF-8 is a ValueError, and no DecodeError.
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return self._read_slowly(body, limits, skip, error)
        customers = request.customers
        if (
            not FIRST <= request.as_of <= latest_as_of()
            or len(customers) > limits.max_rows
            or sum(len(customer.lines) for customer in customers) > limits.max_lines
        ):
            return self._read_slowly(body, limits, skip, None)
        return Lines(request.as_of, range(len(customers)), customers, [])

    def _read_slowly(
        self, body: bytes, limits: Limits, skip: bool, error: Exception | None
    ) -> Lines:
        request = parse(body)
        as_of, customers = _whole(request, limits)
        skipped, rows, good = [], [], []
        for row, customer in enumerate(customers):
            problems = _problems(row, customer, self.columns, guess=len(skipped) < SHOWN)
            if problems:
                sent = customer.get("customer_id") if isinstance(customer, dict) else None
                known = sent if isinstance(sent, str) and len(sent) <= LONGEST_ID else None
                skipped.append(Skipped(row, known, problems))
            else:
                rows.append(row)
                good.append(customer)
        problems = [problem for one in skipped for problem in one.detail]
        if problems and not (skip and good):
            raise Refused("invalid", "", *problems)
        if not problems and error is not None:  # ours would take what msgspec does not
            raise Refused("invalid", "", Problem(what=str(error)))
        found = msgspec.convert({"as_of": as_of, "customers": good}, self.request)
        return Lines(as_of, rows, found.customers, skipped)  # type: ignore[attr-defined]


def request_type(columns: Sequence[str]) -> type[msgspec.Struct]:
    """`PredictTransactionsRequest`: the as-of date, and customers with lines of these columns."""
    line = msgspec.defstruct(
        "Line",
        [(name, TYPES[WORDS[name]], *([None] if name in OPTIONAL else [])) for name in columns],
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
        namespace={"__doc__": "One invoice line, as the source would have it."},
    )
    known = Meta(min_length=1, max_length=LONGEST_ID, description="whose lines these are")
    customer = msgspec.defstruct(
        "CustomerLines",
        [
            ("customer_id", Annotated[str, known]),
            ("lines", Annotated[list[line], Meta(min_length=1)]),  # type: ignore[valid-type]
        ],
        forbid_unknown_fields=True,
        namespace={"__doc__": "A customer and their invoice lines, in any order."},
    )
    before = Meta(description="features are made of the lines before this day; at most tomorrow")
    return msgspec.defstruct(
        "PredictTransactionsRequest",
        [
            ("as_of", Annotated[date, before]),
            ("customers", Annotated[list[customer], Meta(min_length=1)]),  # type: ignore[valid-type]
        ],
        forbid_unknown_fields=True,
    )


def latest_as_of() -> date:
    """Tomorrow: what is known by the end of today is known by then. The day is UTC's."""
    return datetime.now(UTC).date() + timedelta(days=1)


def _whole(request: Any, limits: Limits) -> tuple[date, list[Any]]:
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


def _problems(row: int, customer: Any, columns: Sequence[str], *, guess: bool) -> list[Problem]:
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
