"""A month is read against the baseline: as usual, pending, an alarm, or why it cannot be judged."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_shop import BASELINE, FIRST, JUDGED, states

from monitoring.facts import Reading, add_months
from monitoring.measure import SENSORS, Measured
from monitoring.sensors import freeze, read_month


def test_a_healthy_shop_has_no_alarm(measured):
    readings = read_month(measured, freeze(measured, BASELINE), JUDGED)
    assert states(readings) == dict.fromkeys(SENSORS, "ok")
    for reading in readings:
        assert reading.z == pytest.approx((reading.value - reading.expected) / reading.sd)
        assert reading.limit == SENSORS[reading.sensor].c
        assert "As usual" in reading.text
    floor = SENSORS["price"].floor * math.sqrt(13 / 12)
    assert readings[0].sd == pytest.approx(floor, rel=0.01), "its months do not vary"


def test_a_sensor_that_is_newer_than_the_baseline_is_learning(measured):
    baseline = freeze(measured, BASELINE)
    del baseline["sensors"]["abroad"]
    readings = read_month(measured, baseline, JUDGED)
    assert states(readings) == dict.fromkeys(SENSORS, "ok") | {"abroad": "learning"}


def priced(*values: float) -> list[Measured]:
    """Twelve months at 0, of which the floor is the sd, and then these months."""
    months = [add_months(BASELINE[0], n) for n in range(12 + len(values))]
    return [
        Measured("price", month, value, 500)
        for month, value in zip(months, [0.0] * 12 + list(values))
    ]


def price_states(*zs: float) -> list[str]:
    """The states of months with these z."""
    sd = SENSORS["price"].floor * math.sqrt(1 + 1 / 12)
    found = priced(*(z * sd for z in zs))
    baseline = freeze(found, BASELINE)
    months = [add_months(JUDGED, n) for n in range(len(zs))]
    readings = [read_month(found, baseline, month)[0] for month in months]
    assert [r.z for r in readings] == pytest.approx(list(zs))
    return [r.state for r in readings]


C = SENSORS["price"].c


@pytest.mark.parametrize(
    ("zs", "expected"),
    [
        ((1.01 * C,), ["alarm"]),
        ((-1.01 * C,), ["alarm"]),
        ((0.74 * C, 0), ["ok", "ok"]),
        ((0.76 * C, 0), ["pending", "ok"]),
        ((0.76 * C, 0.76 * C), ["pending", "alarm"]),
        ((0.9 * C, 0.55 * C), ["pending", "alarm"]),  # together beyond sqrt(2) c
        ((0.8 * C, 0.55 * C), ["pending", "ok"]),
        ((-0.9 * C, 0.9 * C), ["pending", "pending"]),  # on two sides
        ((3 * C, 0.49 * C), ["alarm", "ok"]),  # one bad month does not make the next an alarm
    ],
)
def test_two_months_running_are_an_alarm_together(zs, expected):
    assert price_states(*zs) == expected


@given(st.lists(st.floats(-2 * C, 2 * C), min_size=1, max_size=4))
@settings(max_examples=50)
def test_two_months_beyond_three_quarters_on_one_side_are_always_an_alarm(zs):
    zs = [round(z, 6) for z in zs]
    for before, z, state in zip([0.0, *zs], zs, price_states(*zs)):
        if abs(z) > C or (min(abs(z), abs(before)) > 0.751 * C and z * before > 0):
            assert state == "alarm"
        if abs(z) < C / 2:
            assert state == "ok"


def test_a_change_that_has_become_a_products_own_past_is_not_called_repaired():
    found = priced(0.1, 0.05, 0.0, *[0.0] * 5)
    baseline = freeze(found, BASELINE)
    texts = [read_month(found, baseline, add_months(JUDGED, n))[0].text for n in range(8)]
    said = ["Its past holds 2026-02 now, an alarm" in text for text in texts]
    assert said == [False] * 2 + [True] * 6
    assert "may still be so" in texts[2]


def test_the_last_month_of_the_baseline_does_not_count_as_the_first_of_two():
    months = priced(0.0)
    odd = [replace(one, value=0.02) if one.month == BASELINE[-1] else one for one in months]
    odd[-1] = replace(odd[-1], value=0.035)
    reading = read_month(odd, freeze(odd, BASELINE), JUDGED)[0]
    assert reading.state == "pending"


def test_months_of_the_baseline_are_shown_and_not_judged(measured):
    baseline = freeze(measured, BASELINE)
    readings = read_month(measured, baseline, BASELINE[3])
    assert states(readings) == dict.fromkeys(SENSORS, "baseline")
    assert all(r.value is not None and r.expected is not None for r in readings)
    before = read_month(measured, baseline, add_months(BASELINE[0], -1))
    assert states(before) == dict.fromkeys(SENSORS, "learning")
    assert {r.until for r in before} == {JUDGED}


def test_fewer_than_twelve_months_or_no_last_year_are_learning_until_when(measured):
    readings = read_month(measured, freeze(measured, BASELINE[:11]), JUDGED)
    assert states(readings) == dict.fromkeys(SENSORS, "learning")
    until = {reading.sensor: reading.until for reading in readings}
    assert (until["anonymous"], until["invoices"]) == (add_months(FIRST, 12), add_months(FIRST, 24))
    assert "2026-01" in readings[-1].text
    first_year = [add_months(FIRST, n) for n in range(12)]
    readings = read_month(measured, freeze(measured, first_year), add_months(FIRST, 12))
    assert states(readings) == dict.fromkeys(SENSORS, "ok") | {"invoices": "learning"}
    assert "same month of the year before" in readings[-1].text


# --- the invoices, whose expected ratio follows the shop ----------------------------------------


def invoiced(*ratios: float, of: int = 1500) -> list[Measured]:
    """Twelve months with as many invoices as the year before, and then these ratios to it."""
    values = [0.0] * 12 + [math.log(ratio) for ratio in ratios]
    return [
        Measured("invoices", add_months(BASELINE[0], n), value, round(of * math.exp(value)), of)
        for n, value in enumerate(values)
    ]


def read_invoices(found: list[Measured], month: str) -> Reading:
    return read_month(found, freeze(found, BASELINE), month)[-1]


def test_the_usual_ratio_is_that_of_the_last_months_of_the_baseline():
    found = invoiced(1.0)
    slowing = [
        replace(one, value=0.2 if n < 6 else 0.05, n=1577) for n, one in enumerate(found[:12])
    ]
    known = freeze(slowing, BASELINE)["sensors"]["invoices"]
    assert known["mean"] == pytest.approx(0.05)
    assert known["usual_ratio"] == pytest.approx(math.exp(0.05))


def test_what_is_expected_goes_half_the_way_to_the_months_that_were_as_usual():
    found = invoiced(1.06, 1.06, 1.06, 1.0)
    readings = [read_invoices(found, add_months(JUDGED, n)) for n in range(4)]
    assert [r.state for r in readings] == ["ok"] * 4
    assert readings[0].expected == 0
    assert readings[3].expected == pytest.approx(math.log(1.06) / 2)


def test_a_lasting_change_stays_an_alarm_because_its_months_are_not_what_is_usual():
    found = invoiced(*[0.75] * 8)
    readings = [read_invoices(found, add_months(JUDGED, n)) for n in range(8)]
    assert {r.state for r in readings} == {"alarm"}
    assert {r.expected for r in readings} == {0.0}
    assert "1,125 invoices are 25.0% less than the 1,500 expected" in readings[7].text
    back = invoiced(*[0.75] * 3, 1.0)
    assert read_invoices(back, add_months(JUDGED, 3)).state == "ok"
    assert read_invoices(invoiced(0.75, of=100), JUDGED).state == "ok", "of a small shop"


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=8), st.data())
@settings(max_examples=50)
def test_no_later_month_changes_a_reading(ratios, data):
    found = invoiced(*ratios)
    until = data.draw(st.integers(0, len(ratios) - 1))
    month = add_months(JUDGED, until)
    baseline = freeze(found[:12], BASELINE)
    assert read_month(found, baseline, month) == read_month(found[: 13 + until], baseline, month)
    assert freeze(found, BASELINE) == baseline
