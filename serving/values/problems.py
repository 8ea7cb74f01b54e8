"""The slow reader of a request: every problem in it, with its place, and the rows without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.spelling import BLANKS
from configs.table import LONGEST_TEXT
from serving.reading import Findings, parse, required, same_customer, sized, strangers
from serving.refusal import REQUEST, Place, Problem, invalid

# The model computes in float32, where anything larger is infinite.
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Expected:
    """What one feature may be."""

    name: str
    low: float
    high: float
    text: bool
    missing: str  # when it may be missing; empty: never
    words: str  # for people
    absent: frozenset[str] = frozenset()  # texts that stand for a missing category, besides blanks

    @staticmethod
    def of(feature: dict[str, Any], missing_values: Sequence[str] = ()) -> Expected:
        low, high = bounds(feature)
        categories = feature.get("categories") or ()
        missing = feature.get("missing") or ""
        if categories:
            words = f"text, such as {categories[0]}"
        else:
            limits = [
                f"{word} {feature[key]:g}"
                for word, key in (("from", "low"), ("to", "high"))
                if feature.get(key) is not None
            ]
            words = " ".join(["a number", *limits, f"({feature['unit']})"])
        words += f", or null: {missing}" if missing else ""
        absent = frozenset(missing_values)
        return Expected(feature["name"], low, high, bool(categories), missing, words, absent)

    def problem(self, value: Any) -> tuple[str, str]:
        """Reason and what is wrong with the value, which is there; two empty texts if nothing."""
        fine = ("", "")
        if value is None:
            return fine if self.missing else ("required", "must not be null")
        if self.text:
            if not isinstance(value, str):
                return "wrong_type", "must be text"
            if len(value) > LONGEST_TEXT:
                return "too_long", f"must have at most {LONGEST_TEXT} characters"
            text = value.strip(BLANKS)
            if self.missing or (text and text not in self.absent):
                return fine
            return "blank", "must not stand for a missing value" if text else "must not be blank"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "wrong_type", "must be a number"
        if value != value or abs(value) > LARGEST:
            return "not_finite", "must be a finite number"
        if value < self.low:
            return "out_of_range", f"must be at least {self.low:g}"
        return ("out_of_range", f"must be at most {self.high:g}") if value > self.high else fine


def bounds(feature: dict[str, Any]) -> tuple[float, float]:
    """The least and the largest value of a feature that is a number."""
    low, high = feature.get("low"), feature.get("high")
    return -LARGEST if low is None else low, LARGEST if high is None else high


@dataclass
class Found:
    """ids, rows and values of the customers without a problem, and the others."""

    ids: list[str | None] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    values: list[Sequence[Any]] = field(default_factory=list)
    wrong: Findings = field(default_factory=Findings)


def find_problems(body: bytes, expected: Sequence[Expected], max_rows: int) -> Found:
    """Look at every customer. Raises Refused for what is wrong with the request as a whole."""
    customers = _customers(parse(body), max_rows)
    found, seen = Found(), dict[str, int]()
    by_name = {one.name: one for one in expected}
    for row, customer in enumerate(customers):
        problems = _problems(Place(row), customer, by_name, seen, guess=found.wrong.guess)
        if not found.wrong.add(row, customer, problems):
            found.ids.append(customer.get("customer_id"))
            found.rows.append(row)
            found.values.append([customer.get(one.name) for one in expected])
    return found


def repeated(ids: Sequence[str | None]) -> bool:
    """Whether a customer is there twice; who has no id is never the same as another."""
    if len(ids) == 1:
        return False
    known = [one for one in ids if one is not None]
    return len(set(known)) != len(known)


def _customers(request: Any, most: int) -> list[Any]:
    """The list of a request that has nothing else; raises Refused."""
    if not isinstance(request, dict):
        expected = '{"customers": [...]}'
        raise invalid(REQUEST.problem("wrong_type", "must be an object", None, request, expected))
    problems = strangers(request, ["customers"]) or required(request, ["customers"])
    if problems:
        raise invalid(*problems)
    return sized(request["customers"], "customers", most)


def _problems(
    place: Place,
    customer: Any,
    expected: dict[str, Expected],
    seen: dict[str, int],
    *,
    guess: bool,
) -> Iterator[Problem]:
    """seen: customer_id -> row of those in whom nothing was wrong."""
    if not isinstance(customer, dict):
        words = "an object of feature values"
        yield place.problem("wrong_type", "must be an object", None, customer, words)
        return
    fine = True
    for problem in _each(place, customer, expected, guess=guess):
        fine = False
        yield problem
    customer_id = customer.get("customer_id")
    if fine and customer_id is not None:
        first = seen.setdefault(customer_id, place.row or 0)
        if first != place.row:
            yield same_customer(place, customer_id, first)


def _each(
    place: Place, customer: dict[str, Any], expected: dict[str, Expected], *, guess: bool
) -> Iterator[Problem]:
    yield from strangers(customer, [*expected, "customer_id"], place, guess=guess)
    customer_id = customer.get("customer_id")
    if customer_id is not None and (
        not isinstance(customer_id, str) or len(customer_id) > LONGEST_TEXT
    ):
        what, words = f"must be text of at most {LONGEST_TEXT} characters", "text, or null"
        reason = "too_long" if isinstance(customer_id, str) else "wrong_type"
        yield place.problem(reason, what, "customer_id", customer_id, words)
    for name, one in expected.items():
        if name in customer:
            reason, what = one.problem(customer[name])
            if what:
                yield place.problem(reason, what, name, customer[name], one.words)
        elif not one.missing:
            yield place.problem("required", "is required", name, expected=one.words)
