"""Categories at the service: text in, codes to the model, choices on the form, true words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from serving import pages, schema
from serving.served import Served

FEATURES: list[dict[str, Any]] = [
    {
        "name": "tenure",
        "unit": "months",
        "meaning": "so far",
        "low": 0,
        "high": None,
        "missing": "",
    },
    {
        "name": "plan",
        "unit": "category",
        "meaning": "what is paid for",
        "low": 0,
        "high": 2,
        "missing": "",
        "categories": ["basic", 'plus "1"'],
    },
    {
        "name": "_json model",
        "unit": "category",
        "meaning": "of the phone",
        "low": 0,
        "high": 1,
        "missing": "the table has rows without it",
        "categories": ["other"],
    },
    {"name": "score", "unit": "number", "meaning": "?", "low": None, "high": None, "missing": "y"},
]
NAMES = [feature["name"] for feature in FEATURES]
REQUEST = schema.request_model(schema.customer_model(FEATURES), 5)


def read(*customers: dict[str, Any]) -> np.ndarray:
    asked = REQUEST.model_validate_json(json.dumps({"customers": customers}))
    return schema.matrix_of(FEATURES)(asked.customers)


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


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"plan": None}, "customers[0].plan"),
        ({"plan": " "}, "customers[0].plan"),
        ({"plan": 0}, "customers[0].plan"),
        ({"plan": "x" * 201}, "customers[0].plan"),
        ({"_json model": 1}, "customers[0]._json model"),
        ({"tenure": "1"}, "customers[0].tenure"),
        ({"tenure": -1}, "customers[0].tenure"),
        ({"feature_0": 1}, "customers[0].feature_0"),
    ],
)
def test_what_is_no_such_text_is_refused_by_the_name_of_its_column(change, where):
    with pytest.raises(ValidationError) as caught:
        read({"tenure": 1, "plan": "basic"} | change)
    assert schema.refusal(caught.value, NAMES).detail[0].where == where


def page(path: str, **description: Any) -> str:
    served = Served("members", 2, Path("bundle"), "a" * 64, 5)
    bundle = {"features": FEATURES, "threshold": 0.4, **description}
    with TestClient(pages.app(served, bundle, REQUEST)) as client:
        return client.get(path).raise_for_status().text


def test_the_form_offers_a_choice_for_a_category_and_a_number_for_a_number():
    form = page("/form")
    assert form.count("<select") == 2 and form.count("<input") == 2
    assert '<option>plus &quot;1&quot;<option value="other">any other' in form
    assert '<option>other<option value="(other)">any other' in form  # one is called so itself
    assert (
        '<input name="tenure" data-kind="number" type="number" step="any" min="0" required>' in form
    )
    assert "http" not in form  # nothing from another host


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"source": "table", "target": "Churn", "positive": "Yes"}, "that Churn is Yes"),
        ({"horizon_days": 60}, "that the customer buys within 60 days"),
        (None, "of the outcome that the model predicts"),
    ],
)
def test_the_pages_claim_what_the_model_was_asked(question, said):
    described = json.loads(page("/docs.json", question=question))["components"]["schemas"]
    assert described["Prediction"]["properties"]["probability"]["description"] == said
    assert described["Customer"]["properties"]["plan"]["examples"] == ["basic", 'plus "1"']
    assert said in page("/form", question=question) and said in page("/", question=question)
