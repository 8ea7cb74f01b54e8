"""Whatever the valid log, every feature lies in the range that the catalogue promises.

The service refuses what lies outside these ranges, and the table's contract stops the run.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_logs import Answer, Line, ask, at

from configs.settings import Features
from features.catalogue import CATALOGUE

AS_OF = (date(2024, 2, 29), date(2025, 6, 10))
# The contract's limits for Online Retail II.
MAX_QUANTITY, MAX_UNIT_PRICE = 50_000, 5_000.0

SALES = st.builds(
    Line,
    invoiced_at=st.datetimes(datetime(2022, 6, 1), datetime(2025, 12, 31))
    | st.datetimes(datetime(2025, 6, 1), datetime(2025, 6, 10)),
    customer_id=st.sampled_from(
        ["o'brien", 'say "hi"', "Zoë 🛒", "; DROP TABLE spine; --", "NULL"]
    ),
    invoice_id=st.sampled_from(["1", "2", "3", "'4'", "५"]),
    product_id=st.sampled_from(["10001", "10002", "10003A"]),
    quantity=st.integers(1, MAX_QUANTITY) | st.integers(1, 3),
    unit_price=st.floats(0, MAX_UNIT_PRICE, exclude_min=True)
    | st.sampled_from([0.001, 0.004, 0.005, 1 / 3, MAX_UNIT_PRICE]),
    country=st.none() | st.text(max_size=10),
    description=st.none() | st.text(max_size=10),
)
LINES = SALES | SALES.map(
    lambda sale: replace(sale, invoice_id=f"C{sale.invoice_id}", quantity=-sale.quantity)
)


def assert_in_range(answer: Answer) -> None:
    for key, values in answer.features.items():
        for feature in CATALOGUE:
            value = values[feature.name]
            if value is None:
                assert feature.missing, (key, feature.name)
                continue
            assert value >= feature.low, (key, feature.name, value)
            assert feature.high is None or value <= feature.high, (key, feature.name, value)
            assert np.isfinite(np.float32(value)), (key, feature.name, value)


@pytest.mark.slow
@given(
    log=st.lists(LINES, min_size=1, max_size=20),
    horizon=st.sampled_from([1, 90, 365]),
    active=st.sampled_from([1, 30, 365, 1095]),
    home=st.sampled_from(["United Kingdom", "Côte d'Ivoire"]),
)
@settings(max_examples=10)
def test_every_valid_log_gives_values_in_range(log, horizon, active, home):
    question = Features(horizon_days=horizon, active_days=active, home_country=home)
    assert_in_range(ask(log, AS_OF, question))


HOME = 'Côte d\'Ivoire and "others"'
LARGEST = Line(at("2025-06-01"), quantity=MAX_QUANTITY, unit_price=MAX_UNIT_PRICE)
EXTREMES: dict[str, tuple[list[Line], dict[str, float]]] = {
    "sales worth less than half a hundredth are worth nothing, cancelled as if one had been sold": (
        [
            Line(at("2025-06-01"), unit_price=0.001),
            Line(at("2025-06-02"), invoice_id="C2", quantity=-2, unit_price=5.0),
        ],
        {"revenue_total": 0, "unit_price_mean": 0, "cancelled_share": 1000},
    ),
    "no country at all is not home": ([Line(at("2025-06-01"), country=None)], {"is_home": 0}),
    "a home country with quotes is compared as it stands": (
        [Line(at("2025-06-01"), country=HOME)],
        {"is_home": 1},
    ),
    "365 days touch at most 13 calendar months": (
        [Line(datetime(2024, 6, 10) + timedelta(d), invoice_id=str(d)) for d in range(365)],
        {"active_months_365d": 13, "orders_365d": 365, "gap_days_mean": 1, "gap_days_spread": 0},
    ),
    "thousands of the largest invoices": (
        [
            replace(
                LARGEST, invoice_id=str(n), invoiced_at=LARGEST.invoiced_at - timedelta(hours=n)
            )
            for n in range(5_000)
        ],
        {"revenue_total": 5_000 * MAX_QUANTITY * MAX_UNIT_PRICE},
    ),
}


@pytest.mark.parametrize("case", EXTREMES)
def test_an_extreme_log_gives_values_in_range(case):
    log, expected = EXTREMES[case]
    answer = ask(log, AS_OF, Features(home_country=HOME))
    assert_in_range(answer)
    values = answer.features["anna", AS_OF[1]]
    assert {name: values[name] for name in expected} == expected
