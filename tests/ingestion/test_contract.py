"""The contract's rules, restated in plain Python, and the two engines that judge by them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from made_log import CLEAN, retail_contract, write_part

from configs.rules import Contract
from ingestion import judge as judging
from ingestion.canonical import COLUMNS
from ingestion.contract import batch_rules, in_words, row_rules, to_expectation, to_sql
from ingestion.expectations import validate
from ingestion.outcome import ContractBroken
from ingestion.validate import ALL, validate_batch

pytestmark = pytest.mark.slow


START, NOW = datetime(2024, 1, 1), datetime(2025, 1, 1, 12)
TICK = timedelta(microseconds=1)
# An example takes half a second: thousands of them to shrink one would hold up everybody.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
# Nothing but the row rules: no share is too large, and ten days are enough.
LENIENT = retail_contract(
    row_count={"low": 1},
    days={"low": 10},
    valid_share={"severity": "ignore"},
    impossible_quantity={"high": 100},
    impossible_price={"high": 50},
    **{
        name: {"high": 1}
        for name in (
            *("anonymous_share", "cancelled_share", "duplicate_share", "type_of_quantity"),
            *("type_of_unit_price", "type_of_invoiced_at"),
        )
    },
)
RULES = row_rules(LENIENT, ALL)
# Two clean lines ten days apart: the log is long enough, whatever is added.
ANCHORS = [
    CLEAN | {"description": f"anchor {d}", "invoiced_at": START + timedelta(days=d)}
    for d in (0, 10)
]


def rows_of(path: Path) -> list[dict]:
    with duckdb.connect() as connection:
        return connection.sql(f"FROM '{path}'").to_arrow_table().to_pylist()


def judge(folder: Path, lines: list[dict], contract: Contract = LENIENT) -> list[list[str]]:
    """The reasons of each line, as validate_batch writes them; valid lines have none."""
    outcome = validate_batch([write_part(folder, lines)], folder, contract, now=NOW, batch="b1")
    counts = outcome.rows
    valid = rows_of(folder / "transactions.parquet")
    quarantined = rows_of(folder / "quarantine.parquet")
    reasons = {row["source_row"]: row["reasons"] for row in quarantined}
    counted = (counts.raw, counts.valid, counts.quarantined)
    assert counted == (len(valid) + len(quarantined), len(valid), len(quarantined))
    assert counts.raw == len(lines)
    assert all(reasons.values()), "every quarantined row has a reason"
    assert counts.reasons == dict(Counter(r for each in reasons.values() for r in each))
    kept = [line for number, line in enumerate(lines, start=1) if number not in reasons]
    assert valid == [{name: line[name] for name in COLUMNS} for line in kept]
    for row in quarantined:
        assert (row["batch"], row["source"]) == ("b1", "log")
        line = lines[row["source_row"] - 1]
        assert {name: row[name] for name in (*COLUMNS, "unreadable")} == line
    return [reasons.get(number, []) for number in range(1, len(lines) + 1)]


def restated(lines: list[dict], contract: Contract, now: datetime) -> list[list[str]]:
    """The rules of the contract once more, in plain Python."""
    latest = now
    if contract.not_after is not None:
        latest = datetime.combine(contract.not_after, datetime.min.time()) + timedelta(days=1)
    seen: set = set()
    result = []
    for line in lines:
        quantity, price, when = line["quantity"], line["unit_price"], line["invoiced_at"]
        cancels = (line["invoice_id"] or "\0").startswith(contract.cancellation_prefix)
        sold = None if quantity is None else -quantity if cancels else quantity
        product = line["product_id"]
        copy = (*(line[name] for name in COLUMNS), *line["unreadable"])
        broken = {
            "unreadable_value": bool(line["unreadable"]),
            "missing_time": when is None,
            "future_time": when is not None and when >= latest,
            "missing_invoice": line["invoice_id"] is None,
            "missing_quantity": quantity is None,
            "impossible_quantity": sold is not None
            and not 1 <= sold <= contract.rules["impossible_quantity"].high,
            "missing_price": price is None,
            "zero_price": price == 0,
            "negative_price": price is not None and price < 0,
            "impossible_price": price is not None
            and price > contract.rules["impossible_price"].high,
            "missing_product": product is None,
            "no_product_code": product is not None
            and not re.fullmatch("[0-9]{5}[A-Z]{0,2}", product),
            "missing_customer": line["customer_id"] is None,
            "duplicate": copy in seen,
        }
        seen.add(copy)
        result.append([code for code, is_broken in broken.items() if is_broken])
    return result


# --- each row rule, at its limits -------------------------------------------------------------

LIMITS = [
    ({}, []),
    ({"quantity": 100}, []),
    ({"quantity": 101}, ["impossible_quantity"]),
    ({"quantity": 0}, ["impossible_quantity"]),
    ({"quantity": -1}, ["impossible_quantity"]),
    ({"quantity": -(2**53)}, ["impossible_quantity"]),
    ({"invoice_id": "C1", "quantity": -1}, []),
    ({"invoice_id": "C1", "quantity": -100}, []),
    ({"invoice_id": "C1", "quantity": -101}, ["impossible_quantity"]),
    ({"invoice_id": "C1", "quantity": 0}, ["impossible_quantity"]),
    ({"invoice_id": "C1", "quantity": 5}, ["impossible_quantity"]),
    ({"invoice_id": "c1", "quantity": 5}, []),
    ({"invoice_id": "1C", "quantity": 5}, []),
    ({"unit_price": 50.0}, []),
    ({"unit_price": 50.00000000000001}, ["impossible_price"]),
    ({"unit_price": 5e-324}, []),
    ({"unit_price": 0.0}, ["zero_price"]),
    ({"unit_price": -0.0}, ["zero_price"]),
    ({"unit_price": -5e-324}, ["negative_price"]),
    ({"unit_price": -1e308}, ["negative_price"]),
    ({"invoiced_at": NOW - TICK}, []),
    ({"invoiced_at": NOW}, ["future_time"]),
    ({"invoiced_at": NOW + TICK}, ["future_time"]),
    ({"invoiced_at": datetime(9999, 12, 31, 23, 59, 59)}, ["future_time"]),
    ({"invoiced_at": datetime(1900, 1, 1)}, []),
    ({"product_id": "12345"}, []),
    ({"product_id": "12345AB"}, []),
    ({"product_id": "12345ABC"}, ["no_product_code"]),
    ({"product_id": "1234"}, ["no_product_code"]),
    ({"product_id": "123456"}, ["no_product_code"]),
    ({"product_id": "12345a"}, ["no_product_code"]),
    ({"product_id": "12345\n"}, ["no_product_code"]),
    ({"product_id": "x\n12345"}, ["no_product_code"]),
    ({"product_id": "１２３４５"}, ["no_product_code"]),
    ({"product_id": "POST"}, ["no_product_code"]),
    ({"product_id": ""}, ["no_product_code"]),
    ({"invoiced_at": None}, ["missing_time"]),
    ({"invoice_id": None}, ["missing_invoice"]),
    ({"quantity": None}, ["missing_quantity"]),
    ({"unit_price": None}, ["missing_price"]),
    ({"product_id": None}, ["missing_product"]),
    ({"customer_id": None}, ["missing_customer"]),
    ({"country": None}, []),
    ({"quantity": None, "unreadable": ["quantity=x"]}, ["unreadable_value", "missing_quantity"]),
    (
        {"product_id": "M", "unit_price": 51.0, "customer_id": None, "quantity": 0},
        ["impossible_quantity", "impossible_price", "no_product_code", "missing_customer"],
    ),
]


def test_every_row_rule_holds_to_its_limit_and_not_beyond_and_the_same_each_time(tmp_path):
    lines = [CLEAN | {"description": str(n)} | change for n, (change, _) in enumerate(LIMITS)]
    found = judge(tmp_path, [*ANCHORS, *lines])[2:]
    for (change, reasons), given_reasons in zip(LIMITS, found, strict=True):
        assert given_reasons == reasons, change
    assert {code for reasons in found for code in reasons} | {"duplicate"} == set(RULES)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    judge(tmp_path, [*ANCHORS, *lines])  # which also shows that the first outcome does no harm
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_the_first_of_equal_lines_stays_and_the_others_go(tmp_path):
    gone = CLEAN | {"customer_id": None, "country": None}
    unreadable = [CLEAN | {"quantity": None, "unreadable": [f"quantity={x}"]} for x in "ab"]
    lines = [CLEAN, CLEAN, gone, CLEAN, gone, *unreadable]
    assert [("duplicate" in reasons) for reasons in judge(tmp_path, [*ANCHORS, *lines])[2:]] == [
        *(False, True, False, True, True),
        *(False, False),
    ]


@pytest.mark.parametrize(
    ("last", "reasons"), [(date(2024, 6, 30), [[], ["future_time"]]), (date.max, [[], []])]
)
def test_a_last_day_counts_to_its_end(tmp_path, last, reasons):
    midnight = datetime(2024, 7, 1)
    lines = [CLEAN | {"invoiced_at": when} for when in (midnight - TICK, midnight)]
    contract = LENIENT.model_copy(update={"not_after": last})
    assert judge(tmp_path, [*ANCHORS, *lines], contract)[2:] == reasons


def test_each_rule_has_the_consequence_of_its_severity(tmp_path):
    """A rule may be ignored, warn or be of one's own, and two rules may check the same."""
    country = {"column": "country", "pattern": "^[A-Z]", "why": "it begins with a capital"}
    rules = retail_contract(
        impossible_price={"severity": "ignore"},
        duplicate={"severity": "warn"},
        lower_case_country={"severity": "quarantine", **country},
    ).rules
    mine = rules["negative_price"].model_copy(update={"severity": "warn"})
    changed = {
        name: rules[name] for name in ("impossible_price", "duplicate", "lower_case_country")
    }
    contract = LENIENT.model_copy(update={"rules": {**LENIENT.rules, **changed, "mine": mine}})
    changes = ({}, {}, {"unit_price": 1e300}, {"country": "eire"}, {"unit_price": -1.0})
    lines = [*ANCHORS, *(CLEAN | change for change in changes)]
    outcome = validate_batch([write_part(tmp_path, lines)], tmp_path, contract, now=NOW)
    assert (outcome.rows.raw, outcome.rows.valid) == (7, 5)
    assert outcome.rows.reasons == {"negative_price": 1, "lower_case_country": 1}
    assert outcome.rows.warned == {"duplicate": 1, "mine": 1}
    by_code = {f.code: (f.severity, f.success, f.found) for f in outcome.findings}
    assert by_code["duplicate"] == ("warn", False, 1)
    reasons = [row["reasons"] for row in rows_of(tmp_path / "quarantine.parquet")]
    assert reasons == [["lower_case_country"], ["negative_price"]]


def test_a_prefix_and_a_pattern_are_text_and_no_sql(tmp_path):
    rules = {**LENIENT.rules}
    rules["no_product_code"] = rules["no_product_code"].model_copy(update={"pattern": "^it's$"})
    update = {"cancellation_prefix": "' OR 1 --", "rules": rules}
    line = CLEAN | {"product_id": "it's", "invoice_id": "' OR 1 -- 7", "quantity": -1}
    anchors = [anchor | {"product_id": "it's"} for anchor in ANCHORS]
    assert judge(tmp_path, [*anchors, line], LENIENT.model_copy(update=update))[2:] == [[]]


@pytest.mark.parametrize("update", [{"cancellation_prefix": ""}, {}])
def test_without_a_mark_on_the_invoice_the_sign_cancels(tmp_path, update):
    """No prefix, or no invoices at all: a negative quantity is a cancellation."""
    declared = ALL if update else ALL - {"invoice_id"}
    lines = [*ANCHORS, CLEAN | {"quantity": -5}, CLEAN | {"quantity": -101}]
    given = LENIENT.model_copy(update=update)
    outcome = validate_batch(
        [write_part(tmp_path, lines)], tmp_path, given, now=NOW, declared=declared
    )
    assert outcome.rows.reasons == {"impossible_quantity": 1}
    assert outcome.measures["cancelled_share"] == 0.5


def test_rules_about_columns_that_the_source_lacks_are_off(tmp_path):
    bare = frozenset({"customer_id", "invoiced_at", "amount"})
    assert set(RULES) - set(row_rules(LENIENT, bare)) == {
        *("missing_invoice", "missing_quantity", "impossible_quantity"),
        *("missing_product", "no_product_code"),
    }
    lines = [*ANCHORS, CLEAN | {"product_id": None, "invoice_id": None, "quantity": None}]
    parts = [write_part(tmp_path, lines)]
    outcome = validate_batch(parts, tmp_path, LENIENT, now=NOW, declared=bare)
    assert outcome.rows.quarantined == 0
    measured = {rule.measure for rule in batch_rules(LENIENT, bare).values()}
    assert "unreadable_amount" in measured and "unreadable_quantity" not in measured


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"impossible_price": {"low": 10, "high": 5}}, "low is 10, above high, 5"),
        ({"zero_price": {"column": "product_id"}}, "product_id does not hold it"),
        ({"no_product_code": {"column": "quantity"}}, "quantity does not hold it"),
        ({"negative_price": {"column": "invoiced_at"}}, "invoiced_at does not hold it"),
        ({"days": {"low": 300, "high": 200}}, "low is 300, above high, 200"),
        ({"days": {"severity": "quarantine"}}, "severity is stop, warn or ignore"),
        ({"duplicate": {"severity": "stop"}}, "severity is quarantine, warn or ignore"),
        ({"duplicate": {"required": True}}, "one check"),
        # What a row cannot do without:
        *(
            ({name: {"severity": "ignore"}}, f"{name} cannot be ignore")
            for name in ("missing_customer", "missing_time", "missing_price")
        ),
    ],
)
def test_a_rule_that_cannot_work_is_refused_when_it_is_read(change, said):
    with pytest.raises(ValueError, match=said):
        retail_contract(**change)


def test_several_parts_are_one_batch(tmp_path):
    """Copies are found across files, and a row is known by its source and its place there."""
    parts = [write_part(tmp_path / "a", [*ANCHORS, CLEAN]), write_part(tmp_path / "b", [CLEAN] * 2)]
    outcome = validate_batch(parts, tmp_path, LENIENT, now=NOW)
    assert (outcome.rows.raw, outcome.rows.reasons) == (5, {"duplicate": 2})
    rows = rows_of(tmp_path / "quarantine.parquet")
    assert [row["source_row"] for row in rows] == [1, 2]


# --- for every log ----------------------------------------------------------------------------

quantities = st.sampled_from([None, -101, -100, -1, 0, 1, 2, 100, 101])
quantities |= st.integers(-(2**53), 2**53)
prices = st.sampled_from([None, -1.0, -0.0, 0.0, 0.01, 2.5, 50.0, 50.01])
prices |= st.floats(allow_nan=False, allow_infinity=False)
times = st.sampled_from([None, START, NOW - TICK, NOW, NOW + TICK])
times |= st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31))
words = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
dirty = st.fixed_dictionaries(
    {
        "invoice_id": st.sampled_from([None, "500000", "C500000"]) | words,
        "product_id": st.sampled_from([None, "85123A", "85123a", "POST", "85123\n"]) | words,
        "description": st.sampled_from([None, "MUG"]),
        "quantity": quantities,
        "unit_price": prices,
        "invoiced_at": times,
        "customer_id": st.sampled_from([None, "17850"]) | words,
        "country": st.sampled_from([None, "Eire"]),
        "unreadable": st.just([]),
    }
)


@st.composite
def logs(draw) -> list[dict]:
    """Dirty lines, near-clean lines, copies, and values that could not be read."""
    lines = draw(st.lists(dirty, max_size=24))
    for _ in range(draw(st.integers(0, 8))):
        name = draw(st.sampled_from([*COLUMNS]))
        lines.append(CLEAN | {name: draw(dirty)[name]})
    if lines:
        lines += draw(st.lists(st.sampled_from(lines), max_size=5))
    for line in draw(st.lists(st.sampled_from(lines), max_size=3)) if lines else []:
        name = draw(st.sampled_from(["quantity", "unit_price", "invoiced_at"]))
        lines.append(line | {name: None, "unreadable": [f"{name}={draw(words)}"]})
    return [*ANCHORS, *draw(st.permutations(lines))]


@settings(max_examples=3, phases=NO_SHRINKING)
@given(logs())
@example([*ANCHORS, *[dict.fromkeys(COLUMNS) | {"unreadable": []}] * 3])
def test_rows_are_judged_as_the_rules_say(tmp_path_factory, lines):
    expected = restated(lines, LENIENT, NOW)
    assert judge(tmp_path_factory.mktemp("log"), lines) == expected
    valid = [line for line, reasons in zip(lines, expected, strict=True) if not reasons]
    assert not any(restated(valid, LENIENT, NOW)), "a valid row breaks no rule"


# --- one definition, two engines --------------------------------------------------------------


def test_every_rule_says_why_and_what():
    for name, rule in Contract().rules.items():
        assert rule.why and in_words(rule), name


def test_a_null_breaks_no_rule_but_the_one_about_nulls():
    with duckdb.connect() as connection:
        for name, rule in RULES.items():
            kind = "VARCHAR" if rule.pattern or rule.required else "DOUBLE"
            null = f"(SELECT CAST(NULL AS {kind}) AS {rule.column})"
            query = f"SELECT count(*) FROM {null} WHERE {to_sql(rule)}"
            assert connection.execute(query).fetchall() == [(int(rule.required),)], name


def test_both_engines_count_the_same_rows_by_every_rule():
    """DuckDB by `to_sql` and Great Expectations by `to_expectation`, on one frame of limits."""
    texts = ["85123A", "85123a", "POST", "", "85123\n", "１２３４５", None, "1", "12345", "12345AB"]
    columns = {
        rule.column: texts
        if rule.column in ("invoice_id", "customer_id", "product_id", "invoiced_at")
        else [0.0, 1, 2, 49, 50, 51, 100, 101, -1, None]
        for rule in RULES.values()
    }
    frame = pa.table(columns)
    checks = [to_expectation(name, rule) for name, rule in RULES.items()]
    with duckdb.connect() as connection:
        connection.register("frame", frame)
        for finding, (name, rule) in zip(validate(frame.to_pandas(), checks), RULES.items()):
            query = f"SELECT count(*) FROM frame WHERE {to_sql(rule)}"
            assert connection.execute(query).fetchone() == (finding.found,), name
            assert finding.found > 0 and finding.code == name


def test_engines_that_disagree_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(
        judging, "to_sql", lambda rule: "quantity = 1" if rule.forbidden == 0 else to_sql(rule)
    )
    with pytest.raises(ContractBroken, match="zero_price: of 2 rows Great Expectations finds 0"):
        judge(tmp_path, ANCHORS)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_audit_of_a_large_batch_sees_every_reason(tmp_path):
    """Every n-th row, and some rows of each combination of reasons, however rare."""
    few = LENIENT.model_copy(update={"audit_rows": 10})
    lines = [CLEAN | {"description": str(n)} for n in range(200)]
    lines[118] |= {"unit_price": -1.0}
    outcome = validate_batch([write_part(tmp_path, [*ANCHORS, *lines])], tmp_path, few, now=NOW)
    assert outcome.audited == 11 and outcome.rows.reasons == {"negative_price": 1}
    assert next(f for f in outcome.findings if f.code == "negative_price").found == 1


def test_a_pattern_means_the_same_to_both_engines():
    texts = [
        *("12345", "12345\n", "１２３４５", "5$", "a b", "é b"),
        *("a\u00a0b", "$", "\\d", "é", "", "x"),
    ]
    patterns = [r"^\d{5}$", r"^[\d$]+$", r"^\w\s\D$", r"\$|^\\d", r"^[^\w]$", ""]
    rules = {
        pattern: RULES["no_product_code"].model_copy(update={"pattern": pattern})
        for pattern in patterns
    }
    frame = pa.table({"product_id": texts})
    findings = validate(frame.to_pandas(), [to_expectation(p, rule) for p, rule in rules.items()])
    with duckdb.connect() as connection:
        connection.register("frame", frame)
        for finding, (pattern, rule) in zip(findings, rules.items(), strict=True):
            query = f"SELECT count(*) FROM frame WHERE {to_sql(rule)}"
            assert connection.execute(query).fetchone() == (finding.found,), pattern
