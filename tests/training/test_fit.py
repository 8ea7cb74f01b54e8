"""`python -m training.fit` as the flow calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_rows import DAYS, FEATURES, HORIZON, make_rows, write_table

from features.table import read_rows
from training.export import max_difference, run_onnx
from training.metrics import point

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZES = {"train": 1500, "valid": 400, "test": 300}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.parquet", SIZES)


SCHEMA = [{"name": name, "categories": []} for name in FEATURES]
FILES = ["model.onnx", "result.json", "test_native.npy", "test_raw.npy", "valid_native.npy"]
FILES += ["valid_raw.npy"]


def job_of(folder: Path, **changes):
    return {
        "family": "logistic",
        "features": FEATURES,
        "schema": SCHEMA,
        "horizon_days": HORIZON,
        "calibration": "auto",
        "season": ["year_sin", "year_cos"],
        "seed": 3,
        "threads": 1,
        "workers": 1,
        "trials": 3,
        "seconds": 60.0,
        "storage": f"sqlite:///{folder / 'studies.db'}",
        "password_variable": "OPTUNA_PASSWORD",
        "study": "search",
        "output": str(folder / "out"),
    } | changes


def run(folder: Path, **changes):
    (folder / "job.json").write_text(json.dumps(job_of(folder, **changes)))
    command = [sys.executable, "-m", "training.fit", str(folder / "job.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    # Every line of standard output is an event, whatever the libraries print.
    return done, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def fitted(table, tmp_path_factory):
    """`fitted(family)` is the folder of its one run, and the events."""

    @cache
    def fit(family: str):
        folder = tmp_path_factory.mktemp(family)
        done, events = run(folder, family=family, table=str(table))
        assert done.returncode == 0, done.stderr
        return folder, events

    return fit


@pytest.mark.parametrize("family", ["logistic", "xgboost"])  # TabM below: it starts slowly
def test_a_family_is_tuned_refitted_calibrated_and_exported(fitted, family):
    folder, events = fitted(family)
    stages = [event["name"] for event in events if event["event"] == "stage"]
    trials = [event for event in events if event["event"] == "trial"]
    assert stages == ["tuning", "refit", "export"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert events[-1]["event"] == "done"

    out = folder / "out"
    explained = ["contributions.npy"] if family == "xgboost" else []
    assert sorted(file.name for file in out.iterdir()) == explained + FILES
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []
    result = json.loads((out / "result.json").read_text())
    assert result["ended_by"] == "trials" and len(result["trials"]) == 3
    assert set(result["seconds"]) == {"tuning", "refit", "export"}
    assert result["rows"] == {"train": 1500, "valid": 400, "refit": 1900}
    folds = [(fold["as_of"], fold["train_rows"], fold["rows"]) for fold in result["folds"]]
    assert folds == [("2024-05-01", 1000, 200), ("2024-06-01", 1500, 200)]
    means = {
        name: np.mean([fold["metrics"][name] for fold in result["folds"]])
        for name in result["valid_metrics"]
    }
    assert result["valid_metrics"] == pytest.approx(means)
    assert result["valid_metrics"]["roc_auc"] > 0.65
    assert result["calibration"]["kind"] == "platt"
    assert result["export_difference_on_fitted_rows"] <= 1e-5

    test, valid = make_rows(SIZES["test"], 2, DAYS["test"]), make_rows(400, 1, DAYS["valid"])
    arrays = {name: np.load(out / name) for name in explained + FILES[2:]}
    assert max_difference(arrays["test_native.npy"], run_onnx(out / "model.onnx", test.x)) <= 1e-5
    for name in ("valid_native.npy", "valid_raw.npy"):
        of_may, of_june = (
            point(valid.y[:200], arrays[name][:200]),
            point(valid.y[200:], arrays[name][200:]),
        )
        key = "metrics" if name == "valid_native.npy" else "metrics_raw"
        assert [of_may, of_june] == [fold[key] for fold in result["folds"]]
    if family == "xgboost":
        sums = arrays["contributions.npy"].sum(axis=1)
        assert arrays["contributions.npy"].shape == (300, len(FEATURES) + 1)
        assert np.allclose(1 / (1 + np.exp(-sums)), arrays["test_raw.npy"], atol=1e-5)


def test_a_second_run_of_one_job_replaces_the_folder_by_the_same_files(fitted, table, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "left_over").write_text("from before")
    done, _ = run(tmp_path, table=str(table))
    assert done.returncode == 0 and not (tmp_path / "out" / "left_over").exists()
    folder, _ = fitted("logistic")
    for name in ("model.onnx", "test_native.npy"):
        first, second = ((each / "out" / name).read_bytes() for each in (folder, tmp_path))
        assert first == second, name


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"family": "catboost"}, "unknown family 'catboost'; found: logistic"),
        ({"features": ["recency", "shoe_size"]}, "shoe_size"),
        ({"table": "/nowhere.parquet"}, "nowhere.parquet"),
        ({"colour": "red"}, "unknown ['colour']"),
        ({"horizon_days": 200}, "the training rows of the fold of 2024-06-01 hold no row"),
    ],
)
def test_an_error_is_one_line_for_people_and_a_traceback_for_the_log(table, tmp_path, job, message):
    done, events = run(tmp_path, **{"table": str(table)} | job)
    assert done.returncode == 1
    assert events[-1]["event"] == "error" and message in events[-1]["message"]
    assert "Traceback" in done.stderr
    assert not (tmp_path / "out").exists()


def test_ten_rows_are_an_answer_or_an_error_but_no_crash(tmp_path):
    table = write_table(tmp_path / "table.parquet", {"train": 6, "valid": 4, "test": 3})
    _, events = run(tmp_path, table=str(table))
    assert events[-1]["event"] in ("done", "error")
    if events[-1]["event"] == "error":
        assert "hold" in events[-1]["what"] and events[-1]["next_step"]


# --- categories and a table without dates ---------------------------------------------------

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def plain_table(tmp_path_factory):
    """No dates; the colour decides, with gaps, and one that only the test split knows."""
    rng = np.random.default_rng(0)
    sizes = {"train": 900, "valid": 300, "test": 200}
    split = np.repeat(list(sizes), list(sizes.values()))
    colour = rng.integers(3, size=1400).astype(float)
    size = rng.normal(size=1400)
    label = (rng.random(1400) < np.array([0.1, 0.5, 0.9])[colour.astype(int)]).astype(np.int8)
    colour[::11] = np.nan
    colour[-20:] = 3  # "other"
    path = tmp_path_factory.mktemp("plain") / "table.parquet"
    columns = {
        "customer_id": pa.array([str(i) for i in range(1400)]),
        "as_of": pa.nulls(1400, pa.date32()),
        "split": pa.array(split),
        "size": pa.array(size),
        "colour": pa.array(colour, mask=np.isnan(colour)),
        "label": pa.array(label),
    }
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("family", ["xgboost", "tabm"])
def test_a_table_without_dates_and_with_categories_is_learnt(plain_table, tmp_path, family):
    schema = [{"name": "size", "categories": []}, {"name": "colour", "categories": COLOURS}]
    job = {"table": str(plain_table), "features": ["size", "colour"], "schema": schema}
    done, _ = run(tmp_path, family=family, trials=1, **job)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    (fold,) = result["folds"]
    assert (fold["as_of"], fold["train_rows"], fold["rows"]) == (None, 900, 300)
    assert result["calibration"]["kind"] == "platt"
    assert result["valid_metrics"]["roc_auc"] > 0.75
    assert result["export_difference_on_fitted_rows"] <= 1e-5

    graph = tmp_path / "out" / "model.onnx"
    x = read_rows(plain_table, ("test",), ("size", "colour"), label=False).x
    assert max_difference(np.load(tmp_path / "out" / "test_native.npy"), run_onnx(graph, x)) <= 1e-5
    of_each = np.column_stack([np.zeros(5), [0, 1, 2, 3, np.nan]]).astype(np.float32)
    red, green, blue, other, missing = run_onnx(graph, of_each)
    assert red < green < blue and other == missing
    if family == "xgboost":
        assert np.load(tmp_path / "out" / "contributions.npy").shape == (200, 3)


def test_a_table_of_one_label_is_an_error_for_people(tmp_path, plain_table):
    table = pq.read_table(plain_table)
    ones = table.set_column(5, "label", pa.array(np.ones(1400, dtype=np.int8)))
    pq.write_table(ones, tmp_path / "table.parquet")
    schema = [{"name": "size", "categories": []}]
    done, events = run(
        tmp_path, table=str(tmp_path / "table.parquet"), features=["size"], schema=schema
    )
    assert done.returncode == 1
    assert events[-1]["what"].startswith("the training rows of the fold hold only label 1, 900")
    assert "both labels" in events[-1]["next_step"]
