"""What a request of feature values must be, made from the bundle's own feature schema.

The bundle is the only truth about its input: train with another feature, and the service asks for
it, checks its range and documents it, without a line changed here.

Two readers. The fast one is a msgspec Struct with a field for each feature: what it takes is right.
What it refuses is read once more by the slow one (`problems.py`), which names every problem
with its place, and leaves the good rows where a client wants those. A Struct cannot have a field of
every name: where a feature is called otherwise, the slow one reads all requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from common.spelling import BLANKS
from configs.table import LONGEST_TEXT
from features.categories import Value, encoder
from serving.asked import Limits
from serving.messages import Skipped
from serving.reading import refuse_or_skip, sized
from serving.refusal import Problem, invalid
from serving.values.problems import Expected, bounds, find_problems, repeated

UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')  # msgspec's limit


@dataclass(frozen=True)
class Customers:
    """Those who can be asked about: rows are their places in the request, x float32 (n, f).

    ids: as sent.  persons: as ingestion reads them, where it does; else as sent.
    """

    ids: list[str | None]
    rows: Sequence[int]
    x: np.ndarray
    skipped: list[Skipped]
    persons: list[str | None]


class Decoder:
    """Reads requests for one feature schema (`Bundle.features`).

    missing_values: texts that stand for a missing category, besides blanks.
    """

    def __init__(
        self, features: Sequence[dict[str, Any]], missing_values: Sequence[str] = ()
    ) -> None:
        names = [feature["name"] for feature in features]
        self.stand_ins = stand_ins(names)
        self.customer = customer_type(features)
        self.request = msgspec.defstruct(
            "PredictRequest",
            [("customers", Annotated[list[self.customer], Meta(min_length=1)])],  # type: ignore[name-defined]
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(self.request).decode
        self._expected = [Expected.of(feature, missing_values) for feature in features]
        self._encode: dict[int, Callable[[Value], float]] = {
            place: encoder(feature, missing_values)
            for place, feature in enumerate(features)
            if feature.get("categories")
        }
        # Blank text is no value: where one must be there, the slow reader says so.
        self._absent = {"", *missing_values}
        self._never_blank = [place for place in self._encode if not features[place].get("missing")]

        # Of a customer, written generously: names escaped, numbers in full, room for spaces; an id
        # and texts of four bytes a character.
        written = sum(len(json.dumps(name)) for name in names)
        texts = (1 + len(self._encode)) * LONGEST_TEXT
        self.row_bytes = written + 60 * len(features) + 4 * texts + 100

    def read(self, body: bytes, limits: Limits, skip: bool) -> Customers:
        """The customers of a request. Raises Refused; with `skip` only when none of them is good.

        limits: of which max_rows counts.
        """
        if self.stand_ins:
            return self._read_slowly(body, limits, skip, None)
        try:
            customers = self._decode(body).customers  # type: ignore[attr-defined]
        # Text that is no UTF-8 is a ValueError, and no DecodeError.
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return self._read_slowly(body, limits, skip, error)
        sized(customers, "customers", limits.max_rows)
        values = [msgspec.structs.astuple(customer) for customer in customers]
        ids = [row[-1] for row in values]
        if repeated(ids) or any(
            str(row[place]).strip(BLANKS) in self._absent
            for place in self._never_blank
            for row in values
        ):
            return self._read_slowly(body, limits, skip, None)
        x = self._matrix([row[:-1] for row in values])
        return Customers(ids, range(len(ids)), x, [], persons=ids)

    def real_names(self, definition: dict[str, Any]) -> dict[str, Any]:
        """The JSON schema of a customer with the names of the features, whatever they are."""
        real = {stand_in: name for name, stand_in in self.stand_ins.items()}
        properties = definition["properties"]
        return definition | {
            "properties": {real.get(name, name): said for name, said in properties.items()},
            "required": [real.get(name, name) for name in definition.get("required", [])],
        }

    def _read_slowly(
        self, body: bytes, limits: Limits, skip: bool, error: Exception | None
    ) -> Customers:
        found = find_problems(body, self._expected, limits.max_rows)
        if not found.wrong.skipped and error is not None:  # ours takes what msgspec does not
            raise invalid(Problem(what=str(error)))
        skipped = refuse_or_skip(found.wrong.skipped, bool(found.rows), skip)
        x = self._matrix(found.values)
        return Customers(found.ids, found.rows, x, skipped, persons=found.ids)

    def _matrix(self, values: list[Sequence[Any]]) -> np.ndarray:
        """Feature values float32 (n, f): text becomes its code (`features/categories.py`), a value
        that is missing NaN."""
        if self._encode:
            values = [list(row) for row in values]
            for row in values:
                for place, code in self._encode.items():
                    row[place] = code(row[place])  # type: ignore[index]
        return np.array(values, dtype=np.float32)


def stand_ins(names: Sequence[str]) -> dict[str, str]:
    """Names that no field of a Struct can have -> what it is called there."""
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        if UNNAMEABLE.search(name):
            found[name] = f"feature_{place}"
            while found[name] in names:
                found[name] += "_"
    return found


def customer_type(features: Sequence[dict[str, Any]]) -> type[msgspec.Struct]:
    """`Customer`: one field per feature, in the bundle's order, then an optional customer_id.

    features: dicts of name, unit, meaning, low, high, missing, categories.
    """
    # A table may name its columns as it likes, which Python does not: only the JSON has the names.
    names = [feature["name"] for feature in features]
    others = stand_ins(names)
    plain = [f"feature_{place}" for place in range(len(features))]
    fields: list[Any] = [
        (name, *_field(feature)) for name, feature in zip(plain, features, strict=True)
    ]
    known = Meta(
        max_length=LONGEST_TEXT, description="returned with the answer; not an input of the model"
    )
    return msgspec.defstruct(
        "Customer",
        [*fields, ("customer_id", Annotated[str, known] | None, None)],
        rename=dict(zip(plain, (others.get(name, name) for name in names), strict=True)),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
        namespace={"__doc__": "Feature values of one customer."},
    )


def _field(feature: dict[str, Any]) -> tuple[Any, ...]:
    categories = list(feature.get("categories") or ())
    missing = feature.get("missing")
    text = feature["meaning"]
    text += f" (one of {len(categories)} texts; any other counts as other)" if categories else ""
    text += "" if categories else f" ({feature['unit']})"
    text += f"; null or left out: {missing}" if missing else ""
    said = Meta(description=text, examples=categories) if categories else Meta(description=text)
    if categories:
        # No enumeration: a value that was never seen counts as `other`, and is no reason to refuse.
        least = 0 if missing else 1
        kind: Any = Annotated[str, Meta(min_length=least, max_length=LONGEST_TEXT)]
    else:
        low, high = bounds(feature)
        kind = Annotated[float, Meta(ge=low, le=high)]
    return (Annotated[kind | None, said], None) if missing else (Annotated[kind, said],)
