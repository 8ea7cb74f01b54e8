"""The contract's rules in two languages: DuckDB's, which judges every row, and Great Expectations',
which audits it."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any

from common.duck import literal
from configs.rules import Contract, Rule
from ingestion.contract import in_words


def latest_time(contract: Contract, now: datetime) -> datetime:
    """From here on a row lies in the future: the midnight after `not_after`, or now."""
    if contract.not_after is None:
        return now
    if contract.not_after == date.max:
        return datetime.max
    return datetime.combine(contract.not_after + timedelta(days=1), time())


def cancelled(contract: Contract, declared: frozenset[str]) -> str:
    """SQL: whether a row cancels an earlier one. Without invoices to mark it, the sign tells."""
    if "invoice_id" not in declared or not contract.cancellation_prefix:
        return "coalesce(quantity < 0, false)"
    return f"coalesce(starts_with(invoice_id, {literal(contract.cancellation_prefix)}), false)"


def derived_columns(contract: Contract, declared: frozenset[str], latest: datetime) -> str:
    """SQL of the columns that row rules speak about besides the canonical ones, but for
    `copy_number` (`ingestion/judge.py`).

    Flags are BIGINT: Great Expectations compares other types in Python, row by row.
    """
    return f"""
        CAST(len(unreadable) AS BIGINT) AS unreadable_values,
        CAST(invoiced_at >= TIMESTAMP '{latest}' AS BIGINT) AS in_future,
        CASE WHEN {cancelled(contract, declared)} THEN -quantity ELSE quantity END
            AS sold_quantity"""


def to_sql(rule: Rule) -> str:
    """The condition that is true for a row that breaks the rule (null counts as false)."""
    if rule.required:
        return f"{rule.column} IS NULL"
    if rule.pattern is not None:
        return f"NOT regexp_matches({rule.column}, {literal(rule.pattern)})"
    if rule.forbidden is not None:
        return f"{rule.column} = {_number(rule.forbidden)}"
    limits = [f"{rule.column} < {_number(rule.low)}"] * (rule.low is not None)
    limits += [f"{rule.column} > {_number(rule.high)}"] * (rule.high is not None)
    return " OR ".join(limits)


def _number(value: float | None) -> str:
    return f"CAST('{value!r}' AS DOUBLE)"


def to_expectation(name: str, rule: Rule) -> dict[str, Any]:
    """Type and arguments of the Great Expectations check; `meta` carries the rule's name and why.

    A measure is checked on a frame of one row whose columns are the measures: its mean is the
    measure, and a measure without a value fails, which a check of each value would pass over.
    """
    check: dict[str, Any] = {
        "meta": {"code": name, "why": rule.why, "rule": in_words(rule)},
        "severity": "critical" if rule.severity == "stop" else "warning",
        "column": rule.column or rule.measure,
    }
    if rule.measure:
        kind = {"type": "ExpectColumnMeanToBeBetween"}
    elif rule.required:
        return {"type": "ExpectColumnValuesToNotBeNull", **check}
    elif rule.pattern is not None:
        regex = _for_python(rule.pattern)
        return {"type": "ExpectColumnValuesToMatchRegex", **check, "regex": regex}
    elif rule.forbidden is not None:
        return {"type": "ExpectColumnValuesToNotBeInSet", **check, "value_set": [rule.forbidden]}
    else:
        kind = {"type": "ExpectColumnValuesToBeBetween"}
    return {**kind, **check, "min_value": rule.low, "max_value": rule.high}


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
