"""The peer of the service: a plain typed FastAPI application, as one writes it by hand.

    BUNDLE=folder uvicorn tests.bench.serving_fastapi:app --no-access-log

The same model, the same checks of types and ranges, in an async endpoint. It has no swap of models,
no metrics, no limits of size or time, no places of problems, and answers no invoice lines.
"""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, create_model

from registry.bundle import load_bundle

bundle = load_bundle(Path(os.environ["BUNDLE"]))
names = [feature["name"] for feature in bundle.features]
values = attrgetter(*names)


def _field(feature: dict[str, Any]) -> Any:
    number = Annotated[float, Field(ge=feature["low"], le=feature["high"], allow_inf_nan=False)]
    return (number | None, None) if feature["missing"] else number


# By hand this is a line for each feature: recency_days: float = Field(ge=1), ...
Customer: Any = create_model(
    "Customer",
    __config__=ConfigDict(extra="forbid"),
    customer_id=(str | None, None),
    **{feature["name"]: _field(feature) for feature in bundle.features},
)


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customers: Annotated[list[Customer], Field(min_length=1, max_length=1000)]


class Prediction(BaseModel):
    row: int
    customer_id: str | None
    probability: float
    decision: bool


class Answer(BaseModel):
    predictions: list[Prediction]


app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Answer:
    probability = bundle.predict(np.array([values(one) for one in request.customers], np.float32))
    return Answer(
        predictions=[
            Prediction(
                row=row,
                customer_id=customer.customer_id,
                probability=p,
                decision=p >= bundle.threshold,
            )
            for row, (customer, p) in enumerate(
                zip(request.customers, probability.tolist(), strict=True)
            )
        ]
    )
