"""What a request of invoice lines must be, made from the columns that the source declared.

Two readers, as in `values/schema.py`: a msgspec Struct takes what is right in one pass; what it
refuses is read once more (`problems.py`), which names every problem. Only
types are judged here. Whether a line counts is the data contract's part (`judged.py`), as
in training: a quantity of 0 or a time that is no time is a line to leave out, not a bad request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from configs.source import Form
from configs.table import LONGEST_TEXT
from ingestion.canonical import EXACT, MAPPED
from serving.asked import Limits
from serving.lines.problems import (
    FIRST,
    OPTIONAL,
    Kind,
    find_problems,
    kinds_of,
    latest_as_of,
    read_whole,
    too_many,
)
from serving.messages import Skipped
from serving.reading import Findings, parse, refuse_or_skip, sized
from serving.refusal import Place, Problem, invalid


def _type(kind: Kind) -> Any:
    number: Any = Annotated[int, Meta(ge=-EXACT, le=EXACT)] if kind.whole else float
    if not kind.number:
        return str | None
    return number | str | None if kind.text else number | None


@dataclass(frozen=True)
class Lines:
    """A request that can be answered. rows: the customers' places in it; customers: Structs of
    customer_id and lines."""

    as_of: date
    rows: Sequence[int]
    customers: Sequence[Any]
    skipped: list[Skipped]


class LinesDecoder:
    """Reads requests with lines of these columns (`settings.source.declared`), as a source of this
    form writes them. last_day: of the log that the champion learnt from, where that is known."""

    def __init__(
        self, declared: frozenset[str], form: Form | None = None, last_day: date | None = None
    ) -> None:
        self.last_day = last_day
        self.columns = tuple(name for name in MAPPED if name in declared - {"customer_id"})
        self.kinds = kinds_of(self.columns, form or Form())
        self.request = request_type(self.kinds)
        self._decode = msgspec.json.Decoder(self.request).decode

    def read(self, body: bytes, limits: Limits, skip: bool) -> Lines:
        """The customers of a request. Raises Refused; with `skip` only for the request as a whole,
        and when no customer is good.

        limits: of which max_rows and max_lines count.
        """
        try:
            request: Any = self._decode(body)
        # Text that is no UTF-8 is a ValueError, and no DecodeError.
        except (msgspec.DecodeError, ValueError, RecursionError):
            return self._read_slowly(body, limits, skip)
        customers = request.customers
        if not FIRST <= request.as_of <= latest_as_of(self.last_day):
            return self._read_slowly(body, limits, skip)
        sized(customers, "customers", limits.max_rows)
        if more := too_many(sum(len(customer.lines) for customer in customers), limits):
            raise invalid(*more)
        return Lines(request.as_of, range(len(customers)), customers, [])

    def _read_slowly(self, body: bytes, limits: Limits, skip: bool) -> Lines:
        request = parse(body)
        as_of, customers = read_whole(request, limits, self.last_day)
        rows: list[int] = []
        good: list[Any] = []
        wrong = Findings()
        for row, customer in enumerate(customers):
            problems = find_problems(Place(row), customer, self.kinds, limits, guess=wrong.guess)
            if not wrong.add(row, customer, problems):
                rows.append(row)
                good.append(customer)
        skipped = refuse_or_skip(wrong.skipped, bool(good), skip)
        request = {"as_of": as_of, "customers": [self._whole(customer) for customer in good]}
        try:
            found = msgspec.convert(request, self.request)
        except msgspec.ValidationError as error:
            raise invalid(Problem(what=str(error))) from None
        return Lines(as_of, rows, found.customers, skipped)  # type: ignore[attr-defined]

    def _whole(self, customer: dict[str, Any]) -> dict[str, Any]:
        """The customer with 3.0 as the whole number that it is, where one is asked for."""
        whole = [name for name, kind in self.kinds.items() if kind.whole]
        lines = [
            line | {name: int(line[name]) for name in whole if isinstance(line.get(name), float)}
            for line in customer["lines"]
        ]
        return {**customer, "lines": lines}


def request_type(kinds: Mapping[str, Kind]) -> type[msgspec.Struct]:
    """`PredictTransactionsRequest`: the as-of date, and customers with lines of these columns."""
    types = {
        name: Annotated[_type(one), Meta(description=one.words)] for name, one in kinds.items()
    }
    fields: list[Any] = [
        (name, kind, None) if name in OPTIONAL else (name, kind) for name, kind in types.items()
    ]
    line = msgspec.defstruct(
        "Line",
        fields,
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
        namespace={"__doc__": "One invoice line, as the source would have it."},
    )
    known = Meta(min_length=1, max_length=LONGEST_TEXT, description="whose lines these are")
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
