"""When the future has nothing to do with the past, a real model learns nothing: it scores chance.

Before the SQL runs, customers exchange their futures: from the as-of date on, everything that was
one customer's is another's. The label of a row is then a stranger's, and nothing that lies before
the as-of date can foretell it; a feature that sees past the date still can, for it sees the
stranger's purchases too. (Labels shuffled in a finished table would be no test: a leak would be
shuffled away with them.) A leak is planted, to show that this test can fail.
"""

from __future__ import annotations

import shutil
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from made_logs import Line, as_table, ask
from sklearn.metrics import roc_auc_score

from configs.settings import Features
from features import engine
from features.table import Rows
from training.families import xgboost

pytestmark = pytest.mark.slow

TRAIN, TEST = date(2023, 9, 1), date(2024, 2, 1)
SEEDS = range(4)  # one is off by .015 (standard deviation), their mean by .008
PARAMS = xgboost.BASELINE | {"rounds": 30}


def eager_and_idle(customers: int, invoices: int) -> list[Line]:
    """A log in which some customers buy far more often than others, so that there is something to
    learn from the futures as they are."""
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


LOG = as_table(eager_and_idle(1200, 9000))


def exchanged(as_of: date, seed: int) -> pa.Table:
    """The log in which the customers up to `as_of` have each other's futures, drawn by `seed`."""
    customer = LOG["customer_id"].to_numpy(zero_copy_only=False)
    future = LOG["invoiced_at"].to_numpy() >= np.datetime64(as_of)
    known = np.unique(customer[~future])
    other = dict(zip(known, np.random.default_rng(seed).permutation(known), strict=True))
    mixed = [other.get(name, name) if late else name for name, late in zip(customer, future)]
    column = LOG.schema.get_field_index("customer_id")
    return LOG.set_column(column, "customer_id", pa.array(mixed, pa.string()))


def rows(log: pa.Table, as_of: date) -> Rows:
    answer = ask(log, [as_of], Features(horizon_days=60))
    keys = list(answer.features)
    return Rows(
        x=np.array([list(answer.features[key].values()) for key in keys], dtype=np.float32),
        y=np.array([key in answer.buyers for key in keys], dtype=np.int8),
        customer_id=np.array([key[0] for key in keys]),
        as_of=np.full(len(keys), np.datetime64(as_of)),
    )


def score(train: Rows, test: Rows) -> float:
    """Test ROC AUC of a model."""
    model = xgboost.fit(PARAMS, train, None, seed=1, threads=1)
    return float(roc_auc_score(test.y, xgboost.predict(model, test.x)))


def exchanged_splits() -> list[tuple[Rows, Rows]]:
    return [
        (rows(exchanged(TRAIN, seed), TRAIN), rows(exchanged(TEST, 100 + seed), TEST))
        for seed in SEEDS
    ]


def test_a_model_scores_at_chance_with_exchanged_futures_and_better_with_their_own():
    splits = exchanged_splits()
    assert sum(len(test) for _, test in splits) >= 2500
    assert np.mean([score(*both) for both in splits]) == pytest.approx(0.5, abs=0.03)
    assert score(rows(LOG, TRAIN), rows(LOG, TEST)) > 0.6


def test_it_is_better_with_exchanged_futures_too_when_the_features_see_a_week_of_them(
    tmp_path, monkeypatch
):
    shutil.copytree(engine.SQL, tmp_path / "sql")
    file = tmp_path / "sql" / "base" / "past_orders.sql"
    late = file.read_text("utf-8").replace("WHERE day < as_of", "WHERE day <= as_of + 7")
    assert late != file.read_text("utf-8")
    file.write_text(late, "utf-8")
    monkeypatch.setattr(engine, "SQL", tmp_path / "sql")
    assert np.mean([score(*both) for both in exchanged_splits()]) > 0.55
