"""With labels that mean nothing, a real model learns nothing: what it scores is chance.

A row that stands in two splits, or an outcome that finds its way into a feature, would show here.
All labels of the table are shuffled together: a test label then has nothing to do with its row.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from made_logs import Line, write
from sklearn.metrics import roc_auc_score

from configs.settings import Features
from features.build import build_table
from features.catalogue import NAMES
from features.table import Rows, read_rows
from training.families import logistic, xgboost

SHUFFLES = 3
FAMILIES = {
    "logistic": (logistic, {"C": 1.0, "log": True}),
    "xgboost": (xgboost, xgboost.BASELINE | {"rounds": 30}),
}


def eager_and_idle(customers: int, invoices: int) -> list[Line]:
    """A log in which some customers buy far more often than others, so that there is something to
    learn from the labels as they are."""
    rng = np.random.default_rng(11)
    start = datetime(2022, 1, 1)
    return [
        Line(
            invoiced_at=start + timedelta(minutes=int(rng.integers(1000 * 1440))),
            customer_id=str(int(customers * rng.random() ** 3)),
            invoice_id=str(number),
            product_id=str(rng.integers(50)),
            quantity=int(rng.integers(1, 20)),
            unit_price=1.25,
        )
        for number in range(invoices)
    ]


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> tuple[Rows, Rows]:
    folder: Path = tmp_path_factory.mktemp("table")
    log = write(eager_and_idle(2000, 16_000), folder / "log.parquet")
    question = Features(horizon_days=60, train_dates=4, test_dates=3)
    build_table(log, folder / "table.parquet", question)
    train, test = (
        read_rows(folder / "table.parquet", (name,), NAMES) for name in ("train", "test")
    )
    assert len(test) > 4000
    return train, test


def score(family: str, train: Rows, test: Rows, labels: np.ndarray) -> float:
    """Test ROC AUC of a model of this family; labels are those of the training rows, then of the
    test rows."""
    module, params = FAMILIES[family]
    learnt, asked = np.split(labels, [len(train)])
    rows = Rows(train.x, learnt, train.customer_id, train.as_of)
    model = module.fit(params, rows, None, seed=1, threads=1)
    return float(roc_auc_score(asked, module.predict(model, test.x)))


@pytest.mark.parametrize("family", FAMILIES)
def test_shuffled_labels_score_at_chance_and_true_ones_do_not(family, splits):
    train, test = splits
    labels = np.concatenate([train.y, test.y])
    rng = np.random.default_rng(12)
    shuffled = [score(family, train, test, rng.permutation(labels)) for _ in range(SHUFFLES)]
    assert np.mean(shuffled) == pytest.approx(0.5, abs=0.03)  # expected to be off by .005
    assert score(family, train, test, labels) > 0.65
