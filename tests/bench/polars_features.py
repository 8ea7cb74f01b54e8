"""The same features in Polars, as a practitioner would write them: all as-of dates at once."""

from __future__ import annotations

import math
from datetime import date

import polars as pl

from configs.settings import Features

KEY = ["customer_id", "as_of"]
R, ALPHA, A, B = 0.243, 4.414, 0.793, 2.426  # BG/NBD: tests/features/reference.py


def features(log: pl.LazyFrame, settings: Features, days: list[date]) -> pl.DataFrame:
    """Every feature of the catalogue, for who is asked about at each of these days."""
    cents = (pl.col("quantity") * pl.col("unit_price") * 100).round(0, mode="half_away_from_zero")
    day = pl.col("invoiced_at").dt.date()
    log = log.with_columns(cents.cast(pl.Int64).alias("cents"), day=day)
    sales = log.filter(pl.col("quantity") > 0)
    first = sales.select(pl.col("day").min()).collect().item()
    dates = pl.LazyFrame({"as_of": days})
    moments = sales.group_by("customer_id", "invoice_id", "invoiced_at", "country").agg(
        pl.col("cents").sum(), lines=pl.len(), units=pl.col("quantity").sum()
    )
    orders = (
        moments.join(dates, how="cross")
        .filter(pl.col("invoiced_at") < pl.col("as_of"))
        .group_by(*KEY, "invoice_id")
        .agg(
            at=pl.col("invoiced_at").min(),
            country=pl.col("country").sort_by("invoiced_at", "country").drop_nulls().first(),
            cents=pl.col("cents").sum(),
            lines=pl.col("lines").sum(),
            units=pl.col("units").sum(),
        )
        .with_columns(day=pl.col("at").dt.date())
        .with_columns(ago=(pl.col("as_of") - pl.col("day")).dt.total_days())
        .sort(*KEY, "at", "invoice_id")
        .collect(engine="streaming")
    )
    asked = (
        orders.group_by(KEY).agg(pl.col("ago").min()).filter(pl.col("ago") <= settings.active_days)
    )
    spine = asked.select(KEY)
    parts = [
        by_order(orders, settings, first),
        gaps(orders, settings.horizon_days),
        variety(sales, dates),
        cancellations(log, dates),
    ]
    table = spine
    for part in parts:
        table = table.join(part, on=KEY, how="left")
    sold = pl.col("revenue_total") * 100
    angle = 2 * math.pi * pl.col("as_of").dt.ordinal_day() / 365.25
    return table.with_columns(
        pl.col("cancelled_lines_365d").fill_null(0),
        (pl.col("back").fill_null(0) / pl.max_horizontal(sold, 1)).alias("cancelled_share"),
        pl.col("products_365d").fill_null(0),
        angle.sin().round(9).alias("year_sin"),
        angle.cos().round(9).alias("year_cos"),
    ).sort("as_of", "customer_id")


def by_order(orders: pl.DataFrame, settings: Features, first_day: object) -> pl.DataFrame:
    """Recency, windows, baskets, country and season: sums over a customer's orders."""
    ago, money = pl.col("ago"), pl.col("cents") / 100
    windows = [
        expression
        for days in (30, 60, 90, 180, 365)
        for expression in (
            (ago <= days).sum().alias(f"orders_{days}d"),
            money.filter(ago <= days).sum().alias(f"revenue_{days}d"),
        )
    ]
    same_season = (ago <= 365) & (ago > 365 - settings.horizon_days)
    known = (pl.col("as_of") - pl.lit(first_day)).dt.total_days() >= 365
    months = pl.col("day").dt.truncate("1mo").filter(ago <= 365).n_unique()
    return (
        orders.group_by(KEY, maintain_order=True)
        .agg(
            ago.min().alias("recency_days"),
            ago.max().alias("tenure_days"),
            *windows,
            pl.len().alias("orders_total"),
            money.sum().alias("revenue_total"),
            money.mean().alias("order_value_mean"),
            money.last().alias("order_value_last"),
            months.alias("active_months_365d"),
            (pl.col("lines").sum() / pl.len()).alias("lines_per_order"),
            (pl.col("units").sum() / pl.col("lines").sum()).alias("units_per_line"),
            (pl.col("cents").sum() / pl.col("units").sum() / 100).alias("unit_price_mean"),
            (pl.col("country").drop_nulls().last() == settings.home_country)
            .fill_null(False)
            .alias("is_home"),
            same_season.sum().alias("season_orders"),
            money.filter(same_season).sum().alias("season_revenue"),
        )
        .with_columns(
            pl.when(known).then(pl.col(name)).alias(name)
            for name in ("season_orders", "season_revenue")
        )
        .with_columns(pl.col("is_home").cast(pl.Int64))
    )


def gaps(orders: pl.DataFrame, horizon_days: int) -> pl.DataFrame:
    """Gaps between purchase days, and the probability of BG/NBD."""
    days = orders.select(*KEY, "day", "ago").unique().sort(*KEY, "day")
    gap = pl.col("gap")
    found = (
        days.with_columns(gap=pl.col("day").diff().over(KEY).dt.total_days())
        .group_by(KEY, maintain_order=True)
        .agg(
            gap.mean().alias("gap_days_mean"),
            gap.median().alias("gap_days_median"),
            gap.std().alias("gap_days_spread"),
            gap.last().alias("gap_days_last"),
            (pl.col("ago").min() / gap.mean()).alias("overdue_ratio"),
            x=pl.len().cast(pl.Int64) - 1,
            t=pl.col("ago").max() / 7,
            recent=pl.col("ago").min() / 7,
        )
    )
    x, t = pl.col("x"), pl.col("t")
    t_x = t - pl.col("recent")
    odds = A / (B + x - 1) * ((R + x) * ((ALPHA + t).log() - (ALPHA + t_x).log())).exp()
    dead = pl.when(x > 0).then(odds).otherwise(0)
    horizon = horizon_days / 7
    in_time = 1 - ((R + x) * ((ALPHA + t).log() - (ALPHA + t + horizon).log())).exp()
    return found.with_columns((in_time / (1 + dead)).alias("buy_probability")).drop(
        "x", "t", "recent"
    )


def variety(sales: pl.LazyFrame, dates: pl.LazyFrame) -> pl.DataFrame:
    """Distinct products, so far and in the last 365 days."""
    bought = sales.select("customer_id", "product_id", "invoiced_at").join(dates, how="cross")
    at, as_of = pl.col("invoiced_at"), pl.col("as_of")
    recent = at >= as_of.cast(pl.Datetime("us")) - pl.duration(days=365)
    return (
        bought.filter(at < as_of)
        .group_by(KEY)
        .agg(
            pl.col("product_id").n_unique().alias("products_total"),
            pl.col("product_id").filter(recent).n_unique().alias("products_365d"),
        )
        .collect(engine="streaming")
    )


def cancellations(log: pl.LazyFrame, dates: pl.LazyFrame) -> pl.DataFrame:
    at, as_of = pl.col("invoiced_at"), pl.col("as_of")
    recent = at >= as_of.cast(pl.Datetime("us")) - pl.duration(days=365)
    return (
        log.filter(pl.col("quantity") < 0)
        .join(dates, how="cross")
        .filter(at < as_of)
        .group_by(KEY)
        .agg(recent.sum().alias("cancelled_lines_365d"), back=-pl.col("cents").sum())
        .collect(engine="streaming")
    )
