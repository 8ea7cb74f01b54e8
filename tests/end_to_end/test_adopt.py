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

from configs.make_command import typed

pytestmark = pytest.mark.slow

FAST = ("--training.families", "[logistic]", "--tuning.trials", "1")
LOOSE = ("--training.bootstrap", "100", "--features.max_feature_roc_auc", "1")


# Ordinary to their owner; not to a terminal, a page, a formula or a pattern of names.
RADIUS, TEXTURE = "[/red] radius (mm)", 'the "texture" \\ in % of $x^2$'
NUMBERS = (
    *(RADIUS, TEXTURE, "line\nend | `x` *y* ../z", "<img src=x onerror=alert(1)>"),
    *("\x1b[2J\x1b]0;mine\x07", "😀 עברית \u202e"),
)
NOISE = ("n" * 250, "__proto__", "{{7*7}} {0} %s", " padded; =1+1")
ID, CLINIC, DEVICE, TARGET = "id [#/] \x1b[1m", "[bold] clinic's 🏥", "device [1]", "left? [/] $"
NORTH, SOUTH, EAST = "[/] $1 & <b>north</b>", "south\n| \x1b[31m \u202e", "e" * 250
ILL, WELL = "malignant [/] <i> %", "benign | $"


@pytest.fixture(scope="module")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's breast cancer set with an identifier, a category, gaps and a constant, and
    the oddest names and texts that a file may hold."""
    from sklearn.datasets import load_breast_cancer

    data: Any = load_breast_cancer()
    draw = np.random.default_rng(1)
    file = tmp_path_factory.mktemp("data") / "breast [1] 100 % of $x 'q' 😀.csv"
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow([ID, *NUMBERS, *NOISE, CLINIC, DEVICE, TARGET])
        for number, (x, y) in enumerate(zip(data.data, data.target, strict=True)):
            values = [round(float(v), 4) for v in x[:6]]
            if number % 40 == 0:
                values[1] = ""
            noise = draw.normal(size=len(NOISE)).round(4)
            clinic = draw.choice([NORTH, SOUTH, EAST, ""], p=[0.5, 0.3, 0.15, 0.05])
            named = f"s{number:04} [/b] <i> \x1b[2J\n\u202e"
            writer.writerow([named, *values, *noise, clinic, "A1", (ILL, WELL)[y]])
    return file


def safe(text: str) -> str:
    """The text, of which a terminal does nothing but show it."""
    assert all(c.isprintable() or c in "\n\u200d" for c in text)
    return text


def test_from_a_file_to_a_served_prediction(
    forked_cli: Callable[..., Any], service: Callable[..., Any], cancer: Path, tmp_path: Path
) -> None:
    var, preset = tmp_path / "var", tmp_path / "a $b 'c' 100 %" / "cancer.yaml"
    asked = (str(cancer), TARGET, "--output", str(preset))
    drafted = forked_cli(var, *asked, module="flows.commands.adopt")
    assert drafted.code == 0, drafted.err
    assert f"predicted is {ILL!r}: the rarer one" in safe(drafted.out)
    assert re.search(r"device \[1\]\s+left out\s+every row has the same value", drafted.out)
    assert typed("train", "--var", str(var), CONFIG=str(preset)) in drafted.out

    done = forked_cli(var, "--config", str(preset), *FAST, *LOOSE)
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
    assert "make serve CONFIG=" in safe(done.out)
    folder = var / "runs" / "latest"
    for page in ("report.html", "model_card.md", "data_report.html", "contract.html", "run.log"):
        assert "<img" not in safe((folder / page).read_text(encoding="utf-8")), page
    assert "No decision is taken: no costs are set" in (folder / "report.html").read_text()
    assert {"report.html", "data_report.html", "contract.html"} <= {
        p.name for p in folder.iterdir()
    }

    example = json.loads((folder / "example.json").read_text())
    with service(var, config=str(preset)) as url:
        client = httpx.Client(base_url=url, trust_env=False, timeout=60)
        answer = client.post("/predict", json=example).raise_for_status().json()
        assert all(0 <= row["probability"] <= 1 for row in answer["predictions"])
        assert answer["model"]["threshold"] is None
        assert {row["decision"] for row in answer["predictions"]} == {None}
        one = {**example["customers"][0], CLINIC: NORTH}
        del one["customer_id"]  # each customer once, or nobody in particular
        variants = [
            one,
            {**one, CLINIC: "never seen"},
            {**one, CLINIC: "nor that"},
            {**one, CLINIC: None},
            {name: value for name, value in one.items() if name != TEXTURE},
        ]
        said = client.post("/predict", json={"customers": variants}).raise_for_status().json()
        found = [row["probability"] for row in said["predictions"]]
        assert found[1] == found[2]  # whatever is not known is the same other
        bad = client.post("/predict", json={"customers": [{**one, RADIUS: None}]})
        assert bad.status_code == 400 and RADIUS in bad.json()["error"]
        described = client.get("/docs.json").json()["components"]["schemas"]["Prediction"]
        assert described["properties"]["probability"]["description"] == (f"that {TARGET} is {ILL}")
        customer = client.get("/docs.json").json()["components"]["schemas"]["Customer"]
        assert list(customer["properties"]) == [*NUMBERS, *NOISE, CLINIC, "customer_id"]
        there = ("--config", str(preset), "--serving.port", url.rpartition(":")[2])
        shown = forked_cli(var, *there, module="serving.predict")
        assert shown.code == 0, shown.err
        assert safe(shown.out).count("[/b] <i> \\x1b[2J\\n\\u202e") == len(example["customers"])
    listed = forked_cli(var, "--config", str(preset), module="flows.commands.models")
    assert listed.code == 0 and "intact" in safe(listed.out), listed.err
