"""The one shape of a refusal, whatever was wrong.

    {"error": "customers[0].recency_days: must be a number from 1 (days), got -3",
     "code": "invalid",
     "detail": [{"what": "must be a number from 1 (days)", "where": "customers[0].recency_days",
                 "reason": "out_of_range", "row": 0, "line": null, "field": "recency_days",
                 "value": "-3", "expected": "a number from 1 (days)"}]}

`tests/serving/test_errors.py` pins it: clients may rely on every key being there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

SHOWN = 20  # problems named in one refusal
MANY = 200  # problems that are looked for in one request; then one in each row
LONGEST_VALUE = 80  # characters of a value that is quoted
REFUSED = "refused"  # the reason, where it is the champion that was
ABSENT: Any = object()  # no value was sent; null is one

# What a client may do about it, by machine: code -> status.
STATUS = {
    "invalid": 400,  # the request itself: JSON, fields, types, values, how many rows
    "unauthorized": 401,
    "forbidden": 403,  # the name, or the page that sent it, is not this service's
    "not_found": 404,
    "method_not_allowed": 405,
    "too_slow": 408,  # the body did not arrive in time
    "refused_champion": 409,  # the new champion; the old one goes on
    "no_transactions": 409,  # this model does not come from invoice lines
    "no_reference": 409,  # its bundle has no customers to explain against
    "too_large": 413,
    "content_type": 415,
    "no_answer": 422,  # the model has none for these values
    "busy": 429,
    "failed": 500,  # a fault of ours
    "ending": 503,
    "not_ready": 503,
    "timeout": 503,
    "unknown_champion": 503,  # the registry cannot be reached
}
RETRY_AFTER = {
    "busy": 1,
    "ending": 1,
    "not_ready": 2,
    "timeout": 2,
    "unknown_champion": 2,
}  # seconds


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one value.

    where: the path into the request.  row: the customer's place in the list.  line: the invoice
    line's, of that customer.  value: what was sent, as JSON, shortened.  reason: one word for
    machines, by which `/metrics` counts rejected rows: unknown_field, required, wrong_type,
    out_of_range, not_finite, blank, too_long, repeated, in_future, no_answer, not_active, refused,
    invalid.
    """

    what: str
    where: str = "body"
    reason: str = "invalid"
    row: int | None = None
    line: int | None = None
    field: str | None = None
    value: str | None = None
    expected: str | None = None


@dataclass(frozen=True)
class Place:
    """All of a request, one of its customers, or one of that customer's invoice lines."""

    row: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f".lines[{self.line}]"
        return "" if self.row is None else f"customers[{self.row}]{line}"

    def problem(
        self,
        reason: str,
        what: str,
        field: str | None = None,
        value: Any = ABSENT,
        expected: str | None = None,
    ) -> Problem:
        """What is wrong here, or with one field here."""
        return Problem(
            what=what,
            where=".".join(filter(None, (str(self), field))) or "body",
            reason=reason,
            row=self.row,
            line=self.line,
            field=field,
            value=None if value is ABSENT else shown(value),
            expected=expected,
        )


REQUEST = Place()


class ErrorResponse(msgspec.Struct, frozen=True):
    """The body of every answer that is not 200."""

    error: str
    code: str
    detail: list[Problem] = []


class Refused(Exception):
    """Raised to refuse a request."""

    def __init__(
        self, code: str, error: str = "", *problems: Problem, headers: dict[str, str] | None = None
    ) -> None:
        self.code, self.status, self.problems = code, STATUS[code], problems
        self.error = error or _summary(problems)
        self.headers = dict(headers or {})
        if code in RETRY_AFTER:
            self.headers.setdefault("retry-after", str(RETRY_AFTER[code]))
        super().__init__(self.error)

    def body(self) -> bytes:
        return msgspec.json.encode(
            ErrorResponse(self.error, self.code, list(self.problems[:SHOWN]))
        )


def parameter(name: str, what: str, value: str, expected: str, reason: str = "invalid") -> Problem:
    """What is wrong with a parameter of the query."""
    return Problem(
        what=what,
        where=f"query.{name}",
        reason=reason,
        field=name,
        value=shown(value),
        expected=expected,
    )


def invalid(*problems: Problem) -> Refused:
    """The request itself is wrong."""
    return Refused("invalid", "", *problems)


@dataclass(frozen=True)
class NotFinite:
    """NaN or an infinity, which JSON does not have: a wrong value of any field."""

    value: float


def shown(value: Any) -> str:
    """A value as JSON, shortened; of a list or an object only its size."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, NotFinite):
        value = value.value
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _summary(problems: tuple[Problem, ...]) -> str:
    first = problems[0]
    actual = "" if first.value is None else f", got {first.value}"
    others = len(problems) - 1 if len(problems) < MANY else "many"
    more = f" (and {others} more)" if others else ""
    return f"{first.where}: {first.what}{actual}{more}"
