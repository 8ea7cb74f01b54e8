"""Made rows whose outcome follows known probabilities: of a retailer, and of a plain table."""

from __future__ import annotations

import numpy as np

from features.table import Rows

RETAIL = (
    {"name": "recency_days", "unit": "days", "meaning": "from the last purchase", "categories": ()},
    {"name": "tenure_days", "unit": "days", "meaning": "from the first purchase", "categories": ()},
    {"name": "orders_365d", "unit": "invoices", "meaning": "invoices so far", "categories": ()},
    {"name": "is_home", "unit": "0 or 1", "meaning": "in the home country", "categories": ()},
    {"name": "gap_days_mean", "unit": "days", "meaning": "mean gap", "categories": ()},
)
PLAIN = (
    {"name": "contract", "unit": "category", "meaning": "", "categories": ("month", "year")},
    {"name": "charge", "unit": "value", "meaning": "", "categories": ()},
    {"name": "senior", "unit": "value", "meaning": "", "categories": ()},
    {"name": "visits", "unit": "value", "meaning": "", "categories": ()},
)
DATES = ("2025-03-01", "2025-04-01", "2025-05-01")
TEST_DATE = "2025-09-01"


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def retail_x(n: int, rng: np.random.Generator) -> np.ndarray:
    recency = rng.integers(1, 366, n)
    orders = rng.geometric(0.3, n)
    gap = np.where(orders > 1, rng.exponential(40, n), np.nan)
    tenure = recency + rng.integers(0, 500, n)
    return np.column_stack([recency, tenure, orders, rng.random(n) < 0.9, gap]).astype(np.float32)


def plain_x(n: int, rng: np.random.Generator) -> np.ndarray:
    contract = rng.choice([0, 1, 2, np.nan], n, p=[0.5, 0.4, 0.06, 0.04])
    charge = rng.lognormal(3, 1, n)
    return np.column_stack([contract, charge, rng.random(n) < 0.2, rng.poisson(3, n)]).astype(
        np.float32
    )


def retail_model(x: np.ndarray) -> np.ndarray:
    return sigmoid(0.8 - 0.01 * x[:, 0] + 0.6 * np.log(x[:, 2]))


def plain_model(x: np.ndarray) -> np.ndarray:
    return sigmoid(np.where(x[:, 0] == 0, 0.9, -0.6) + 0.3 * (x[:, 3] - 3))


def made_rows(n: int, seed: int, dates: tuple[str, ...], plain: bool = False) -> Rows:
    rng = np.random.default_rng(seed)
    x = (plain_x if plain else retail_x)(n, rng)
    y = (rng.random(n) < (plain_model if plain else retail_model)(x)).astype(np.int8)
    as_of = np.sort(rng.choice(np.array(dates, dtype="datetime64[D]"), n))
    return Rows(x, y, np.array([f"c{i}" for i in range(n)], dtype=object), as_of)
