"""Features whose columns a source does not have drop out by declaration, and only those."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_logs import shop_log, write

from configs.settings import Features
from features.build import build_table
from features.catalogue import ALL, CATALOGUE, NAMES, select
from features.contract import read_frame, table_checks
from ingestion.expectations import validate

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)
LEAST = frozenset({"customer_id", "invoiced_at", "amount"})


@pytest.mark.parametrize(
    ("column", "gone"),
    [
        ("product_id", {"products_365d", "products_total"}),
        ("invoice_id", {"lines_per_order"}),
        ("quantity", {"units_per_line", "unit_price_mean"}),
        ("country", {"is_home"}),
        ("description", set()),
    ],
)
def test_without_a_column_these_features_are_gone_and_the_others_keep_their_order(column, gone):
    left = [feature.name for feature in select(ALL - {column})]
    assert set(NAMES) - set(left) >= gone
    needing = {feature.name for feature in CATALOGUE if column in feature.needs}
    assert left == [name for name in NAMES if name not in needing]


@pytest.mark.slow
def test_a_log_of_customer_time_and_amount_has_most_features_with_the_same_values(tmp_path: Path):
    """The log as ingestion leaves it when only an amount is known: customer-days for invoices."""
    rows = pd.read_parquet(write(shop_log(60, 260), tmp_path / "log.parquet"))
    amount = (rows["quantity"] * rows["unit_price"]).round(2)
    rows.assign(
        invoice_id=rows["customer_id"] + rows["invoiced_at"].dt.strftime(" %Y%m%d"),
        product_id=pd.Series(None, index=rows.index, dtype="str"),
        country=pd.Series(None, index=rows.index, dtype="str"),
        quantity=(amount > 0) * 2 - 1,
        unit_price=amount.abs(),
    ).to_parquet(tmp_path / "poor.parquet")
    facts = build_table(tmp_path / "poor.parquet", tmp_path / "least.parquet", QUESTION, LEAST)
    build_table(tmp_path / "log.parquet", tmp_path / "full.parquet", QUESTION)

    frame, names = read_frame(tmp_path / "least.parquet"), [f.name for f in select(LEAST)]
    assert facts.names == tuple(names) and facts.features == len(names) > 25
    assert list(frame) == ["customer_id", "as_of", "split", *names, "label", "split_label"]
    assert [f.code for f in validate(frame, table_checks(select(LEAST))) if not f.success] == []
    full = pd.read_parquet(tmp_path / "full.parquet")
    for name in ("customer_id", "recency_days", "gap_days_mean", "label"):
        assert frame[name].equals(full[name].astype(frame[name].dtype)), name
    # each line is rounded on its own, to a hundredth
    assert (frame["revenue_365d"] - full["revenue_365d"]).abs().max() < 0.011 * 100
