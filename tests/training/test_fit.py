"""`python -m training.fit` as the flow calls it, and the same function in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_rows import DAYS, FEATURES, HORIZON, make_rows, write_table

from common.errors import UserError
from features.table import read_rows
from training.export import max_difference, run_onnx
from training.fit import fit_family, read_job
from training.metrics import point

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZES = {"train": 1500, "valid": 400, "test": 300}
SCHEMA = [{"name": name, "categories": []} for name in FEATURES]
FILES = ["model.onnx", "result.json", "test_native.npy", "test_raw.npy", "valid_native.npy"]
FILES += ["valid_raw.npy"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.parquet", SIZES)


def job_of(folder: Path, **changes) -> dict[str, Any]:
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
    """The ended process and its events."""
    (folder / "job.json").write_text(json.dumps(job_of(folder, **changes)))
    command = [sys.executable, "-m", "training.fit", str(folder / "job.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    # Every line of standard output is an event, whatever the libraries print.
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def fit(folder: Path, **changes) -> list[dict[str, Any]]:
    """The events of the same job in this process."""
    events: list[dict[str, Any]] = []
    fit_family(read_job(job_of(folder, **changes)), events.append)
    return events


def test_a_family_is_tuned_refitted_calibrated_and_exported(table, tmp_path):
    done, events = run(tmp_path, family="xgboost", table=str(table))
    assert done.returncode == 0, done.stderr
    stages = [event["name"] for event in events if event["event"] == "stage"]
    trials = [event for event in events if event["event"] == "trial"]
    assert stages == ["tuning", "refit", "export"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert events[-1]["event"] == "done"

    out = tmp_path / "out"
    assert sorted(file.name for file in out.iterdir()) == ["contributions.npy", *FILES]
    assert not any(file.name.startswith(".") for file in tmp_path.iterdir())
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
    arrays = {file.stem: np.load(file) for file in out.glob("*.npy")}
    assert max_difference(arrays["test_native"], run_onnx(out / "model.onnx", test.x)) <= 1e-5
    for name, key in (("valid_native", "metrics"), ("valid_raw", "metrics_raw")):
        of_dates = [point(valid.y[rows], arrays[name][rows]) for rows in np.split(np.r_[:400], 2)]
        assert of_dates == [fold[key] for fold in result["folds"]]
    sums = arrays["contributions"].sum(axis=1)
    assert arrays["contributions"].shape == (300, len(FEATURES) + 1)
    assert np.allclose(1 / (1 + np.exp(-sums)), arrays["test_raw"], atol=1e-5)


def test_a_second_run_of_a_job_replaces_the_folder_by_the_same_files(table, tmp_path):
    fit(tmp_path, table=str(table))
    out = tmp_path / "out"
    assert sorted(file.name for file in out.iterdir()) == FILES  # contributions are not of logistic
    kept = ("model.onnx", "test_native.npy", "valid_raw.npy")
    before = [(out / name).read_bytes() for name in kept]
    (out / "left_over").write_text("from before")
    (tmp_path / "studies.db").unlink()
    fit(tmp_path, table=str(table))
    assert [(out / name).read_bytes() for name in kept] == before
    assert not (out / "left_over").exists()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"family": "catboost"}, "unknown family 'catboost'; found: logistic"),
        ({"features": ["recency", "shoe_size"]}, "shoe_size"),
        ({"table": "/nowhere.parquet"}, "nowhere.parquet"),
        ({"colour": "red"}, r"unknown \['colour'\]"),
    ],
)
def test_a_wrong_job_is_refused_and_leaves_no_folder(table, tmp_path, job, message):
    with pytest.raises(Exception, match=message):
        fit(tmp_path, **{"table": str(table)} | job)
    assert not (tmp_path / "out").exists()


def test_an_error_is_one_event_for_people_and_a_traceback_for_the_log(table, tmp_path):
    done, events = run(tmp_path, table=str(table), horizon_days=200)
    message = "the training rows of the fold of 2024-06-01 hold no row"
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert events[-1]["event"] == "error" and message in events[-1]["message"]
    assert events[-1]["what"].startswith(message) and events[-1]["next_step"]
    assert not (tmp_path / "out").exists()


def test_ten_rows_are_an_answer_or_an_error_for_people(tmp_path):
    table = write_table(tmp_path / "table.parquet", {"train": 6, "valid": 4, "test": 3})
    try:
        fit(tmp_path, table=str(table))
    except UserError as error:
        assert "hold" in error.what and error.next_step


def test_a_table_without_dates_and_with_categories_is_learnt(tmp_path):
    """The colour decides; it has gaps, and one value that only the test split has."""
    rng = np.random.default_rng(0)
    split = np.repeat(["train", "valid", "test"], [900, 300, 200])
    colour = rng.integers(3, size=1400).astype(float)
    label = (rng.random(1400) < np.array([0.1, 0.5, 0.9])[colour.astype(int)]).astype(np.int8)
    colour[::11] = np.nan
    colour[-20:] = 3  # "other"
    columns = {
        "customer_id": pa.array([str(i) for i in range(1400)]),
        "as_of": pa.nulls(1400, pa.date32()),
        "split": pa.array(split),
        "size": pa.array(rng.normal(size=1400)),
        "colour": pa.array(colour, mask=np.isnan(colour)),
        "label": pa.array(label),
    }
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), table)
    categories = ("red", "green", "blue")
    schema = [{"name": "size", "categories": []}, {"name": "colour", "categories": categories}]
    job = {"table": str(table), "features": ["size", "colour"], "schema": schema, "trials": 1}
    fit(tmp_path, family="xgboost", **job)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    (fold,) = result["folds"]
    assert (fold["as_of"], fold["train_rows"], fold["rows"]) == (None, 900, 300)
    assert result["calibration"]["kind"] == "platt"
    assert result["valid_metrics"]["roc_auc"] > 0.75
    assert result["export_difference_on_fitted_rows"] <= 1e-5

    graph = tmp_path / "out" / "model.onnx"
    x = read_rows(table, ("test",), ("size", "colour"), label=False).x
    assert max_difference(np.load(tmp_path / "out" / "test_native.npy"), run_onnx(graph, x)) <= 1e-5
    of_each = np.column_stack([np.zeros(5), [0, 1, 2, 3, np.nan]]).astype(np.float32)
    red, green, blue, other, missing = run_onnx(graph, of_each)
    assert red < green < blue and abs(other - missing) < 1e-6
    assert np.load(tmp_path / "out" / "contributions.npy").shape == (200, 3)
