"""What is planted in the rows is an alarm of its own sensor, and what is not does not matter."""

from __future__ import annotations

import json
import random
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_shop import (
    BASELINE,
    FIRST,
    HOME,
    JUDGED,
    NEXT,
    UNTIL,
    Row,
    Shop,
    measure,
    shop,
    states,
)

from configs.source import CANONICAL
from monitoring.facts import Reading, add_months, month_of
from monitoring.measure import SENSORS
from monitoring.sensors import freeze, read_month

pytestmark = pytest.mark.slow


def read(made: Shop, folder: Path, month: str = JUDGED) -> dict[str, Reading]:
    found = measure(made, folder, UNTIL)
    return {r.sensor: r for r in read_month(found, freeze(found, BASELINE), month)}


def dearer(row: Row) -> Row:
    return row | {"unit_price": row["unit_price"] * 1.1}


def by_the_dozen(row: Row) -> Row:
    return row | {"quantity": row["quantity"] * (12 if row["product_id"] < "10008" else 1)}


def from_abroad(row: Row) -> Row:
    new = row["customer_id"].startswith("2") and int(row["customer_id"].split()[1]) % 2
    return row | {"country": "Spain" if new else row["country"]}


def fewer(row: Row) -> Row | None:
    return None if int(row["invoice_id"]) % 2 else row


@pytest.mark.parametrize(
    ("sensor", "change", "words"),
    [
        ("price", dearer, "The same products cost 10.0% more than in their last six months"),
        ("unit", by_the_dozen, "lines are above six times their product's usual quantity"),
        ("abroad", from_abroad, "of 50 new customers live abroad"),
        ("invoices", fewer, "90 invoices are"),
    ],
)
def test_planted_drift_is_an_alarm_of_its_own_sensor(healthy, tmp_path, sensor, change, words):
    readings = read(healthy.changed(JUDGED, change), tmp_path)
    alarms = {name for name, reading in readings.items() if reading.state == "alarm"}
    # Half of the invoices are a change of the anonymous share too.
    assert alarms - ({"anonymous"} if sensor == "invoices" else set()) == {sensor}
    assert words in readings[sensor].text and "Alarm: z = " in readings[sensor].text


def test_customers_that_are_lost_are_an_alarm_and_not_a_change_of_demand(healthy, tmp_path):
    lost = [
        row
        for row in healthy.valid
        if month_of(row["invoiced_at"]) == JUDGED and int(row["invoice_id"]) % 4 == 1
    ]
    kept = [row for row in healthy.valid if row not in lost]
    nameless = [row | {"customer_id": None, "reasons": ["missing_customer"]} for row in lost]
    readings = read(Shop(kept, healthy.quarantined + nameless), tmp_path)
    assert readings["anonymous"].state == "alarm"
    assert readings["invoices"].state == "ok"
    assert "invoices name no customer, usually 9.1%" in readings["anonymous"].text


def test_rows_that_are_invalid_besides_or_sent_twice_do_not_count_as_anonymous(
    healthy, measured, tmp_path
):
    more = [row | {"reasons": ["missing_customer", "duplicate"]} for row in healthy.quarantined]
    more += [row | {"reasons": ["duplicate"]} for row in healthy.valid[::5]]
    more += [row | {"reasons": ["zero_price"]} for row in healthy.valid[::7]]
    again = measure(Shop(healthy.valid, healthy.quarantined + more), tmp_path, UNTIL)
    assert again == measured


def test_a_baseline_is_json_and_later_months_do_not_change_it(healthy, measured, tmp_path):
    baseline = freeze(measured, BASELINE)
    assert json.loads(json.dumps(baseline)) == baseline
    known = baseline["sensors"]
    assert list(known) == list(SENSORS)
    assert known["price"]["mean"] == 0 and known["price"]["sd"] == 0
    assert known["invoices"]["usual_ratio"] == pytest.approx(1, abs=0.02)
    assert {name: one["c"] for name, one in known.items()} == {
        name: sensor.c for name, sensor in SENSORS.items()
    }
    later = healthy.changed(JUDGED, dearer).changed(NEXT, fewer)
    assert freeze(measure(later, tmp_path, UNTIL), BASELINE) == baseline


@pytest.mark.parametrize(
    ("rows", "state"), [(slice(0), "ok"), (slice(1), "ok"), (slice(None), "alarm")]
)
def test_the_first_anonymous_sale_alone_is_not_an_alarm(healthy, tmp_path, rows, state):
    now = [row for row in healthy.quarantined if month_of(row["invoiced_at"]) == JUDGED]
    assert read(Shop(healthy.valid, now[rows]), tmp_path)["anonymous"].state == state


def test_an_incomplete_first_month_is_not_compared_with_a_year_later(tmp_path):
    late, begin = shop(months=14), datetime(2024, 1, 8)
    parts = ([r for r in rows if r["invoiced_at"] >= begin] for rows in vars(late).values())
    measured = measure(Shop(*parts), tmp_path, date(2025, 3, 1))
    found = {one.month: one for one in measured if one.sensor == "invoices"}
    assert found["2025-01"].value is None and found["2025-01"].before is None
    assert found["2025-02"].value is not None


def test_months_without_rows_are_there_and_too_few(healthy, tmp_path):
    empty = healthy.changed(JUDGED, lambda row: None)
    other = [row for row in healthy.quarantined if month_of(row["invoiced_at"]) != JUDGED]
    found = measure(Shop(empty.valid, other), tmp_path, UNTIL)
    readings = read_month(found, freeze(found, BASELINE), JUDGED)
    assert states(readings) == dict.fromkeys(SENSORS, "too_few")
    assert "its rows may be missing" in readings[-1].text
    after = read_month(found, freeze(found, BASELINE), NEXT)
    assert states(after) == dict.fromkeys(SENSORS, "ok"), "it has its past and its own rows"
    assert measure(Shop(), tmp_path, UNTIL) == []
    nothing = read_month([], freeze([], BASELINE), JUDGED)
    assert states(nothing) == dict.fromkeys(SENSORS, "too_few")


def test_a_month_that_is_not_over_is_not_measured(healthy, tmp_path):
    found = measure(healthy, tmp_path, UNTIL - timedelta(days=1))
    assert {one.month for one in found} == {add_months(FIRST, n) for n in range(25)}


def test_one_month_of_few_rows_is_too_few_but_a_collapse_of_demand_is_an_alarm(healthy, tmp_path):
    def nearly_all_gone(row: Row) -> Row | None:
        return row if row["invoice_id"].endswith(("00001", "00091")) else None

    readings = read(healthy.changed(JUDGED, nearly_all_gone), tmp_path)
    assert readings["abroad"].state == readings["unit"].state == "too_few"
    assert "Too few to judge: 6 lines, 200 are needed" in readings["unit"].text
    assert readings["invoices"].state == "alarm"


def test_a_small_shop_has_too_few_to_judge_and_a_log_of_one_product_is_judged_by_it(tmp_path):
    readings = read(shop(invoices=12), tmp_path)
    assert states(list(readings.values())) == dict.fromkeys(SENSORS, "too_few")
    assert "the months of the baseline have fewer than 50 invoices" in readings["invoices"].text
    made = shop(products=1, invoices=250)
    assert states(list(read(made, tmp_path).values())) == dict.fromkeys(SENSORS, "ok")
    assert read(made.changed(JUDGED, dearer), tmp_path)["price"].state == "alarm"


@pytest.mark.parametrize(
    ("without", "skipped"),
    [
        ({"country"}, {"abroad"}),
        ({"product_id"}, {"price", "unit"}),
        ({"quantity", "unit_price"}, {"price", "unit"}),  # the source has an amount
        ({"unit_price"}, {"price"}),
        ({"invoice_id", "description"}, set()),
    ],
)
def test_a_source_without_the_column_skips_the_sensor(healthy, tmp_path, without, skipped):
    empty = dict.fromkeys(without - {"quantity", "invoice_id"})
    made = Shop([row | empty for row in healthy.valid], healthy.quarantined)
    declared = frozenset(CANONICAL) - without
    if "unit_price" in without and "quantity" in without:
        declared |= {"amount"}
    found = measure(made, tmp_path, UNTIL, declared)
    readings = read_month(found, freeze(found, BASELINE), JUDGED)
    assert {r.sensor for r in readings if r.state == "skipped"} == skipped
    assert all(r.state == "ok" for r in readings if r.sensor not in skipped)
    for reading in readings:
        if reading.state == "skipped":
            assert reading.text.startswith("The source has no column ") and reading.value is None


def test_without_invoice_numbers_anonymous_rows_count_each(healthy, tmp_path):
    rows = [row | {"invoice_id": None} for row in healthy.quarantined]
    found = measure(Shop(healthy.valid, rows), tmp_path, UNTIL)
    (one,) = [x for x in found if x.sensor == "anonymous" and x.month == JUDGED]
    assert (one.n, one.value) == (150 + 45, 45 / 195)


CUT = datetime(2024, 9, 1)


def rows(first: datetime, last: datetime) -> st.SearchStrategy[list[Row]]:
    """Few customers, invoices and products: they tie, and invoices straddle months."""
    edges = [CUT - timedelta(microseconds=1), CUT, CUT - timedelta(days=31)]
    moments = st.datetimes(first, last - timedelta(microseconds=1))
    if near := [edge for edge in edges if first <= edge < last]:
        moments |= st.sampled_from(near)
    return st.lists(
        st.fixed_dictionaries(
            {
                "invoice_id": st.sampled_from(["1", "2", "3"]),
                "product_id": st.sampled_from(["10001", "10002"]),
                "description": st.none(),
                "quantity": st.integers(-2, 40),
                "unit_price": st.sampled_from([0.001, 1.15, 3.333, 250.0]),
                "invoiced_at": moments,
                "customer_id": st.sampled_from(["anna", "bruno", "carla"]),
                "country": st.sampled_from([HOME, "France", None]),
                "reasons": st.sampled_from([[], [], ["missing_customer"], ["duplicate"]]),
            }
        ),
        max_size=30,
    )


def as_shop(log: list[Row]) -> Shop:
    return Shop([row for row in log if not row["reasons"]], [r for r in log if r["reasons"]])


def bits(made: Shop, until: date, upto: str) -> list[str]:
    with TemporaryDirectory() as name:
        return [repr(one) for one in measure(made, Path(name), until) if one.month < upto]


@given(data=st.data())
@settings(max_examples=20)
def test_neither_later_rows_nor_the_order_of_rows_change_a_month(data):
    past = data.draw(rows(datetime(2024, 1, 1), CUT), "past")
    future = data.draw(rows(CUT, datetime(2025, 1, 1)), "future")
    other = data.draw(rows(CUT, datetime(2025, 1, 1)), "another future")
    shuffled = data.draw(st.permutations(past + other), "another log")
    one = bits(as_shop(past + future), date(2025, 1, 1), "2024-09")
    assert one == bits(as_shop(shuffled), date(2025, 1, 1), "2024-09")
    assert one == bits(as_shop(past), CUT.date(), "2024-09")


def test_a_shuffled_log_gives_the_same_bytes_on_any_number_of_threads(healthy, measured, tmp_path):
    rows = random.Random(1).sample(healthy.valid, len(healthy.valid))
    mixed = Shop(rows, healthy.quarantined[::-1])
    assert measure(mixed, tmp_path, UNTIL, threads=4) == measured


def test_last_year_is_compared_as_if_it_had_the_same_weekdays(tmp_path):
    """A shop that sells ten invoices on every weekday and none on a Saturday or Sunday."""
    line = {"product_id": "10001", "quantity": 1, "unit_price": 1.0, "customer_id": "anna"}
    days = [datetime(2024, 1, 1, 12) + timedelta(days=n) for n in range(790)]
    valid: list[Row] = [
        line | {"invoice_id": f"{day} {n}", "invoiced_at": day, "country": HOME}
        for day in days
        if day.weekday() < 5
        for n in range(10)
    ]
    found = measure(Shop(valid), tmp_path, UNTIL)
    invoices = {one.month: one for one in found if one.sensor == "invoices"}
    # February 2025 has twenty such days, that of 2024 a leap day more.
    assert (invoices["2025-02"].n, invoices["2024-02"].n) == (200, 210)
    judged = [one.value for one in invoices.values() if one.before is not None]
    assert judged == pytest.approx([0.0] * 14, abs=1e-12)
