"""List every problem of a request, with its place, its value and what is accepted.

msgspec validates requests by their types (`requests.py`) and refuses a request as a whole. This
module then checks a refused request against the same types value by value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from math import isfinite
from typing import Any, get_args

import msgspec

from configs.table import LONGEST_TEXT
from ingestion.canonical import EXACT
from serving.errors import MANY, REQUEST, SHOWN, NotFinite, Place, Problem, Refused, invalid
from serving.responses import Skipped

# The model computes in float32, where anything larger is infinite.
LARGEST = float.fromhex("0x1.fffffep+127")
LIST = "a list, not empty"


def _number(text: str) -> Any:
    value = float(text)
    if not isfinite(value):
        return NotFinite(value)
    # 3.0 is a whole number, as JSON Schema has it; -0.0 stays what it is.
    return int(value) if value.is_integer() and 0 < abs(value) <= EXACT else value


def parse(body: bytes) -> Any:
    """Parse JSON; NaN and Infinity become NotFinite, so that a problem can name their place.
    Raises Refused."""
    try:
        text = body.decode("utf-8")
        parsed = json.loads(
            text, parse_float=_number, parse_constant=lambda name: NotFinite(float(name))
        )
        if "\\ud" in text or "\\uD" in text:  # half of a surrogate pair is not text
            json.dumps(parsed, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 at byte {error.start}"
    except UnicodeEncodeError:
        what = "holds half of a surrogate pair, which is not text"
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        nested = isinstance(error, RecursionError)
        what = "is nested too deeply" if nested else "holds a number of thousands of digits"
    else:
        return parsed
    raise invalid(Problem(what=what, expected="JSON in UTF-8"))


# --- values --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A field of a request as its msgspec type has it. items: what it lists."""

    type: Any
    required: bool
    expected: str
    items: Shape | None


@dataclass(frozen=True)
class Shape:
    """What an object of a request may hold. fields: by their names in JSON.  renamed: name in JSON
    -> name in the type, where the type cannot have it."""

    kind: type[msgspec.Struct]
    fields: dict[str, Field]
    renamed: Mapping[str, str]

    @staticmethod
    def of(kind: type[msgspec.Struct], renamed: Mapping[str, str] | None = None) -> Shape:
        real = {new: name for name, new in (renamed or {}).items()}
        fields = {}
        for field in msgspec.structs.fields(kind):
            (base,), extra = get_args(field.type)[:1], field.type.__metadata__[-1].extra or {}
            item = next(iter(get_args(base)), None)  # of a list
            fields[real.get(field.encode_name, field.encode_name)] = Field(
                field.type,
                field.required,
                extra.get("expected", LIST),
                Shape.of(item) if isinstance(item, type(msgspec.Struct)) else None,
            )
        return Shape(kind, fields, renamed or {})

    def read(self, payload: Any) -> Any:
        """Convert a payload to the type. Raises msgspec.ValidationError."""
        if self.renamed and isinstance(payload, dict):
            if any(name in payload for name in self.renamed.values()):
                raise msgspec.ValidationError("the name of another field")
            payload = {self.renamed.get(name, name): value for name, value in payload.items()}
        return msgspec.convert(payload, self.kind)


def problems_of(
    place: Place, payload: Any, shape: Shape, *, guess: bool = True, nested: bool = True
) -> Iterator[Problem]:
    """Yield every problem of an object, and with `nested` those of the objects that it lists.

    guess: whether to say which field may have been meant.
    """
    if not isinstance(payload, dict):
        words = f"an object of {', '.join(islice(shape.fields, SHOWN))}"
        yield place.problem("wrong_type", "must be an object", None, payload, words)
        return
    yield from _unknown_fields(place, payload, shape.fields, guess)
    for name, field in shape.fields.items():
        if name not in payload:
            if field.required:
                yield place.problem("required", "is required", name, expected=field.expected)
        elif field.items is None:
            if (problem := _value_problem(payload[name], field)) is not None:
                yield place.problem(*problem, name, payload[name], field.expected)
        elif nested:
            yield from (sizes := size_problem(payload[name], name, None, place))
            for number, item in enumerate(() if sizes else payload[name]):
                if not fits(item, field.items):
                    few = guess and number < SHOWN  # a guess takes a millisecond
                    yield from problems_of(Place(place.row, number), item, field.items, guess=few)


def fits(payload: Any, shape: Shape) -> bool:
    """Return whether an object is valid: some forty times faster than listing its problems."""
    try:
        shape.read(payload)
    except msgspec.ValidationError:
        return False
    return True


def _value_problem(value: Any, field: Field) -> tuple[str, str] | None:
    """Return the reason code and the text of a value's problem; None for a valid value."""
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError as error:
        refused = str(error)
    else:
        return None
    must = f"must be {field.expected}"
    if value is None:
        return "required", f"must not be null, but {field.expected}"
    if isinstance(value, NotFinite) or "Number out of range" in refused:
        return "not_finite", f"must be a finite number: {field.expected}"
    if isinstance(value, float) and abs(value) > LARGEST and ", got `" not in refused:
        return "not_finite", f"must be a finite number: {field.expected}"
    if ", got `" in refused:
        return "wrong_type", must
    if not isinstance(value, str):
        return "out_of_range", must
    if "of length" not in refused:
        return "invalid", must
    return ("too_long", must) if value else ("blank", "must not be blank")


def _unknown_fields(
    place: Place, payload: dict[str, Any], known: Mapping[str, Any], guess: bool
) -> Iterator[Problem]:
    """Yield a problem for each of the first unknown fields, and one that counts the others. guess:
    whether to name the known field that may have been meant, which is slow."""
    unknown = [name for name in payload if name not in known]
    for name in unknown[:SHOWN]:
        near = get_close_matches(name[:80], known, n=1) if guess else []
        what = "unknown field" + (f"; did you mean {near[0]}?" if near else "")
        expected = near[0] if near else None
        yield place.problem("unknown_field", what, name[:80], payload[name], expected)
    if len(unknown) > SHOWN:
        what = f"has {len(unknown) - SHOWN} more unknown fields"
        yield place.problem("unknown_field", what)


def size_problem(value: Any, name: str, most: int | None, place: Place = REQUEST) -> list[Problem]:
    """Return the problem of a value that should be a list of 1 to `most`; no problem: an empty
    list."""
    if not isinstance(value, list):
        reason, what = "wrong_type", "must be a list"
    elif not value:
        reason, what = "required", "must not be empty"
    elif most is not None and len(value) > most:
        reason, what = "too_long", f"must have at most {most}"
    else:
        return []
    expected = LIST if most is None else f"a list of 1 to {most}"
    return [place.problem(reason, what, name, value, expected)]


def same_customer(place: Place, customer_id: str, first: int) -> Problem:
    what = f"is the same customer as customers[{first}]"
    return place.problem("repeated", what, "customer_id", customer_id, "each customer once")


def repeated(ids: Sequence[str | None]) -> bool:
    """Return whether an id appears twice; customers without an id all count as different."""
    known = [one for one in ids if one is not None] if len(ids) > 1 else []
    return len(set(known)) != len(known)


def split(
    customers: Sequence[Any],
    problems: Callable[[Place, Any, bool], Iterator[Problem]],
    skip: bool,
) -> tuple[list[Any], list[int], list[Skipped]]:
    """Split customers into the valid ones, with their rows, and the others. Raises Refused when
    there are others; with `skip` only when no customer is valid.

    At most `MANY` problems are listed in all, and after that one for each row: a few bytes may
    have thousands.  problems: of the place, the customer, and whether to guess what was meant.
    """
    valid, rows, skipped, count = [], [], list[Skipped](), 0
    for row, customer in enumerate(customers):
        detail = list(islice(problems(Place(row), customer, count < SHOWN), max(1, MANY - count)))
        if not detail:
            valid.append(customer)
            rows.append(row)
            continue
        count += len(detail)
        customer_id = customer.get("customer_id") if isinstance(customer, dict) else None
        known = isinstance(customer_id, str) and len(customer_id) <= LONGEST_TEXT
        skipped.append(Skipped(row, customer_id if known else None, detail))
    return valid, rows, refuse_or_skip(skipped, bool(valid), skip)


def refuse_or_skip(
    skipped: Iterable[Skipped], others: bool, skip: bool, code: str = "invalid"
) -> list[Skipped]:
    """Sort the skipped customers by row. Raises Refused if there are any, unless `skip` is set and
    others can be answered."""
    left_out = list(skipped)
    if left_out and not (skip and others):
        raise Refused(code, "", *(problem for one in left_out for problem in one.detail))
    return sorted(left_out, key=lambda one: one.row)
