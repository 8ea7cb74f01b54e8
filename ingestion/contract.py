"""The data contract, defined once.

Two kinds of rule. A **row rule** sends each row that breaks it to quarantine, with the rule's code
as the reason. A **batch rule** is about the batch as a whole and stops the run. Each rule is
written down once, here; `to_sql` turns it into the condition that DuckDB quarantines by, and
`to_expectation` into the Great Expectations check that judges the same batch. The two count the
same rows, and a run in which they disagree stops (`ingestion/validate.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from configs.settings import Contract
from ingestion.canonical import COLUMNS, literal


@dataclass(frozen=True)
class RowRule:
    """A row keeps the rule when the check on the column holds; a null breaks `not_null` alone."""

    code: str
    column: str
    check: Literal["not_null", "between", "matches"]
    why: str
    low: float | None = None
    high: float | None = None
    pattern: str = ""


@dataclass(frozen=True)
class BatchRule:
    """A figure of the batch and the range it must lie in. `expectation` names the check, and
    `setting` the field of the contract that holds the limit."""

    code: str
    expectation: str
    column: str | None
    why: str
    low: Any = None
    high: Any = None
    setting: str = ""


def row_rules(contract: Contract) -> list[RowRule]:
    """The row rules, in the order in which reasons are reported."""
    return [
        RowRule(
            "unreadable_value",
            "unreadable_values",
            "between",
            "a value could not be read as its column's type",
            high=0,
        ),
        RowRule(
            "missing_time",
            "invoiced_at",
            "not_null",
            "a line without a time belongs to no as-of date",
        ),
        RowRule(
            "future_time",
            "in_future",
            "between",
            "a line from the future is a wrong clock or a wrong date",
            high=0,
        ),
        RowRule("missing_invoice", "invoice_id", "not_null", "lines are counted by invoice"),
        RowRule("missing_quantity", "quantity", "not_null", "no value without a quantity"),
        RowRule(
            "impossible_quantity",
            "sold_quantity",
            "between",
            "a sale has a positive quantity, a cancellation a negative one, neither an absurd one",
            low=1,
            high=contract.max_quantity,
        ),
        RowRule("missing_price", "unit_price", "not_null", "no value without a price"),
        RowRule(
            "zero_price",
            "zero_price",
            "between",
            "gifts, samples and stock corrections are no sales",
            high=0,
        ),
        RowRule(
            "negative_price",
            "negative_price",
            "between",
            "bad-debt adjustments are no sales",
            high=0,
        ),
        RowRule(
            "impossible_price",
            "unit_price",
            "between",
            "manual corrections carry absurd prices",
            high=contract.max_unit_price,
        ),
        RowRule("missing_product", "product_id", "not_null", "every line sells something"),
        RowRule(
            "no_product_code",
            "product_id",
            "matches",
            "postage, fees, vouchers and tests are no products",
            pattern=contract.product_pattern,
        ),
        RowRule(
            "missing_customer",
            "customer_id",
            "not_null",
            "an anonymous sale says nothing about a customer",
        ),
        RowRule(
            "duplicate",
            "copy_number",
            "between",
            "the second and later copies of the same line",
            high=1,
        ),
    ]


def batch_rules(contract: Contract) -> list[BatchRule]:
    share = "ExpectColumnMeanToBeBetween"
    return [
        BatchRule(
            "columns", "ExpectTableColumnsToMatchSet", None, "the canonical columns are all there"
        ),
        BatchRule(
            "row_count",
            "ExpectTableRowCountToBeBetween",
            None,
            "a batch this small is a broken export",
            low=contract.min_rows,
            setting="min_rows",
        ),
        *(
            BatchRule(
                f"type_of_{name}",
                share,
                f"{name}_unreadable",
                "share not read as the type: a few are dirt, many are a wrong column or format",
                high=contract.max_unreadable_share,
                setting="max_unreadable_share",
            )
            for name, kind in COLUMNS.items()
            if kind != "VARCHAR"
        ),
        BatchRule(
            "days",
            "ExpectColumnMaxToBeBetween",
            "log_day",
            "features and labels need a history",
            low=contract.min_days,
            setting="min_days",
        ),
        BatchRule(
            "anonymous_share",
            share,
            "anonymous",
            "a broken join loses the customers",
            high=contract.max_anonymous_share,
            setting="max_anonymous_share",
        ),
        BatchRule(
            "cancelled_share",
            share,
            "cancelled",
            "a wave of cancellations is an incident, not a season",
            high=contract.max_cancelled_share,
            setting="max_cancelled_share",
        ),
        BatchRule(
            "duplicate_share",
            share,
            "duplicate",
            "an export that ran twice",
            high=contract.max_duplicate_share,
            setting="max_duplicate_share",
        ),
        BatchRule(
            "valid_share",
            share,
            "valid",
            "a batch that is mostly quarantine is not understood",
            low=contract.min_valid_share,
            setting="min_valid_share",
        ),
    ]


def latest_time(contract: Contract, now: datetime) -> datetime:
    """From here on a row lies in the future: the midnight after `not_after`, or now."""
    if contract.not_after is None:
        return now
    if contract.not_after == date.max:
        return datetime.max
    return datetime.combine(contract.not_after + timedelta(days=1), time())


def derived_columns(contract: Contract, latest: datetime) -> str:
    """SQL of the columns that the rules speak about besides the canonical ones."""
    cancelled = f"coalesce(starts_with(invoice_id, {literal(contract.cancellation_prefix)}), false)"
    in_future = f"invoiced_at >= TIMESTAMP '{latest}'"
    in_time = f"CASE WHEN NOT ({in_future}) THEN invoiced_at END"
    failed = "list_transform(unreadable, lambda value: split_part(value, '=', 1))"
    unreadable = ",\n  ".join(
        f"CAST(list_contains({failed}, '{name}') AS TINYINT) AS {name}_unreadable"
        for name, kind in COLUMNS.items()
        if kind != "VARCHAR"
    )
    return f"""
  CAST(len(unreadable) AS TINYINT) AS unreadable_values,
  {unreadable},
  CAST({in_future} AS TINYINT) AS in_future,
  CASE WHEN {cancelled} THEN -quantity ELSE quantity END AS sold_quantity,
  CAST(unit_price = 0 AS TINYINT) AS zero_price,
  CAST(unit_price < 0 AS TINYINT) AS negative_price,
  CAST({cancelled} AS TINYINT) AS cancelled,
  CAST(customer_id IS NULL AS TINYINT) AS anonymous,
  row_number() OVER (
    PARTITION BY {", ".join(COLUMNS)}, unreadable ORDER BY source_row) AS copy_number,
  date_diff('day', min({in_time}) OVER (), {in_time}) AS log_day"""


def to_sql(rule: RowRule) -> str:
    """The condition that is true for a row that breaks the rule (null counts as false)."""
    match rule.check:
        case "not_null":
            return f"{rule.column} IS NULL"
        case "matches":
            return f"NOT regexp_matches({rule.column}, {literal(rule.pattern)})"
    # As text, because infinity has no other form in SQL.
    limits = [f"{rule.column} < CAST('{rule.low}' AS DOUBLE)"] * (rule.low is not None)
    limits += [f"{rule.column} > CAST('{rule.high}' AS DOUBLE)"] * (rule.high is not None)
    return " OR ".join(limits)


def to_expectation(rule: RowRule | BatchRule) -> dict[str, Any]:
    """Type and arguments of the Great Expectations check; `meta` carries code and reason."""
    meta = {"code": rule.code, "why": rule.why}
    if isinstance(rule, RowRule):
        column = {"column": rule.column, "meta": meta, "severity": "warning"}
        match rule.check:
            case "not_null":
                return {"type": "ExpectColumnValuesToNotBeNull", **column}
            case "matches":
                regex = _for_python(rule.pattern)
                return {"type": "ExpectColumnValuesToMatchRegex", **column, "regex": regex}
        return {
            "type": "ExpectColumnValuesToBeBetween",
            **column,
            "min_value": rule.low,
            "max_value": rule.high,
        }
    arguments: dict[str, Any] = {"type": rule.expectation, "meta": meta, "severity": "critical"}
    if rule.column:
        arguments["column"] = rule.column
    if rule.expectation == "ExpectTableColumnsToMatchSet":
        return {**arguments, "column_set": list(COLUMNS), "exact_match": False}
    return {**arguments, "min_value": rule.low, "max_value": rule.high}


# What these mean to DuckDB; to pandas they are digits, letters and blanks of any script.
_ASCII = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}


def _for_python(pattern: str) -> str:
    """DuckDB's regular expression as pandas reads it: ASCII classes, and an end that is the end
    (Python's `$` also stands before a last newline)."""
    parts, in_class = [], False
    for part in re.findall(r"\\.|.", pattern, flags=re.DOTALL):
        if part[0] == "\\" and part[1:].lower() in _ASCII and (part[1:].islower() or not in_class):
            inner = _ASCII[part[1:].lower()]
            part = inner if in_class else f"[{'^' if part[1:].isupper() else ''}{inner}]"
        elif part == "$" and not in_class:
            part = r"\Z"
        elif part in "[]":
            in_class = part == "["
        parts.append(part)
    return "".join(parts)
