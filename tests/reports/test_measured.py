"""What benches and drills measured, as it stands in the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.measured import fill_operations, headline, quality_page

FIGURES = Path(__file__).parents[2] / "docs" / "figures.json"
PAGE = "# A\n<!-- drill -->\n<!-- /drill -->\nB\n<!-- year -->\nold\n<!-- /year -->\nC\n"


def test_a_section_is_filled_with_what_was_measured_and_else_left_as_it_is():
    assert fill_operations(PAGE, {}) == PAGE
    drill = {"drill": {"tried": 109, "survived": 107, "seconds": 1500.0}}
    page = fill_operations(PAGE, drill)
    assert "killed it 109 times" in " ".join(page.split())
    assert "In 107 of these cases" in " ".join(page.split())
    assert page.startswith("# A\n") and page.endswith("old\n<!-- /year -->\nC\n")
    assert fill_operations(page, drill) == page
    year = json.loads(FIGURES.read_text(encoding="utf-8"))["year"]
    page = fill_operations(PAGE, {"year": year})
    assert "old" not in page and page.endswith("<!-- /year -->\nC\n")
    assert all(f"\n{line}\n" in page for line in year["rate"]["table"])
    assert all(f"| {item['name']} | " in page for item in year["figures"])


def interval(low: float, high: float) -> dict[str, float]:
    return {"difference": (low + high) / 2, "low": low, "high": high}


def peer(
    name: str, roc_auc: float, log_loss: float, difference: dict[str, Any] | None = None
) -> dict[str, Any]:
    scores = {"roc_auc": roc_auc, "log_loss": log_loss, "calibration_error": 0.02}
    ends = {f"{m}_{end}": scores[m] for m in ("roc_auc", "log_loss") for end in ("low", "high")}
    return {
        **{"name": name, "way": "grouped", "metric": "roc_auc", "version": "1.6", "seconds": 80.0},
        **{"fit_seconds": 91.0, "scores": scores | ends | {"mean_predicted": 0.5}},
        "difference": difference,
    }


def test_the_comparison_names_the_peer_that_failed_and_the_aim_that_was_missed():
    found = {"roc_auc": interval(0.01, 0.02), "log_loss": interval(-0.02, -0.01)}
    real = {
        "rows": {"train": 10, "valid": 5, "test": 300},
        "features": 35,
        "positive_rate": 0.5,
        "seconds": 90.0,
        "winner": "ensemble",
        "ours": [peer("ensemble", 0.8, 0.5)],
        "peers": [
            peer("autogluon", 0.79, 0.51, found) | {"way": "own"},
            peer("flaml", 0, 0) | {"way": "own", "failed": "it took too long"},
        ],
    }
    oracle = [
        {"seed": seed, "winner": "xgboost", "roc_auc": 0.79, "oracle": 0.79 + below}
        for seed, below in ((7, 0.005), (8, 0.0151))
    ]
    page = quality_page({"cores": 2, "real": real, "oracle": oracle})
    assert "| flaml | its own | ROC AUC | failed |" in page
    assert "nothing here says that we are ahead of the strongest peer" in page
    assert "0.0050, held" in page and "0.0151, missed" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| `")}
    assert widths == {9}, "each row has a cell for each heading"
    assert "AutoGluon" not in quality_page({"cores": 2, "real": None, "oracle": []})


@pytest.mark.parametrize(
    ("low", "high", "sentences"),
    [
        (0.001, 0.002, ("ROC AUC: `xgboost` is ahead of", "log loss: `xgboost` is behind")),
        (-0.002, -0.001, ("ROC AUC: `xgboost` is behind", "log loss: `xgboost` is ahead of")),
        (-0.001, 0.002, ("ROC AUC: `xgboost` is level with", "log loss: `xgboost` is level")),
    ],
)
def test_the_first_lines_compare_with_the_peer_that_is_best_at_each_metric(low, high, sentences):
    best = peer("best", 0.8, 0.5, dict.fromkeys(("roc_auc", "log_loss"), interval(low, high)))
    weak = peer("weak", 0.7, 0.6, dict.fromkeys(("roc_auc", "log_loss"), interval(0.09, 0.11)))
    lines = " ".join(headline("xgboost", [weak, best]))
    assert all(sentence in lines for sentence in sentences)
