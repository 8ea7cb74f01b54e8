"""The service makes of invoice lines what training makes of them, line by line and bit by bit."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made_lines import LINE, RETAIL, Lines, as_trained, body, opened, rows_of, section

from configs.rules import Contract
from configs.settings import Features
from features import engine
from features.catalogue import ALL, select
from serving.transactions import Transactions

pytestmark = pytest.mark.slow

DAYS = [date(2024, 3, 1), date(2024, 9, 1)]
LEAST = frozenset({"customer_id", "invoiced_at", "amount"})
DECLARED = {
    "all columns": ALL,
    "no description and no country": ALL - {"description", "country"},
    "no products": ALL - {"product_id", "description"},
    "no invoices": ALL - {"invoice_id"},
    "quantity and amount": (ALL - {"unit_price"}) | {"amount"},
    "only an amount": LEAST,
}
TEXTS = (None, "", " ", "\u00a0", "85123A", " 85123a\t", "85123A.0", "POST", "C1", "NULL", "'; --")
TIMES = (
    *("2024-02-01T08:26:00", "2024-02-29 23:59:59.999999", "2024-03-01", "2024-03-01T00:30+01:00"),
    *("2023-03-02T00:00:00Z", "20240201", "yesterday", "", "epoch", "infinity", "1899-12-31"),
    *("2024-02-30", "01/02/2024", "2025-01-01T00:00:00", "99999-01-01", "2024-02-01T08:26:00.5"),
)
MOMENT = st.datetimes(datetime(2022, 1, 1), datetime(2025, 1, 1)).map(datetime.isoformat)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "invoice_id": st.sampled_from(["1", "2", "3", "C4"]),
    "product_id": st.sampled_from(["10001", "10002", "85123A"]),
    "description": st.sampled_from(["MUG", None]),
    "quantity": st.integers(1, 40),
    "unit_price": st.sampled_from([0.001, 0.05, 1.15, 9.99]),
    "amount": st.sampled_from([0.015, 2.5, 120.0, -3.75]),
    "invoiced_at": MOMENT,
    "country": st.sampled_from(["United Kingdom", "France"]),
}
BAD: dict[str, st.SearchStrategy[Any]] = {
    "invoice_id": st.sampled_from(TEXTS),
    "product_id": st.sampled_from(TEXTS),
    "description": st.sampled_from(TEXTS),
    "quantity": st.sampled_from([None, 0, -1, -7, 50_001, 2**53, -(2**53)]),
    "unit_price": st.sampled_from([None, 0.0, -0.0, -1.5, 5_000.01, 1e308, 5e-324]),
    "amount": st.sampled_from([None, 0.0, -0.0, 1e9, 1e-9]),
    "invoiced_at": st.sampled_from((None, *TIMES)),
    "country": st.sampled_from(TEXTS),
}


def made(declared: frozenset[str]) -> st.SearchStrategy[dict[str, Lines]]:
    """Logs of up to three customers: good lines, lines with some odd values, and copies."""
    columns = sorted(declared - {"customer_id"})
    line = st.fixed_dictionaries({name: GOOD[name] for name in columns})
    odd = st.fixed_dictionaries({name: GOOD[name] | BAD[name] for name in columns})
    lines = st.lists(line | line | odd, min_size=1, max_size=12)
    copied = st.tuples(lines, st.lists(st.integers(0, 11), max_size=3)).map(
        lambda found: found[0] + [found[0][at % len(found[0])] for at in found[1]]
    )
    ids = st.sampled_from(["17850", "12346.0", "o'brien", " 13085 ", "Ω"])
    return st.dictionaries(ids, copied, min_size=1, max_size=3)


def assert_alike(
    transactions: Transactions, log: dict[str, Lines], declared: frozenset[str], **more: Any
) -> int:
    """Features and reasons at each of DAYS; returns how many customers had features."""
    with tempfile.TemporaryDirectory() as folder:
        features, reasons = as_trained(log, DAYS, Path(folder), declared, **more)
    asked = 0
    for day in DAYS:
        rows = rows_of(transactions, body(log, day.isoformat()))
        for row, (customer, lines) in zip(rows, log.items(), strict=True):
            expected = features.get((row.customer_id, day))
            assert bits(row.features) == bits(expected), (customer, day)
            asked += expected is not None
            found = {at: transactions.reasons(broken) for at, broken in row.left_out}
            for at in range(len(lines)):
                told = [one for one in found.get(at, []) if one != "after_as_of"]
                assert told == reasons.get((customer, at), []), lines[at]
    return asked


def bits(values: tuple[float | None, ...] | None) -> bytes | None:
    if values is None:
        return None
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64).tobytes()


@pytest.fixture(scope="module", params=DECLARED)
def declared(request):
    found = DECLARED[request.param]
    transactions = opened(found)
    yield found, transactions
    transactions.close()


@given(data=st.data())
@hypothesis_settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_random_requests(declared, data):
    columns, transactions = declared
    log = data.draw(made(columns))
    times = [line["invoiced_at"] or "" for lines in log.values() for line in lines]
    assume(2 * sum(time.isdigit() for time in times) < len(times))  # else a file is refused whole
    assert_alike(transactions, log, columns)


def made_log(
    columns: frozenset[str], customers: int, lines_each: int, seed: int
) -> dict[str, Lines]:
    """A seeded log in which one line in eight is odd, and one in ten there twice."""
    rng = np.random.default_rng(seed)
    log: dict[str, Lines] = {}
    for customer in range(customers):
        lines = []
        for number in range(lines_each):
            moment = datetime(2022, 6, 1) + timedelta(minutes=int(rng.integers(900 * 1440)))
            value = {
                "invoice_id": f"{'C' if number % 17 == 0 else ''}{500_000 + number // 4}",
                "product_id": str(10_000 + rng.integers(60)),
                "description": None,
                "quantity": int(rng.integers(1, 30)) * (-1 if number % 17 == 0 else 1),
                "unit_price": round(float(rng.gamma(2, 2)) + 0.001, 3),
                "amount": round(float(rng.normal(20, 10)), 2),
                "invoiced_at": moment.isoformat(),
                "country": ["United Kingdom", "France", None][rng.integers(3)],
            }
            if rng.random() < 1 / 8:
                value |= [
                    {"unit_price": 0.0, "amount": 0.0},
                    {"product_id": "POST"},
                    {"invoiced_at": "soon"},
                    {"quantity": None, "amount": None},
                    {"product_id": " 10001a ", "invoice_id": None},
                ][rng.integers(5)]
            lines += [{name: value[name] for name in columns - {"customer_id"}}] * (
                1 + (rng.random() < 0.1)
            )
        log[str(12_346 + customer)] = lines
    return log


def test_many_customers_with_dirty_lines(declared):
    columns, transactions = declared
    log = made_log(columns, customers=30, lines_each=60, seed=4)
    assert assert_alike(transactions, log, columns) > 45


RULES = RETAIL.model_dump()["rules"] | {
    "zero_price": {"severity": "warn", "column": "unit_price", "forbidden": 0, "why": "is said"},
    "duplicate": {"severity": "ignore", "column": "copy_number", "high": 1, "why": "is off"},
    "thrice": {"severity": "quarantine", "column": "copy_number", "high": 2, "why": "the third"},
    "abroad": {"severity": "quarantine", "column": "country", "pattern": "^U", "why": "it's one's"},
}
OTHER = Contract(rules=RULES, cancellation_prefix="")
SETTINGS = Features(horizon_days=30, active_days=200, invoice_days=0, home_country="France")


def test_the_contract_and_the_settings_are_those_of_the_run():
    log = made_log(ALL, customers=20, lines_each=40, seed=6)
    log["17850"] = [LINE] * 4
    usual, other = opened(), opened(contract=OTHER, settings=SETTINGS)
    try:
        found = assert_alike(other, log, ALL, contract=OTHER, settings=SETTINGS)
        assert found > 15
        by_rule = rows_of(other, body({"17850": [LINE] * 4, "12346": log["12346"]}))
        by_default = rows_of(usual, body({"17850": [LINE] * 4, "12346": log["12346"]}))
        assert [other.reasons(broken) for _, broken in by_rule[0].left_out] == [["thrice"]] * 2
        assert [at for at, _ in by_default[0].left_out] == [1, 2, 3]
    finally:
        usual.close()
        other.close()


def test_a_change_of_a_sql_file_changes_what_the_service_answers(tmp_path, monkeypatch):
    """It has no SQL of its own for features."""
    log = made_log(ALL, customers=5, lines_each=40, seed=8)
    before = opened()
    shutil.copytree(engine.SQL, tmp_path / "sql")
    file = tmp_path / "sql" / "base" / "moments.sql"
    text = file.read_text("utf-8")
    file.write_text(text.replace("quantity * unit_price * 100", "quantity * 700"), "utf-8")
    monkeypatch.setattr(engine, "SQL", tmp_path / "sql")
    after = opened()
    try:
        assert assert_alike(after, log, ALL) > 5
        sent = body(log)
        old, new = rows_of(before, sent), rows_of(after, sent)
        revenue = [feature.name for feature in select()].index("revenue_total")
        assert all(
            one.features[revenue] != two.features[revenue]
            for one, two in zip(old, new, strict=True)
        )
    finally:
        before.close()
        after.close()


def test_a_bundle_of_other_features_is_refused_with_their_name():
    from common.errors import UserError

    with pytest.raises(UserError, match="loyalty_points"):
        Transactions(json.loads(json.dumps(section())), [{"name": "loyalty_points"}], 1)
