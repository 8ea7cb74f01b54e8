from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_rows import make_rows

from training.export import collect, expand, max_difference, prefix, run_onnx, width
from training.families import logistic

SCHEMA = [
    {"name": "size", "categories": ()},
    {"name": "colour", "categories": ("red", "green", "blue"), "missing": "not painted"},
    {"name": "constant"},
    {"name": "only", "categories": ["one"]},
]
NAN = np.nan


def test_a_category_is_a_column_other_is_none_of_them_and_missing_has_its_own_where_allowed():
    x = np.array([[7, 1, 3, 0], [NAN, 3, 3, NAN], [0, NAN, NAN, 1], [1, 0, 3, 0]], np.float32)
    wanted = [
        [7, 0, 1, 0, 0, 3, 1],
        [NAN, 0, 0, 0, 0, 3, 0],
        [0, 0, 0, 0, 1, NAN, 0],
        [1, 1, 0, 0, 0, 3, 1],
    ]
    assert width(SCHEMA) == 7
    assert np.array_equal(expand(x, SCHEMA), np.float32(wanted), equal_nan=True)


def test_without_categories_nothing_is_copied():
    x = np.zeros((3, 2), np.float32)
    assert expand(x, [{"name": "a"}, {"name": "b", "categories": ()}]) is x


def test_contributions_of_columns_add_up_to_those_of_features():
    of_columns = np.arange(16, dtype=np.float32).reshape(2, 8)
    assert collect(of_columns, SCHEMA).tolist() == [[0, 10, 5, 6, 7], [8, 42, 13, 14, 15]]


def test_a_model_tells_a_missing_category_from_another_one_and_so_does_its_graph():
    schema = [{"name": "dept", "categories": ["a"], "missing": "sometimes"}, {"name": "noise"}]
    rng = np.random.default_rng(1)
    code = rng.choice(np.float32([0, 1, NAN]), 600)
    x = np.column_stack([code, rng.normal(size=600)]).astype(np.float32)
    y = (rng.random(600) < np.where(np.isnan(code), 0.9, np.where(code == 1, 0.1, 0.5))).astype(int)
    rows = dataclasses.replace(make_rows(600, 1), x=expand(x, schema), y=y.astype(np.int8))
    model = logistic.fit(logistic.BASELINE, rows, None, seed=1, threads=1)
    graph = prefix(logistic.to_onnx(model, width(schema)), schema).SerializeToString()
    a, other, missing = run_onnx(graph, np.float32([[0, 0], [1, 0], [NAN, 0]]))
    assert other < 0.2 < a < 0.8 < missing


value = st.sampled_from([NAN, 0, 1, 2, 3, 4, -1, 0.5, 1e6]) | st.floats(-9, 9, width=32)


@settings(max_examples=50, deadline=None)
@given(x=arrays(np.float32, st.tuples(st.integers(1, 9), st.just(4)), elements=value))
def test_the_graph_does_the_same_before_the_family(x):
    native = logistic.predict(MODEL, expand(x, SCHEMA))
    assert max_difference(native, run_onnx(GRAPH, x)) <= 1e-5


def _fitted():
    rows = make_rows(300, 1)
    codes = np.column_stack([rows.x[:, 0], rows.x[:, 1] % 4, rows.x[:, 5], rows.x[:, 4]])
    columns = dataclasses.replace(rows, x=expand(codes.astype(np.float32), SCHEMA))
    return logistic.fit(logistic.BASELINE, columns, None, seed=1, threads=1)


MODEL = _fitted()
GRAPH = prefix(logistic.to_onnx(MODEL, width(SCHEMA)), SCHEMA).SerializeToString()
