"""A field of an answer is added as its type and the function that fills it, and nothing else turns
red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "var", "bench")
# file -> what stands there, and what it becomes: a field of the answer, and one of each prediction
EDITS = {
    "serving/responses.py": {
        "    model: Model\n    predictions: list[Prediction]\n    skipped: list[Skipped] = []\n": (
            "    highest: float | None = None\n"
        ),
        "    probability: float\n    decision: bool | None\n": "    odds: float | None = None\n",
    },
    "serving/endpoints.py": {
        "    return PredictResponse(request.champion.model, predictions, skipped": (
            ", max(one.probability for one in predictions)"
        ),
    },
    "serving/champion.py": {
        "None if threshold is None else p >= threshold": ", p / (1 - p)",
    },
}
MINE = """
import json

import msgspec
from real_service import SAMPLES
from test_errors import GOOD, served, usual

from serving.responses import PredictResponse


def test_it_is_answered_and_described(usual):
    told = usual.ask("/predict", GOOD)[2]
    answer = json.loads(told)
    (one,) = answer["predictions"]
    assert answer["highest"] == one["probability"]
    response = msgspec.json.decode(told, type=PredictResponse)  # as the client reads it
    assert response.highest == one["probability"]
    assert one["odds"] == one["probability"] / (1 - one["probability"])
    buyer = {"customer_id": "1", "lines": SAMPLES[0]["lines"]}
    body = json.dumps({"as_of": SAMPLES[0]["as_of"], "customers": [buyer]}).encode()
    (one,) = json.loads(usual.ask("/predict_transactions", body)[2])["predictions"]
    assert one["odds"] == one["probability"] / (1 - one["probability"])
    schemas = json.loads(usual.ask("/docs.json", method="GET")[2])["components"]["schemas"]
    assert "highest" in schemas["PredictResponse"]["properties"]
    assert all("odds" in schemas[name]["properties"] for name in ("Prediction", "FromLines"))
    routes = json.loads(usual.ask("/schema.json", method="GET")[2])["routes"]
    (output,) = [one["output"] for one in routes if one["name"] == "predict"]
    assert "highest" in output["properties"]
    assert "odds" in output["$defs"]["Prediction"]["properties"]
"""
CHECKS = [f"tests/serving/test_{name}.py" for name in ("mine", "errors", "served_categories")]
CHECKS += ["tests/flows/test_docs.py"]
SLOWER = ["tests/serving/test_transactions.py", "tests/serving/test_client.py"]


def test_a_field_is_added_by_its_type_and_the_function_that_fills_it(tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    for name, additions in EDITS.items():
        text = (copy / name).read_text(encoding="utf-8")
        for there, added in additions.items():
            assert text.count(there) == 1, (name, there)
            text = text.replace(there, there + added)
        (copy / name).write_text(text, encoding="utf-8")
    (copy / "tests" / "serving" / "test_mine.py").write_text(MINE, encoding="utf-8")

    def run(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

    run("flows.docs")
    run("pytest", "-m", "not slow", *CHECKS)
    run("pytest", "-k", "the_answer_for_one_customer or each_method_calls", *SLOWER)
