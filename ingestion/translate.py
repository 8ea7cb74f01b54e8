"""The contract's rules in two languages: DuckDB's, which quarantines, and Great Expectations'."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any

from configs.settings import Contract
from ingestion.canonical import COLUMNS, literal
from ingestion.contract import BatchRule, RowRule


def latest_time(contract: Contract, now: datetime) -> datetime:
    """From here on a row lies in the future: the midnight after `not_after`, or now."""
    if contract.not_after is None:
        return now
    if contract.not_after == date.max:
        return datetime.max
    return datetime.combine(contract.not_after + timedelta(days=1), time())


def derived_columns(contract: Contract, latest: datetime) -> str:
    """SQL of the columns that the rules speak about besides the canonical ones.

    Flags are BIGINT: Great Expectations compares other types in Python, row by row.
    """
    cancelled = f"coalesce(starts_with(invoice_id, {literal(contract.cancellation_prefix)}), false)"
    in_future = f"invoiced_at >= TIMESTAMP '{latest}'"
    in_time = f"CASE WHEN NOT ({in_future}) THEN invoiced_at END"
    failed = "list_transform(unreadable, lambda value: split_part(value, '=', 1))"
    unreadable = ",\n  ".join(
        f"CAST(list_contains({failed}, '{name}') AS BIGINT) AS {name}_unreadable"
        for name, kind in COLUMNS.items()
        if kind != "VARCHAR"
    )
    return f"""
  CAST(len(unreadable) AS BIGINT) AS unreadable_values,
  {unreadable},
  CAST({in_future} AS BIGINT) AS in_future,
  CASE WHEN {cancelled} THEN -quantity ELSE quantity END AS sold_quantity,
  CAST(unit_price = 0 AS BIGINT) AS zero_price,
  CAST(unit_price < 0 AS BIGINT) AS negative_price,
  CAST({cancelled} AS BIGINT) AS cancelled,
  CAST(customer_id IS NULL AS BIGINT) AS anonymous,
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
