"""A model family is added as its file and the preset that names it, and nothing else turns red."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_rows import write_table
from test_fit import job_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "var", "bench")

FAMILY = '''
"""Naive Bayes with one variance per feature: what a first family of one's own may look like."""

from dataclasses import dataclass

import numpy as np

PACKAGES = ("hypothesis",)  # whose versions decide the figures
BASELINE = {"shrink": 1.0}


@dataclass(frozen=True)
class Model:
    params: dict
    weight: np.ndarray
    bias: np.ndarray


def suggest(trial):
    return {"shrink": trial.suggest_float("shrink", 0.1, 10.0, log=True)}


def fit(params, train, valid, *, seed, threads, report=None):
    x = np.nan_to_num(np.clip(train.x, -1e3, 1e3).astype(np.float64))
    ones, zeros = x[train.y == 1], x[train.y == 0]
    gap = ones.mean(axis=0) - zeros.mean(axis=0)
    weight = gap / (x.var(axis=0) + 1) / x.shape[1] / params["shrink"]
    bias = np.log(len(ones) / len(zeros)) - weight @ x.mean(axis=0)
    return Model(dict(params), weight.astype(np.float32), np.float32(bias))


def predict(model, x):
    z = np.nan_to_num(np.clip(x, -1e3, 1e3)) @ model.weight + model.bias
    return 1 / (1 + np.exp(-z.astype(np.float64)))


def to_onnx(model, n_features):
    import onnx

    from training.export import IR_VERSION, OPSET, seal

    graph = onnx.parser.parse_model(f"""
        <ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>
        bayes (float[batch, {n_features}] features) => (float[batch] probability) {{
            missing = IsNaN(features)
            known = Where(missing, zero, features)
            above = Max(known, low)
            clipped = Min(above, high)
            sum = MatMul(clipped, weight)
            logit = Add(sum, bias)
            probability = Sigmoid(logit)
        }}""")
    constants = {"weight": model.weight, "bias": model.bias}
    constants |= {"zero": np.float32(0), "low": np.float32(-1e3), "high": np.float32(1e3)}
    graph.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return seal(graph, n_features)
'''
# What a person runs, in one process so that the libraries load once: `make docs` (the pages list
# the presets), the fast checks with the family's own tests, and a fit.
CHECKS = """
import json, sys
import flows.docs, pytest
from configs.load import load
from training.families import check_families
from training.fit import fit_family, read_job
flows.docs.main()
check_families(load("mine", [], {}).training.families)
checks = ["-k", "not xgboost and not tabm and not logistic and not up_to_date"]
files = [f"tests/{name}.py" for name in ("training/test_families", "flows/test_docs")]
files.append("tests/flows/test_stage_code.py")
if failed := pytest.main([*checks, *files]):
    sys.exit(failed)
job = read_job(json.loads(open(sys.argv[1]).read()))
fit_family(job, print)
"""


def test_a_family_is_added_by_its_file_and_the_preset_that_names_it(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    (copy / "training" / "families" / "bayes.py").write_text(FAMILY, encoding="utf-8")
    preset = (copy / "configs" / "smoke.yaml").read_text(encoding="utf-8")
    mine = preset.replace("training:\n", "training:\n  families: [bayes, logistic]\n")
    (copy / "configs" / "mine.yaml").write_text(mine, encoding="utf-8")
    table = write_table(tmp_path / "table.parquet", {"train": 900, "valid": 300, "test": 100})
    job = job_of(tmp_path, family="bayes", table=str(table))
    (tmp_path / "job.json").write_text(json.dumps(job))

    done = subprocess.run(
        [sys.executable, "-c", CHECKS, str(tmp_path / "job.json")],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["valid_metrics"]["roc_auc"] > 0.6 and "hypothesis" in result["versions"]
    assert result["export_difference_on_fitted_rows"] <= 1e-5
