"""The answers: the types that the service writes and its clients read. Imports nothing heavy.

A field that is added gets a default, so that a client also reads the answers of an older service.
The OpenAPI description, the schema for BentoML's client and our client follow from the type; what
fills it is the function of the endpoint (`endpoints.py`), or `score` in `champion.py` for a
Prediction, which `/predict` and `/predict_transactions` share.
"""

from __future__ import annotations

from typing import Any

import msgspec

from serving.errors import Problem


class Model(msgspec.Struct, frozen=True):
    """The model that answered. threshold: null when it was trained without costs: then it decides
    nothing, and every `decision` is null."""

    name: str
    version: int
    bundle_sha256: str
    threshold: float | None


class Prediction(msgspec.Struct, frozen=True):
    """The answer for one customer. row: their place in the list that was sent."""

    row: int
    customer_id: str | None
    probability: float
    decision: bool | None


class Skipped(msgspec.Struct, frozen=True):
    """A customer who was left out, with `on_error=skip`."""

    row: int
    customer_id: str | None
    detail: list[Problem]


class PredictResponse(msgspec.Struct, frozen=True):
    """Predictions in the order of the customers sent."""

    model: Model
    predictions: list[Prediction]
    skipped: list[Skipped] = []


class FromLines(Prediction, frozen=True, omit_defaults=True):
    """The answer for one customer's invoice lines. features: only with `features=true`.

    `omit_defaults` leaves out every field that equals its default, those of Prediction included.
    """

    features: dict[str, float | str | None] | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """An invoice line that was not counted. line: its place in the customer's list."""

    row: int
    customer_id: str | None
    line: int
    reasons: list[str]
    why: list[str]


class TransactionsResponse(msgspec.Struct, frozen=True):
    """Predictions from invoice lines, in the order of the customers sent."""

    model: Model
    predictions: list[FromLines]
    skipped: list[Skipped] = []
    left_out: list[LeftOut] = []


class Contribution(msgspec.Struct, frozen=True):
    """value: as a request has it, null where missing."""

    feature: str
    value: float | str | None
    contribution: float
    standard_error: float


class Explanation(msgspec.Struct, frozen=True):
    """Largest contributions first; rest: the sum of those that are not shown."""

    row: int
    customer_id: str | None
    probability: float
    base: float
    contributions: list[Contribution]
    rest: float


class Method(msgspec.Struct, frozen=True):
    """permutations: orders of the features for each customer; an order and its reverse are two."""

    name: str
    what: str
    reference_rows: int
    permutations: int
    seed: int


class ExplainResponse(msgspec.Struct, frozen=True):
    """Explanations in the order of the customers sent; skipped: with `on_error=skip`."""

    model: Model
    method: Method
    explanations: list[Explanation]
    skipped: list[Skipped] = []


class RefusedVersion(msgspec.Struct, frozen=True):
    """The version that should serve and does not. reason: `time` or `memory` (its trial took too
    much), `bundle` (its files), `contract` (other features), `failed` (anything else)."""

    version: int
    bundle_sha256: str
    reason: str
    why: str


class ShadowVersion(msgspec.Struct, frozen=True):
    """The challenger that scores the same requests, unseen (`serving.shadow`). state: `scoring`;
    `ended`, its process did, and is started again; or `refused`, with the reason, as for a
    champion, and why."""

    version: int
    bundle_sha256: str
    state: str
    reason: str = ""
    why: str = ""


class ModelResponse(msgspec.Struct, frozen=True):
    """What `GET /model` says of the model that answers. null: an older bundle does not say."""

    name: str
    version: int
    bundle_sha256: str
    threshold: float | None
    features: list[dict[str, Any]]  # name, unit, meaning, low, high, missing, categories
    loaded_at: str
    outcome: str
    family: str | None = None
    trained_at: str | None = None
    config: str | None = None
    seed: int | None = None
    question: dict[str, Any] | None = None
    as_of: Any = None
    data_sha256: str | None = None
    code_revision: str | None = None
    calibration: Any = None
    contact_cost: float | None = None
    sale_value: float | None = None
    source_form: dict[str, Any] | None = None
    valid: dict[str, Any] | None = None
    test: dict[str, Any] | None = None
    transactions: dict[str, Any] | None = None
    limits: dict[str, Any] | None = None
    refused: RefusedVersion | None = None
    shadow: ShadowVersion | None = None
    params: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """A customer to try the service with: as_of and invoice lines, or the values of a table."""

    name: str
    as_of: str | None = None
    lines: list[dict[str, Any]] | None = None
    values: dict[str, Any] | None = None


class SamplesResponse(msgspec.Struct, frozen=True):
    samples: list[Sample]


class ReloadResponse(msgspec.Struct, frozen=True):
    """outcome: `unchanged` or `swapped`."""

    outcome: str
    model: Model
