"""Nothing that is recorded at or after the as-of date moves a feature."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_logs import Line, ask

from configs.settings import Features

pytestmark = pytest.mark.slow

AS_OF = (date(2025, 2, 1), date(2025, 3, 1))
MICROSECOND = timedelta(microseconds=1)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time())


# The instants at which something is decided: as-of dates, window edges, and their neighbours.
EDGES = [
    midnight(day) - timedelta(days=window) + near
    for day in AS_OF
    for window in (0, 30, 60, 90, 180, 275, 365)
    for near in (-MICROSECOND, timedelta(0), timedelta(hours=9))
]


def lines(first: datetime, last: datetime) -> st.SearchStrategy[list[Line]]:
    """Few customers, invoices and products: invoices straddle dates, and times tie."""
    moments = st.datetimes(first, last - MICROSECOND)
    if edges := [edge for edge in EDGES if first <= edge < last]:
        moments |= st.sampled_from(edges)
    line = st.builds(
        Line,
        invoiced_at=moments,
        customer_id=st.sampled_from(["anna", "bruno", "carla"]),
        invoice_id=st.sampled_from(["1", "2", "3", "4"]),
        product_id=st.sampled_from(["10001", "10002", "10003"]),
        quantity=st.integers(1, 40),
        unit_price=st.sampled_from([0.001, 0.1, 1.15, 3.333, 250.0]),
        country=st.sampled_from(["United Kingdom", "France", None]),
    )
    cancellation = line.map(
        lambda sale: Line(
            **vars(sale) | {"invoice_id": f"C{sale.invoice_id}", "quantity": -sale.quantity}
        )
    )
    return st.lists(line | line | line | cancellation, max_size=12)


@given(cut=st.sampled_from(AS_OF), data=st.data())
@settings(max_examples=12)
def test_two_logs_that_agree_before_the_as_of_date_have_the_same_features(cut, data):
    end = midnight(AS_OF[1]) + timedelta(days=120)
    past = data.draw(lines(datetime(2024, 1, 1), midnight(cut)), "past")
    future = data.draw(lines(midnight(cut), end), "future")
    other = data.draw(lines(midnight(cut), end), "another future")
    shuffled = data.draw(st.permutations(past + other), "another log")
    question = Features(horizon_days=data.draw(st.sampled_from([30, 90])))

    one = ask(past + future, AS_OF, question).bits(until=cut)
    two = ask(shuffled, AS_OF, question).bits(until=cut)

    assert one == two
    assert {customer for customer, day in one if day == cut} == {
        line.customer_id
        for line in past
        if line.quantity > 0 and line.invoiced_at >= midnight(cut) - timedelta(days=365)
    }
