"""The months of a log: what they count, and when their digest is another one."""

from __future__ import annotations

import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_log import TYPES

from configs.settings import Compute
from ingestion.months import Month, digest_of, months_of

SCHEMA = pa.schema(TYPES)
KEPT_OUT = pa.schema({**TYPES, "reasons": pa.list_(pa.string())})
END = date(2025, 1, 1)
# With what a digest of joined texts could take for the end of one: separators, lengths, markers.
TEXT = st.one_of(st.none(), st.sampled_from(["", "-", "\\N", "a", "a b", "1:a", "b 1:a", "\x1f"]))
VALUES = {
    "invoice_id": TEXT,
    "product_id": TEXT,
    "description": TEXT,
    "quantity": st.none() | st.integers(-(2**53), 2**53),
    "unit_price": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "invoiced_at": st.datetimes(datetime(2024, 1, 1), datetime(2025, 2, 1)),
    "customer_id": TEXT,
    "country": TEXT,
}
ROW = st.fixed_dictionaries(VALUES)
ROWS = st.lists(ROW, max_size=8)
few = settings(max_examples=20)


def row(day: datetime, **changes: Any) -> dict[str, Any]:
    known = dict(zip(TYPES, ["1", "P", "MUG", 2, 1.5, day, "anna", "UK"], strict=True))
    return known | changes


def months(
    valid: list[dict], kept_out: list[tuple[dict, list[str]]] = (), until: date = END, **more: Any
) -> list[Month]:
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "valid.parquet", Path(folder) / "quarantine.parquet"
        pq.write_table(pa.Table.from_pylist(valid, schema=SCHEMA), one)
        rows = [{**found, "reasons": reasons} for found, reasons in kept_out]
        pq.write_table(pa.Table.from_pylist(rows, schema=KEPT_OUT), two)
        return months_of(one, two, until, **more)


JANUARY, MARCH = datetime(2024, 1, 31, 23, 59, 59), datetime(2024, 3, 1)


def test_a_month_counts_its_valid_rows_and_those_that_have_no_customer():
    found = months(
        [row(JANUARY), row(JANUARY - timedelta(days=3)), row(MARCH)],
        [
            (row(MARCH + timedelta(days=9), customer_id=None), ["missing_customer"]),
            (row(MARCH, customer_id=None), ["zero_price", "missing_customer"]),
            (row(MARCH, customer_id=None), ["missing_customer", "duplicate"]),
            (row(MARCH), ["zero_price"]),
        ],
    )
    assert [(m.month, m.rows, m.anonymous, m.last_day) for m in found] == [
        ("2024-01", 2, 0, date(2024, 1, 31)),
        ("2024-03", 1, 2, date(2024, 3, 10)),
    ]


def test_rows_of_the_day_itself_and_later_ones_are_not_there():
    valid = [row(JANUARY), row(MARCH), row(MARCH + timedelta(days=1))]
    assert months(valid, until=date(2024, 3, 1)) == months(valid[:1], until=date(2024, 3, 1))
    assert months(valid, until=date(2024, 3, 2)) == months(valid[:2])
    assert months([], [], END) == []


@pytest.mark.slow
@given(rows=ROWS, later=ROWS, data=st.data())
@few
def test_the_digest_is_that_of_the_rows_before_the_day_in_whatever_order(rows, later, data):
    cut = datetime(2024, 8, 17)
    before = [one for one in rows if one["invoiced_at"] < cut]
    after = [one for one in [*rows, *later] if one["invoiced_at"] >= cut]
    mixed = data.draw(st.permutations(before + after))
    found = months(mixed, until=cut.date(), compute=Compute(threads=1))
    assert found == months(before, until=cut.date())
    assert digest_of(found) == digest_of(months(before[::-1], until=cut.date()))


@pytest.mark.slow
@given(rows=st.lists(ROW, min_size=1, max_size=6), data=st.data())
@few
def test_a_cell_that_was_changed_gives_another_digest(rows, data):
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(sorted(VALUES)))
    value = data.draw(VALUES[name])
    before = rows[at][name]
    assume(value != before or (value == 0 and str(value) != str(before)))
    changed = [*rows[:at], {**rows[at], name: value}, *rows[at + 1 :]]
    until = date(2026, 1, 1)
    assert digest_of(months(rows, until=until)) != digest_of(months(changed, until=until))


def test_a_row_more_a_row_twice_or_one_without_a_customer_gives_another_digest():
    first = row(JANUARY)
    ways = [
        months([first]),
        months([first, first]),
        months([first, row(MARCH)]),
        months([first], [(first, ["missing_customer"])]),
        months([], [(first, ["missing_customer"])]),
        months([]),
    ]
    assert len({digest_of(way) for way in ways}) == len(ways)


def test_text_that_moves_from_one_column_to_the_next_gives_another_digest():
    pairs = [("a b", "c"), ("a", "b c"), ("a 3:b", "c"), ("-", None), (None, "-"), ("", None)]
    ways = [[row(JANUARY, invoice_id=one, product_id=two)] for one, two in pairs]
    assert len({digest_of(months(way)) for way in ways}) == len(pairs)


def test_a_digest_stays_what_it_is():
    """Scores and verdicts are known by it: another way to make it would be another key to all."""
    found = digest_of(months([row(JANUARY), row(MARCH, quantity=None, unit_price=-0.1)]))
    assert found == "0f05600dcb645480deba6393997889fef1985b33e26cdc238b478809effc2b71"
