"""Categories at the service: text in, codes to the model, true words in the description."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import REGISTRY

from registry.bundle import Bundle
from serving.champion import Champion, Scored
from serving.errors import Refused
from serving.limits import Limits
from serving.metrics import Scores
from serving.openapi import outcome
from serving.requests import FeatureReader
from serving.responses import Model


def feature(name: str, unit: str = "category", meaning: str = "?", **more: Any) -> dict[str, Any]:
    return {"name": name, "unit": unit, "meaning": meaning, "low": 0, "high": None} | more


FEATURES = [
    feature("tenure", "months", missing=""),
    feature("plan", high=2, missing="", categories=["basic", 'plus "1"']),
    feature("_json model", high=1, missing="the table has rows without it", categories=["other"]),
    feature("score", "number", low=None, missing="y"),
]
NAME = "golden_path_unseen_categories_total"
LIMITS = Limits(5, 1, 1)
DECODER = FeatureReader(FEATURES)


def read(*customers: dict[str, Any]) -> np.ndarray:
    return DECODER.read(json.dumps({"customers": customers}).encode(), LIMITS, skip=False).x


def test_text_becomes_its_code_unseen_text_the_other_code_and_nothing_nan():
    x = read(
        {"tenure": 1, "plan": "basic", "_json model": "other", "score": -1.5},
        {"tenure": 2, "plan": ' plus "1" ', "_json model": None, "score": None},
        {"tenure": 3, "plan": "never seen"},
        {"tenure": 4, "plan": "basic", "_json model": " "},
    )
    nan = float("nan")
    want = [[1, 0, 0, -1.5], [2, 1, nan, nan], [3, 2, nan, nan], [4, 0, nan, nan]]
    np.testing.assert_equal(x, np.array(want, dtype=np.float32))
    assert x.dtype == np.float32


def test_other_spellings_are_known_and_what_is_not_is_counted_by_column():
    bundle = Bundle(Path(), "", {"features": FEATURES}, None)
    champion = Champion(Model("m", 1, "", 0.5), bundle, DECODER, None, np.zeros((0, 4)), [])
    x = read(
        {"tenure": 1, "plan": "BASIC", "_json model": "iPhone"},
        {"tenure": 1, "plan": ' Plus  "1"', "_json model": "iPhone"},
        {"tenure": 1, "plan": "gold"},
        {"tenure": 2, "plan": "basic", "_json model": "Other"},  # `other` is a category here
    )
    assert x[:, 1].tolist() == [0, 1, 2, 0] and x[3, 2] == 0
    scores, counted = Scores(), partial(REGISTRY.get_sample_value, NAME)
    before = {column: counted({"column": column}) or 0 for column in ("plan", "_json model")}
    for rows in (x, x[:1]):
        scores.count(Scored(champion, [None] * len(rows), rows, np.full(len(rows), 0.5)))
    found = {column: counted({"column": column}) - before[column] for column in before}
    assert found == {"plan": 1, "_json model": 3}


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"plan": None}, "plan", "required"),
        ({"plan": " "}, "plan", "blank"),
        ({"plan": ""}, "plan", "blank"),
        ({"plan": 0}, "plan", "wrong_type"),
        ({"plan": "x" * 301}, "plan", "too_long"),
        ({"_json model": 1}, "_json model", "wrong_type"),
        ({"tenure": "1"}, "tenure", "wrong_type"),
        ({"tenure": -1}, "tenure", "out_of_range"),
        ({"feature_0": 1}, "feature_0", "unknown_field"),
    ],
)
def test_what_is_no_such_text_is_refused_by_the_name_of_its_column(change, field, reason):
    with pytest.raises(Refused) as caught:
        read({"tenure": 1, "plan": "basic"} | change)
    (problem,) = caught.value.problems
    assert (problem.where, problem.field) == (f"customers[0].{field}", field)
    assert problem.reason == reason


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"source": "table", "target": "Churn", "positive": "Yes"}, "that Churn is Yes"),
        ({"horizon_days": 60}, "that the customer buys within 60 days"),
        (None, "of the outcome that the model predicts"),
    ],
)
def test_the_service_claims_what_the_model_was_asked(question, said):
    assert outcome({"question": question}) == said


def test_the_description_offers_the_texts_and_takes_any_other():
    _, schemas = msgspec.json.schema_components([DECODER.request])
    fields = schemas["Customer"]["properties"]
    assert fields["plan"]["examples"] == ["basic", 'plus "1"'] and "enum" not in fields["plan"]
    assert fields["plan"]["minLength"] == 1
    assert "any other counts as other" in fields["_json model"]["description"]
    assert schemas["Customer"]["required"] == ["tenure", "plan"]


@pytest.mark.parametrize("columns", [1, 30, 300])
def test_a_full_request_is_never_too_large(columns):
    """What is read of a body is bounded by what its customers may take."""
    wide = [FEATURES[0] | {"name": f"the column called {number}"} for number in range(columns)]
    wide += [FEATURES[1] | {"name": f"a category é {number}"} for number in range(columns)]
    customer = {one["name"]: "\U0001f600" * 300 if "categories" in one else 1 / 3 for one in wide}
    customers = [customer | {"customer_id": "é" * 300}] * 50
    body = json.dumps({"customers": customers}, ensure_ascii=False).encode()
    assert 0.3 < len(body) / (50 * FeatureReader(wide).row_bytes) < 1
