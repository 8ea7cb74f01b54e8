"""A row exactly at a boundary falls on the right side, and a microsecond moves it to the other."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from made_logs import Line, ask, at

from configs.settings import Features
from features.catalogue import WINDOWS

AS_OF = date(2025, 6, 10)
MIDNIGHT = datetime(2025, 6, 10)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
LONG_AGO = Line(at("2020-01-01 12:00"), "early bird")
YESTERDAY = Line(at("2025-06-09 12:00"), invoice_id="yesterday", product_id="90000")


def test_the_as_of_date_begins_at_midnight_also_for_an_invoice_on_both_sides():
    answer = ask([Line(MIDNIGHT - TICK)], [AS_OF])
    assert answer.features["anna", AS_OF]["recency_days"] == 1 and answer.buyers == set()
    assert ask([Line(MIDNIGHT)], [AS_OF]).features == {}
    late = Line(MIDNIGHT, unit_price=50.0, product_id="late")
    answer = ask([Line(MIDNIGHT - TICK, unit_price=2.0), late], [AS_OF])
    values = answer.features["anna", AS_OF]
    names = ("order_value_last", "lines_per_order", "orders_total", "products_total")
    assert [values[name] for name in names] == [2.0, 1, 1, 1]
    assert answer.buyers == {("anna", AS_OF)}


@pytest.mark.parametrize(
    ("days_apart", "invoice_days", "orders", "recency"),
    [(7, 7, 1, 21), (8, 7, 2, 13), (8, 365, 1, 21)],
)
def test_an_invoice_number_that_comes_back_after_more_than_invoice_days_is_a_new_invoice(
    days_apart, invoice_days, orders, recency
):
    first = MIDNIGHT - 21 * DAY
    log = [Line(first), Line(first + days_apart * DAY, unit_price=2.0)]
    values = ask(log, [AS_OF], Features(invoice_days=invoice_days)).features["anna", AS_OF]
    assert (values["orders_total"], values["recency_days"]) == (orders, recency)
    assert values["order_value_last"] == (3.0 if orders == 1 else 2.0)
    assert values["tenure_days"] == 21


@pytest.mark.parametrize("horizon", [1, 365])
def test_the_label_window_ends_before_as_of_plus_horizon(horizon):
    question, end = Features(horizon_days=horizon), MIDNIGHT + horizon * DAY
    assert ask([YESTERDAY, Line(end)], [AS_OF], question).buyers == set()
    assert ask([YESTERDAY, Line(end - TICK)], [AS_OF], question).buyers != set()


def test_a_cancellation_is_not_a_purchase():
    back = Line(MIDNIGHT + DAY, invoice_id="C1", quantity=-1)
    assert ask([YESTERDAY, back], [AS_OF]).buyers == set()
    assert ask([replace(back, invoiced_at=MIDNIGHT - DAY)], [AS_OF]).features == {}


def test_a_window_holds_its_first_midnight_and_not_the_moment_before():
    log = []
    for days in WINDOWS:
        first = MIDNIGHT - days * DAY
        for side, moment in (("inside", first), ("outside", first - TICK)):
            customer = f"{days} {side}"
            log += [
                replace(YESTERDAY, customer_id=customer),
                Line(moment, customer, unit_price=2.0),
                Line(moment, customer, "C1", quantity=-1),
            ]
    features = ask(log, [AS_OF]).features
    for days in WINDOWS:
        for side, expected in (("inside", (2, 3.0)), ("outside", (1, 1.0))):
            values = features[f"{days} {side}", AS_OF]
            assert (values[f"orders_{days}d"], values[f"revenue_{days}d"]) == expected
    for side, expected in (("inside", [2, 1, 2]), ("outside", [1, 0, 1])):
        names = ("products_365d", "cancelled_lines_365d", "active_months_365d")
        assert [features[f"365 {side}", AS_OF][name] for name in names] == expected


@pytest.mark.parametrize("active", [1, 1095])
def test_the_spine_holds_who_bought_since_the_first_midnight_of_the_active_days(active):
    first = MIDNIGHT - active * DAY
    log = [Line(first), Line(first - TICK, "bruno")]
    assert set(ask(log, [AS_OF], Features(active_days=active)).features) == {("anna", AS_OF)}


@pytest.mark.parametrize("horizon", [1, 90, 365])
def test_the_season_is_the_label_window_365_days_earlier(horizon):
    first = MIDNIGHT - 365 * DAY
    end = first + horizon * DAY
    moments = {"before": first - TICK, "first": first, "last": end - TICK}
    moments |= {"after": end} if end < MIDNIGHT else {}
    log = [LONG_AGO, *(Line(moment, customer) for customer, moment in moments.items())]
    spine = [(customer, AS_OF) for customer in moments]
    features = ask(log, [AS_OF], Features(horizon_days=horizon), spine=spine).features
    for customer in moments:
        expected = int(customer in ("first", "last"))
        assert features[customer, AS_OF]["season_orders"] == expected, customer


@pytest.mark.parametrize(("start", "known"), [("2024-06-10 23:59", True), ("2024-06-11", False)])
def test_the_season_is_missing_when_the_log_begins_after_its_first_day(start, known):
    values = ask([Line(at(start), "early bird"), YESTERDAY], [AS_OF]).features["anna", AS_OF]
    assert values["season_orders"] == values["season_revenue"] == (0 if known else None)


def test_the_calendar_of_a_leap_day_and_of_new_year():
    log = [Line(at("2023-12-01")), Line(at("2024-02-01"))]
    features = ask(log, [date(2024, 1, 1), date(2024, 2, 29)]).features
    assert features["anna", date(2024, 1, 1)]["year_cos"] == pytest.approx(1, abs=1e-3)
    assert features["anna", date(2024, 2, 29)]["year_sin"] == pytest.approx(0.858402, abs=1e-6)
