"""BentoML's own client: what a person who knows BentoML calls works here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from real_service import AS_OF, SAMPLES, Running

from features.catalogue import CATALOGUE

if TYPE_CHECKING:
    import bentoml  # by each test that needs it: it takes a second

pytestmark = pytest.mark.slow

ROW = {feature.name: max(feature.low, 1.0) for feature in CATALOGUE}
BUYER = {"customer_id": "b", "lines": SAMPLES[0]["lines"]}
CALLS: dict[str, dict[str, Any]] = {
    "predict": {"customers": [ROW | {"customer_id": "a"}, ROW]},
    "explain": {"customers": [ROW]},
    "predict_transactions": {"as_of": str(AS_OF), "customers": [BUYER]},
}


@pytest.fixture(scope="module")
def theirs(running: Running) -> Iterator[bentoml.SyncHTTPClient]:
    import bentoml

    with bentoml.SyncHTTPClient(running.url) as theirs:
        yield theirs


def test_it_lists_the_endpoints_with_what_they_take_and_answer(
    theirs: bentoml.SyncHTTPClient, client: httpx.Client
) -> None:
    assert set(theirs.endpoints) == set(CALLS)
    described = client.get("/docs.json").json()["components"]["schemas"]
    predict = theirs.endpoints["predict"]
    assert predict.doc == "Probability and decision for each customer"
    assert list(predict.input["properties"]) == ["customers"]
    assert predict.input["$defs"] == {"Customer": described["Customer"]}
    assert predict.output["properties"].keys() == described["Answer"]["properties"].keys()
    assert predict.output["$defs"]["Model"] == described["Model"]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_services_answer(
    theirs: bentoml.SyncHTTPClient, client: httpx.Client, name: str
) -> None:
    wanted = client.post(f"/{name}", json=CALLS[name]).raise_for_status().json()
    assert getattr(theirs, name)(**CALLS[name]) == wanted
    assert theirs.call(name, *CALLS[name].values()) == wanted


def test_the_asynchronous_client_too(running: Running, theirs: bentoml.SyncHTTPClient) -> None:
    import bentoml

    async def ask() -> Any:
        async with bentoml.AsyncHTTPClient(running.url) as client:
            return await client.predict(**CALLS["predict"])

    assert asyncio.run(ask()) == theirs.predict(**CALLS["predict"])


def test_parameters_of_the_query_are_sent_by_its_request(theirs: bentoml.SyncHTTPClient) -> None:
    answer = theirs.request("POST", "/explain", params={"top": 1}, json=CALLS["explain"])
    assert len(answer.json()["explanations"][0]["contributions"]) == 1


def test_a_refusal_is_its_exception_with_our_message(theirs: bentoml.SyncHTTPClient) -> None:
    import bentoml

    with pytest.raises(bentoml.exceptions.InvalidArgument) as caught:
        theirs.predict(customers=[ROW | {"recency_days": 0}])
    assert caught.value.error_code == 400
    assert "customers[0].recency_days: must be a number from 1 (days), got 0" in str(caught.value)
    with pytest.raises(bentoml.exceptions.BentoMLException) as caught:
        theirs.predict(customers=[ROW | {"recency_days": 1e31}])
    assert caught.value.error_code == 422 and "no_answer" in str(caught.value)
