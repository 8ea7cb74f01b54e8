"""The weighted mean of families: weights, the cross-fitted score, and one graph that agrees."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.table import Rows, read_rows
from training.ensemble import build_ensemble, choose_weights
from training.export import run_onnx
from training.metrics import point

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def ensemble(made_table, made_families, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    return folder, build_ensemble(made_table, NAMES, made_families, 7, folder)


def test_members_that_know_different_things_share_the_weight(ensemble):
    weights = ensemble[1]["params"]["weights"]
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights["sees_a"], weights["sees_b"]) > 0.3
    assert weights.get("sees_noise", 0) < 0.1


def test_it_ranks_better_than_its_best_member(made_table, made_families, ensemble):
    test = read_rows(made_table, ("test",), NAMES)
    alone = max(
        point(test.y, np.load(folder / "test_native.npy"))["roc_auc"]
        for folder in made_families.values()
    )
    assert point(test.y, np.load(ensemble[0] / "test_native.npy"))["roc_auc"] > alone + 0.03


def test_one_graph_says_what_the_members_say_together(made_table, ensemble):
    test = read_rows(made_table, ("test",), NAMES, label=False)
    exported = run_onnx(ensemble[0] / "model.onnx", test.x)
    assert np.abs(exported - np.load(ensemble[0] / "test_native.npy")).max() < 1e-6
    assert ensemble[1]["export_difference_on_fitted_rows"] < 1e-6


def test_its_validation_score_is_of_dates_the_weights_were_not_chosen_on(
    made_table, made_families, ensemble
):
    valid = read_rows(made_table, ("valid",), NAMES)
    p = np.stack([np.load(folder / "valid_native.npy") for folder in made_families.values()])
    days = np.unique(valid.as_of)
    for day, fold in zip(days, ensemble[1]["folds"], strict=True):
        on, off = valid.as_of == day, valid.as_of != day
        others = Rows(valid.x[off], valid.y[off], valid.customer_id[off], valid.as_of[off])
        weights = choose_weights(p[:, off], others, np.zeros(off.sum(), dtype=int))
        expected = point(valid.y[on], weights @ p[:, on])
        assert fold["as_of"] == str(day)
        assert fold["metrics"]["roc_auc"] == pytest.approx(expected["roc_auc"])


def test_neither_weights_nor_graph_depend_on_the_test_split(
    made_table, made_families, ensemble, tmp_path
):
    made = pq.read_table(made_table)
    label, split = made["label"].to_numpy(), made["split"].to_numpy(zero_copy_only=False)
    hidden = pa.array(label, pa.int8(), mask=split == "test")
    place = made.schema.get_field_index("label")
    pq.write_table(made.set_column(place, "label", hidden), tmp_path / "table.parquet")
    folders = {n: shutil.copytree(folder, tmp_path / n) for n, folder in made_families.items()}
    for folder in folders.values():
        np.save(folder / "test_native.npy", np.load(folder / "test_native.npy")[::-1])
    output = tmp_path / "ensemble"
    output.mkdir()
    result = build_ensemble(tmp_path / "table.parquet", NAMES, folders, 7, output)
    assert result["params"] == ensemble[1]["params"]
    assert result["valid_metrics"] == ensemble[1]["valid_metrics"]
    assert (output / "model.onnx").read_bytes() == (ensemble[0] / "model.onnx").read_bytes()


def test_a_member_that_says_nothing_gets_no_weight(made_table):
    valid = read_rows(made_table, ("valid",), NAMES)
    one = 1 / (1 + np.exp(-valid.x[:, 0].astype(float)))
    parts = np.unique(valid.as_of, return_inverse=True)[1]
    constant = np.full(len(one), 0.5)
    assert choose_weights(np.stack([constant, one]), valid, parts).tolist() == [0, 1]


def test_a_table_without_dates_is_cross_fitted_on_halves(made_table, made_families, tmp_path):
    made = pq.read_table(made_table)
    undated = made.set_column(1, "as_of", pa.nulls(len(made), pa.date32()))
    pq.write_table(undated, tmp_path / "table.parquet")
    output = tmp_path / "ensemble"
    output.mkdir()
    result = build_ensemble(tmp_path / "table.parquet", NAMES, made_families, 7, output)
    assert [fold["as_of"] for fold in result["folds"]] == [None, None]
    assert sum(fold["rows"] for fold in result["folds"]) == 600
