"""A file of somebody's own, from `make adopt` to a served prediction."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

FAST = ("--training.families", "[xgboost, logistic]", "--tuning.trials", "2")
LOOSE = ("--training.bootstrap", "100", "--features.max_feature_roc_auc", "1")


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's breast cancer set with an identifier, a category, gaps and a constant."""
    from sklearn.datasets import load_breast_cancer

    data: Any = load_breast_cancer()
    draw = np.random.default_rng(1)
    file = tmp_path_factory.mktemp("data") / "breast cancer.csv"
    names = [str(name) for name in data.feature_names[:6]]
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["sample id", *names, "clinic", "device", "diagnosis"])
        for number, (x, y) in enumerate(zip(data.data, data.target, strict=True)):
            values = [round(float(v), 4) for v in x[:6]]
            if number % 40 == 0:
                values[1] = ""
            clinic = draw.choice(["north", "south", "east", ""], p=[0.5, 0.3, 0.15, 0.05])
            outcome = ("malignant", "benign")[y]
            writer.writerow([f"s{number:04}", *values, clinic, "A1", outcome])
    return file


def test_from_a_file_to_a_served_prediction(
    quick_walk: Callable[..., Any], service: Callable[..., Any], cancer: Path, tmp_path: Path
) -> None:
    var, preset = tmp_path / "var", tmp_path / "cancer.yaml"
    asked = (str(cancer), "diagnosis", "--output", str(preset))
    drafted = quick_walk(var, *asked, module="flows.adopt")
    assert drafted.code == 0, drafted.err
    assert "predicted is 'malignant': the rarer one" in drafted.out
    assert re.search(r"device\s+left out\s+every row has the same value", drafted.out)
    assert f"make train CONFIG={preset}" in drafted.out

    done = quick_walk(var, "--config", str(preset), *FAST, *LOOSE)
    assert done.code == 0, done.err
    summary = done.summary
    assert summary["rows"]["raw"] == summary["rows"]["valid"] == 569
    assert summary["decision"]["action"] == "promote"
    best = summary["families"][summary["winner"]]["test"]
    assert best["roc_auc"] > 0.95
    assert summary["model"]["export_max_difference"] < 1e-5
    assert summary["threshold"] is None and "Costs     none are set" in done.out
    assert any("known before the outcome?" in one["text"] for one in summary["questions"])
    assert "Look at" in done.out
    folder = var / "runs" / "latest"
    assert "No decision is taken: no costs are set" in (folder / "report.html").read_text()
    assert {"report.html", "data_report.html", "contract.html"} <= {
        p.name for p in folder.iterdir()
    }

    example = json.loads((folder / "example.json").read_text())
    with service(var, config=str(preset)) as url:
        client = httpx.Client(base_url=url, trust_env=False, timeout=20)
        answer = client.post("/predict", json=example).raise_for_status().json()
        assert all(0 <= row["probability"] <= 1 for row in answer["predictions"])
        assert answer["model"]["threshold"] is None
        assert {row["decision"] for row in answer["predictions"]} == {None}
        one = {**example["customers"][0], "clinic": "north"}
        del one["customer_id"]  # each customer once, or nobody in particular
        variants = [
            one,
            {**one, "clinic": "never seen"},
            {**one, "clinic": "nor that"},
            {**one, "clinic": None},
            {name: value for name, value in one.items() if name != "mean texture"},
        ]
        said = client.post("/predict", json={"customers": variants}).raise_for_status().json()
        found = [row["probability"] for row in said["predictions"]]
        assert found[1] == found[2]  # whatever is not known is the same other
        bad = client.post("/predict", json={"customers": [{**one, "mean radius": None}]})
        assert bad.status_code == 400 and "mean radius" in bad.json()["error"]
        described = client.get("/docs.json").json()["components"]["schemas"]["Prediction"]
        assert described["properties"]["probability"]["description"] == (
            "that diagnosis is malignant"
        )
