"""POST /predict_transactions: what is answered, what is left out, what is refused, and how."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from made_lines import (
    LIMITS,
    RETAIL,
    Lines,
    ask,
    body,
    line,
    made_champion,
    opened,
    rows_of,
)
from real_service import ROOT

from common.errors import UserError
from configs.load import load
from configs.rules import Contract
from configs.source import Form, Text
from features.build import build_table
from features.catalogue import ALL, CATALOGUE, NAMES
from features.engine import SQL
from flows.outcome import transactions as transactions_section
from flows.stage import Stage
from serving.champion import Champion, Request
from serving.endpoints import predict_transactions
from serving.errors import Refused
from serving.limits import Limits
from serving.line_requests import LinesReader
from serving.opening import same_contract
from serving.transactions import Transactions
from serving.transactions_sql import open_connection

TWO = [line(), line(invoice_id="536366", invoiced_at="2024-02-11T09:00:00", quantity=2)]


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    transactions = opened()
    yield made_champion(tmp_path_factory.mktemp("champion"), transactions)
    transactions.close()


def refused(champion: Champion, sent: bytes, limits: Limits = LIMITS, **query: str) -> Refused:
    with pytest.raises(Refused) as caught:
        predict_transactions(Request(sent, query, champion, limits))
    return caught.value


def places(problems: Any) -> list[tuple[str, str]]:
    return [(problem.where, problem.reason) for problem in problems]


# --- what is answered -------------------------------------------------------------------------


def test_the_answer_for_one_customer(champion):
    answer = ask(champion, body({"17850": TWO}), features="true")
    assert answer["model"] == {
        "name": "golden-path-default",
        "version": 3,
        "bundle_sha256": champion.bundle.sha256,
        "threshold": 0.5,
    }
    (prediction,) = answer["predictions"]
    assert (prediction["row"], prediction["customer_id"]) == (0, "17850")
    assert prediction["decision"] == (prediction["probability"] >= 0.5)
    assert answer["skipped"] == answer["left_out"] == []
    features = prediction["features"]
    assert list(features) == list(NAMES)
    expected = {
        "recency_days": 19.0,  # 11 February to 1 March of a leap year
        "tenure_days": 29.0,
        "orders_30d": 2.0,
        "orders_total": 2.0,
        "revenue_total": 20.4,
        "order_value_last": 5.1,
        "gap_days_mean": 10.0,
        "gap_days_spread": None,
        "products_total": 1.0,
        "units_per_line": 4.0,
        "is_home": 1.0,
        "season_orders": 0.0,  # the log began in January 2023
    }
    assert {name: features[name] for name in expected} == expected
    x = np.array([[np.nan if v is None else v for v in features.values()]], dtype=np.float32)
    assert prediction["probability"] == champion.bundle.predict(x)[0]
    shorter = [{k: v for k, v in one.items() if k != "description"} for one in TWO]
    assert ask(champion, body({"17850": shorter}), features="true") == answer
    del prediction["features"]
    assert ask(champion, body({"17850": TWO[::-1]})) == answer, "features only when they are wanted"


def test_many_customers_are_answered_in_the_order_sent_and_as_if_alone(champion):
    customers = {
        f"c{number}": [line(quantity=number + 1, invoiced_at=f"2024-02-{number + 1:02}")]
        for number in (20, 3, 11, 0, 7)
    }
    customers |= {"the same": customers["c3"]}  # equal lines of two customers are not copies
    answer = ask(champion, body(customers), features="true")
    assert answer["left_out"] == []
    predictions = answer["predictions"]
    assert [one["customer_id"] for one in predictions] == list(customers)
    assert [one["row"] for one in predictions] == [*range(6)]
    for one in predictions:
        lines = customers[one["customer_id"]]
        alone = ask(champion, body({one["customer_id"]: lines}), features="true")
        assert alone["predictions"] == [one | {"row": 0}]


# --- what the contract keeps out --------------------------------------------------------------


def test_invalid_lines_are_left_out_with_their_reasons_and_change_nothing_else(champion):
    dirt = [
        line(unit_price=0, product_id="POST"),
        line(invoiced_at="soon"),
        line(quantity=None),
        line(),  # the second of equal lines
        line(invoiced_at="2024-03-01T00:00:00"),
        line(invoiced_at="2199-01-01T00:00:00", unit_price=0),
    ]
    told = ask(champion, body({"a": TWO, "b": [*TWO, *dirt]}), features="true")
    clean, dirty = told["predictions"]
    assert clean["features"] == dirty["features"]
    assert [(one["row"], one["customer_id"], one["line"]) for one in told["left_out"]] == [
        (1, "b", at) for at in range(2, 8)
    ]
    assert [one["reasons"] for one in told["left_out"]] == [
        ["zero_price", "no_product_code"],
        ["unreadable_value", "missing_time"],
        ["missing_quantity"],
        ["duplicate"],
        ["after_as_of"],
        ["zero_price", "after_as_of"],
    ]
    why = RETAIL.rules["zero_price"].why
    assert told["left_out"][0]["why"] == [
        why,
        RETAIL.rules["no_product_code"].why,
    ]
    assert "as-of date" in told["left_out"][4]["why"][0]


def test_left_out_lines_are_counted_by_their_first_reason(champion):
    rows, lines = [], []
    sent = body([{"customer_id": "a", "lines": [*TWO, line(unit_price=0)]}, {"lines": TWO}])
    asked = Request(
        sent,
        {"on_error": "skip"},
        champion,
        LIMITS,
        rows_left_out=rows.append,
        lines_left_out=lines.append,
    )
    predict_transactions(asked)
    assert (rows, lines) == ([{"required": 1}], [{"zero_price": 1}])


# --- what is refused --------------------------------------------------------------------------


def good(**changes: Any) -> dict[str, Any]:
    return {"customer_id": "17850", "lines": TWO} | changes


def with_line(**changes: Any) -> list[Any]:
    return [good(), {"customer_id": "b", "lines": [line(), line(**changes)]}]


def without(name: str) -> list[Any]:
    return [good(), {"customer_id": "b", "lines": [{k: v for k, v in line().items() if k != name}]}]


@pytest.mark.parametrize(
    ("customers", "where", "reason"),
    [
        ([], "customers", "required"),
        ("17850", "customers", "wrong_type"),
        ([good(), 5], "customers[1]", "wrong_type"),
        ([good(), {"lines": TWO}], "customers[1].customer_id", "required"),
        ([good(), good(customer_id=13085)], "customers[1].customer_id", "wrong_type"),
        ([good(), good(customer_id=" \u00a0\t")], "customers[1].customer_id", "blank"),
        ([good(), good(customer_id="x" * 301)], "customers[1].customer_id", "too_long"),
        ([good(), good(customer_id="17850.0")], "customers[1].customer_id", "repeated"),
        ([good(), good(customer_id=" 17850 ")], "customers[1].customer_id", "repeated"),
        ([good(), {"customer_id": "b", "lines": []}], "customers[1].lines", "required"),
        ([good(), {"customer_id": "b", "lines": {}}], "customers[1].lines", "wrong_type"),
        ([good(), {"customer_id": "b", "lines": [7]}], "customers[1].lines[0]", "wrong_type"),
        ([good(), good(customer_id="b", name="B")], "customers[1].name", "unknown_field"),
        (with_line(amount=2), "customers[1].lines[1].amount", "unknown_field"),
        (with_line(quantity=1.5), "customers[1].lines[1].quantity", "wrong_type"),
        (with_line(quantity="6"), "customers[1].lines[1].quantity", "wrong_type"),
        (with_line(quantity=2**53 + 1), "customers[1].lines[1].quantity", "out_of_range"),
        (with_line(unit_price="2.55"), "customers[1].lines[1].unit_price", "wrong_type"),
        (with_line(unit_price=10**400), "customers[1].lines[1].unit_price", "not_finite"),
        (with_line(unit_price=float("nan")), "customers[1].lines[1].unit_price", "not_finite"),
        (with_line(invoiced_at=20240201), "customers[1].lines[1].invoiced_at", "wrong_type"),
        (with_line(country=[]), "customers[1].lines[1].country", "wrong_type"),
        (without("quantity"), "customers[1].lines[0].quantity", "required"),
    ],
)
def test_a_bad_customer_refuses_the_request_or_is_skipped(champion, customers, where, reason):
    sent = body(customers)
    found = refused(champion, sent)
    assert (found.status, found.code) == (400, "invalid")
    assert places(found.problems) == [(where, reason)]
    (problem,) = found.problems
    assert where in found.error and problem.what in found.error
    if where == "customers":
        assert refused(champion, sent, on_error="skip").body() == found.body()
        return
    assert problem.row == 1
    assert problem.line == (int(where.split("lines[")[1][0]) if "lines[" in where else None)
    if problem.field is not None:
        assert where.endswith(f".{problem.field}")
    told = ask(champion, sent, on_error="skip")
    assert [one["row"] for one in told["predictions"]] == [0]
    (skipped,) = told["skipped"]
    assert (skipped["row"], [p["where"] for p in skipped["detail"]]) == (1, [where])


@pytest.mark.parametrize(
    ("as_of", "reason"),
    [
        (None, "required"),
        (20240301, "wrong_type"),
        ("", "invalid"),
        ("2024-3-1", "invalid"),
        ("2024-02-30", "invalid"),
        ("2024-03-01T00:00:00", "invalid"),
        ("1899-12-31", "out_of_range"),
        ("9999-12-31", "in_future"),
    ],
)
def test_an_as_of_date_that_is_missing_or_impossible_is_refused(champion, as_of, reason):
    for mode in ("refuse", "skip"):
        found = refused(champion, body({"a": TWO}, as_of), on_error=mode)
        assert (found.status, places(found.problems)) == (400, [("as_of", reason)])
        assert "(tomorrow, UTC)" in found.problems[0].expected
        found = refused(champion, body([], as_of), on_error=mode)
        assert places(found.problems) == [("as_of", reason), ("customers", "required")]


def test_the_as_of_date_may_be_tomorrow_and_not_the_day_after(champion):
    today = datetime.now(UTC).date()
    lines = [line(invoiced_at=f"{today}T00:00:00")]
    told = ask(champion, body({"a": lines}, str(today + timedelta(days=1))), features="true")
    assert told["predictions"][0]["features"]["recency_days"] == 1.0
    # Two days: midnight may pass between the two lines of this test.
    found = refused(champion, body({"a": lines}, str(today + timedelta(days=3))))
    assert places(found.problems) == [("as_of", "in_future")]


def test_missing_and_unknown_fields_of_a_request_are_named(champion):
    found = refused(champion, json.dumps({"asof": "2024-03-01", "Customers": []}).encode())
    assert places(found.problems) == [
        ("asof", "unknown_field"),
        ("Customers", "unknown_field"),
        ("as_of", "required"),
        ("customers", "required"),
    ]
    assert found.problems[0].expected == "as_of"
    for sent in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000):
        found = refused(champion, sent, on_error="skip")
        assert (found.status, found.problems[0].where) == (400, "body")


def test_more_customers_or_lines_than_the_limits_are_refused(champion):
    few = Limits(max_rows=2, max_lines=5, max_explained=1)
    three = {str(number): [line()] for number in range(3)}
    for mode in ("refuse", "skip"):
        found = refused(champion, body(three), few, on_error=mode)
        assert places(found.problems) == [("customers", "too_long")]
        found = refused(champion, body({"a": [line()] * 3, "b": [line()] * 3}), few, on_error=mode)
        assert found.problems[0].value == "6 lines" and "at most 5 lines" in found.error
    assert len(ask(champion, body({"a": [line()] * 3, "b": TWO}), few)["predictions"]) == 2


@pytest.mark.parametrize("query", [{"features": "yes"}, {"on_error": "ignore"}])
def test_a_parameter_with_an_unknown_value_is_refused(champion, query):
    ((name, value),) = query.items()
    (problem,) = refused(champion, body({"a": TWO}), **query).problems
    assert (problem.where, problem.value) == (f"query.{name}", json.dumps(value))


# --- customers without an answer --------------------------------------------------------------


def test_a_customer_without_a_purchase_in_the_active_days_has_no_answer(champion):
    long_ago = [line(invoiced_at="2023-03-01T10:00:00"), line(unit_price=0)]  # a day too early
    sent = body({"a": TWO, "b": long_ago})
    found = refused(champion, sent)
    assert (found.status, found.code) == (422, "no_answer")
    assert places(found.problems) == [("customers[1].lines", "not_active")]
    assert "365 days before 2024-03-01" in found.error
    assert "of 2 lines 1 do not count (zero_price 1)" in found.error
    told = ask(champion, sent, on_error="skip")
    assert [one["row"] for one in told["predictions"]] == [0]
    assert [(one["row"], one["customer_id"]) for one in told["skipped"]] == [(1, "b")]
    assert [(one["row"], one["line"]) for one in told["left_out"]] == [(1, 1)]
    in_time = [line(invoiced_at="2023-03-02T00:00:00")]
    assert len(ask(champion, body({"b": in_time}))["predictions"]) == 1


def test_a_request_whose_lines_are_all_left_out_has_no_answer(champion):
    for change in ({"unit_price": 0}, {"invoice_id": "C1", "quantity": -2}):
        found = refused(champion, body({"a": [line(**change)]}), on_error="skip")
        assert (found.status, found.code) == (422, "no_answer")
    found = refused(
        champion, body([good(lines=[line(unit_price=0)]), {"lines": TWO}]), on_error="skip"
    )
    assert (found.status, found.code) == (400, "invalid")  # there is something to correct


def test_values_that_no_bigint_holds_are_located_among_many_customers(tmp_path):
    """A contract without limits lets lines through whose value no BIGINT holds."""
    rules = RETAIL.model_dump()["rules"]
    for name in ("impossible_price", "impossible_quantity"):
        rules[name] = rules[name] | {"severity": "ignore"}
    transactions = opened(contract=Contract(rules=rules))
    champion = made_champion(tmp_path, transactions)
    customers = {str(number): TWO for number in range(9)}
    customers["4"] = [line(unit_price=1e300)]
    customers["7"] = [line(quantity=2**53, unit_price=9.0), line(quantity=2**53, unit_price=9.1)]
    found = refused(champion, body(customers))
    assert (found.status, places(found.problems)) == (
        400,
        [("customers[4].lines", "out_of_range"), ("customers[7].lines", "out_of_range")],
    )
    told = ask(champion, body(customers), on_error="skip", features="true")
    assert [one["row"] for one in told["predictions"]] == [0, 1, 2, 3, 5, 6, 8]
    alone = ask(champion, body({"8": TWO}), features="true")["predictions"][0]
    assert {json.dumps(one["features"]) for one in told["predictions"]} == {
        json.dumps(alone["features"])
    }
    transactions.close()


# --- what a client sends is never SQL ---------------------------------------------------------

SQL_TEXTS = (
    "'; DROP TABLE lines; --",
    "$1) UNION ALL SELECT * FROM duckdb_settings() --",
    "getvariable('home_country')",
    "\x00\x01\u2028\U0001f600",
)


@pytest.mark.parametrize("text", SQL_TEXTS)
def test_sql_in_any_text_is_text(champion, text):
    texts = [n for n, value in line().items() if isinstance(value, str)]
    lines: Lines = [*TWO, *(line(**{name: text}) for name in texts)]
    told = ask(champion, body({text: lines, "17850": TWO}), features="true")
    assert [one["customer_id"] for one in told["predictions"]] == [text, "17850"]
    reasons = {texts[one["line"] - 2]: one["reasons"] for one in told["left_out"]}
    assert reasons.keys() == {"product_id", "invoiced_at"}
    assert reasons["product_id"] == ["no_product_code"]
    assert "missing_time" in reasons["invoiced_at"]
    features = told["predictions"][0]["features"]
    assert (features["orders_total"], features["products_total"]) == (3.0, 1.0)


def test_the_connection_reads_no_file_and_its_settings_are_locked(tmp_path):
    transactions = opened()
    prepared = transactions.pool.free.get()
    for statement in (
        f"FROM read_text('{ROOT}/pyproject.toml')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/new.db'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            prepared.connection.execute(statement)
    assert not list(tmp_path.iterdir())
    transactions.close()
    with open_connection() as connection:
        assert connection.execute("SELECT current_setting('threads')").fetchone() == (1,)


# --- a request is read at once, or value by value ---------------------------------------------

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
ANY_LINE = st.builds(
    lambda base, changes, gone: {k: v for k, v in (base | changes).items() if k not in gone},
    st.just(line()),
    st.dictionaries(st.sampled_from([*line(), "amount", "x"]), VALUES, max_size=2),
    st.sets(st.sampled_from([*line()]), max_size=1),
)
ANY_CUSTOMER = st.fixed_dictionaries(
    {},
    optional={
        "customer_id": st.sampled_from(["a", "b"]) | VALUES,
        "lines": st.lists(ANY_LINE | st.just(line()) | VALUES, max_size=3) | VALUES,
        "name": VALUES,
    },
)


@example(customers=[{"lines": [math.inf]}], as_of="2024-03-01", form=Form())
@given(
    customers=st.lists(ANY_CUSTOMER | st.just(good()), max_size=4),
    as_of=st.just("2024-03-01"),
    form=st.sampled_from([Form(), Form(time_format="%d.%m.%Y", text=Text())]),
)
def test_a_request_means_the_same_read_at_once_and_value_by_value(customers, as_of, form):
    reader, sent = LinesReader(ALL, form), body(customers, as_of)
    try:
        fast = msgspec.json.decode(sent, type=reader.request).customers
    except msgspec.DecodeError:
        with pytest.raises(Refused) as caught:
            reader.read(sent, LIMITS, skip=False)
        problems = caught.value.problems
        assert problems and all(problem.reason != "invalid" for problem in problems)
        return
    # Beside a customer that is skipped, the others are read value by value.
    slow = reader.read(body([*customers, 5], as_of), LIMITS, skip=True)
    assert [one.row for one in slow.skipped] == [len(customers)]
    assert msgspec.to_builtins(fast) == msgspec.to_builtins(slow.customers)


# --- values as the source writes them ---------------------------------------------------------

GERMAN = Text(delimiter=";", decimal=",", thousands=".")
AS_WRITTEN = [  # a form; times and prices in it, as ISO and JSON
    (
        Form(time_format="%d.%m.%Y %H:%M", text=GERMAN),
        [("01.02.2024 08:26", "1.002,55"), ("03.02.2024 09:00", "0,5"), ("04.02.2024 10:00", 3)],
    ),
    (
        Form(time_format="%Y%d%m", text=Text()),
        [("20240102", "1002.55"), (20240302, "0.5"), ("20240402", 3.0)],
    ),
    (
        Form(time_format="%Y-%d-%m"),  # what ISO would read as another day
        [("2024-01-02", 1002.55), ("2024-03-02", 0.5), ("2024-04-02", 3)],
    ),
]
AS_JSON = [("2024-02-01T08:26:00", 1002.55), ("2024-02-03 09:00", 0.5), ("2024-02-04 10:00Z", 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "written"), AS_WRITTEN)
def test_lines_are_read_as_the_source_writes_them_and_as_iso_and_json(form, written):
    declared = frozenset({"customer_id", "invoiced_at", "amount"})
    transactions = opened(declared, form=form)

    def features(lines: list[tuple[Any, Any]], *more: tuple[Any, Any]) -> Any:
        sent = [{"invoiced_at": time, "amount": amount} for time, amount in (*lines, *more)]
        (row,) = rows_of(transactions, body({"17850": sent}))
        return row.features, row.left_out

    expected, left_out = features(AS_JSON)
    assert expected is not None and not left_out
    assert features(written) == (expected, [])
    assert features([*written[:1], *AS_JSON[1:]]) == (expected, [])  # one line of each
    # What is neither is a line to leave out, as in training.
    found, left_out = features(written, ("1/2/24", written[0][1]))
    assert found == expected and [transactions.reasons(bits)[0] for _, bits in left_out] == [
        "unreadable_value"
    ]
    if form.text is not None:
        found, left_out = features(written, (written[0][0], "2'55"))
        assert found == expected and len(left_out) == 1
    transactions.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        (Form(), Form(time_format="%d.%m.%Y"), ""),
        (Form(time_format="%d.%m.%Y"), Form(time_format="%d.%m.%Y"), ""),
        (Form(time_format="%d.%m.%Y"), Form(), "times as %d.%m.%Y"),
        (Form(text=GERMAN), Form(text=GERMAN.model_copy(update={"delimiter": "|"})), ""),
        (Form(text=GERMAN), Form(text=Text()), "numbers as text"),
    ],
)
def test_a_new_champion_reads_the_lines_that_the_old_one_read(champion, old, new, refused):
    before, after = (replace(champion, transactions=opened(form=form)) for form in (old, new))
    if refused:
        with pytest.raises(UserError, match=refused):
            same_contract(before, after)
    else:
        same_contract(before, after)


# --- threads, interruption, memory ------------------------------------------------------------


MANY = Limits(max_rows=10, max_lines=1_000_000, max_explained=1)


def large(lines: int, as_of: str = "2023-06-01") -> bytes:
    moment = datetime(2023, 1, 2)
    return body(
        {
            "17850": [
                line(
                    invoice_id=str(number // 5),
                    product_id=str(10_000 + number % 3_000),
                    invoiced_at=(moment + timedelta(minutes=number)).isoformat(),
                )
                for number in range(lines)
            ]
        },
        as_of,
    )


@pytest.mark.slow
def test_an_interrupted_request_ends_early_and_leaves_nothing_for_the_next(champion):
    sent, kept = large(200_000), body({"17850": TWO})
    expected = ask(champion, kept, features="true")
    whole = time.thread_time()  # of computing: how busy the machine is plays no part
    assert len(ask(champion, sent, MANY)["predictions"]) == 1
    whole = time.thread_time() - whole
    cut, caught = Request(sent, {}, champion, MANY), list[tuple[Refused, float]]()

    def run() -> None:
        try:
            predict_transactions(cut)
        except Refused as found:
            caught.append((found, time.thread_time()))

    running, calling = threading.Event(), cut.stop.calling

    @contextmanager
    def seen(interrupt: Callable[[], None]) -> Iterator[None]:
        with calling(interrupt):
            running.set()
            yield

    cut.stop.calling = seen
    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(60) and thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    before = time.clock_gettime(clock)
    while time.clock_gettime(clock) < before + 0.02:  # until the query has begun
        time.sleep(0.001)
    Request(sent, {}, champion, MANY).stop.set()  # another one: nothing happens
    assert thread.is_alive()
    spent = time.clock_gettime(clock)
    cut.stop.set()
    thread.join(60)
    ((refused, until),) = caught
    assert (refused.status, refused.code) == (503, "timeout")
    assert until - spent < whole / 2
    with ThreadPoolExecutor(2) as pool:  # both connections
        both = pool.map(lambda _: ask(champion, kept, features="true"), range(6))
        assert list(both) == [expected] * 6


# --- what a run writes into the bundle --------------------------------------------------------


@pytest.mark.slow
def test_what_a_run_writes_into_the_bundle_is_what_the_service_reads(tmp_path):
    settings = load("smoke", [])
    first = datetime(2023, 1, 5, 10)
    log = [
        line(customer_id=str(day % 40), invoiced_at=first + timedelta(days=day), description=None)
        for day in range(700)
    ]
    pq.write_table(pa.Table.from_pylist(log), tmp_path / "log.parquet")
    facts = build_table(tmp_path / "log.parquet", tmp_path / "table.parquet", settings.features)
    assert facts.log_start == "2023-01-05"
    stage = Stage(tmp_path, facts, {}, False)
    written = json.loads(json.dumps(transactions_section(settings, stage)))
    assert set(written) == {"declared", "contract", "features", "log_start"}
    assert written["declared"] == sorted(ALL)
    simulation = settings.source.simulation
    last = simulation.start + timedelta(days=simulation.days - 1)
    assert written["contract"]["not_after"] == last.isoformat()
    named = {
        name
        for path in SQL.rglob("*.sql")
        for name in re.findall(r"getvariable\('(\w+)'\)", path.read_text("utf-8"))
    }
    assert set(written["features"]) == named - {"first_row", "last_row"}
    served = Transactions(written, [asdict(feature) for feature in CATALOGUE], 100)
    assert served.settings.horizon_days == settings.features.horizon_days
    served.close()
    source = settings.source.model_copy(update={"kind": "table"})
    table = settings.model_copy(update={"source": source})
    assert transactions_section(table, Stage(tmp_path, None, {}, False)) is None
