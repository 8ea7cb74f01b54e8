"""Invoice lines in a request → the lines of each customer, or what is wrong with them and where.

The types follow the columns that the source declared. Only types are judged here. Whether a line
counts is decided by the data contract (`transactions_sql.py`), as in training: a quantity of 0 is
a line to leave out, not a bad request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from configs.source import Form
from configs.table import LONGEST_TEXT
from ingestion.canonical import EXACT, MAPPED
from serving.errors import REQUEST, Problem, invalid
from serving.limits import Limits
from serving.problems import (
    Shape,
    parse,
    problems_of,
    size_problem,
    split,
)
from serving.requests import UNREADABLE
from serving.responses import Skipped

FIRST_DAY = date(1900, 1, 1)  # no time of a log is read as an earlier one
OPTIONAL = ("description",)  # of the declared columns; no feature is made from it
WHOLE_NUMBERS = ("quantity",)
NUMBERS = (*WHOLE_NUMBERS, "unit_price", "amount")
ISO = "such as 2011-09-10T12:30:00"


@dataclass(frozen=True)
class Lines:
    """A request that can be answered. rows: the customers' places in it; customers: Structs of
    customer_id and lines."""

    as_of: date
    rows: Sequence[int]
    customers: Sequence[Any]
    skipped: list[Skipped]


class LinesReader:
    """Reads requests with lines of these columns (`settings.source.declared`), as a source of this
    form writes them. last_day: of the log that the champion learnt from, where that is known."""

    def __init__(
        self, declared: frozenset[str], form: Form | None = None, last_day: date | None = None
    ) -> None:
        self.last_day = last_day
        self.columns = tuple(name for name in MAPPED if name in declared - {"customer_id"})
        self.customer, self.request = _lines_types(self.columns, form or Form())
        self._decode = msgspec.json.Decoder(self.request).decode

    def read(self, body: bytes, limits: Limits, skip: bool) -> Lines:
        """Read the customers of a request. Raises Refused; with `skip` only for the request as a
        whole, and when no customer is valid.

        limits: of which max_rows and max_lines count.
        """
        try:
            request: Any = self._decode(body)
        except UNREADABLE:
            return self._read_by_value(body, limits, skip)
        customers = request.customers
        wrong = self._day_problem(request.as_of)
        wrong += size_problem(customers, "customers", limits.max_rows)
        wrong += _too_many_lines(sum(len(customer.lines) for customer in customers), limits)
        if wrong:
            raise invalid(*wrong)
        return Lines(request.as_of, range(len(customers)), customers, [])

    def _read_by_value(self, body: bytes, limits: Limits, skip: bool) -> Lines:
        request = parse(body)
        problems = [*problems_of(REQUEST, request, Shape.of(self.request), nested=False)]
        payload = request if isinstance(request, dict) else {}
        as_of, customers = None, payload.get("customers")
        try:
            as_of = msgspec.convert(payload.get("as_of"), date)
        except msgspec.ValidationError:
            day = self._day_expected()  # a range, which the type does not know
            problems = [
                msgspec.structs.replace(one, expected=day) if one.field == "as_of" else one
                for one in problems
            ]
        else:
            problems += self._day_problem(as_of)
        if "customers" in payload:
            problems += size_problem(customers, "customers", limits.max_rows)
            counts = [len(_lines_of(customer)) for customer in customers or ()]
            problems += _too_many_lines(sum(counts), limits)
        if problems or as_of is None:
            raise invalid(*problems)
        shape = Shape.of(self.customer)
        good, rows, skipped = split(
            customers or [],
            lambda place, customer, guess: problems_of(place, customer, shape, guess=guess),
            skip,
        )
        return Lines(as_of, rows, [shape.read(one) for one in good], skipped)

    def _latest(self) -> date:
        """Return the latest as-of date: tomorrow (UTC), before which all of today is known. The
        clock of a simulated shop may be ahead: then the day after the last day of its log."""
        today = datetime.now(UTC).date()
        return max(today, self.last_day or today) + timedelta(days=1)

    def _day_expected(self) -> str:
        return f"a day from {FIRST_DAY} to {self._latest()} (tomorrow, UTC)"

    def _day_problem(self, day: date) -> list[Problem]:
        latest = self._latest()
        if FIRST_DAY <= day <= latest:
            return []
        late = day > latest
        reason = "in_future" if late else "out_of_range"
        what = f"must be at most {latest}, tomorrow" if late else f"must be at least {FIRST_DAY}"
        return [REQUEST.problem(reason, what, "as_of", str(day), self._day_expected())]


def _lines_of(customer: Any) -> Sequence[Any]:
    lines = customer.get("lines") if isinstance(customer, dict) else None
    return lines if isinstance(lines, list) else ()


def _too_many_lines(lines: int, limits: Limits) -> list[Problem]:
    if lines <= limits.max_lines:
        return []
    most = f"{limits.max_lines:,} lines"
    problem = REQUEST.problem(
        "too_long", f"must have at most {most} in all", "customers", expected=f"1 to {most}"
    )
    return [msgspec.structs.replace(problem, value=f"{lines:,} lines")]


def _lines_types(
    columns: Sequence[str], form: Form
) -> tuple[type[msgspec.Struct], type[msgspec.Struct]]:
    """`CustomerLines` and `PredictTransactionsRequest`, with lines of these columns."""
    types = {name: _column_type(name, form) for name in columns}
    line = msgspec.defstruct(
        "Line",
        [(name, kind, None) if name in OPTIONAL else (name, kind) for name, kind in types.items()],
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
        namespace={"__doc__": "One invoice line, as the source would have it."},
    )
    known = Meta(
        min_length=1,
        max_length=LONGEST_TEXT,
        description="whose lines these are",
        extra={"expected": f"text of 1 to {LONGEST_TEXT} characters"},
    )
    customer = msgspec.defstruct(
        "CustomerLines",
        [
            ("customer_id", Annotated[str, known]),
            ("lines", Annotated[list[line], Meta(min_length=1)]),  # type: ignore[valid-type]
        ],
        forbid_unknown_fields=True,
        namespace={"__doc__": "A customer and their invoice lines, in any order."},
    )
    before = Meta(
        description="features are made of the lines before this day; at most tomorrow",
        extra={"expected": "a day as YYYY-MM-DD"},
    )
    request = msgspec.defstruct(
        "PredictTransactionsRequest",
        [
            ("as_of", Annotated[date, before]),
            ("customers", Annotated[list[customer], Meta(min_length=1)]),  # type: ignore[valid-type]
        ],
        forbid_unknown_fields=True,
    )
    return customer, request


def _column_type(name: str, form: Form) -> Any:
    """Return the type of a column of a line, for a source of this form; null is always allowed."""
    if name in NUMBERS:
        whole = name in WHOLE_NUMBERS
        number: Any = Annotated[int, Meta(ge=-EXACT, le=EXACT)] if whole else float
        kind = number | None if form.text is None else number | str | None
        words = f"a whole number to {EXACT:,}" if whole else "a number"
        if form.text is not None:
            marks = f"decimal mark {form.text.decimal}"
            marks += f", thousands {form.text.thousands}" if form.text.thousands else ""
            marks += f", symbols {' '.join(form.text.symbols)}" if form.text.symbols else ""
            words += f", or text of one as the source writes it ({marks})"
    elif name != "invoiced_at":
        kind, words = str | None, "text"
    elif form.time_format is None:
        kind, words = str | None, f"text of a time, {ISO}"
    else:  # some sources count the seconds or the days
        kind = float | str | None
        words = f"a time as the source writes it ({form.time_format}), or ISO, {ISO}"
    words += ", or null"
    return Annotated[kind, Meta(description=words, extra={"expected": words})]
