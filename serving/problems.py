"""The slow reader of a request: every problem in it, with its place, and the rows without one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from configs.table import BLANKS
from serving.asked import Skipped
from serving.refusal import SHOWN, Problem, Refused, shown

# The model computes in float32, where anything larger is infinite.
LARGEST = float(np.finfo(np.float32).max)
LONGEST_TEXT, LONGEST_ID = 200, 200  # characters of a category, of a customer_id


@dataclass(frozen=True)
class Expected:
    """What one feature may be."""

    name: str
    low: float
    high: float
    text: bool
    missing: str  # when it may be missing; empty: never
    words: str  # for people

    @staticmethod
    def of(feature: dict[str, Any]) -> Expected:
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
        return Expected(feature["name"], low, high, bool(categories), missing, words)

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
            blank = not self.missing and not value.strip(BLANKS)
            return ("blank", "must not be blank") if blank else fine
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
    skipped: list[Skipped] = field(default_factory=list)


def find_problems(body: bytes, expected: Sequence[Expected], max_rows: int) -> Found:
    """Look at every customer. Raises Refused for what is wrong with the request as a whole."""
    customers = parse_list(body, "customers", max_rows)
    found, seen = Found(), dict[str, int]()
    by_name = {one.name: one for one in expected}
    for row, customer in enumerate(customers):
        problems = _problems(row, customer, by_name, guess=len(found.skipped) < SHOWN)
        customer_id = customer.get("customer_id") if isinstance(customer, dict) else None
        if not problems and customer_id is not None:
            first = seen.setdefault(customer_id, row)
            if first != row:
                problems = [same_customer(row, customer_id, first)]
        if problems:
            known = customer_id if isinstance(customer_id, str) else None
            found.skipped.append(Skipped(row, known, problems))
        else:
            found.ids.append(customer_id)
            found.rows.append(row)
            found.values.append([customer.get(one.name) for one in expected])
    return found


def parse_list(body: bytes, name: str, most: int) -> list[Any]:
    """The list called `name` of a request that has nothing else; raises Refused."""
    request = parse(body)
    if not isinstance(request, dict):
        raise Refused(
            "invalid",
            "",
            Problem(
                what="must be an object", value=shown(request), expected=f'{{"{name}": [...]}}'
            ),
        )
    problems = strangers(request, [name])
    if problems:
        raise Refused("invalid", "", *problems)
    if name not in request:
        missing = Problem(what="is required", where=name, reason="required", field=name)
        raise Refused("invalid", "", missing)
    return sized(request[name], name, most)


def sized(found: Any, where: str, most: int, row: int | None = None) -> list[Any]:
    """A list of 1 to `most`; raises Refused."""
    expected = f"a list of 1 to {most}"
    reason = what = ""
    if not isinstance(found, list):
        reason, what = "wrong_type", "must be a list"
    elif not found:
        reason, what = "required", "must not be empty"
    elif len(found) > most:
        reason, what = "too_long", f"must have at most {most}"
    if what:
        raise Refused(
            "invalid",
            "",
            Problem(
                what=what,
                where=where,
                reason=reason,
                row=row,
                value=shown(found),
                expected=expected,
            ),
        )
    return found


def parse(body: bytes) -> Any:
    """JSON as Python reads it, NaN and Infinity included: they are named where they stand."""
    try:
        text = body.decode("utf-8")
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
    except UnicodeDecodeError as error:
        what = f"is no UTF-8 at byte {error.start}"
    except UnicodeEncodeError:
        what = "holds half of a surrogate pair, which is no text"
    except json.JSONDecodeError as error:
        what = f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        nested = isinstance(error, RecursionError)
        what = "is nested too deeply" if nested else "holds a number of thousands of digits"
    else:
        return found
    raise Refused("invalid", "", Problem(what=what, expected="JSON in UTF-8"))


def repeated(ids: Sequence[str | None]) -> bool:
    """Whether a customer is there twice; who has no id is never the same as another."""
    if len(ids) == 1:
        return False
    known = [one for one in ids if one is not None]
    return len(set(known)) != len(known)


def same_customer(row: int, customer_id: str, first: int) -> Problem:
    return Problem(
        reason="repeated",
        what=f"is the same customer as customers[{first}]",
        where=f"customers[{row}].customer_id",
        row=row,
        field="customer_id",
        value=shown(customer_id),
        expected="each customer once",
    )


def strangers(
    sent: dict[str, Any],
    names: Sequence[str],
    place: str = "",
    row: int | None = None,
    line: int | None = None,
    *,
    guess: bool = True,
) -> list[Problem]:
    """The fields that there are not: the first ones, and how many more; with `guess` the one that
    may have been meant. That is slow, and whoever sends ten thousand shall not get it for each."""
    known = set(names)
    unknown = [name for name in sent if name not in known]
    found = []
    for name in unknown[:SHOWN]:
        near = get_close_matches(name[:80], names, n=1) if guess else []
        where = f"{place}.{name[:80]}" if place else name[:80]
        found.append(
            Problem(
                reason="unknown_field",
                what="unknown field" + (f"; did you mean {near[0]}?" if near else ""),
                where=where or "body",
                row=row,
                line=line,
                field=name[:80],
                value=shown(sent[name]),
                expected=near[0] if near else None,
            )
        )
    if len(unknown) > SHOWN:
        what = f"has {len(unknown) - SHOWN} more unknown fields"
        where = place or "body"
        found.append(Problem(reason="unknown_field", what=what, where=where, row=row, line=line))
    return found


def _problems(
    row: int, customer: Any, expected: dict[str, Expected], *, guess: bool
) -> list[Problem]:
    place = f"customers[{row}]"
    if not isinstance(customer, dict):
        what, words = "must be an object", "an object of feature values"
        kind = "wrong_type"
        return [
            Problem(
                what=what, where=place, reason=kind, row=row, value=shown(customer), expected=words
            )
        ]
    found = strangers(customer, [*expected, "customer_id"], place, row, guess=guess)
    customer_id = customer.get("customer_id")
    if customer_id is not None and (
        not isinstance(customer_id, str) or len(customer_id) > LONGEST_ID
    ):
        what, words = f"must be text of at most {LONGEST_ID} characters", "text, or null"
        reason = "too_long" if isinstance(customer_id, str) else "wrong_type"
        found.append(_problem(row, "customer_id", reason, what, customer_id, words))
    for name, one in expected.items():
        if name in customer:
            reason, what = one.problem(customer[name])
            if what:
                found.append(_problem(row, name, reason, what, customer[name], one.words))
        elif not one.missing:
            where = f"{place}.{name}"
            found.append(
                Problem(
                    what="is required",
                    where=where,
                    reason="required",
                    row=row,
                    field=name,
                    expected=one.words,
                )
            )
    return found


def _problem(row: int, name: str, reason: str, what: str, value: Any, expected: str) -> Problem:
    where = f"customers[{row}].{name}"
    return Problem(
        reason=reason,
        what=what,
        where=where,
        row=row,
        field=name,
        value=shown(value),
        expected=expected,
    )
