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
JUST_BEFORE = timedelta(microseconds=-1)
DAY = timedelta(days=1)
LONG_AGO = Line(at("2020-01-01 12:00"), "early bird")
YESTERDAY = Line(at("2025-06-09 12:00"), invoice_id="yesterday", product_id="90000")


def values(*lines: Line):
    return ask([LONG_AGO, *lines], [AS_OF]).features["anna", AS_OF]


def test_an_invoice_at_midnight_of_the_as_of_date_is_future():
    answer = ask([YESTERDAY, Line(MIDNIGHT)], [AS_OF])
    found = answer.features["anna", AS_OF]
    assert (found["orders_total"], found["products_total"]) == (1, 1)
    assert answer.buyers == {("anna", AS_OF)}
    assert ask([Line(MIDNIGHT)], [AS_OF]).features == {}


@pytest.mark.parametrize("before", [timedelta(seconds=-1), JUST_BEFORE])
def test_an_invoice_one_moment_before_is_past(before):
    answer = ask([Line(MIDNIGHT + before)], [AS_OF])
    assert answer.features["anna", AS_OF]["recency_days"] == 1
    assert answer.buyers == set()


def test_of_an_invoice_that_straddles_the_as_of_date_the_part_before_counts():
    before, after = Line(MIDNIGHT + JUST_BEFORE, unit_price=2.0), Line(MIDNIGHT, unit_price=50.0)
    answer = ask([before, after], [AS_OF])
    assert answer.features["anna", AS_OF]["order_value_last"] == 2.0
    assert answer.features["anna", AS_OF]["lines_per_order"] == 1
    assert answer.buyers == {("anna", AS_OF)}


@pytest.mark.parametrize(("apart", "orders", "recency"), [(7, 1, 21), (8, 2, 13)])
def test_an_invoice_number_that_comes_back_after_more_than_7_days_is_a_new_invoice(
    apart, orders, recency
):
    first = MIDNIGHT - 21 * DAY
    found = values(Line(first), Line(first + apart * DAY, unit_price=2.0))
    assert (found["orders_total"], found["recency_days"]) == (orders, recency)
    assert found["order_value_last"] == (3.0 if orders == 1 else 2.0)
    assert found["tenure_days"] == 21


def test_a_receipt_book_that_begins_again_every_year_is_counted_right():
    log = [Line(at("2024-06-20")), Line(at("2025-06-01")), Line(at("2025-06-05"), invoice_id="2")]
    found = values(*log)
    assert [found[name] for name in ("recency_days", "orders_total", "orders_30d")] == [5, 3, 2]
    question = Features(invoice_days=365)
    found = ask(log, [AS_OF], question).features["anna", AS_OF]
    assert [found[name] for name in ("orders_total", "orders_30d")] == [2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 30, 90, 365])
def test_the_label_window_ends_before_as_of_plus_horizon(horizon):
    question = Features(horizon_days=horizon)
    end = MIDNIGHT + horizon * DAY
    assert ask([YESTERDAY, Line(end)], [AS_OF], question).buyers == set()
    assert ask([YESTERDAY, Line(end + JUST_BEFORE)], [AS_OF], question).buyers != set()


def test_a_cancellation_is_no_purchase():
    back = Line(MIDNIGHT + DAY, invoice_id="C1", quantity=-1)
    assert ask([YESTERDAY, back], [AS_OF]).buyers == set()
    assert ask([Line(MIDNIGHT - DAY, invoice_id="C1", quantity=-1)], [AS_OF]).features == {}


@pytest.mark.slow
@pytest.mark.parametrize("days", WINDOWS)
def test_a_window_holds_its_first_midnight(days):
    first = MIDNIGHT - days * DAY
    inside = values(YESTERDAY, Line(first, unit_price=2.0))
    outside = values(YESTERDAY, Line(first + JUST_BEFORE, unit_price=2.0))
    assert (inside[f"orders_{days}d"], inside[f"revenue_{days}d"]) == (2, 3.0)
    assert (outside[f"orders_{days}d"], outside[f"revenue_{days}d"]) == (1, 1.0)


def test_products_cancellations_and_months_of_the_last_365_days_hold_its_first_midnight():
    names = ("products_365d", "cancelled_lines_365d", "active_months_365d")
    first = MIDNIGHT - 365 * DAY
    log = [Line(first), Line(first, invoice_id="C1", quantity=-1)]
    inside = values(YESTERDAY, *log)
    outside = values(YESTERDAY, *(replace(x, invoiced_at=first + JUST_BEFORE) for x in log))
    assert [inside[name] for name in names] == [2, 1, 2]
    assert [outside[name] for name in names] == [1, 0, 1]


def test_a_product_bought_before_and_in_the_window_counts_once_in_each():
    log = [Line(MIDNIGHT - days * DAY, invoice_id=str(days)) for days in (800, 400, 365, 200, 200)]
    found = values(YESTERDAY, *log)
    assert (found["products_365d"], found["products_total"]) == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("active", [1, 30, 365, 1095])
def test_who_is_asked_about_bought_at_the_first_midnight_of_the_active_days_or_later(active):
    question = Features(active_days=active)
    first = MIDNIGHT - active * DAY
    assert set(ask([Line(first)], [AS_OF], question).features) == {("anna", AS_OF)}
    assert ask([Line(first + JUST_BEFORE)], [AS_OF], question).features == {}


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 90, 365])
def test_the_season_is_the_label_window_365_days_earlier(horizon):
    question = Features(horizon_days=horizon)
    first = MIDNIGHT - 365 * DAY
    end = first + horizon * DAY

    def season(moment: datetime):
        found = ask([LONG_AGO, Line(moment)], [AS_OF], question, spine=[("anna", AS_OF)])
        return found.features["anna", AS_OF]["season_orders"]

    assert [season(moment) for moment in (first + JUST_BEFORE, first)] == [0, 1]
    assert season(end + JUST_BEFORE) == 1
    if end < MIDNIGHT:
        assert season(end) == 0


@pytest.mark.parametrize(("start", "known"), [("2024-06-10 23:59", True), ("2024-06-11", False)])
def test_the_season_is_missing_when_the_log_begins_after_its_first_day(start, known):
    log = [Line(at(start), "early bird"), YESTERDAY]
    found = ask(log, [AS_OF]).features["anna", AS_OF]
    assert found["season_orders"] == (0 if known else None)
    assert found["season_revenue"] == (0 if known else None)


def test_the_calendar_of_a_leap_day_and_of_new_year():
    log = [Line(at("2023-12-01")), Line(at("2024-02-01"))]
    found = ask(log, [date(2024, 1, 1), date(2024, 2, 29)]).features
    assert found["anna", date(2024, 1, 1)]["year_cos"] == pytest.approx(1, abs=1e-3)
    assert found["anna", date(2024, 2, 29)]["year_sin"] == pytest.approx(0.858402, abs=1e-6)
