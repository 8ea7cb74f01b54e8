"""`python -m training.fit` as the flow calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_rows import FEATURES, make_rows, write_table

from training.export import max_difference, run_onnx

ROOT = Path(__file__).parents[2]
SIZES = {"train": 1500, "valid": 400, "test": 300}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table") / "table.parquet", SIZES)


def run(folder: Path, **job):
    job = {
        "family": "logistic",
        "features": FEATURES,
        "seed": 3,
        "threads": 1,
        "trials": 3,
        "seconds": 60.0,
        "output": str(folder / "out"),
    } | job
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "training.fit", str(folder / "job.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    # Every line of standard output is an event, whatever the libraries print.
    return done, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("family", ["logistic", "xgboost", "tabm"])
def test_a_family_is_tuned_refitted_and_exported(table, tmp_path, family):
    done, events = run(tmp_path, family=family, table=str(table))
    assert done.returncode == 0, done.stderr
    stages = [event["name"] for event in events if event["event"] == "stage"]
    trials = [event for event in events if event["event"] == "trial"]
    assert stages == ["tuning", "refit", "export"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert events[-1]["event"] == "done"

    out = tmp_path / "out"
    assert sorted(file.name for file in out.iterdir()) == [
        "model.onnx",
        "result.json",
        "test_native.npy",
    ]
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    result = json.loads((out / "result.json").read_text())
    assert result["ended_by"] == "trials" and len(result["trials"]) == 3
    assert set(result["seconds"]) == {"tuning", "refit", "export"}
    assert result["rows"] == {"train": 1500, "valid": 400, "refit": 1900}
    assert result["valid_metrics"]["roc_auc"] > 0.65
    native = np.load(out / "test_native.npy")
    test = make_rows(SIZES["test"], 2)
    assert max_difference(native, run_onnx(out / "model.onnx", test.x)) <= 1e-5


def test_two_runs_of_one_job_give_the_same_files(table, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        run(folder, table=str(table))
    for name in ("model.onnx", "test_native.npy"):
        first, second = ((folder / "out" / name).read_bytes() for folder in folders)
        assert first == second, name


def test_a_second_run_replaces_the_folder(table, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "left_over").write_text("from before")
    done, _ = run(tmp_path, table=str(table))
    assert done.returncode == 0 and not (tmp_path / "out" / "left_over").exists()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"family": "catboost"}, "unknown family 'catboost'; found: logistic"),
        ({"features": ["recency", "shoe_size"]}, "shoe_size"),
        ({"table": "/nowhere.parquet"}, "nowhere.parquet"),
        ({"colour": "red"}, "unknown ['colour']"),
    ],
)
def test_an_error_is_one_line_for_people_and_a_traceback_for_the_log(table, tmp_path, job, message):
    done, events = run(tmp_path, **{"table": str(table)} | job)
    assert done.returncode == 1
    assert events[-1]["event"] == "error" and message in events[-1]["message"]
    assert "Traceback" in done.stderr
    assert not (tmp_path / "out").exists()
