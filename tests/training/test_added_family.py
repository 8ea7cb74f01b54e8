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
CHECKS = [
    "tests/training/test_families.py",
    "tests/flows/test_stage_code.py",
    "tests/flows/test_docs.py",
]


def test_a_family_is_added_by_its_file_and_the_preset_that_names_it(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    (copy / "training" / "families" / "bayes.py").write_text(FAMILY, encoding="utf-8")
    preset = (copy / "configs" / "smoke.yaml").read_text(encoding="utf-8")
    mine = preset.replace("training:\n", "training:\n  families: [bayes, logistic]\n")
    (copy / "configs" / "mine.yaml").write_text(mine, encoding="utf-8")

    run = {"cwd": copy, "capture_output": True, "text": True}
    run["env"] = os.environ | {"PYTHONPATH": str(copy)}
    made = subprocess.run([sys.executable, "-m", "flows.docs"], **run)  # they list the presets
    assert made.returncode == 0, made.stderr
    checks = [*CHECKS, "-k", "not xgboost and not tabm and not logistic"]
    done = subprocess.run([sys.executable, "-m", "pytest", *checks], **run)
    assert done.returncode == 0, done.stdout[-4000:]
    says = "from flows.commands.train import check_families; from configs.load import load;"
    says += "check_families(load('mine', [], {}).training.families)"
    done = subprocess.run([sys.executable, "-c", says], **run)
    assert done.returncode == 0, done.stderr

    table = write_table(tmp_path / "table.parquet", {"train": 900, "valid": 300, "test": 100})
    job = job_of(tmp_path, family="bayes", table=str(table))
    (tmp_path / "job.json").write_text(json.dumps(job))
    done = subprocess.run([sys.executable, "-m", "training.fit", str(tmp_path / "job.json")], **run)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["valid_metrics"]["roc_auc"] > 0.6 and "hypothesis" in result["versions"]
    assert result["export_difference_on_fitted_rows"] <= 1e-5
