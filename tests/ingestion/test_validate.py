"""A batch is validated or refused: every batch rule, bad input end to end, and the real log."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.errors import UserError
from configs.load import load
from configs.rules import Contract
from configs.settings import Compute
from configs.source import Source
from ingestion.canonical import COLUMNS
from ingestion.contract import batch_rules
from ingestion.files import read_file
from ingestion.judge import RowCounts
from ingestion.outcome import ContractBroken
from ingestion.validate import ALL, validate_batch
from reports.contract import write_contract_page

ROWS = "rows.parquet"

NOW = datetime(2025, 1, 1)
LIMITS = {
    "row_count": {"low": 20},
    "days": {"low": 19},
    "anonymous_share": {"high": 0.1},
    "type_of_quantity": {"high": 0.1},
    "type_of_unit_price": {"high": 0.1},
    "type_of_invoiced_at": {"high": 0.1},
}
CONTRACT = Contract(
    rules={
        name: rule.model_dump() | LIMITS.get(name, {})
        for name, rule in load("default", [], {}).contract.rules.items()
    }
)
KINDS = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "TIMESTAMP": pa.timestamp("us")}


def lines(count: int = 20, last_day: int = 19) -> list[dict]:
    """Clean lines over the days 0 to `last_day`."""
    return [
        {
            "invoice_id": f"{500000 + number}",
            "product_id": "85123A",
            "description": "MUG",
            "quantity": 1,
            "unit_price": 2.5,
            "invoiced_at": datetime(2024, 1, 1) + timedelta(days=min(number, last_day)),
            "customer_id": "17850",
            "country": "United Kingdom",
            "unreadable": [],
        }
        for number in range(count)
    ]


def changed(count: int, **change) -> list[dict]:
    return [line | (change if n < count else {}) for n, line in enumerate(lines())]


def copies(count: int) -> list[dict]:
    batch = lines()
    return [*batch[: 19 - count], *[batch[-1]] * (count + 1)]


def write(folder: Path, batch: list[dict]) -> list[Path]:
    kinds = {name: KINDS.get(kind, pa.string()) for name, kind in COLUMNS.items()}
    place = {"source": pa.string(), "source_row": pa.int64()}
    schema = pa.schema({**place, **kinds, "unreadable": pa.list_(pa.string())})
    numbered = [{"source": "log", "source_row": n, **line} for n, line in enumerate(batch, start=1)]
    pq.write_table(pa.Table.from_pylist(numbered, schema=schema), folder / ROWS)
    return [folder / ROWS]


def refused(raw: list[Path], contract: Contract = CONTRACT) -> tuple[ContractBroken, list[str]]:
    """The refusal and the codes of all broken rules; of the rows, the quarantine is left."""
    folder = raw[0].parent / "outcome"
    folder.mkdir(exist_ok=True)
    for name in ("transactions.parquet", "quarantine.parquet"):  # of an earlier, good batch
        (folder / name).write_text("old")
    with pytest.raises(ContractBroken) as caught:
        validate_batch(raw, folder, contract, now=NOW)
    left = sorted(path.name for path in folder.iterdir() if path.suffix != ".html")
    assert left == ["contract.json", "quarantine.parquet"]
    kept = pq.read_metadata(folder / "quarantine.parquet").num_rows
    assert kept == caught.value.outcome.rows.quarantined
    content = json.loads((folder / "contract.json").read_text())
    assert content["rows"]["raw"] == content["rows"]["valid"] + content["rows"]["quarantined"]
    found = content["findings"]
    broken = [f["code"] for f in found if not f["success"] and f["severity"] == "stop"]
    write_contract_page(folder / "contract.html", content["rows"], caught.value.outcome.findings)
    page = (folder / "contract.html").read_text()
    assert "the batch is refused" in page and all(code in page for code in broken)
    assert f"rule {broken[0]}" == caught.value.where and caught.value.next_step
    return caught.value, broken


# --- every batch rule: broken by exactly one batch, kept at its limit -------------------------

BATCH_RULES = {
    "row_count": (lines(19, 18)[:-1] + lines()[-1:], lines(), "19", "at least 20"),
    "type_of_quantity": (
        changed(3, quantity=None, unreadable=["quantity=six"]),
        changed(2, quantity=None, unreadable=["quantity=six"]),
        "0.15",
        "at most 0.1",
    ),
    "type_of_unit_price": (
        changed(3, unit_price=None, unreadable=["unit_price=a=b"]),
        changed(2, unit_price=None, unreadable=["unit_price=a=b"]),
        "0.15",
        "at most 0.1",
    ),
    "type_of_invoiced_at": (
        [*lines()[:-4], *[lines()[-2] | {"invoiced_at": None, "unreadable": ["invoiced_at=x"]}] * 3,
         lines()[-1]],
        [*lines()[:-3], *[lines()[-2] | {"invoiced_at": None, "unreadable": ["invoiced_at=x"]}] * 2,
         lines()[-1]],
        "0.15",
        "at most 0.1",
    ),
    "days": (lines(last_day=18), lines(), "18", "at least 19"),
    "anonymous_share": (changed(3, customer_id=None), changed(2, customer_id=None), "0.15",
                        "at most 0.1"),
    "cancelled_share": (
        changed(3, invoice_id="C1", quantity=-1),
        changed(2, invoice_id="C1", quantity=-1),
        "0.15",
        "at most 0.1",
    ),
    "duplicate_share": (copies(3), copies(2), "0.15", "at most 0.1"),
    "valid_share": (changed(11, unit_price=0.0), changed(10, unit_price=0.0), "0.45",
                    "at least 0.5"),
}  # fmt: skip


def test_the_batches_below_are_about_all_rules():
    rules = batch_rules(CONTRACT, ALL)
    stopping = {name for name, rule in rules.items() if rule.severity == "stop"}
    assert stopping == set(BATCH_RULES)
    assert set(rules) - stopping == set(WARNINGS)


WARNINGS = {  # a batch that is just beyond, and the measure that says so
    "largest_customer_share": [
        line | {"customer_id": "0" if n < 5 else str(n)} for n, line in enumerate(lines())
    ],
    "rounded_customer_share": [
        line | {"customer_id": "4.00638E+12" if n == 7 else f"{n}000000"}
        for n, line in enumerate(lines())
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("code", WARNINGS)
def test_a_batch_with_suspicious_customers_is_kept_with_a_warning(tmp_path, code):
    outcome = validate_batch(write(tmp_path, WARNINGS[code]), tmp_path, CONTRACT, now=NOW)
    warned = [f.code for f in outcome.findings if not f.success and f.severity == "warn"]
    assert warned == [code]
    assert outcome.rows.valid == 20


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_limit_that_keeps_out_many_rows_is_named_with_the_values_found(tmp_path, share):
    batch = [
        line | {"unit_price": 9000.0 if n < share * 40 else 2.5}
        for n, line in enumerate(lines(40, 39))
    ]
    outcome = validate_batch(write(tmp_path, batch), tmp_path, CONTRACT, now=NOW)
    (heavy,) = outcome.heavy
    assert (heavy.code, heavy.rows) == ("impossible_price", share * 40)
    assert heavy.hold == (share > 0.25)
    assert f"keeps out {share:.1%} of the rows" in heavy.text
    assert "unit_price is at most 5,000" in heavy.text and "50% 2.5" in heavy.text
    assert "99% 9,000" in heavy.text


def test_a_rule_has_the_shares_of_the_contract_or_its_own(tmp_path):
    rule = CONTRACT.rules["impossible_price"]
    own = {**CONTRACT.rules, "impossible_price": rule.model_copy(update={"hold_share": 0.5})}
    for changes, hold in (({}, False), ({"hold_share": 0.1}, True), ({"rules": own}, False)):
        contract = CONTRACT.model_copy(update={"hold_share": 0.1, **changes} if changes else {})
        batch = write(tmp_path, changed(4, unit_price=9000.0))
        (heavy,) = validate_batch(batch, tmp_path, contract, now=NOW).heavy
        assert heavy.hold == hold


def test_a_pattern_that_keeps_out_many_rows_is_named_with_the_texts(tmp_path):
    batch = changed(4, product_id="POST")
    (heavy,) = validate_batch(write(tmp_path, batch), tmp_path, CONTRACT, now=NOW).heavy
    assert heavy.code == "no_product_code" and "most frequent: 'POST'" in heavy.text


@pytest.mark.slow
def test_a_batch_of_which_too_little_is_valid_names_the_rule_at_fault(tmp_path):
    error, broken = refused(write(tmp_path, changed(12, unit_price=9000.0)))
    assert broken == ["valid_share"]
    assert "most rows are lost to one rule: impossible_price keeps out 60.0%" in error.what


def test_the_limits_of_retail_hold_for_the_retail_presets_alone():
    retail = {"impossible_price", "no_product_code"}
    for preset in ("default", "smoke", "online_retail"):  # those that are shipped
        rules = load(preset, [], {}).contract.rules
        assert {rules[name].severity for name in retail} == {"quarantine"}, preset
    assert {Contract().rules[name].severity for name in retail} == {"ignore"}
    assert Contract().rules["impossible_quantity"].high is None


@pytest.mark.slow
@pytest.mark.parametrize("code", BATCH_RULES)
def test_a_batch_that_breaks_one_rule_is_refused_by_that_rule(tmp_path, code):
    batch, _, found, limit = BATCH_RULES[code]
    error, broken = refused(write(tmp_path, batch))
    assert broken == [code]
    assert f"{code} is {found}, the limit is {limit} (" in error.what
    assert f"contract.rules.{code} " in error.next_step


@pytest.mark.slow
@pytest.mark.parametrize("code", BATCH_RULES)
def test_a_batch_at_the_limit_is_kept(tmp_path, code):
    counts = validate_batch(write(tmp_path, BATCH_RULES[code][1]), tmp_path, CONTRACT, now=NOW).rows
    assert counts.raw == 20 == counts.valid + counts.quarantined


def test_a_column_of_the_wrong_type_shows_the_first_value_that_does_not_read(tmp_path):
    batch = changed(0)
    batch[4:8] = [line | {"quantity": None, "unreadable": ["quantity=6=7"]} for line in batch[4:8]]
    assert "row 5 of log holds '6=7'" in refused(write(tmp_path, batch))[0].what


@pytest.mark.slow
def test_a_share_just_over_its_limit_is_told_apart_from_it(tmp_path):
    batch = [line for line in lines() for _ in range(1)]
    batch += [batch[-1] | {"invoice_id": f"{n}"} for n in range(99_982)]
    batch = [line | ({"customer_id": None} if n < 10_001 else {}) for n, line in enumerate(batch)]
    error, _ = refused(write(tmp_path, batch))
    assert "anonymous_share is 0.1000" in error.what and "is 0.1," not in error.what


def test_several_broken_rules_are_all_named(tmp_path):
    error, broken = refused(write(tmp_path, [line | {"customer_id": None} for line in lines(5)]))
    assert broken == ["row_count", "days", "anonymous_share", "valid_share"]
    assert "; also broken: days, anonymous_share, valid_share" in error.what


def test_a_batch_of_no_rows_is_refused(tmp_path):
    error, broken = refused(write(tmp_path, []))
    assert "row_count is 0, the limit is at least 20" in error.what and broken[0] == "row_count"


def test_a_batch_of_nothing_but_nulls_is_refused(tmp_path):
    nothing = dict.fromkeys(COLUMNS) | {"unreadable": []}
    error, broken = refused(write(tmp_path, [nothing] * 20))
    assert "days is not to be computed, no row has a value" in error.what
    assert "valid_share" in broken


def test_a_pattern_that_is_none_is_refused_by_its_setting(tmp_path):
    rule = CONTRACT.rules["no_product_code"].model_copy(update={"pattern": "(["})
    contract = CONTRACT.model_copy(update={"rules": {**CONTRACT.rules, "no_product_code": rule}})
    with pytest.raises(UserError, match=r"the pattern '\(\['") as caught:
        validate_batch(write(tmp_path, lines()), tmp_path, contract, now=NOW)
    assert caught.value.where == "contract.rules.no_product_code.pattern"
    assert [path.name for path in tmp_path.iterdir()] == [ROWS]


# --- from a file to the verdict ---------------------------------------------------------------

HEADER = "invoice_id,product_id,description,quantity,unit_price,invoiced_at,customer_id,country"


def from_csv(folder: Path, rows: list[str], **source) -> list[Path]:
    path = folder / "log.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    read_file(Source(kind="files", path=str(path), **source), path, folder / ROWS, Compute())
    return [folder / ROWS]


def line(number: int, customer: str = "17850") -> str:
    day = f"2024-{1 + number // 28:02}-{1 + number % 28:02}"
    return f"5{number:05},85123A,MUG,6,2.55,{day},{customer},UK"


def test_a_header_without_rows_is_refused(tmp_path):
    assert "row_count is 0" in refused(from_csv(tmp_path, []))[0].what


def test_a_log_without_customers_is_refused(tmp_path):
    _, broken = refused(from_csv(tmp_path, [line(n, "") for n in range(30)]))
    assert broken == ["anonymous_share", "valid_share"]


def test_a_log_that_is_too_short_is_refused(tmp_path):
    _, broken = refused(from_csv(tmp_path, [line(n % 18) for n in range(25)]))
    assert "days" in broken


def test_the_wrong_column_is_refused_by_its_type(tmp_path):
    columns = {name: name for name in COLUMNS}
    columns |= {"quantity": "description", "description": "quantity"}
    error, broken = refused(from_csv(tmp_path, [line(n) for n in range(30)], columns=columns))
    assert broken == ["type_of_quantity", "valid_share"]
    assert "type_of_quantity is 1, the limit is at most 0.1" in error.what
    assert "row 1 of log.csv holds 'MUG'" in error.what


@pytest.mark.slow
def test_empty_strings_are_missing_values(tmp_path):
    raw = from_csv(tmp_path, [*(line(n) for n in range(30)), ",,,,,,,", ' ," ",,"",  ,,,'])
    counts = validate_batch(raw, tmp_path, CONTRACT, now=NOW).rows
    assert counts == RowCounts(
        raw=32,
        valid=30,
        quarantined=2,
        reasons={
            "missing_time": 2,
            "missing_invoice": 2,
            "missing_quantity": 2,
            "missing_price": 2,
            "missing_product": 2,
            "missing_customer": 2,
            "duplicate": 1,
        },
        warned={},
    )


# --- the real log -----------------------------------------------------------------------------


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
    with duckdb.connect() as connection:
        valid, negative, customers = connection.execute(
            f"SELECT count(*), count(*) FILTER (quantity < 0 AND invoice_id NOT LIKE 'C%'),"
            f" count(DISTINCT customer_id) FROM '{tmp_path / 'transactions.parquet'}'"
        ).fetchone()
        (both,) = connection.execute(
            "SELECT count(*) FROM (SELECT source_row FROM"
            f" '{tmp_path / 'quarantine.parquet'}' GROUP BY 1)"
        ).fetchone()
    assert (valid, negative, both) == (counts.valid, 0, counts.quarantined)
    assert 5_500 < customers <= 5_942
