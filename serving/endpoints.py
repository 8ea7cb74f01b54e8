"""The endpoints: which paths there are, and the function that answers each of them.

A field is added to an answer in its type (`responses.py`) and in the function that fills it: the
endpoint's function here, or `score` in `champion.py` for a field of each customer (`Prediction`);
the descriptions (OpenAPI, BentoML's) follow from the type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from features.categories import decode
from serving.champion import Champion, Request, score
from serving.errors import Place, Refused, invalid, parameter
from serving.explain import SEED, NoAnswer, ShapleyValues, pairs_for, shapley_values
from serving.openapi import client_schema, outcome
from serving.problems import refuse_or_skip
from serving.responses import (
    Contribution,
    ExplainResponse,
    Explanation,
    FromLines,
    Method,
    ModelResponse,
    PredictResponse,
    ReloadResponse,
    SamplesResponse,
    Skipped,
    TransactionsResponse,
)
from serving.swap import Champions, reload

encode = msgspec.json.Encoder().encode

# --- questions about customers -------------------------------------------------------------------

TOP = 10  # contributions shown when the request does not say how many
METHOD = (
    "Shapley values of the probability, by sampling: what the customer's value changes, on average,"
    " when it takes the place of the value of a reference customer (of the validation split)."
    " base + contributions + rest = probability. standard_error: how far a contribution would move"
    " with other reference customers and other orders. They describe the model, not causes."
)


def predict(request: Request) -> PredictResponse:
    """Probability and decision, if the model takes any, for each customer, in the order sent."""
    customers = request.champion.reader.read(request.body, request.limits, request.skip)
    predictions, skipped = score(request, customers)
    return PredictResponse(request.champion.model, predictions, skipped)


def predict_transactions(request: Request) -> TransactionsResponse:
    """The same from invoice lines, for each customer who bought in the `active_days`; and the lines
    that do not count, with the reasons."""
    transactions = request.champion.transactions
    if transactions is None:
        raise Refused(
            "no_transactions",
            "this model does not take invoice lines (it was trained on a labelled table, or its"
            " bundle is older than they are): use /predict",
        )
    with_features = request.choice("features", ("false", "true")) == "true"
    lines = transactions.read(request.body, request.limits, request.skip, request.stop)
    request.lines_left_out(Counter(line.reasons[0] for line in lines.left_out))
    predictions, skipped = score(request, lines.customers, lines.as_of)
    names = transactions.names
    answers = [
        FromLines(
            **msgspec.structs.asdict(one),
            features=dict(zip(names, lines.features[one.row])) if with_features else None,
        )
        for one in predictions
    ]
    return TransactionsResponse(request.champion.model, answers, skipped, lines.left_out)


def explain(request: Request) -> ExplainResponse:
    """What each value of a customer adds to the probability (the body of /predict, at most
    `limits.max_explained` customers).

        probability = base + contributions + rest        to the last digits that a float64 has

    `base` is the mean probability of the reference rows: up to 64 customers of the validation
    split, kept in the bundle. It describes the model, not the customer: that a value raises the
    prediction does not mean that changing it would make anyone buy. Other reference customers give
    other numbers. And values are exchanged one by one, so features that go together in life (orders
    of 90 and of 180 days) share between them what either could have said alone.
    """
    champion = request.champion
    top = _top(request, len(champion.features))
    reference = champion.reference
    if not len(reference):
        raise Refused(
            "no_reference", "this model's bundle has no customers to compare with: train again"
        )
    limits = replace(request.limits, max_rows=request.limits.max_explained)
    customers = champion.reader.read(request.body, limits, request.skip)
    explanations, skipped = [], []
    for row, customer_id, x in zip(customers.rows, customers.ids, customers.x, strict=True):
        try:
            shapley = shapley_values(request.predict, x, reference)
        except NoAnswer as none:
            problem = Place(row).problem("no_answer", str(none))
            skipped.append(Skipped(row, customer_id, [problem]))
        else:
            explanations.append(_explanation(shapley, row, customer_id, x, champion, top))
    refuse_or_skip(skipped, bool(explanations), request.skip, "no_answer")
    skipped = sorted([*customers.skipped, *skipped], key=lambda one: one.row)
    if skipped:
        request.rows_left_out(Counter(one.detail[0].reason for one in skipped))
    method = Method(
        name="Shapley values by permutation sampling",
        what=METHOD,
        reference_rows=len(reference),
        permutations=2 * pairs_for(len(reference)),
        seed=SEED,
    )
    return ExplainResponse(champion.model, method, explanations, skipped)


def _top(request: Request, features: int) -> int:
    value = request.query.get("top")
    if value is None:
        return min(TOP, features)
    if value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= features:
        return int(value)
    expected = f"a whole number from 1 to {features}"
    raise invalid(parameter("top", f"must be {expected}", value, expected))


def _explanation(
    shapley: ShapleyValues,
    row: int,
    customer_id: str | None,
    x: np.ndarray,
    champion: Champion,
    top: int,
) -> Explanation:
    features = champion.features
    largest = np.argsort(-np.abs(shapley.contribution), kind="stable")
    return Explanation(
        row=row,
        customer_id=customer_id,
        probability=shapley.probability,
        base=shapley.base,
        contributions=[
            Contribution(
                feature=features[i]["name"],
                value=decode(float(x[i]), features[i]),
                contribution=float(shapley.contribution[i]),
                standard_error=float(f"{shapley.standard_error[i]:.3g}"),
            )
            for i in largest[:top]
        ],
        rest=float(shapley.contribution[largest[top:]].sum()),
    )


# --- questions about the service -----------------------------------------------------------------


def model(champions: Champions) -> ModelResponse:
    """Who answers, what it learnt from, how good it is, what it takes."""
    champion = champions.ready()
    description = champion.bundle.description
    # What has the same name in `bundle.json`; an older bundle does not have all of it.
    kept = {
        name: description[name] for name in ModelResponse.__struct_fields__ if name in description
    }
    transactions = description.get("transactions")
    if transactions:
        contract = transactions["contract"]
        rules = {name: rule["why"] for name, rule in contract["rules"].items() if rule["column"]}
        shown = {"cancellation_prefix": contract["cancellation_prefix"], "rules": rules}
        transactions = {**transactions, "contract": shown}
    return ModelResponse(
        **kept
        | msgspec.structs.asdict(champion.model)
        | {
            "loaded_at": champion.loaded_at,
            "features": champion.features,
            "outcome": outcome(description),
            "transactions": transactions,
            "limits": vars(champions.limits),
            "refused": champions.refused,
            "shadow": champions.in_shadow(),
        }
    )


def samples(champions: Champions) -> SamplesResponse:
    """Customers to try the service with."""
    return SamplesResponse(champions.ready().samples)


def ready(champions: Champions) -> dict[str, Any]:
    """Whether there is a verified champion."""
    return {"ready": True, "version": champions.ready().model.version}


def look_again(champions: Champions) -> ReloadResponse:
    """Have the champion looked up now, for an operator."""
    outcome, champion = reload(champions)
    return ReloadResponse(outcome, champion.model)


# --- which path is which -------------------------------------------------------------------------

Content = tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...]]  # content type, body, headers
JSON, HTML, TEXT = b"application/json", b"text/html; charset=utf-8", b"text/plain"
PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": HTML,
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets styles inline.
LOOSER = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


@dataclass(frozen=True)
class Route:
    """Who answers a path: one of answer, read and action, or BentoML's application (by_bentoml).

    answer: from a request, in the event loop where it is `inline` and small, else in a thread.
    read: returns content that needs no request.  action: changes the service.
    size: what bounds the body, rows or lines.  query: the parameters that it knows.
    """

    name: str
    methods: tuple[str, ...] = ("GET", "HEAD")
    answer: Callable[[Request], Any] | None = None
    read: Callable[[Champions], Content] | None = None
    action: Callable[[Champions], Any] | None = None
    by_bentoml: bool = False
    open_to_all: bool = False
    inline: bool = False
    size: str = "rows"
    query: tuple[str, ...] = ()


def _schema(champions: Champions) -> Content:
    """The same for BentoML's client."""
    return JSON, client_schema(champions.ready().description), ()


def _json(function: Callable[[Champions], Any]) -> Callable[[Champions], Content]:
    return lambda champions: (JSON, encode(function(champions)), ())


def _file(path: Path, policy: str = POLICY) -> Callable[[Champions], Content]:
    """A file of the page, read once: it does not change while the service runs."""
    content = (
        KINDS[path.suffix],
        path.read_bytes(),
        (
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
        ),
    )
    return lambda _: content


ALIVE: Content = (TEXT, b"alive\n", ())
POST = ("POST",)
SWAGGER = ("swagger-ui.css", "swagger-ui-bundle.js")
ROUTES: dict[str, Route] = {
    "/predict": Route("predict", POST, answer=predict, inline=True, query=("on_error",)),
    "/predict_transactions": Route(
        "predict_transactions",
        POST,
        answer=predict_transactions,
        size="lines",
        query=("on_error", "features"),
    ),
    "/explain": Route("explain", POST, answer=explain, query=("top", "on_error")),
    "/reload": Route("reload", POST, action=look_again),
    "/model": Route("model", read=_json(model)),
    "/samples": Route("samples", read=_json(samples)),
    "/docs.json": Route("docs", read=lambda champions: (JSON, champions.ready().description, ())),
    "/schema.json": Route("docs", read=_schema),
    "/livez": Route("health", read=lambda _: ALIVE, open_to_all=True),
    "/healthz": Route("health", read=lambda _: ALIVE, open_to_all=True),
    "/readyz": Route("health", read=_json(ready), open_to_all=True),
    "/metrics": Route("metrics", by_bentoml=True),
    "/": Route("page", read=_file(PAGE / "index.html"), open_to_all=True),
    "/docs": Route("page", read=_file(PAGE / "docs.html", LOOSER), open_to_all=True),
    **{
        f"/page/{path.name}": Route("page", read=_file(path), open_to_all=True)
        for path in sorted(PAGE.iterdir())
        if path.suffix in KINDS and path.suffix != ".html"
    },
    **{
        f"/static_content/{name}": Route("page", by_bentoml=True, open_to_all=True)
        for name in SWAGGER
    },
}
