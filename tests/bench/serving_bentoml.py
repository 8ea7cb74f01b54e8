"""Another peer: the same as a plain typed BentoML service, with its timer set and its log off.

    BUNDLE=folder bentoml serve tests.bench.serving_bentoml:Peer

It is what `serving/service.py` would be without `serving/app.py`.
"""

from __future__ import annotations

from typing import Annotated

import bentoml
import numpy as np
from pydantic import Field

from tests.bench.serving_fastapi import Customer, Prediction, bundle, values


@bentoml.service(
    name="peer", traffic={"timeout": 5}, logging={"access": {"enabled": False}}, workers=1
)
class Peer:
    @bentoml.api
    async def predict(
        self,
        customers: Annotated[list[Customer], Field(min_length=1, max_length=1000)],
    ) -> list[Prediction]:
        probability = bundle.predict(np.array([values(one) for one in customers], np.float32))
        return [
            Prediction(
                row=row,
                customer_id=customer.customer_id,
                probability=p,
                decision=p >= bundle.threshold,
            )
            for row, (customer, p) in enumerate(zip(customers, probability.tolist(), strict=True))
        ]
