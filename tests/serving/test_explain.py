"""What an explanation says is a Shapley value, adds up, and is the same every time."""

from __future__ import annotations

import json
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_graphs import graph_of

from registry.bundle import Bundle
from serving import endpoints
from serving.champion import Champion, Request
from serving.errors import Refused
from serving.explain import ShapleyValues, shapley_values
from serving.limits import Limits
from serving.opening import reference_rows
from serving.requests import FeatureReader
from serving.responses import Model

NAN = float("nan")
FEATURES: list[dict[str, Any]] = [
    {"name": name, "unit": "number", "meaning": "?", "low": None, "high": None, "missing": "new"}
    for name in ("a", "b", "c")
]
PLAN = {"name": "plan", "unit": "category", "meaning": "?", "low": 0, "high": 2, "missing": "new"}
FEATURES.append({**PLAN, "categories": ["basic", "plus"]})

# Interactions of a and b, of b and whether c is missing; d (the plan) adds by itself.
INTERACTIONS = """
    missing = IsNaN(features)
    zero = Constant<value = float {0}>()
    filled = Where(missing, zero, features)
    a, b, c, d = Split<axis = 1, num_outputs = 4>(filled)
    w, x, missing_c, y = Split<axis = 1, num_outputs = 4>(missing)
    gone = Cast<to = 1>(missing_c)
    ab = Mul(a, b)
    bc = Mul(b, gone)
    once = Add(ab, bc)
    twice = Add(once, d)
    score = Sub(twice, c)
"""


def bundle_of(lines: str, reference: np.ndarray | None = None) -> Bundle:
    """probability = sigmoid(score)."""
    graph = graph_of(
        4, f"{lines} column = Sigmoid(score) probability = Reshape(column, flat)", opset=18
    )
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rows = [] if reference is None else np.where(np.isnan(reference), None, reference).tolist()
    return Bundle(Path("tiny"), "0" * 64, {"features": FEATURES}, session, {"reference": rows})


def drawn(rows: int, seed: int = 1) -> np.ndarray:
    """Values float32 (rows, 4), a tenth of them missing, the last one a code."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    x[:, 3] = rng.integers(0, 3, rows)
    x[rng.random(x.shape) < 0.1] = NAN
    return x


def exact(bundle: Bundle, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Shapley values from all subsets of the features, as they are defined (Shapley 1953)."""
    n = len(x)

    def worth(subset: tuple[int, ...]) -> float:
        mixed = reference.copy()
        mixed[:, list(subset)] = x[list(subset)]
        return float(bundle.predict(mixed).mean())

    found = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for subset in combinations(others, size):
                found[i] += weight * (worth(tuple(sorted((*subset, i)))) - worth(subset))
    return found


def explain(bundle: Bundle, x: np.ndarray, reference: np.ndarray) -> ShapleyValues:
    return shapley_values(bundle.predict, x, reference)


MODEL, REFERENCE = bundle_of(INTERACTIONS), drawn(64)


def test_the_values_are_the_exact_shapley_values_within_their_sampling_error():
    errors = []
    for x in drawn(30, seed=2):
        found = explain(MODEL, x, REFERENCE)
        errors.append(np.abs(found.contribution - exact(MODEL, x, REFERENCE)))
        assert (errors[-1] <= 4 * found.standard_error + 1e-7).all()
    assert np.max(errors) < 0.025 and np.mean(errors) < 0.004


def test_the_standard_error_is_that_of_other_reference_rows_and_orders():
    everyone, far = drawn(2000, seed=3), []
    customers = drawn(8, seed=4)
    truth = [exact(MODEL, x, everyone) for x in customers]
    for first in range(0, 2000, 64):
        for x, wanted in zip(customers, truth, strict=True):
            found = explain(MODEL, x, everyone[first : first + 64])
            known = found.standard_error > 1e-6
            far.extend(((found.contribution - wanted) / found.standard_error)[known])
    assert len(far) > 500
    assert 0.85 < np.std(far) < 1.2


@pytest.mark.slow
@given(
    arrays(np.float32, 4, elements=st.floats(-50, 50, width=32) | st.just(NAN)),
    arrays(
        np.float32,
        st.tuples(st.integers(1, 70), st.just(4)),
        elements=st.floats(-50, 50, width=32) | st.just(NAN),
    ),
)
def test_contributions_add_up_and_a_value_that_all_share_contributes_nothing(x, reference):
    reference[:, 1] = x[1]
    found = explain(MODEL, x, reference)
    assert found.base == pytest.approx(MODEL.predict(reference).mean(), abs=1e-6)
    assert found.contribution.sum() == pytest.approx(found.probability - found.base, abs=1e-12)
    assert found.contribution[1] == found.standard_error[1] == 0
    assert np.isfinite(found.standard_error).all()


def ask(
    *customers: dict[str, Any],
    bundle: Bundle | None = None,
    most: int = 20,
    **query: str,
) -> dict[str, Any]:
    bundle = bundle or bundle_of(INTERACTIONS, REFERENCE)
    model = Model("test", 3, "0" * 64, 0.5)
    champion = Champion(model, bundle, FeatureReader(FEATURES), None, reference_rows(bundle), [])
    body = json.dumps({"customers": customers}).encode()
    said = endpoints.encode(
        endpoints.explain(Request(body, query, champion, Limits(1000, 1000, most)))
    )
    return json.loads(said)


ANNA = {"customer_id": "anna", "a": 1.25, "b": 84.3, "c": None, "plan": "plus"}
BERT = {"a": -1, "b": 0.5, "c": 2, "plan": "of another shop"}


def test_the_answer_has_the_values_as_they_were_sent_the_largest_contribution_first():
    said = ask(ANNA, BERT)
    assert said == ask(ANNA, BERT), "the same question has the same answer"
    assert ask(BERT)["explanations"] == [{**said["explanations"][1], "row": 0}], "whoever else"
    assert said["model"]["version"] == 3
    assert said["method"]["reference_rows"] == 64 and said["method"]["permutations"] == 128
    anna, bert = said["explanations"]
    assert (anna["row"], anna["customer_id"]) == (0, "anna")
    assert (bert["row"], bert["customer_id"]) == (1, None)
    values = {one["feature"]: one["value"] for one in anna["contributions"]}
    assert values == {"a": 1.25, "b": 84.3, "c": None, "plan": "plus"}
    assert next(o["value"] for o in bert["contributions"] if o["feature"] == "plan") == "other"
    for one in (anna, bert):
        sizes = [abs(part["contribution"]) for part in one["contributions"]]
        assert sizes == sorted(sizes, reverse=True) and one["rest"] == 0


def test_the_rest_is_the_sum_of_the_features_not_shown():
    (whole,), (short,) = (ask(ANNA, **query)["explanations"] for query in ({}, {"top": "1"}))
    assert short["contributions"] == whole["contributions"][:1]
    left = sum(part["contribution"] for part in whole["contributions"][1:])
    assert short["rest"] == pytest.approx(left, abs=1e-12) and abs(left) > 1e-3
    shown = short["contributions"][0]["contribution"]
    assert short["base"] + shown + short["rest"] == pytest.approx(short["probability"], abs=1e-9)


@pytest.mark.parametrize("top", ["0", "5", "-1", "two", "1.5", "", "٣", "9" * 5000])
def test_a_top_that_is_not_a_number_of_features_is_refused(top):
    with pytest.raises(Refused, match=r"query\.top: must be a whole number from 1 to 4") as refused:
        ask(ANNA, top=top)
    assert refused.value.status == 400
    assert len(refused.value.error) < 200
    assert ask(ANNA, top="4")["explanations"][0]["rest"] == 0


def test_more_customers_than_are_explained_at_once_are_refused():
    assert len(ask(BERT, BERT, most=2)["explanations"]) == 2
    with pytest.raises(Refused) as refused:
        ask(BERT, BERT, BERT, most=2)
    assert refused.value.status == 400 and "2" in refused.value.error


@pytest.mark.parametrize("examples", [{}, {"samples": []}, {"reference": []}])
def test_a_bundle_without_reference_rows_explains_nothing(examples):
    bundle = Bundle(**{**vars(MODEL), "examples": examples})
    with pytest.raises(Refused, match="no customers to compare with") as refused:
        ask(ANNA, bundle=bundle)
    assert (refused.value.code, refused.value.status) == ("no_reference", 409)


# sqrt(a) and sqrt(b - a): no number where a < 0, nor where a > b.
NO_NUMBERS = """
    a, b, c, d = Split<axis = 1, num_outputs = 4>(features)
    root = Sqrt(a)
    other = Sub(b, a)
    second = Sqrt(other)
    zero = Constant<value = float {0}>()
    nothing = Mul(second, zero)
    score = Add(root, nothing)
"""


def test_a_customer_without_a_probability_is_named_or_skipped():
    bundle = bundle_of(NO_NUMBERS, np.array([[1, 9, 0, 0]], np.float32))
    fine, none = {"a": 2, "b": 9}, {"a": -1, "b": 9}
    with pytest.raises(Refused, match=r"customers\[1\]: the model has no probability") as refused:
        ask(fine, none, bundle=bundle)
    assert (refused.value.code, refused.value.status) == ("no_answer", 422)
    said = ask(fine, none, {"a": "x"}, bundle=bundle, on_error="skip")
    assert [one["row"] for one in said["explanations"]] == [0]
    assert [(one["row"], one["detail"][0]["reason"]) for one in said["skipped"]] == [
        (1, "no_answer"),
        (2, "wrong_type"),
    ]
    with pytest.raises(Refused):
        ask(none, bundle=bundle, on_error="skip")
    # So is one whose values cannot be mixed with those of others: 8 with 2 is sqrt(-6).
    bundle = bundle_of(NO_NUMBERS, np.array([[1, 2, 0, 0]], np.float32))
    with pytest.raises(Refused, match="mixed with those of reference") as refused:
        ask({"a": 8, "b": 9}, bundle=bundle)
    assert refused.value.code == "no_answer"
