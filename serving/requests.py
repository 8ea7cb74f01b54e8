"""Bytes of a request → customers that can be answered, or what is wrong with it and where.

What a request may hold is a msgspec type: for feature values it is made from the bundle's own
feature schema (train with another feature, and the service asks for it, checks its range and
documents it), for invoice lines from the columns that the source declared. msgspec decodes JSON
into the type in one pass. Only what it refuses is looked at again, value by value against the same
types (`problems.py`), so that the answer names each wrong value with its place and its range.

Only types are judged here. Whether an invoice line counts is decided by the data contract
(`transactions_sql.py`), as in training: a quantity of 0 is a line to leave out, not a bad request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from common.spelling import BLANKS
from configs.table import LONGEST_TEXT
from features.categories import Value, encoder
from serving.errors import REQUEST, Place, Problem, invalid
from serving.limits import Limits
from serving.problems import (
    LARGEST,
    Shape,
    fits,
    parse,
    problems_of,
    repeated,
    same_customer,
    size_problem,
    split,
)
from serving.responses import Skipped

UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')  # in the name of a field of a msgspec type
# Text that is not UTF-8 is a ValueError, and not a DecodeError.
UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


@dataclass(frozen=True)
class Customers:
    """The customers to score: rows are their places in the request, x float32 (n, f).

    ids: as sent.  persons: as ingestion reads them, where it does; else as sent.
    """

    ids: list[str | None]
    rows: Sequence[int]
    x: np.ndarray
    skipped: list[Skipped]
    persons: list[str | None]


class FeatureReader:
    """Reads requests for one feature schema (`Bundle.features`).

    missing_values: texts that stand for a missing category, besides blanks.
    """

    def __init__(
        self, features: Sequence[dict[str, Any]], missing_values: Sequence[str] = ()
    ) -> None:
        # A table may name its columns as it likes, which msgspec does not: those are renamed.
        self._renamed = _renamed([feature["name"] for feature in features])
        self.customer = _customer_type(features, self._renamed)
        self.request = msgspec.defstruct(
            "PredictRequest",
            [("customers", Annotated[list[self.customer], Meta(min_length=1)])],  # type: ignore[name-defined]
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(self.request).decode
        self._shape = Shape.of(self.customer, self._renamed)
        self._encode: dict[int, Callable[[Value], float]] = {
            place: encoder(feature, missing_values)
            for place, feature in enumerate(features)
            if feature.get("categories")
        }
        self._absent = {"", *missing_values}
        self._never_blank = {
            place: features[place]["name"]
            for place in self._encode
            if not features[place].get("missing")
        }
        # Bytes of a customer, written generously: names escaped, numbers in full, room for spaces;
        # an id and texts of four bytes a character.
        written = sum(len(json.dumps(feature["name"])) for feature in features)
        texts = (1 + len(self._encode)) * LONGEST_TEXT
        self.row_bytes = written + 60 * len(features) + 4 * texts + 100

    def read(self, body: bytes, limits: Limits, skip: bool) -> Customers:
        """Read the customers of a request. Raises Refused; with `skip` only when none is valid.

        limits: of which max_rows counts.
        """
        try:
            # The type has other names than the request then.
            customers = None if self._renamed else self._decode(body).customers  # type: ignore[attr-defined]
        except UNREADABLE as error:
            return self._read_by_value(body, limits, skip, str(error))
        if customers is None:
            return self._read_by_value(body, limits, skip)
        if too_many := size_problem(customers, "customers", limits.max_rows):
            raise invalid(*too_many)
        values = [msgspec.structs.astuple(customer) for customer in customers]
        if repeated([row[-1] for row in values]) or any(
            self._is_absent(row[place]) for place in self._never_blank for row in values
        ):
            return self._read_by_value(body, limits, skip)
        return self._customers(values, range(len(values)), [])

    def _read_by_value(self, body: bytes, limits: Limits, skip: bool, why: str = "") -> Customers:
        """Check a refused request value by value. why: msgspec's reason, for the case that no value
        has a problem."""
        request = parse(body)
        problems = [*problems_of(REQUEST, request, Shape.of(self.request), nested=False)]
        if not problems:
            problems = size_problem(request["customers"], "customers", limits.max_rows)
        if problems:
            raise invalid(*problems)
        first_rows: dict[str, int] = {}

        def wrong(place: Place, customer: Any, guess: bool) -> Iterator[Problem]:
            fine = True
            for problem in self._problems(place, customer, guess):
                fine = False
                yield problem
            customer_id = customer.get("customer_id") if fine else None
            if customer_id is not None:
                first = first_rows.setdefault(customer_id, place.row or 0)
                if first != place.row:
                    yield same_customer(place, customer_id, first)

        good, rows, skipped = split(request["customers"], wrong, skip)
        if why and not skipped:  # JSON that Python reads and msgspec does not
            raise invalid(Problem(what=why))
        values = [msgspec.structs.astuple(self._shape.read(customer)) for customer in good]
        return self._customers(values, rows, skipped)

    def _problems(self, place: Place, customer: Any, guess: bool) -> Iterator[Problem]:
        if not fits(customer, self._shape):
            yield from problems_of(place, customer, self._shape, guess=guess)
        for name in self._never_blank.values() if isinstance(customer, dict) else ():
            value = customer.get(name)
            if isinstance(value, str) and value and self._is_absent(value):
                text = value.strip(BLANKS)
                what = "must not stand for a missing value" if text else "must not be blank"
                yield place.problem("blank", what, name, value, self._shape.fields[name].expected)

    def _is_absent(self, value: Any) -> bool:
        return str(value).strip(BLANKS) in self._absent

    def _customers(
        self, values: list[tuple[Any, ...]], rows: Sequence[int], skipped: list[Skipped]
    ) -> Customers:
        """Build the matrix. values: the features and the customer_id of each customer. A text
        becomes its code (`features/categories.py`), a missing value NaN."""
        ids = [row[-1] for row in values]
        features: list[Sequence[Any]] = [row[:-1] for row in values]
        if self._encode:
            features = [list(row) for row in features]
            for row in features:
                for place, code in self._encode.items():
                    row[place] = code(row[place])  # type: ignore[index]
        return Customers(ids, rows, np.array(features, dtype=np.float32), skipped, persons=ids)

    def real_names(self, definition: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON schema of a customer with the features' own names instead of the renamed
        ones."""
        real = {renamed: name for name, renamed in self._renamed.items()}
        properties = definition["properties"]
        return definition | {
            "properties": {real.get(name, name): schema for name, schema in properties.items()},
            "required": [real.get(name, name) for name in definition.get("required", [])],
        }


def _renamed(names: Sequence[str]) -> dict[str, str]:
    """Map names that a field of a msgspec type cannot have to names that it can."""
    renamed: dict[str, str] = {}
    for place, name in enumerate(names):
        if UNNAMEABLE.search(name):
            renamed[name] = f"feature_{place}"
            while renamed[name] in names:
                renamed[name] += "_"
    return renamed


def _customer_type(
    features: Sequence[dict[str, Any]], renamed: Mapping[str, str]
) -> type[msgspec.Struct]:
    """`Customer`: one field per feature, in the bundle's order, then an optional customer_id.

    features: dicts of name, unit, meaning, low, high, missing, categories.
    """
    names = [renamed.get(feature["name"], feature["name"]) for feature in features]
    plain = [f"feature_{place}" for place in range(len(features))]  # JSON alone has the names
    known = Meta(
        max_length=LONGEST_TEXT, description="returned with the answer; not an input of the model"
    )
    expected = Meta(extra={"expected": f"text of at most {LONGEST_TEXT} characters, or null"})
    return msgspec.defstruct(
        "Customer",
        [
            *((name, *_feature_type(feature)) for name, feature in zip(plain, features)),
            ("customer_id", Annotated[Annotated[str, known] | None, expected], None),
        ],
        rename=dict(zip(plain, names)),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
        namespace={"__doc__": "Feature values of one customer."},
    )


def _feature_type(feature: dict[str, Any]) -> tuple[Any, ...]:
    """Return the type of a feature, and the default None if it may be missing."""
    categories, missing = list(feature.get("categories") or ()), feature.get("missing")
    low, high, meaning = feature.get("low"), feature.get("high"), feature["meaning"]
    if categories:
        # Not an enumeration: a value that was never seen counts as `other`, and is not refused.
        least = 0 if missing else 1
        kind: Any = Annotated[str, Meta(min_length=least, max_length=LONGEST_TEXT)]
        meaning += f" (one of {len(categories)} texts; any other counts as other)"
        expected = f"text of at most {LONGEST_TEXT} characters, such as {categories[0]}"
    else:
        smallest, largest = -LARGEST if low is None else low, LARGEST if high is None else high
        kind = Annotated[float, Meta(ge=smallest, le=largest)]
        meaning += f" ({feature['unit']})"
        bounds = ["a number"] + ([] if low is None else [f"from {low:g}"])
        bounds += [] if high is None else [f"to {high:g}"]
        expected = " ".join([*bounds, f"({feature['unit']})"])
    meaning += f"; null or left out: {missing}" if missing else ""
    expected += f", or null: {missing}" if missing else ""
    about = {"description": meaning, "extra": {"expected": expected}}
    described = Meta(**about, examples=categories) if categories else Meta(**about)
    return (Annotated[kind | None, described], None) if missing else (Annotated[kind, described],)
