"""The same work written in pandas, to measure beside: what a team would write without the SQL."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd


def pandas_quarantine_seconds(rows: Path) -> float:
    """Seconds to split the raw rows into valid and quarantined, with the main reasons."""
    begun = time.perf_counter()
    frame = pd.read_parquet(rows).drop(columns="unreadable")
    cancelled = frame["invoice_id"].str.startswith("C")
    sold = frame["quantity"].where(~cancelled, -frame["quantity"])
    reasons = pd.DataFrame(
        {
            "missing_customer": frame["customer_id"].isna(),
            "duplicate": frame.drop(columns="source_row").duplicated(),
            "zero_price": frame["unit_price"] == 0,
            "negative_price": frame["unit_price"] < 0,
            "impossible_quantity": (sold < 1) | (sold > 50_000),
            "no_product_code": ~frame["product_id"].str.fullmatch(r"\d{5}[A-Z]{0,2}").fillna(False),
        }
    )
    broken = reasons.any(axis=1)
    valid, quarantined = frame[~broken], frame[broken].join(reasons)
    assert len(valid) + len(quarantined) == len(frame)
    return time.perf_counter() - begun


def pandas_features_seconds(transactions: Path) -> float:
    """Seconds for counts and values of invoices in five windows and recency, at twelve dates."""
    begun = time.perf_counter()
    frame = pd.read_parquet(transactions)
    frame = frame[frame["quantity"] > 0].assign(value=lambda f: f["quantity"] * f["unit_price"])
    dates = pd.date_range("2010-06-09", "2011-03-09", freq="MS") + pd.Timedelta(days=8)
    made = []
    for as_of in [*dates, pd.Timestamp("2011-06-09"), pd.Timestamp("2011-09-09")]:
        past = frame[frame["invoiced_at"] < as_of]
        orders = past.groupby(["customer_id", "invoice_id"], as_index=False).agg(
            at=("invoiced_at", "min"), value=("value", "sum"), products=("product_id", "nunique")
        )
        columns = {}
        for days in (30, 60, 90, 180, 365):
            window = orders[orders["at"] >= as_of - pd.Timedelta(days=days)].groupby("customer_id")
            columns[f"orders_{days}d"] = window.size()
            columns[f"revenue_{days}d"] = window["value"].sum()
        columns["recency"] = as_of - orders.groupby("customer_id")["at"].max()
        made.append(pd.DataFrame(columns).assign(as_of=as_of))
    pd.concat(made)
    return time.perf_counter() - begun
