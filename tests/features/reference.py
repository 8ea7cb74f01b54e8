"""Every feature once more, in plain pandas: written from `docs/features.md`, not from the SQL.

For clarity, not speed: one as-of date at a time, the past is cut out first, and each feature is a
line or two. `tests/features/test_features_reference.py` holds the SQL against it.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from configs.settings import Features

DAY = pd.Timedelta(days=1)


def reference(log: pd.DataFrame, as_of: date, settings: Features) -> pd.DataFrame:
    """The features of every customer who is asked about at `as_of`: indexed by customer_id.

    log: valid rows with the canonical columns, of all customers: past, and perhaps future.
    """
    now = pd.Timestamp(as_of)
    past = log[log["invoiced_at"] < now].copy()
    past["money"] = in_hundredths(past["quantity"] * past["unit_price"])
    sales = past[past["quantity"] > 0]
    active = sales[sales["invoiced_at"] >= now - settings.active_days * DAY]
    asked = pd.Index(np.sort(active["customer_id"].unique()), name="customer_id")

    orders = invoices(sales, now, settings.invoice_days)
    parts = [
        recency(orders),
        *(window(orders, days) for days in (30, 60, 90, 180, 365)),
        history(orders),
        gaps(orders),
        bg_nbd(orders, settings.horizon_days),
        products(sales, now),
        baskets(orders),
        cancellations(past[past["quantity"] < 0], orders, now),
        country(orders, settings.home_country),
        season(orders, now, log, settings, asked),
    ]
    return pd.concat([part.reindex(asked) for part in parts], axis=1)


def in_hundredths(money: pd.Series) -> pd.Series:
    """Whole hundredths, a half away from zero."""
    return np.sign(money) * np.floor(np.abs(money) * 100 + 0.5)


def invoices(sales: pd.DataFrame, now: pd.Timestamp, invoice_days: int) -> pd.DataFrame:
    """One row per invoice of a customer, from the first to the last: ties by its number.

    A number that comes back after more than `invoice_days` is a new invoice.
    """
    in_time = sales.sort_values(["invoiced_at", "country"])
    numbers = [in_time["customer_id"], in_time["invoice_id"]]
    day = in_time["invoiced_at"].dt.normalize()
    begins = day.groupby(numbers).diff() > invoice_days * DAY
    found = (
        in_time.assign(time=begins.groupby(numbers).cumsum())
        .groupby(["customer_id", "invoice_id", "time"])
        .agg(
            at=("invoiced_at", "min"),
            money=("money", "sum"),
            lines=("money", "size"),
            units=("quantity", "sum"),
            country=("country", "first"),  # the first that is named
        )
        .reset_index()
        .sort_values(["customer_id", "at", "invoice_id"])
    )
    found["day"] = found["at"].dt.normalize()
    found["days_ago"] = (now - found["day"]).dt.days
    return found


def recency(orders: pd.DataFrame) -> pd.DataFrame:
    days_ago = orders.groupby("customer_id")["days_ago"]
    return pd.DataFrame({"recency_days": days_ago.min(), "tenure_days": days_ago.max()})


def window(orders: pd.DataFrame, days: int) -> pd.DataFrame:
    """Invoices and their value in the last `days` days; nothing is 0, not missing."""
    recent = orders["money"].where(orders["days_ago"] <= days)
    by_customer = recent.groupby(orders["customer_id"])
    return pd.DataFrame(
        {f"orders_{days}d": by_customer.count(), f"revenue_{days}d": by_customer.sum() / 100}
    )


def history(orders: pd.DataFrame) -> pd.DataFrame:
    by_customer = orders.groupby("customer_id")
    last_year = orders[orders["days_ago"] <= 365]
    months = last_year["day"].dt.to_period("M").groupby(last_year["customer_id"]).nunique()
    return pd.DataFrame(
        {
            "orders_total": by_customer.size(),
            "revenue_total": by_customer["money"].sum() / 100,
            "order_value_mean": by_customer["money"].mean() / 100,
            "order_value_last": by_customer["money"].last() / 100,
            "active_months_365d": months,
        }
    ).fillna({"active_months_365d": 0})


def gaps(orders: pd.DataFrame) -> pd.DataFrame:
    """Gaps between days with a purchase."""
    days = orders[["customer_id", "day", "days_ago"]].drop_duplicates()
    gap = days.groupby("customer_id")["day"].diff().dt.days
    by_customer = gap.groupby(days["customer_id"])
    return pd.DataFrame(
        {
            "gap_days_mean": by_customer.mean(),
            "gap_days_median": by_customer.median(),
            "gap_days_spread": by_customer.std(),
            "gap_days_last": by_customer.last(),
            "overdue_ratio": days.groupby("customer_id")["days_ago"].min() / by_customer.mean(),
        }
    )


def bg_nbd(orders: pd.DataFrame, horizon_days: int) -> pd.DataFrame:
    """P(a purchase within the horizon): P(alive), equation 7 in Fader, Hardie & Lee (2008),
    "Computing P(alive) using the BG/NBD model", times P(the next purchase is in time | alive),
    where the rate of a customer who is alive is Gamma(r + x, alpha + T)."""
    r, alpha, a, b = 0.243, 4.414, 0.793, 2.426
    by_customer = orders.groupby("customer_id")
    x = by_customer["day"].nunique() - 1  # repeat purchases
    t = by_customer["days_ago"].max() / 7
    t_x = t - by_customer["days_ago"].min() / 7
    odds_dead = a / (b + x - 1) * np.exp((r + x) * np.log((alpha + t) / (alpha + t_x)))
    alive = 1 / (1 + odds_dead.where(x > 0, 0))
    in_time = 1 - np.exp((r + x) * (np.log(alpha + t) - np.log(alpha + t + horizon_days / 7)))
    return pd.DataFrame({"buy_probability": alive * in_time})


def products(sales: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    last_year = sales[sales["invoiced_at"] >= now - 365 * DAY]
    found = {
        "products_365d": last_year.groupby("customer_id")["product_id"].nunique(),
        "products_total": sales.groupby("customer_id")["product_id"].nunique(),
    }
    return pd.DataFrame(found).fillna({"products_365d": 0})


def baskets(orders: pd.DataFrame) -> pd.DataFrame:
    total = orders.groupby("customer_id")[["money", "lines", "units"]].sum()
    return pd.DataFrame(
        {
            "lines_per_order": total["lines"] / orders.groupby("customer_id").size(),
            "units_per_line": total["units"] / total["lines"],
            "unit_price_mean": total["money"] / total["units"] / 100,
        }
    )


def cancellations(cancelled: pd.DataFrame, orders: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    last_year = cancelled[cancelled["invoiced_at"] >= now - 365 * DAY]
    sold = orders.groupby("customer_id")["money"].sum()
    back = -cancelled.groupby("customer_id")["money"].sum()
    lines = last_year.groupby("customer_id").size()
    return pd.DataFrame(
        {
            "cancelled_lines_365d": lines.reindex(sold.index, fill_value=0),
            # sales worth nothing count as a hundredth
            "cancelled_share": back.reindex(sold.index, fill_value=0) / sold.clip(lower=1),
        }
    )


def country(orders: pd.DataFrame, home: str) -> pd.DataFrame:
    last = orders.groupby("customer_id")["country"].last()  # the last that is named
    return pd.DataFrame({"is_home": (last == home).astype(float)})


def season(
    orders: pd.DataFrame,
    now: pd.Timestamp,
    log: pd.DataFrame,
    settings: Features,
    asked: pd.Index,
) -> pd.DataFrame:
    """The label's window a year earlier, where the log reaches back that far."""
    begin = now - 365 * DAY
    inside = (orders["day"] >= begin) & (orders["day"] < begin + settings.horizon_days * DAY)
    same = orders[inside].groupby("customer_id")["money"]
    log_start = log.loc[log["quantity"] > 0, "invoiced_at"].min().normalize()
    known = log_start <= begin
    angle = 2 * np.pi * now.dayofyear / 365.25
    found = pd.DataFrame(index=asked)
    found["season_orders"] = same.size().reindex(asked, fill_value=0) if known else np.nan
    found["season_revenue"] = same.sum().reindex(asked, fill_value=0) / 100 if known else np.nan
    found["year_sin"], found["year_cos"] = np.sin(angle), np.cos(angle)
    return found
