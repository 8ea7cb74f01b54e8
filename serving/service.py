"""The service: `bentoml serve serving.service:service`, started by `python -m serving`.

POST /predict   customers' feature values in, probability and decision out
GET  /          what is served; /docs to try it; /docs.json; /metrics; /livez /readyz /healthz
"""

from __future__ import annotations

import gc
from typing import Any, ClassVar

import bentoml
import numpy as np
from _bentoml_sdk.io_models import IODescriptor
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from registry.bundle import load_bundle
from serving import pages, schema
from serving.served import from_environment

SERVED = from_environment()
DESCRIPTION = SERVED.description()
NAMES: list[str] = [feature["name"] for feature in DESCRIPTION["features"]]
PredictRequest = schema.request_model(
    schema.customer_model(DESCRIPTION["features"]), SERVED.max_rows
)
MATRIX = schema.matrix_of(DESCRIPTION["features"])
MODEL = schema.Model(
    name=SERVED.name,
    version=SERVED.version,
    bundle_sha256=SERVED.bundle_sha256,
    threshold=DESCRIPTION["threshold"],
)
# Twice what a full request written generously takes: a bound on memory, not on use.
LARGEST_BODY = 10_000 + SERVED.max_rows * 128 * (len(NAMES) + 2)


# BentoML's own reading of a request logs a traceback for every bad one, leaves the value out of its
# answer, and also takes form fields. So we read it, and hand `predict` the request or its refusal.
class Incoming(PredictRequest, IODescriptor):  # type: ignore[misc, valid-type]
    """Whom to predict."""

    __root_input__: ClassVar[bool] = True  # handed over whole, not spread over arguments

    @classmethod
    async def from_http_request(cls, request: Request, _: Any) -> Any:
        kind = (
            request.headers.get("content-type", "application/json")
            .partition(";")[0]
            .strip()
            .lower()
        )
        if kind != "application/json":
            return _refused(415, f"the content type is {kind[:80]!r}; send application/json")
        body = await _body(request)
        if body is None:
            return _refused(
                413, f"the body is larger than {LARGEST_BODY} bytes; send fewer customers"
            )
        try:
            return PredictRequest.model_validate_json(body)
        except ValidationError as error:
            return _respond(400, schema.refusal(error, NAMES))


@bentoml.asgi_app(pages.app(SERVED, DESCRIPTION, PredictRequest), path="/")
@bentoml.service(
    name="golden_path",
    workers=1,
    # BentoML keeps each request's timer, and what hangs on it, until it fires: 60 s by default.
    traffic={"timeout": 5},
    logging={"access": {"enabled": False}},
)
class GoldenPath:
    def __init__(self) -> None:
        self.bundle = load_bundle(SERVED.bundle, expected_sha256=SERVED.bundle_sha256)

    @bentoml.on_startup
    def settle(self) -> None:
        # What is loaded now stays: a full collection need not walk through it at every turn.
        gc.collect()
        gc.freeze()

    @bentoml.api(route="/predict", input_spec=Incoming, output_spec=schema.Answer)
    async def predict(self, asked: Any, /) -> Any:
        """Probability and decision for each customer, in the order sent."""
        if isinstance(asked, JSONResponse):
            return asked
        probability = self.bundle.predict(MATRIX(asked.customers))
        wrong = np.flatnonzero(~((probability >= 0) & (probability <= 1)))
        if len(wrong):
            what = "the model has no probability for these values"
            return _refused(422, what, schema.Problem(where=f"customers[{wrong[0]}]", what=what))
        return schema.Answer(
            model=MODEL,
            predictions=[
                schema.Prediction(
                    customer_id=row.customer_id, probability=p, decision=p >= MODEL.threshold
                )
                for row, p in zip(asked.customers, probability.tolist(), strict=True)
            ],
        )


service = GoldenPath


async def _body(request: Request) -> bytes | None:
    """The body, or None as soon as it is seen to be too large."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _refused(status: int, error: str, *detail: schema.Problem) -> JSONResponse:
    return _respond(status, schema.Refusal(error=error, detail=list(detail)))


def _respond(status: int, content: BaseModel) -> JSONResponse:
    return JSONResponse(content.model_dump(), status_code=status)
