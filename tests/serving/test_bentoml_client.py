"""BentoML's own client: what a person who knows BentoML calls works here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from real_service import AS_OF, BUYER, ROW

pytestmark = pytest.mark.slow

CALLS: dict[str, dict[str, Any]] = {
    "predict": {"customers": [ROW | {"customer_id": "a"}, ROW]},
    "explain": {"customers": [ROW]},
    "predict_transactions": {"as_of": str(AS_OF), "customers": [BUYER]},
}


def test_its_calls_give_the_services_answers_and_refusals(running, client):
    import bentoml  # here: it takes a second

    described = client.get("/docs.json").json()["components"]["schemas"]
    answers = {name: client.post(f"/{name}", json=body).json() for name, body in CALLS.items()}
    with bentoml.SyncHTTPClient(running.url) as theirs:
        assert set(theirs.endpoints) == set(CALLS)
        predict = theirs.endpoints["predict"]
        assert predict.doc == "Probability and decision for each customer"
        assert list(predict.input["properties"]) == ["customers"]
        assert predict.input["$defs"] == {"Customer": described["Customer"]}
        assert (
            predict.output["properties"].keys() == described["PredictResponse"]["properties"].keys()
        )
        assert predict.output["$defs"]["Model"] == described["Model"]
        for name, body in CALLS.items():
            assert getattr(theirs, name)(**body) == answers[name]
            assert theirs.call(name, *body.values()) == answers[name]
        # Parameters of the query are sent by its `request`.
        short = theirs.request("POST", "/explain", params={"top": 1}, json=CALLS["explain"])
        assert len(short.json()["explanations"][0]["contributions"]) == 1
        for days, error, code, text in (
            (0, bentoml.exceptions.InvalidArgument, 400, "from 1 (days), got 0"),
            (1e31, bentoml.exceptions.BentoMLException, 422, "no_answer"),
        ):
            with pytest.raises(error) as caught:
                theirs.predict(customers=[ROW | {"recency_days": days}])
            assert caught.value.error_code == code and text in str(caught.value)

    async def ask() -> Any:
        async with bentoml.AsyncHTTPClient(running.url) as theirs:
            return await theirs.predict(**CALLS["predict"])

    assert asyncio.run(ask()) == answers["predict"]
