"""`GET /docs.json`: OpenAPI 3.1, whose schemas are made from the types that read and write.

`GET /schema.json` is made from it: the same in the form that BentoML's client asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from features.categories import decode
from serving.champion import Champion
from serving.errors import RETRY_AFTER, STATUS, ErrorResponse
from serving.limits import Limits
from serving.responses import (
    ExplainResponse,
    ModelResponse,
    PredictResponse,
    ReloadResponse,
    SamplesResponse,
    TransactionsResponse,
)

COMPONENTS, DEFS = "#/components/schemas/", "#/$defs/"
REF = COMPONENTS + "{name}"
MEANING = {
    "invalid": "Not JSON, a field unknown or missing, a wrong value, no or too many rows",
    "unauthorized": "The token is missing or wrong",
    "forbidden": "The Host header is not a name of this service, or a page of another site sent it",
    "too_slow": "The body did not arrive in time",
    "no_transactions": "This model does not come from invoice lines",
    "no_reference": "The bundle has no customers to explain against",
    "refused_champion": "The new champion cannot be served; the old one goes on serving",
    "too_large": "The body is too large",
    "content_type": "The content type is not application/json",
    "no_answer": "The model has no answer for these values",
    "busy": "Too many requests at once: try again after Retry-After seconds",
    "ending": "The service is shutting down: try again, another may answer",
    "unknown_champion": "The registry cannot be reached; the old champion goes on serving",
    "not_ready": "There is no verified champion yet",
    "timeout": "Answering took too long: send fewer customers",
}
ALWAYS = ("forbidden", "unauthorized")
POSTING = (
    *ALWAYS,
    *("invalid", "too_slow", "too_large", "content_type", "no_answer", "busy", "ending"),
    "not_ready",
)
RELOADING = (*ALWAYS, "refused_champion", "ending", "not_ready", "unknown_champion")
READY = {
    "type": "object",
    "properties": {"ready": {"const": True}, "version": {"type": "integer"}},
    "required": ["ready", "version"],
    "additionalProperties": False,
}
RETRY = {
    "Retry-After": {
        "description": "seconds to wait before trying again",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
ON_ERROR = {
    "name": "on_error",
    "in": "query",
    "description": "skip: answer the good rows and list the others",
    "schema": {"type": "string", "enum": ["refuse", "skip"], "default": "refuse"},
}
FEATURES = {
    "name": "features",
    "in": "query",
    "description": "true: each prediction has its feature values",
    "schema": {"type": "string", "enum": ["false", "true"], "default": "false"},
}


def describe(champion: Champion, limits: Limits) -> bytes:
    """The description of what this champion takes and answers, as JSON."""
    model = champion.model
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": model.name,
                "version": str(model.version),
                "description": f"Bundle {model.bundle_sha256}.",
            },
            "servers": [{"url": "."}],
            "paths": {**_posts(champion, limits), **_others()},
            "components": {
                "schemas": _definitions(champion, limits),
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{}, {"token": []}],
        }
    )


def _posts(champion: Champion, limits: Limits) -> dict[str, Any]:
    """Describe the endpoints that take customers."""
    examples = _examples(champion)
    predict = _post(
        "predict",
        "Probability and decision for each customer",
        "PredictRequest",
        "PredictResponse",
        [ON_ERROR],
        (*POSTING, "timeout"),
        examples,
    )
    top = {
        "name": "top",
        "in": "query",
        "description": "features to name; the others are summed up",
        "schema": {"type": "integer", "minimum": 1, "maximum": len(champion.features)},
    }
    explain = _post(
        "explain",
        "Which features moved each probability",
        "PredictRequest",
        "ExplainResponse",
        [ON_ERROR, top],
        (*POSTING, "no_reference", "timeout"),
        examples,
    )
    content = explain["post"]["requestBody"]["content"]["application/json"]
    fewer = {"properties": {"customers": {"maxItems": limits.max_explained}}}
    content["schema"] = {"allOf": [content["schema"], fewer]}
    posts = {"/predict": predict, "/explain": explain}
    if champion.transactions is not None:
        posts["/predict_transactions"] = _post(
            "predict_transactions",
            "The same from raw invoice lines and an as-of date",
            champion.transactions.request.__name__,
            TransactionsResponse.__name__,
            [ON_ERROR, FEATURES],
            (*POSTING, "timeout"),
            [
                {
                    "as_of": sample.as_of,
                    "customers": [{"customer_id": sample.name, "lines": sample.lines}],
                }
                for sample in champion.samples
                if sample.lines
            ],
        )
    return posts


def _definitions(champion: Champion, limits: Limits) -> dict[str, Any]:
    """Make the schemas of the types that are read and written, by name."""
    types: list[Any] = [
        *(champion.reader.request, PredictResponse, ErrorResponse, ExplainResponse),
        *(ModelResponse, SamplesResponse, ReloadResponse),
    ]
    if champion.transactions is not None:
        types += [champion.transactions.request, TransactionsResponse]
    _, definitions = msgspec.json.schema_components(types, ref_template=REF)
    definitions["Customer"] = champion.reader.real_names(definitions["Customer"])
    definitions["Prediction"]["properties"]["probability"] |= {
        "minimum": 0,
        "maximum": 1,
        "description": outcome(champion.bundle.description),
    }
    definitions["PredictRequest"]["properties"]["customers"] |= {"maxItems": limits.max_rows}
    return definitions


def client_schema(description: bytes) -> bytes:
    """The endpoints that take customers, as `bentoml.SyncHTTPClient` and `AsyncHTTPClient` read
    them at their start. description: what `describe` made."""
    described = msgspec.json.decode(description.replace(COMPONENTS.encode(), DEFS.encode()))
    definitions = described["components"]["schemas"]
    posts = {path: ways["post"] for path, ways in described["paths"].items() if "post" in ways}
    routes = [
        {
            "name": post["operationId"],
            "route": path,
            "doc": post["summary"],
            "batchable": False,
            "input": _with_definitions(_schema(post["requestBody"]), definitions),
            "output": _with_definitions(_schema(post["responses"]["200"]), definitions),
            "is_task": False,
        }
        for path, post in posts.items()
        if "requestBody" in post
    ]
    return msgspec.json.encode(
        {"name": described["info"]["title"], "type": "service", "routes": routes}
    )


def _schema(message: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = message["content"]["application/json"]["schema"]
    return schema


def _with_definitions(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a self-contained schema: at the top the referenced definition, since BentoML's client
    looks for `properties` there, and in `$defs` those that it refers to."""
    reference, *others = schema.get("allOf", [schema])
    used: dict[str, Any] = {}
    name = reference["$ref"].removeprefix(DEFS)
    todo = [name]
    while todo:
        current = todo.pop()
        used[current] = definitions[current]
        todo += [other for other in _references(used[current]) if other not in used]
    return used.pop(name) | {"$defs": used} | ({"allOf": others} if others else {})


def _references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):  # a feature may have that name
            yield schema["$ref"].removeprefix(DEFS)
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


def _post(
    name: str,
    summary: str,
    request: str,
    response: str,
    parameters: list[dict[str, Any]],
    codes: tuple[str, ...],
    examples: list[Any],
) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": REF.format(name=request)}}
    if examples:
        content["examples"] = {
            f"example {number}": {"value": value} for number, value in enumerate(examples, 1)
        }
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": parameters,
            "requestBody": {"required": True, "content": {"application/json": content}},
            "responses": {
                "200": {"description": "The answer", "content": _json(response)},
                **_refusals(codes),
            },
        }
    }


def _examples(champion: Champion) -> list[dict[str, Any]]:
    """Requests of feature values to begin with: customers whom the bundle keeps."""
    rows = [one.values for one in champion.samples if one.values]
    if not rows:
        rows = [_values(champion, row) for row in champion.bundle.examples.get("reference", [])[:2]]
    return [{"customers": [row | {"customer_id": "example"}]} for row in rows]


def _values(champion: Champion, row: list[Any]) -> dict[str, Any]:
    """A reference row as a request has it: of a category the text, not its code."""
    return {
        feature["name"]: value
        if value is None or not feature.get("categories")
        else decode(value, feature)
        for feature, value in zip(champion.features, row, strict=True)
    }


def _others() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    paths: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
        "/model": (
            "The model that answers, and its input schema",
            _json("ModelResponse"),
            (*ALWAYS, "not_ready"),
        ),
        "/samples": (
            "Sample customers to try the service with",
            _json("SamplesResponse"),
            (*ALWAYS, "not_ready"),
        ),
        "/livez": ("Alive: the process answers", text, ("forbidden",)),
        "/healthz": ("The same as /livez", text, ("forbidden",)),
        "/readyz": (
            "Ready: there is a verified champion",
            {"application/json": {"schema": READY}},
            ("forbidden", "not_ready"),
        ),
        "/metrics": ("Prometheus metrics", text, ALWAYS),
    }
    others: dict[str, Any] = {
        path: {
            "get": {
                "operationId": path[1:],
                "summary": summary,
                "responses": {
                    "200": {"description": "Yes", "content": content},
                    **_refusals(codes),
                },
            }
        }
        for path, (summary, content, codes) in paths.items()
    }
    others["/reload"] = {
        "post": {
            "operationId": "reload",
            "summary": "Look for a new champion now",
            "responses": {
                "200": {"description": "unchanged, or swapped", "content": _json("ReloadResponse")},
                **_refusals(RELOADING),
            },
        }
    }
    return others


def _refusals(codes: tuple[str, ...]) -> dict[str, Any]:
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(STATUS[code]), []).append(MEANING[code])
    again = {str(STATUS[code]) for code in RETRY_AFTER}
    return {
        status: {
            "description": "; or: ".join(texts),
            **({"headers": RETRY} if status in again else {}),
            "content": _json("ErrorResponse"),
        }
        for status, texts in sorted(by_status.items())
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REF.format(name=name)}}}


def outcome(description: dict[str, Any]) -> str:
    """What the probability is of, as the bundle describes it: `that Churn is Yes`."""
    question = description.get("question") or {}
    if question.get("target") is not None:
        return f"that {question['target']} is {question.get('positive', 'positive')}"
    if "horizon_days" in question:
        return f"that the customer buys within {question['horizon_days']} days"
    return "of the outcome that the model predicts"
