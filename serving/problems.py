"""What is wrong with a request: every problem, with its place, its value and what is accepted.

There is one judge of values: msgspec, by the types that the request is read with (`requests.py`).
Here a request that it has refused as a whole is held against the same types value by value.
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
    """JSON as Python reads it; NaN and Infinity become NotFinite, so that their place is named.
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

    def read(self, sent: Any) -> Any:
        """An instance of the type. Raises msgspec.ValidationError."""
        if self.renamed and isinstance(sent, dict):
            if any(name in sent for name in self.renamed.values()):
                raise msgspec.ValidationError("the name of another field")
            sent = {self.renamed.get(name, name): value for name, value in sent.items()}
        return msgspec.convert(sent, self.kind)


def problems_of(
    place: Place, sent: Any, shape: Shape, *, guess: bool = True, nested: bool = True
) -> Iterator[Problem]:
    """Every problem of an object, and with `nested` of those that it lists.

    guess: whether to say which field may have been meant.
    """
    if not isinstance(sent, dict):
        words = f"an object of {', '.join(islice(shape.fields, SHOWN))}"
        yield place.problem("wrong_type", "must be an object", None, sent, words)
        return
    yield from _unknown_fields(place, sent, shape.fields, guess)
    for name, field in shape.fields.items():
        if name not in sent:
            if field.required:
                yield place.problem("required", "is required", name, expected=field.expected)
        elif field.items is None:
            if (problem := _value_problem(sent[name], field)) is not None:
                yield place.problem(*problem, name, sent[name], field.expected)
        elif nested:
            yield from (sizes := size_problem(sent[name], name, None, place))
            for number, item in enumerate(() if sizes else sent[name]):
                if not fits(item, field.items):
                    few = guess and number < SHOWN  # a guess takes a millisecond
                    yield from problems_of(Place(place.row, number), item, field.items, guess=few)


def fits(sent: Any, shape: Shape) -> bool:
    """Whether nothing is wrong with an object: some forty times faster than looking for it."""
    try:
        shape.read(sent)
    except msgspec.ValidationError:
        return False
    return True


def _value_problem(value: Any, field: Field) -> tuple[str, str] | None:
    """Reason and what is wrong with a value; None if nothing."""
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
    place: Place, sent: dict[str, Any], known: Mapping[str, Any], guess: bool
) -> Iterator[Problem]:
    """The first unknown fields, and how many more; with `guess` the one that may have been meant,
    which is slow."""
    unknown = [name for name in sent if name not in known]
    for name in unknown[:SHOWN]:
        near = get_close_matches(name[:80], known, n=1) if guess else []
        what = "unknown field" + (f"; did you mean {near[0]}?" if near else "")
        expected = near[0] if near else None
        yield place.problem("unknown_field", what, name[:80], sent[name], expected)
    if len(unknown) > SHOWN:
        what = f"has {len(unknown) - SHOWN} more unknown fields"
        yield place.problem("unknown_field", what)


def size_problem(sent: Any, name: str, most: int | None, place: Place = REQUEST) -> list[Problem]:
    """The problem of what should be a list of 1 to `most`, if it is one."""
    if not isinstance(sent, list):
        reason, what = "wrong_type", "must be a list"
    elif not sent:
        reason, what = "required", "must not be empty"
    elif most is not None and len(sent) > most:
        reason, what = "too_long", f"must have at most {most}"
    else:
        return []
    expected = LIST if most is None else f"a list of 1 to {most}"
    return [place.problem(reason, what, name, sent, expected)]


def same_customer(place: Place, customer_id: str, first: int) -> Problem:
    what = f"is the same customer as customers[{first}]"
    return place.problem("repeated", what, "customer_id", customer_id, "each customer once")


def repeated(ids: Sequence[str | None]) -> bool:
    """Whether a customer appears twice; one without an id is never the same as another."""
    known = [one for one in ids if one is not None] if len(ids) > 1 else []
    return len(set(known)) != len(known)


def split(
    customers: Sequence[Any],
    problems: Callable[[Place, Any, bool], Iterator[Problem]],
    skip: bool,
) -> tuple[list[Any], list[int], list[Skipped]]:
    """The customers without a problem, their rows, and the others. Raises Refused for the others,
    or with `skip` when there is nobody else.

    It looks for no more than `MANY` problems in all, and one in each row: a few bytes may have
    thousands.  problems: given the place, the customer and whether to guess what was meant.
    """
    good, rows, skipped, count = [], [], list[Skipped](), 0
    for row, sent in enumerate(customers):
        wrong = list(islice(problems(Place(row), sent, count < SHOWN), max(1, MANY - count)))
        if not wrong:
            good.append(sent)
            rows.append(row)
            continue
        count += len(wrong)
        customer_id = sent.get("customer_id") if isinstance(sent, dict) else None
        known = isinstance(customer_id, str) and len(customer_id) <= LONGEST_TEXT
        skipped.append(Skipped(row, customer_id if known else None, wrong))
    return good, rows, refuse_or_skip(skipped, bool(good), skip)


def refuse_or_skip(
    skipped: Iterable[Skipped], others: bool, skip: bool, code: str = "invalid"
) -> list[Skipped]:
    """Those without an answer, by row. Raises Refused, but with `skip` when there are others."""
    left_out = list(skipped)
    if left_out and not (skip and others):
        raise Refused(code, "", *(problem for one in left_out for problem in one.detail))
    return sorted(left_out, key=lambda one: one.row)
