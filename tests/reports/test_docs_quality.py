"""The comparison with AutoML tools: its scores, and the page that is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from reports.measured import headline, quality_page
from tests.bench.quality import compare, hand_over, scores

DRAWN = np.random.default_rng(1)
Y = DRAWN.integers(0, 2, 300)
CUSTOMERS = np.arange(300) // 2
GOOD = np.clip(Y * 0.4 + DRAWN.uniform(0.1, 0.5, 300), 0, 1)
POOR = DRAWN.uniform(0.1, 0.9, 300)


def test_the_difference_is_ours_minus_theirs_and_paired():
    found = compare(Y, GOOD, POOR, CUSTOMERS)["difference"]
    assert found["roc_auc"]["low"] > 0 > found["log_loss"]["high"]
    same = compare(Y, GOOD, GOOD, CUSTOMERS)["difference"]
    assert same["roc_auc"] == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_a_peer_is_given_no_label_of_a_test_row_and_no_key(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "customer_id": ["a", "a", "c"],
        "as_of": ["2011-01-01"] * 3,
        "split": ["train", "valid", "test"],
        "x": [1.0, 2.0, None],
        "label": [0, 1, 1],
    }
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    y, groups = hand_over(tmp_path / "table.parquet", tmp_path / "peers")
    assert (y.tolist(), groups.tolist()) == ([1], ["c"])
    seen = {p.stem: pq.read_table(p).to_pydict() for p in (tmp_path / "peers").iterdir()}
    assert seen["test"] == {"x": [None]}
    fold = seen["train"].pop("fold")
    assert seen["train"] == {"x": [1.0], "label": [0]}
    assert seen["valid"]["fold"] == fold, "the rows of a customer are in one fold"


@pytest.fixture(scope="module")
def page():
    peer = {"name": "autogluon", "way": "own", "metric": "roc_auc", "fit_seconds": 91.0}
    real = {
        "rows": {"train": 10, "valid": 5, "test": 300},
        "features": 35,
        "positive_rate": 0.5,
        "seconds": 90.0,
        "winner": "ensemble",
        "ours": [{"name": "ensemble", "seconds": 80.0, "scores": scores(Y, GOOD, CUSTOMERS)}],
        "peers": [
            {**peer, "version": "1.6.3", **compare(Y, GOOD, POOR, CUSTOMERS)},
            {**peer, "name": "flaml", "failed": "it took too long"},
        ],
    }
    oracle = [
        {"seed": seed, "winner": "xgboost", "roc_auc": 0.79, "oracle": 0.79 + below}
        for seed, below in ((7, 0.005), (8, 0.0151))
    ]
    return quality_page({"cores": 2, "real": real, "oracle": oracle})


def test_the_page_says_who_failed_and_which_aim_was_missed(page):
    assert "| flaml | its own | ROC AUC | failed |" in page
    assert "nothing here says that we are ahead of the strongest peer" in page
    assert "0.0050, held" in page and "0.0151, missed" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| `")}
    assert widths == {9}, "each row has a cell for each heading"


@pytest.mark.parametrize(
    ("difference", "sentences"),
    [
        ((0.001, 0.002), ("ROC AUC: `xgboost` is ahead of", "log loss: `xgboost` is behind")),
        ((-0.002, -0.001), ("ROC AUC: `xgboost` is behind", "log loss: `xgboost` is ahead of")),
        ((-0.001, 0.002), ("ROC AUC: `xgboost` is level with", "log loss: `xgboost` is level")),
    ],
)
def test_the_first_lines_compare_with_the_peer_that_is_best_at_each_metric(difference, sentences):
    low, high = difference
    found = {"difference": (low + high) / 2, "low": low, "high": high}
    best = {
        **{"name": "autogluon", "way": "grouped", "metric": "roc_auc"},
        "scores": {"roc_auc": 0.8, "log_loss": 0.5},
        "difference": {"roc_auc": found, "log_loss": found},
    }
    surely = {"difference": 0.1, "low": 0.09, "high": 0.11}  # beside a peer that is worse at both
    weak = best | {
        "scores": {"roc_auc": 0.7, "log_loss": 0.6},
        "difference": {"roc_auc": surely, "log_loss": surely},
    }
    lines = " ".join(headline("xgboost", [weak, best]))
    for sentence in sentences:
        assert sentence in lines


def test_without_the_real_file_the_page_has_the_oracle_alone():
    page = quality_page({"cores": 2, "real": None, "oracle": []})
    assert "AutoGluon" not in page
