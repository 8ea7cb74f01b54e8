"""All candidates on the same test rows, the winner chosen before they are looked at."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from features.table import Rows, read_rows
from training.evaluate import choose_winner, evaluate, find_baseline, in_terms_of
from training.export import run_onnx
from training.folds import take
from training.metrics import paired_difference, point, score
from training.slices import score_slices, slice_rows

NAMES = ("a", "b", "c")
SCHEMA = [{"name": name, "low": None, "high": None, "categories": ()} for name in NAMES]
HOW = {"bootstrap": 60, "seed": 7, "slice_min_rows": 50}


@pytest.fixture
def candidates(made_families, tmp_path):
    """Copies with validation figures: the second is the best there, whatever the test says."""
    folders = {}
    for (name, folder), valid in zip(made_families.items(), (0.6, 0.5, 0.7), strict=True):
        folders[name] = shutil.copytree(folder, tmp_path / name)
        result = json.loads((folder / "result.json").read_text())
        result["valid_metrics"] = {"recalibrated_log_loss": valid}
        (folders[name] / "result.json").write_text(json.dumps(result))
    return folders


def test_every_figure_is_the_one_of_the_single_functions(made_table, candidates):
    found = evaluate(made_table, SCHEMA, candidates, **HOW)
    test = read_rows(made_table, ("test",), NAMES)
    how = {"bootstrap": 60, "seed": 7, "groups": test.customer_id}
    p = {n: run_onnx(folder / "model.onnx", test.x) for n, folder in candidates.items()}
    assert found.winner == "sees_b"
    assert found.scores["sees_a"] == score(test.y, p["sees_a"], **how)
    assert found.between["sees_a - sees_b"] == paired_difference(
        test.y, p["sees_a"], p["sees_b"], **how
    )
    assert found.before_calibration["sees_a"] == point(
        test.y, np.load(candidates["sees_a"] / "test_raw.npy")
    )
    assert max(found.export_difference.values()) < 1e-6
    assert 0 < found.latency["p50_ms"] <= found.latency["p99_ms"]


def test_the_winner_is_the_best_on_validation_however_it_does_on_test(made_table, candidates):
    result = json.loads((candidates["sees_noise"] / "result.json").read_text())
    result["valid_metrics"] = {"recalibrated_log_loss": 0.1}
    (candidates["sees_noise"] / "result.json").write_text(json.dumps(result))
    found = evaluate(made_table, SCHEMA, candidates, **HOW)
    assert found.winner == "sees_noise"
    assert min(found.scores, key=lambda name: found.scores[name]["roc_auc"]) == found.winner


def test_intervals_are_over_customers_and_not_over_rows(made_table, candidates, tmp_path):
    rows = pq.read_table(made_table)
    six_each = pa.array([f"c{i // 6}" for i in range(len(rows))])
    pq.write_table(rows.set_column(0, "customer_id", six_each), tmp_path / "table.parquet")
    test = read_rows(tmp_path / "table.parquet", ("test",), NAMES)
    p = {n: run_onnx(folder / "model.onnx", test.x) for n, folder in candidates.items()}

    def champion(x):
        return run_onnx(candidates["sees_a"] / "model.onnx", x)

    by_row = evaluate(made_table, SCHEMA, candidates, champion=champion, **HOW)
    found = evaluate(tmp_path / "table.parquet", SCHEMA, candidates, champion=champion, **HOW)
    how = {"bootstrap": 60, "seed": 7, "groups": test.customer_id}
    for name, scored in found.scores.items():
        assert scored == score(test.y, p[name], **how) != by_row.scores[name]
    between = paired_difference(test.y, p["sees_b"], p["sees_a"], **how)
    assert found.winner == "sees_b"
    assert found.against_champion == between != by_row.against_champion
    assert found.against_champion["roc_auc"]["difference"] != 0
    assert found.against_baseline["difference"] == by_row.against_baseline["difference"]
    assert found.against_baseline != by_row.against_baseline
    assert found.slices == score_slices(
        test.y,
        p["sees_b"],
        slice_rows(test.x, SCHEMA),
        champion=p["sees_a"],
        min_rows=HOW["slice_min_rows"],
        **how,
    )
    assert found.slices != by_row.slices


def test_the_champion_is_scored_on_the_same_rows(made_table, candidates):
    said = {}

    def champion(x):
        said["rows"] = x
        return run_onnx(candidates["sees_b"] / "model.onnx", x)

    found = evaluate(made_table, SCHEMA, candidates, champion=champion, **HOW)
    assert np.array_equal(said["rows"], found.test.x)
    tied = found.against_champion["roc_auc"]
    assert (tied["difference"], tied["low"], tied["high"]) == (0, 0, 0)
    assert all(part["against_champion"]["difference"] == 0 for part in found.slices)


def test_the_baseline_of_a_table_is_its_best_number_on_the_training_rows(made_table, candidates):
    found = evaluate(made_table, SCHEMA, candidates, **HOW)
    train, test = (read_rows(made_table, (split,), NAMES) for split in ("train", "test"))

    def alone(rows, i):
        squeezed = 1 / (1 + np.exp(-rows.x[:, i].astype(float)))
        return point(rows.y, squeezed)["roc_auc"]

    best = max(range(3), key=lambda i: abs(alone(train, i) - 0.5))
    assert (found.baseline.feature, found.baseline.direction) == (NAMES[best], 1)
    assert found.baseline.roc_auc == pytest.approx(alone(test, best))


def test_the_baseline_is_turned_the_way_that_ranks_the_training_rows(tmp_path):
    """Few values of the negatives lie far out, and a missing value means positive: neither the
    mean nor the place of the missing may turn the ranking around."""
    rng = np.random.default_rng(2)
    n = 900
    y = (rng.random(n) < 0.5).astype(np.int8)
    outliers = np.where((y == 0) & (rng.random(n) < 0.03), 1e4, y + rng.normal(size=n))
    missing = np.where((y == 1) & (rng.random(n) < 0.8), np.nan, rng.normal(size=n))
    for a, wanted in ((outliers, (1, "last")), (missing, None)):
        made = {
            "customer_id": [f"c{i}" for i in range(n)],
            "as_of": pa.nulls(n, pa.date32()),
            "split": np.array(["train", "valid", "test"])[np.arange(n) % 3],
            **{"a": a, "b": np.zeros(n), "c": np.zeros(n)},
            "label": y,
        }
        pq.write_table(pa.table(made), tmp_path / "t.parquet")
        train, test = (read_rows(tmp_path / "t.parquet", (s,), NAMES) for s in ("train", "test"))
        found, _ = find_baseline(train, test, SCHEMA)
        assert found.feature == "a" and found.roc_auc > 0.65
        assert wanted is None or (found.direction, found.missing) == wanted


def test_a_category_is_the_baseline_where_it_says_most():
    """Its shares of positives are learnt on the training rows alone; a category of many values
    that say nothing is not taken for the best."""
    rng = np.random.default_rng(4)
    n = 1200
    kind, many = rng.integers(0, 4, n).astype(float), rng.integers(0, 400, n).astype(float)
    kind[rng.random(n) < 0.2] = np.nan
    y = (rng.random(n) < np.where(np.isin(kind, (1, 3)) | np.isnan(kind), 0.8, 0.3)).astype(np.int8)
    x = np.column_stack([many, kind, rng.normal(size=n) + 0.3 * y]).astype(np.float32)
    names = np.array([f"c{i}" for i in range(n)], dtype=object)
    rows = Rows(x, y, names, np.full(n, "NaT", "datetime64[D]"))
    schema = [
        {"name": "many", "categories": [str(i) for i in range(400)]},
        {"name": "kind", "categories": list("abcd")},
        {"name": "number"},
    ]
    train, test = take(rows, np.arange(n) < 800), take(rows, np.arange(n) >= 800)
    found, ranking = find_baseline(train, test, schema)
    assert (found.feature, found.direction, found.missing) == ("kind", None, None)
    high = np.isin(test.x[:, 1], (1, 3)) | np.isnan(test.x[:, 1])
    assert ranking[high].min() > ranking[~high].max()
    assert found.roc_auc == pytest.approx(point(test.y, ranking)["roc_auc"]) and found.roc_auc > 0.6
    turned = Rows(test.x, 1 - test.y, test.customer_id, test.as_of)
    assert np.array_equal(find_baseline(train, turned, schema)[1], ranking)


def test_a_graph_that_gives_no_number_stops_the_run(made_table, candidates):
    np.save(candidates["sees_a"] / "test_native.npy", np.full(300, np.nan))
    with pytest.raises(UserError, match="sees_a gives no number"):
        evaluate(made_table, SCHEMA, candidates, **HOW)


def test_of_equals_the_first_wins():
    tied = {"valid_metrics": {"recalibrated_log_loss": 0.7}}
    assert choose_winner({"simple": tied, "ensemble": tied}) == "simple"


def test_the_champion_reads_its_own_columns_and_codes():
    theirs = [{"name": "b", "categories": ["no", "yes"]}, {"name": "a"}]
    ours = [{"name": "a"}, {"name": "new"}, {"name": "b", "categories": ["YES", "maybe", "no"]}]
    x = np.float32([[1, 9, 0], [2, 9, 1], [3, 9, 2], [4, 9, 3], [5, 9, np.nan]])
    expected = [[1, 1], [2, 2], [0, 3], [2, 4], [np.nan, 5]]  # maybe is unknown to it: other
    assert np.array_equal(in_terms_of(theirs, ours)(x), np.float32(expected), equal_nan=True)
    with pytest.raises(ValueError, match="needs the feature gone"):
        in_terms_of([{"name": "gone"}], ours)
    with pytest.raises(ValueError, match="feature b as a number, which is a category now"):
        in_terms_of([{"name": "b"}], ours)
    with pytest.raises(ValueError, match="feature a as a category, which is a number now"):
        in_terms_of([{"name": "a", "categories": ["x"]}], ours)
