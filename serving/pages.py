"""Pages for people, and the OpenAPI description. None loads anything from another host.

They stand before BentoML's own: its page at `/` embeds a tag manager, and its `/docs.json` shows
pictures from other hosts and describes errors that this service does not give.
"""

from __future__ import annotations

from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.form import form_page
from serving.schema import Answer, Refusal
from serving.served import Served

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name} version {version}</title>
<link rel="icon" href="data:,">
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem;
 margin: 2rem auto; padding: 0 1rem }}
 table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: .2rem 1rem .2rem 0;
 vertical-align: top }} code {{ overflow-wrap: anywhere }}
</style></head><body>
<h1>{name}, version {version}</h1>
<table>{facts}</table>
<p><a href="form">Ask about one customer</a> · <a href="docs">Try it</a> ·
<a href="docs.json">OpenAPI</a> · <a href="metrics">metrics</a> ·
<a href="livez">alive</a> · <a href="readyz">ready</a></p>
<h2>What <code>POST /predict</code> takes</h2>
<table><tr><th>feature<th>unit<th>meaning<th>range<th>may be missing</tr>{features}</table>
</body></html>"""

# Swagger UI as BentoML ships it, without the rest of BentoML's page.
TRY = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}: try it</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="static_content/swagger-ui.css"></head>
<body><div id="ui"></div><script src="static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "docs.json", dom_id: "#ui", validatorUrl: null}})</script>
</body></html>"""


def app(served: Served, description: dict[str, Any], request: type[BaseModel]) -> Starlette:
    """`/`, `/form`, `/docs`, `/docs.json`. All are made once: what is served does not change."""
    first = HTMLResponse(_first_page(served, description))
    form = HTMLResponse(
        form_page(served.name, served.version, outcome(description), description["features"])
    )
    attempt = HTMLResponse(TRY.format(name=escape(served.name)))
    described = JSONResponse(openapi(served, description, request))
    return Starlette(
        routes=[
            Route("/", _give(first)),
            Route("/form", _give(form)),
            Route("/docs", _give(attempt)),
            Route("/docs.json", _give(described)),
        ]
    )


def outcome(description: dict[str, Any]) -> str:
    """What the probability is of, as the bundle tells: `that Churn is Yes`."""
    question = description.get("question") or {}
    if question.get("target") is not None:
        return f"that {question['target']} is {question.get('positive', 'positive')}"
    if "horizon_days" in question:
        return f"that the customer buys within {question['horizon_days']} days"
    return "of the outcome that the model predicts"


def openapi(
    served: Served, description: dict[str, Any], request: type[BaseModel]
) -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are plain JSON Schema, as pydantic writes it."""
    models = [(request, "validation"), (Answer, "serialization"), (Refusal, "serialization")]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    probability = definitions["$defs"]["Prediction"]["properties"]["probability"]
    probability["description"] = outcome(description)
    refusals = {
        "400": "Not JSON, a field unknown or missing, a wrong type or value, no or too many rows",
        "413": "The body is too large",
        "415": "The content type is not application/json",
        "422": "The model has no probability for these values",
    }
    predict = {
        "operationId": "predict",
        "summary": "Probability and decision for each customer",
        "requestBody": {"required": True, "content": _json(request.__name__)},
        "responses": {
            "200": {
                "description": "One prediction per customer, in the order sent",
                "content": _json("Answer"),
            },
            **{
                code: {"description": text, "content": _json("Refusal")}
                for code, text in refusals.items()
            },
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": served.name,
            "version": str(served.version),
            "description": f"Bundle {served.bundle_sha256}. One bad row refuses the whole request.",
        },
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {"post": predict},
            "/livez": _get("Alive: the process answers"),
            "/readyz": _get("Ready: the model is loaded"),
            "/healthz": _get("The same as /livez"),
            "/metrics": _get("Prometheus metrics"),
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _first_page(served: Served, description: dict[str, Any]) -> str:
    facts = {
        "model family": description.get("family", "not stated"),
        "probability": outcome(description),
        "decision": f"contact from a probability of {description['threshold']:g} on",
        "bundle": f"SHA-256 {served.bundle_sha256}",
        "at most": f"{served.max_rows} customers a request",
    }
    features = [
        (f["name"], f["unit"], f["meaning"], _range(f), f.get("missing") or "no")
        for f in description["features"]
    ]
    return PAGE.format(
        name=escape(served.name),
        version=served.version,
        facts="".join(_row(fact) for fact in facts.items()),
        features="".join(_row(feature) for feature in features),
    )


def _row(cells: tuple[Any, ...]) -> str:
    return "<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in cells) + "</tr>"


def _range(feature: dict[str, Any]) -> str:
    if feature.get("categories"):
        return f"{', '.join(feature['categories'])}; any other text counts as other"
    low, high = feature.get("low"), feature.get("high")
    return " ".join(
        f"{word} {limit:g}" for word, limit in (("from", low), ("to", high)) if limit is not None
    )


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _get(text: str) -> dict[str, Any]:
    return {"get": {"summary": text, "responses": {"200": {"description": "Yes"}}}}


def _give(response: Response) -> Any:
    async def answer(_: Request) -> Response:
        return response

    return answer
