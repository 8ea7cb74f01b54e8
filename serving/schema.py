"""Types of the request, the answer and the refusal. The request's come from the bundle itself.

The bundle's feature schema is the only truth about its input: train with another feature, and the
service asks for it, checks its range and documents it, without a line changed here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

# Strict: "3" and true are no numbers. A whole number is: JSON has only one kind.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
# The model computes in float32, where anything larger is infinite.
LARGEST = float(np.finfo(np.float32).max)
SHOWN = 20  # problems named in one refusal


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
    probability: float = Field(ge=0, le=1, description="that the customer buys within the horizon")
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

    features: dicts of name, unit, meaning, low, high, missing (`Bundle.features`).
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
        __doc__="Feature values of one customer at one date.",
        **known | {feature["name"]: _field(feature) for feature in features},
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


def matrix(customers: Sequence[BaseModel], names: Sequence[str]) -> np.ndarray:
    """Feature values float32 (n, f); a value that is missing becomes NaN."""
    return np.array([[getattr(row, name) for name in names] for row in customers], dtype=np.float32)


def refusal(error: ValidationError, names: Sequence[str]) -> Refusal:
    """What pydantic found, as where, what and value."""
    found = error.errors(include_url=False, include_context=False)
    detail = [_problem(item, names) for item in found[:SHOWN]]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Refusal(error=f"{detail[0].where}: {detail[0].what}{more}", detail=detail)


def _field(feature: dict[str, Any]) -> tuple[Any, Any]:
    low, high = feature.get("low"), feature.get("high")
    number: Any = Annotated[
        float, Field(ge=-LARGEST if low is None else low, le=LARGEST if high is None else high)
    ]
    text = f"{feature['meaning']} ({feature['unit']})"
    if feature.get("missing"):
        return number | None, Field(
            None, description=f"{text}; null or left out: {feature['missing']}"
        )
    return number, Field(description=text)


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
