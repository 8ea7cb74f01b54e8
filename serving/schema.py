"""Types of the request, the answer and the refusal. The request's come from the bundle itself.

The bundle's feature schema is the only truth about its input: train with another feature, and the
service asks for it, checks its range and documents it, without a line changed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails

from configs.table import BLANKS
from features.categories import Value, encoder

# Strict: "3" and true are no numbers. A whole number is: JSON has only one kind.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
# The model computes in float32, where anything larger is infinite.
LARGEST = float(np.finfo(np.float32).max)
SHOWN = 20  # problems named in one refusal
LONGEST_TEXT = 200  # characters of a category


class Model(BaseModel):
    """Who answered."""

    model_config = STRICT
    name: str = Field(description="registered name of the model")
    version: int = Field(description="registered version")
    bundle_sha256: str = Field(
        description="SHA-256 of the bundle's manifest: names its exact content"
    )
    threshold: float = Field(description="the decision is true from this probability on")


class Prediction(BaseModel):
    """The answer for one customer."""

    model_config = STRICT
    customer_id: str | None = Field(description="as sent, null when none was")
    # Of what, only the bundle knows: `serving/pages.py` writes it into the description.
    probability: float = Field(ge=0, le=1, description="of the outcome that the model predicts")
    decision: bool = Field(description="contact this customer: probability >= threshold")


class Answer(BaseModel):
    """Predictions in the order of the customers sent."""

    model_config = STRICT
    model: Model
    predictions: list[Prediction]


class Problem(BaseModel):
    where: str = Field(description="path into the request, e.g. customers[0].recency_days")
    what: str = Field(description="what is wrong with it")
    value: str | None = Field(None, description="the value sent, as JSON, shortened")


class Refusal(BaseModel):
    """Why nothing was answered. One bad row refuses the whole request."""

    error: str = Field(description="one line for people")
    detail: list[Problem] = Field(default=[], description=f"the first {SHOWN} problems")


def customer_model(features: Sequence[dict[str, Any]]) -> type[BaseModel]:
    """`Customer`: an optional customer_id, then one field per feature, in the bundle's order.

    features: dicts of name, unit, meaning, low, high, missing, categories (`Bundle.features`).
    """
    known: dict[str, Any] = {
        "customer_id": (
            Annotated[str, Field(max_length=200)] | None,
            Field(None, description="returned with the answer; not an input of the model"),
        )
    }
    return create_model(
        "Customer",
        __config__=STRICT,
        __doc__="Feature values of one customer.",
        **known
        | dict(zip(field_names([f["name"] for f in features]), map(_field, features), strict=True)),
    )


def request_model(customer: type[BaseModel], max_rows: int) -> type[BaseModel]:
    return create_model(
        "PredictRequest",
        __config__=STRICT,
        __doc__="Whom to predict.",
        customers=(
            list[customer],  # type: ignore[valid-type]
            Field(min_length=1, max_length=max_rows, description=f"1 to {max_rows} customers"),
        ),
    )


def matrix_of(
    features: Sequence[dict[str, Any]],
) -> Callable[[Sequence[BaseModel]], np.ndarray]:
    """What turns customers into feature values float32 (n, f), in the order of `features`: text
    becomes its code (`features/categories.py`), a value that is missing NaN."""
    names = [feature["name"] for feature in features]
    encode: dict[int, Callable[[Value], float]] = {
        place: encoder(feature)
        for place, feature in enumerate(features)
        if feature.get("categories")
    }

    def matrix(customers: Sequence[BaseModel]) -> np.ndarray:
        rows = [[getattr(row, field) for field in fields] for row in customers]
        for row in rows if encode else ():
            for place, code in encode.items():
                row[place] = code(row[place])
        return np.array(rows, dtype=np.float32)

    fields = field_names(names)
    return matrix


def field_names(names: Sequence[str]) -> list[str]:
    """What the features are called within `Customer`: pydantic takes no name that begins with `_`,
    nor one of its own methods, and a table may name its columns as it likes. Only the request knows
    the names of the features: they are the aliases."""
    return [f"feature_{place}" for place in range(len(names))]


def refusal(error: ValidationError, names: Sequence[str]) -> Refusal:
    """What pydantic found, as where, what and value."""
    found = error.errors(include_url=False, include_context=False)
    detail = [_problem(item, names) for item in found[:SHOWN]]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Refusal(error=f"{detail[0].where}: {detail[0].what}{more}", detail=detail)


def _field(feature: dict[str, Any]) -> tuple[Any, Any]:
    low, high = feature.get("low"), feature.get("high")
    categories = list(feature.get("categories") or ())
    kind: Any
    if categories:
        # No enumeration: a value that was never seen counts as `other`, and is no reason to refuse.
        kind = Annotated[str, Field(max_length=LONGEST_TEXT)]
        if not feature.get("missing"):
            kind = Annotated[kind, Field(min_length=1), AfterValidator(_not_blank)]
        text = f"{feature['meaning']} (one of {len(categories)} texts; any other counts as other)"
    else:
        kind = Annotated[
            float, Field(ge=-LARGEST if low is None else low, le=LARGEST if high is None else high)
        ]
        text = f"{feature['meaning']} ({feature['unit']})"
    more: dict[str, Any] = {"examples": categories} if categories else {}
    if feature.get("missing"):
        text += f"; null or left out: {feature['missing']}"
        return kind | None, Field(None, alias=feature["name"], description=text, **more)
    return kind, Field(alias=feature["name"], description=text, **more)


def _not_blank(text: str) -> str:
    if not text.strip(BLANKS):
        raise ValueError("a blank is no value")
    return text


def _problem(item: ErrorDetails, names: Sequence[str]) -> Problem:
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in item["loc"]
    )
    what = item["msg"]
    if item["type"] == "missing":
        return Problem(where=where.lstrip("."), what="this field is required")
    if item["type"] == "extra_forbidden":
        near = get_close_matches(
            str(item["loc"][-1])[:80], [*names, "customer_id", "customers"], n=1
        )
        what = "unknown field" + (f"; did you mean {near[0]}?" if near else "")
    if item["type"] == "json_invalid":
        return Problem(where="body", what=what)
    return Problem(where=where.lstrip(".") or "body", what=what, value=_shown(item["input"]))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:79] + "…"
