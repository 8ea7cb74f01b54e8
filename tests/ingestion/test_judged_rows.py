"""What is counted and measured of a judged batch, and how a batch differs from the last one."""

from __future__ import annotations

import math
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from made_log import CLEAN, retail_contract, write_part

from configs.rules import Contract
from configs.settings import Compute
from configs.source import CANONICAL
from ingestion.contract import CHANGES, MEASURES
from ingestion.facts import RowCounts
from ingestion.judge import DAILY, Day, changes, count, describe, judge, measure

NOW = datetime(2025, 1, 1)
CONTRACT = retail_contract(duplicate={"severity": "warn"})


@contextmanager
def judged(folder: Path, lines: list[dict], contract: Contract = CONTRACT):
    parts, compute = [write_part(folder, lines)], Compute(threads=1)
    with judge(parts, folder, contract, frozenset(CANONICAL), NOW, compute) as result:
        yield result


def unread(*values: str, **change) -> dict:
    return {"unreadable": [*values], **change}


# Twenty rows; but for the copies, each has a description of its own.
CHANGED = [
    *[{}] * 2,
    {"invoiced_at": datetime(2024, 1, 11)},
    {"customer_id": None},
    {"customer_id": None, "unit_price": 0.0},
    *[{"invoice_id": "C1", "quantity": -1}] * 3,
    {"customer_id": "4.00638E+12"},
    {"customer_id": "123456000000", "product_id": "POST"},
    # The column is what stands before the first equals sign.
    unread("quantity=unit_price=2", quantity=None),
    *[unread("unit_price=x", "amount=x", unit_price=None)] * 2,
    unread("amount=x"),
    *[unread("invoiced_at=x", invoiced_at=None)] * 4,
]
LINES = [CLEAN | {"description": str(n)} | change for n, change in enumerate(CHANGED)]
LINES += [LINES[0], LINES[0] | {"invoiced_at": NOW}]
PRICE = round(math.log(2.5) * 1e6)
REASONS = {
    4: ["zero_price", "missing_customer"],
    3: ["missing_customer"],
    9: ["no_product_code"],
    10: ["unreadable_value", "missing_quantity"],
    **{row: ["unreadable_value", "missing_price"] for row in (11, 12)},
    13: ["unreadable_value"],
    **{row: ["unreadable_value", "missing_time"] for row in range(14, 18)},
    19: ["future_time"],
}


def test_every_row_has_the_reasons_that_keep_it_out_and_the_batch_their_counts(tmp_path):
    with judged(tmp_path, LINES) as result:
        kept_out = f"broken & {result.quarantine} <> 0"
        rows = result.connection.execute(
            f"SELECT source_row - 1, {result.reasons()} AS why FROM judged"
            f" WHERE {kept_out} OR len(why) > 0"
        ).fetchall()
        counts = count(result)
    assert dict(rows) == REASONS
    reasons = {
        "unreadable_value": 8,
        "missing_time": 4,
        "future_time": 1,
        "missing_quantity": 1,
        "missing_price": 2,
        "zero_price": 1,
        "no_product_code": 1,
        "missing_customer": 2,
    }
    assert counts == RowCounts(20, 8, 12, reasons, {"duplicate": 1})


def test_a_batch_is_measured_by_its_rows_its_days_and_the_shares_of_all_rows(tmp_path):
    with judged(tmp_path, LINES) as result:
        measures = measure(result, count(result))
        days = result.connection.execute(DAILY).fetchall()
    assert measures == {
        "rows": 20,
        "days": 10,
        "valid_share": 8 / 20,
        "anonymous_share": 2 / 20,
        "cancelled_share": 3 / 20,
        "duplicate_share": 1 / 20,
        "largest_customer_share": 16 / 18,
        "rounded_customer_share": 2 / 18,
        "unreadable_quantity": 1 / 20,
        "unreadable_unit_price": 2 / 20,
        "unreadable_amount": 3 / 20,
        "unreadable_invoiced_at": 4 / 20,
    }
    assert set(measures) == set(MEASURES)
    assert days == [
        (date(2024, 1, 1), 14, 2, 11 * PRICE, 11),
        (date(2024, 1, 11), 1, 0, PRICE, 1),
        (None, 5, 0, 5 * PRICE, 5),
    ]


def test_an_empty_batch_has_no_shares(tmp_path):
    with judged(tmp_path, []) as result:
        assert count(result) == RowCounts(0, 0, 0, {}, {})
        assert measure(result, count(result)) == {**dict.fromkeys(MEASURES), "rows": 0}


def test_without_rules_every_row_is_valid(tmp_path):
    with judged(tmp_path, LINES, Contract(rules={})) as result:
        assert count(result) == RowCounts(20, 20, 0, {}, {})
        assert result.connection.execute("SELECT max(broken) FROM judged").fetchone() == (0,)


# --- beside the last batch --------------------------------------------------------------------


def rows_of(day: int, rows: int = 10, anonymous: int = 0, prices: int = 0, price: float = 0) -> Day:
    """A day from 2024-01-01 on, with so many priced rows, each of this logarithm of the price."""
    log_price = round(1e6 * price * prices) if prices else None
    return date(2024, 1, 1) + timedelta(day), rows, anonymous, log_price, prices


UNDATED: Day = (None, 3, 1, None, 0)


def test_a_batch_is_described_by_its_last_28_days():
    before, first, last = rows_of(2, 500, 400, 9, 5.0), rows_of(3, 40, 5, 4, 0.5), rows_of(30, 16)
    within = rows_of(20, 28, 1, 2, 2.0)
    assert describe([before, first, within, last, UNDATED]) == {
        "last_day": "2024-01-31",
        "rows_before_last_day": 500 + 40 + 28 + 3,
        "rows_per_day": 84 / 28,
        "anonymous_share": 6 / 84,
        "log_price": (4 * 0.5 + 2 * 2.0) / 6,
    }
    assert describe([last])["log_price"] is None
    assert describe([]) == describe([UNDATED]) == {}


LAST_TWO = [rows_of(27, 28, 7, 2, 1.0), rows_of(28, 28, 7, 2, 1.0)]
BEFORE = [rows_of(0, 40, 4, 4, 9.0), *LAST_TWO]  # two rows per day, a quarter of them anonymous


@pytest.mark.parametrize(
    ("days", "history", "volume", "anonymous", "price"),
    [
        (BEFORE, 0, 0, 0, 0),
        ([rows_of(0, 31), *LAST_TWO, UNDATED], -0.088235, 0, 0, 0),
        # Six new days: the last 28 of the batch.
        ([*BEFORE, rows_of(34, 14, 7, 4, 1.5)], 0, 0.25, 0.05, 0.284025),
        # Seven: these alone.
        (
            [*BEFORE, rows_of(29, 3, 0, 3, 2.0), rows_of(35, 6, 3, 1, 2.0)],
            *(0, -0.357143, 0.083333, 1.718282),
        ),
        ([*BEFORE, rows_of(40, 12)], 0, -0.5, -0.25, None),
    ],
)
def test_a_batch_is_compared_with_the_last_over_seven_new_days_or_else_its_last_28(
    days, history, volume, anonymous, price
):
    assert changes(days, describe(BEFORE)) == {
        "history_change": history,
        "volume_change": volume,
        "anonymous_change": anonymous,
        "price_change": price,
    }


def test_what_cannot_be_compared_has_no_change():
    one_day = [rows_of(0)]  # without prices, and without a day before it
    assert changes(BEFORE[:1], describe(one_day)) == {
        "history_change": None,
        "volume_change": 3.0,
        "anonymous_change": 0.1,
        "price_change": None,
    }
    for days, then in ((BEFORE, {}), ([UNDATED], describe(BEFORE))):
        assert changes(days, then) == dict.fromkeys(CHANGES)
