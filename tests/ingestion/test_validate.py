"""A batch is validated or refused: every batch rule, bad input end to end, and the real log."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_log import CLEAN, HEADER, copy_parquet, files, query, retail_contract, save, write_part

from common.errors import UserError
from configs.load import load
from configs.rules import Contract
from configs.settings import Compute
from ingestion import validate
from ingestion.contract import batch_rules
from ingestion.facts import Finding, ValidationResult
from ingestion.files import read_file
from ingestion.outcome import ContractBroken, figure
from ingestion.validate import ALL, validate_batch
from reports.contract import write_contract_page

NOW = datetime(2025, 1, 1)
SHARES = ("anonymous_share", "type_of_quantity", "type_of_unit_price", "type_of_invoiced_at")
CONTRACT = retail_contract(
    row_count={"low": 20}, days={"low": 19}, **{name: {"high": 0.1} for name in SHARES}
)


def lines(count: int = 20, last_day: int = 19, changed: int = 0, **change) -> list[dict]:
    """Clean lines over the days 0 to `last_day`, the first `changed` of them with the change."""
    each = []
    for n in range(count):
        day = CLEAN["invoiced_at"] + timedelta(days=min(n, last_day))
        own = {"invoice_id": f"{500000 + n}", "invoiced_at": day}
        each.append(CLEAN | own | (change if n < changed else {}))
    return each


def unreadable(name: str, value: str = "x") -> dict:
    return {name: None, "unreadable": [f"{name}={value}"]}


def validated(folder: Path, batch: list[dict], contract: Contract = CONTRACT) -> ValidationResult:
    return validate_batch([write_part(folder, batch)], folder, contract, now=NOW)


def refused(part: Path) -> tuple[ContractBroken, list[str]]:
    """The refusal and the codes of all broken rules; of the rows, the quarantine is left."""
    folder = part.parent / "outcome"
    folder.mkdir(exist_ok=True)
    for name in ("transactions.parquet", "quarantine.parquet"):  # of an earlier, good batch
        (folder / name).write_text("old")
    with pytest.raises(ContractBroken) as caught:
        validate_batch([part], folder, CONTRACT, now=NOW)
    assert {path.name for path in folder.iterdir()} == {"contract.json", "quarantine.parquet"}
    kept = pq.read_metadata(folder / "quarantine.parquet").num_rows
    assert kept == caught.value.outcome.rows.quarantined
    content = json.loads((folder / "contract.json").read_text())
    assert content["rows"]["raw"] == content["rows"]["valid"] + content["rows"]["quarantined"]
    findings = content["findings"]
    broken = [f["code"] for f in findings if not f["success"] and f["severity"] == "stop"]
    write_contract_page(folder / "contract.html", content["rows"], caught.value.outcome.findings)
    page = (folder / "contract.html").read_text()
    assert "the batch is refused" in page and all(code in page for code in broken)
    assert f"rule {broken[0]}" == caught.value.where and caught.value.next_step
    return caught.value, broken


# --- every batch rule: broken by exactly one batch, kept at its limit -------------------------

FIRST, *BETWEEN, LAST = lines()
BROKEN = {  # rule -> a batch that breaks it alone, the figure, the limit, and what else is said
    "row_count": ([*lines(18, 17), LAST], "19", "at least 20", ""),
    "type_of_quantity": (
        *(lines(changed=3, **unreadable("quantity", "6=7")), "0.15", "at most 0.1"),
        "row 1 of log holds '6=7'",
    ),
    "type_of_unit_price": (
        *(lines(changed=3, **unreadable("unit_price")), "0.15", "at most 0.1"),
        "row 1 of log holds 'x'",
    ),
    "type_of_invoiced_at": (
        *([*lines()[:-4], *[BETWEEN[-1] | unreadable("invoiced_at")] * 3, LAST], "0.15"),
        *("at most 0.1", "row 17 of log holds 'x'"),
    ),
    "days": (lines(last_day=18), "18", "at least 19", ""),
    "anonymous_share": (lines(changed=3, customer_id=None), "0.15", "at most 0.1", ""),
    "cancelled_share": (
        *(lines(changed=3, invoice_id="C1", quantity=-1), "0.15", "at most 0.1", ""),
    ),
    "duplicate_share": ([*lines()[:16], *[LAST] * 4], "0.15", "at most 0.1", ""),
    "valid_share": (
        *(lines(changed=12, unit_price=9000.0), "0.4", "at least 0.5"),
        "most rows are lost to one rule: impossible_price keeps out 60.0%",
    ),
}
# The largest customer has too many rows, and one identifier was rounded by a spreadsheet.
WARNED = [
    line | {"customer_id": "0" if n < 5 else "4.00638E+12" if n == 7 else str(n)}
    for n, line in enumerate(lines())
]
WARNINGS = ["largest_customer_share", "rounded_customer_share"]


@pytest.mark.slow
@pytest.mark.parametrize("code", BROKEN)
def test_a_batch_that_breaks_one_rule_is_refused_by_that_rule(tmp_path, code):
    batch, value, limit, also = BROKEN[code]
    error, broken = refused(write_part(tmp_path, batch))
    assert broken == [code]
    assert f"{code} is {value}, the limit is {limit} (" in error.what and also in error.what
    assert f"contract.rules.{code} " in error.next_step


@pytest.mark.slow
def test_a_batch_at_the_limit_of_every_rule_is_kept(tmp_path):
    batch = lines()
    for at, change in enumerate(
        [
            unreadable("quantity"),
            unreadable("unit_price"),
            unreadable("invoiced_at"),
            {"customer_id": None},
            {"invoice_id": "C1", "quantity": -1},
        ]
    ):
        for n in (1 + 2 * at, 2 + 2 * at):
            batch[n] |= change
    batch[11] = batch[12] = batch[13]
    outcome = validated(tmp_path, batch)
    limits = {f.code: f.high or f.low for f in outcome.findings if f.severity == "stop"}
    assert set(limits) == set(BROKEN)
    for code, limit in limits.items():
        measure = CONTRACT.rules[code].measure
        assert outcome.measures[measure] == pytest.approx(limit), code
    assert (outcome.rows.raw, outcome.rows.valid) == (20, 10)


@pytest.mark.slow
def test_a_batch_with_suspicious_customers_is_kept_with_warnings(tmp_path):
    outcome = validated(tmp_path, WARNED)
    warned = [f.code for f in outcome.findings if not f.success and f.severity == "warn"]
    assert warned == WARNINGS and outcome.rows.valid == 20
    assert set(batch_rules(CONTRACT, ALL)) == {*BROKEN, *WARNINGS}, "which are all rules"


@pytest.mark.slow
def test_a_rule_that_keeps_out_many_rows_is_named_with_the_values_and_may_hold_the_batch(tmp_path):
    """By the shares of the contract, or its own."""
    batch = lines(40, 39, changed=12, unit_price=9000.0)
    batch[20:24] = [line | {"product_id": "POST"} for line in batch[20:24]]
    rule = CONTRACT.rules["impossible_price"].model_copy(update={"hold_share": 0.5})
    own = CONTRACT.rules | {"impossible_price": rule}
    for changes, holds in [
        ({}, [True, False]),
        ({"hold_share": 0.05}, [True, True]),
        ({"hold_share": 0.05, "rules": own}, [False, True]),
    ]:
        heavy = validated(tmp_path, batch, CONTRACT.model_copy(update=changes)).heavy
        assert [rule.hold for rule in heavy] == holds
        price, product = heavy
        assert (price.code, price.rows, product.code) == ("impossible_price", 12, "no_product_code")
        assert "keeps out 30.0% of the rows" in price.text
        for part in ("unit_price is at most 5,000", "50% 2.5", "99% 9,000"):
            assert part in price.text
        assert "most frequent: 'POST'" in product.text


def test_the_limits_of_retail_hold_for_the_retail_presets_only():
    retail = {"impossible_price", "no_product_code"}
    for preset in ("default", "smoke", "online_retail"):  # those that are shipped
        rules = load(preset, [], {}).contract.rules
        assert {rules[name].severity for name in retail} == {"quarantine"}, preset
    assert {Contract().rules[name].severity for name in retail} == {"ignore"}
    assert Contract().rules["impossible_quantity"].high is None


def test_a_figure_just_over_its_limit_is_shown_with_the_digits_that_differ():
    finding = Finding("x", "check", "stop", False, 0.10001, None, 0.1, "why")
    assert figure(finding) == "x is 0.10001, the limit is at most 0.1"


# --- refused with several rules, and from files -----------------------------------------------


@pytest.mark.slow
def test_several_broken_rules_are_all_named(tmp_path):
    few = [line | {"customer_id": None} for line in lines(5)]
    error, broken = refused(write_part(tmp_path / "few", few))
    assert broken == ["row_count", "days", "anonymous_share", "valid_share"]
    assert "; also broken: days, anonymous_share, valid_share" in error.what
    error, broken = refused(write_part(tmp_path / "none", []))
    assert "row_count is 0, the limit is at least 20" in error.what and broken[0] == "row_count"
    nothing = dict.fromkeys(HEADER) | {"unreadable": []}
    error, broken = refused(write_part(tmp_path / "nulls", [nothing] * 20))
    assert "days is not to be computed, no row has a value" in error.what
    assert "valid_share" in broken


def test_a_pattern_that_is_not_a_regular_expression_is_refused_by_its_setting(tmp_path):
    rule = CONTRACT.rules["no_product_code"].model_copy(update={"pattern": "(["})
    contract = CONTRACT.model_copy(update={"rules": {**CONTRACT.rules, "no_product_code": rule}})
    with pytest.raises(UserError, match=r"the pattern '\(\['") as caught:
        validated(tmp_path, lines(), contract)
    assert caught.value.where == "contract.rules.no_product_code.pattern"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def from_csv(folder: Path, *rows: str, **source) -> Path:
    """The part of a CSV file of 30 clean lines and these rows."""
    days = (f"2024-{1 + n // 28:02}-{1 + n % 28:02}" for n in range(30))
    good = (f"5{n:05},85123A,MUG,6,2.55,{day},17850,UK" for n, day in enumerate(days))
    path = save(folder / "log.csv", "\n".join([",".join(HEADER), *good, *rows]) + "\n")
    read_file(files(path, **source), path, folder / "rows.parquet", Compute())
    return folder / "rows.parquet"


@pytest.mark.slow
def test_the_wrong_column_is_refused_by_its_type(tmp_path):
    columns = {name: name for name in HEADER}
    columns |= {"quantity": "description", "description": "quantity"}
    error, broken = refused(from_csv(tmp_path, columns=columns))
    assert broken == ["type_of_quantity", "valid_share"]
    assert "type_of_quantity is 1, the limit is at most 0.1" in error.what
    assert "row 1 of log.csv holds 'MUG'" in error.what


@pytest.mark.slow
def test_the_bytes_of_a_large_batch_do_not_depend_on_threads_and_rows_keep_their_order(
    tmp_path, monkeypatch
):
    row = """SELECT 'log' AS source, n + 1 AS source_row, (n // 2)::VARCHAR AS invoice_id,
        '85123A' AS product_id, 'MUG' AS description, 1::BIGINT AS quantity, 2.5 AS unit_price,
        TIMESTAMP '2024-01-01' + INTERVAL (n // 2 % 700) HOUR AS invoiced_at,
        (n // 2 % 99)::VARCHAR AS customer_id, 'UK' AS country, []::VARCHAR[] AS unreadable"""
    parts = [
        copy_parquet(tmp_path / f"rows-{first}.parquet", f"{row} FROM range({first}, {last}) t(n)")
        for first, last in ((0, 20_000), (20_000, 50_000), (50_000, 300_000))
    ]
    contract = retail_contract(duplicate_share={"high": 1}, days={"low": 1})
    names = ("transactions.parquet", "quarantine.parquet")
    tables = []
    for at_once in (300_000, 70_000):  # sorted together, and in pieces
        monkeypatch.setattr(validate, "SORTED_AT_ONCE", at_once)
        written = []
        for threads in (1, 4):
            compute = Compute(threads=threads)
            validate_batch(parts, tmp_path, contract, now=NOW, compute=compute)
            written.append([(tmp_path / name).read_bytes() for name in names])
        assert written[0] == written[1]
        tables.append([pq.read_table(tmp_path / name).columns for name in names])
    assert tables[0] == tables[1]
    order = pq.read_table(tmp_path / names[1])["source_row"].to_pylist()
    assert order == sorted(order) and len(order) == 150_000
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_small_parts_are_sorted_together_and_a_large_one_in_pieces(monkeypatch):
    monkeypatch.setattr(validate, "SORTED_AT_ONCE", 10)
    spans = [(0, 1, 4), (1, 2, 7), (2, 1, 1), (3, 1, 25), (4, 1, 3)]
    assert validate._pieces(spans) == [
        (0, 1, 1, 7),
        (2, 2, 1, 1),
        *((3, 3, 1, 10), (3, 3, 11, 20), (3, 3, 21, 25)),
        (4, 4, 1, 3),
    ]


@pytest.mark.slow
def test_empty_strings_are_missing_values(tmp_path):
    part = from_csv(tmp_path, ",,,,,,,", ' ," ",,"",  ,,,')
    counts = validate_batch([part], tmp_path, CONTRACT, now=NOW).rows
    missing = ("time", "invoice", "quantity", "price", "product", "customer")
    assert (counts.raw, counts.valid, counts.warned) == (32, 30, {})
    assert counts.reasons == {**{f"missing_{name}": 2 for name in missing}, "duplicate": 1}


@pytest.mark.slow
def test_online_retail_ii_is_split_as_its_description_counts(real_log_rows, tmp_path):
    contract = load("online_retail", [], {}).contract
    counts = validate_batch([real_log_rows], tmp_path, contract, now=NOW).rows
    assert counts.raw == 1_067_371 == counts.valid + counts.quarantined
    assert counts.reasons == {
        "impossible_quantity": 3_457 + 5,  # below 0 and no cancellation, and the absurd ones
        "zero_price": 6_202,
        "negative_price": 5,
        "impossible_price": 67,
        "no_product_code": 6_093,  # the published 6,094 count '47503J ' before it is trimmed
        "missing_customer": 243_007,
        "duplicate": 34_335,
    }
    negative = "count(*) FILTER (quantity < 0 AND invoice_id NOT LIKE 'C%')"
    counted = f"count(*), {negative}, count(DISTINCT customer_id)"
    ((valid, negative, customers),) = query(tmp_path / "transactions.parquet", counted)
    assert (valid, negative) == (counts.valid, 0) and 5_500 < customers <= 5_942
    places = query(tmp_path / "quarantine.parquet", "count(DISTINCT source_row)")
    assert places == [(counts.quarantined,)]
