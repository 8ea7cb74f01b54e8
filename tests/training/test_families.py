from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import training.families
from training.families import family_names, load_family

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", family_names())
def test_the_family_keeps_the_protocol(name):
    """All of `family_cases.py`, in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", "family_cases.py"]
    command += ["-p", "no:cacheprovider", "-p", "no:schemathesis"]
    path = os.pathsep.join([str(ROOT), str(HERE)])
    env = os.environ | {"FAMILY": name, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


FAMILY = """
BASELINE = {}
def suggest(trial): return {}
def fit(params, train, valid, *, seed, threads, report=None): ...
def predict(model, x): ...
def to_onnx(model, n_features): ...
"""


def test_a_family_is_one_file_with_five_names(tmp_path, monkeypatch):
    (tmp_path / "constant.py").write_text(FAMILY)
    (tmp_path / "half.py").write_text("BASELINE = {}\ndef suggest(trial): return {}\n")
    monkeypatch.setattr(training.families, "__path__", [*training.families.__path__, str(tmp_path)])
    assert "constant" in family_names() and load_family("constant").BASELINE == {}
    with pytest.raises(ValueError, match=r"half\.py lacks fit, predict, to_onnx"):
        load_family("half")
    with pytest.raises(ValueError, match=f"'catboost'; found: {', '.join(family_names())}"):
        load_family("catboost")
