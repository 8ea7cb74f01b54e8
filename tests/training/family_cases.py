"""What every family must keep, for the one named in the variable FAMILY.

Not collected by itself: `test_families.py` runs it once per family in a process of its own, because
XGBoost and PyTorch must not be loaded in one process. By hand:

    FAMILY=tabm python -m pytest tests/training/family_cases.py
"""

from __future__ import annotations

import dataclasses
import os
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_rows import make_rows

from training.export import max_difference, run_onnx
from training.families import load_family
from training.metrics import point

FAMILY = os.environ["FAMILY"]
SETTINGS = {"seed": 3, "threads": 1}
TRAIN, VALID = make_rows(2000, 1), make_rows(600, 2)
WIDTH = TRAIN.x.shape[1]

family = load_family(FAMILY)


@pytest.fixture(scope="module")
def fitted():
    model = family.fit(family.BASELINE, TRAIN, VALID, **SETTINGS)
    graph = family.to_onnx(model, WIDTH)
    return SimpleNamespace(model=model, graph=graph, bytes=graph.SerializeToString())


@pytest.fixture(scope="module")
def count(fitted):
    """The parameter that early stopping finds, such as the number of rounds."""
    found = fitted.model.params.keys() - family.BASELINE.keys()
    if not found:
        pytest.skip(f"{FAMILY} does not stop early")
    (name,) = found
    return name


def test_it_learns(fitted):
    p = family.predict(fitted.model, VALID.x)
    assert p.shape == (len(VALID),) and p.dtype == np.float64
    assert ((p > 0) & (p < 1)).all()
    assert point(VALID.y, p)["roc_auc"] > 0.65


awkward = st.sampled_from([float("nan"), 0.0, -0.0, 1e6, -1e6, 1e-30, -1.0, 364.99997])
value = awkward | st.floats(-1e6, 1e6, width=32) | st.sampled_from(TRAIN.x.ravel()[:500].tolist())
rows = st.integers(1, 20).flatmap(lambda n: arrays(np.float32, (n, WIDTH), elements=value))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=rows)
def test_the_export_gives_the_probabilities_of_the_model(fitted, x):
    native = family.predict(fitted.model, x)
    assert max_difference(native, run_onnx(fitted.bytes, x)) <= 1e-5


if hasattr(family, "contributions"):  # the one part that a family may leave out

    def test_contributions_add_up_to_the_log_odds(fitted):
        parts = family.contributions(fitted.model, VALID.x)
        assert parts.shape == (len(VALID), WIDTH + 1) and parts.dtype == np.float32
        p = family.predict(fitted.model, VALID.x)
        assert np.allclose(parts.sum(axis=1), np.log(p / (1 - p)), atol=1e-4)


def test_the_export_takes_any_number_of_rows_and_answers_each_as_by_itself(fitted):
    for n in (1, 2, 1000):
        x = np.resize(VALID.x, (n, WIDTH))
        assert max_difference(family.predict(fitted.model, x), run_onnx(fitted.bytes, x)) <= 1e-5
    together = run_onnx(fitted.bytes, VALID.x[:20])
    each = [run_onnx(fitted.bytes, row[None])[0] for row in VALID.x[:20]]
    assert np.allclose(together, each, atol=1e-6)


def test_the_graph_keeps_the_contract_of_every_export(fitted):
    (given,), (answer,) = fitted.graph.graph.input, fitted.graph.graph.output
    assert (given.name, answer.name) == ("features", "probability")
    given, answer = given.type.tensor_type, answer.type.tensor_type
    assert given.elem_type == answer.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_param or d.dim_value for d in given.shape.dim] == ["batch", WIDTH]
    assert [d.dim_param for d in answer.shape.dim] == ["batch"]
    # and no path of this machine
    assert b"training/families" not in fitted.bytes and b"site-packages" not in fitted.bytes


@pytest.mark.parametrize("valid", [VALID, None], ids=["same seed", "refit"])
def test_the_same_seed_gives_the_same_model_to_the_last_bit(fitted, valid):
    """Also the refit on the same rows, which runs the rounds that early stopping found."""
    params = family.BASELINE if valid else fitted.model.params
    again = family.fit(params, TRAIN, valid, **SETTINGS)
    assert again.params == fitted.model.params
    assert np.array_equal(family.predict(again, VALID.x), family.predict(fitted.model, VALID.x))
    assert valid is None or family.to_onnx(again, WIDTH).SerializeToString() == fitted.bytes


def test_a_refit_without_a_number_of_rounds_is_refused(count):
    with pytest.raises(ValueError, match=count):
        family.fit(family.BASELINE, TRAIN, None, **SETTINGS)


def test_early_stopping_keeps_the_best_round_and_not_the_last(fitted, count):
    # Labels of the validation rows turned round: every further round makes it worse.
    turned = dataclasses.replace(VALID, y=1 - VALID.y)
    model = family.fit(family.BASELINE, TRAIN, turned, **SETTINGS)
    assert model.params[count] < 20
    again = family.fit(model.params, TRAIN, None, **SETTINGS)
    assert np.array_equal(family.predict(again, VALID.x), family.predict(model, VALID.x))


def test_the_report_can_end_a_fit(count):
    steps = []
    slow = {"learning_rate": 0.01} if "learning_rate" in family.BASELINE else {}

    def report(step: int, value: float) -> None:
        steps.append((step, value))
        if step == 2:
            raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        family.fit({**family.BASELINE, **slow}, TRAIN, VALID, report=report, **SETTINGS)
    assert [step for step, _ in steps] == [1, 2]
    assert all(0.4 < value <= 1 for _, value in steps)


def test_what_it_suggests_can_be_fitted_and_covers_the_baseline():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(family.BASELINE)
    assert family.suggest(study.ask()) == family.BASELINE
    params = family.suggest(study.ask())
    assert params.keys() == family.BASELINE.keys()
    family.fit(params, TRAIN, VALID, **SETTINGS)


def test_tabm_computes_its_first_layer_as_the_package_does(fitted):
    if FAMILY != "tabm":
        pytest.skip("TabM only")
    import tabm
    import torch

    from training.families import tabm as module

    layer = fitted.model.network.backbone.blocks[0][0]
    x = torch.randn(5, layer.in_features)
    expected = layer(tabm.EnsembleView(k=module.MEMBERS)(x))
    assert torch.allclose(module._first_layer(layer, x), expected, atol=1e-5)


def test_after_all_this_the_two_runtimes_have_not_met(fitted):
    assert not {"xgboost", "torch"} <= set(sys.modules)
