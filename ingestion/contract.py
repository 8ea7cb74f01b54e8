"""Select the rules of the contract (`configs/contract.yaml`) that apply to a log, define the
columns and measures that they refer to, and translate each into words, SQL and an expectation.

A **row rule** sends each row that breaks it to quarantine, with the rule's name as the reason. A
**batch rule** is about a measure of the whole batch and stops the run; a **change rule** compares
a measure with the last accepted batch (`ingestion/batches.py`), and holds the batch until a person
accepts it. DuckDB judges every row by the SQL; Great Expectations audits a sample by the same rule.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Any

from common.duck import literal
from configs.rules import Contract, Rule

# Columns that rules may refer to besides the canonical ones: meaning, and source column.
DERIVED = {
    "unreadable_values": ("how many values of the row could not be read", None),
    "in_future": ("1 when the time lies after the last possible one", "invoiced_at"),
    "sold_quantity": ("the quantity, with the sign of a cancelling line turned", "quantity"),
    "copy_number": ("1 for the first of equal rows, 2 for the next", None),
}
MEASURES = {
    "rows": "rows of the batch",
    "days": "from the first to the last time that is not in the future",
    "anonymous_share": "share of the rows without a customer",
    "cancelled_share": "share of the rows that cancel",
    "duplicate_share": "share of the rows that are second or later copies",
    "valid_share": "share of the rows left after quarantine; of a labelled table, of those"
    " that have a label",
    "largest_customer_share": "share of the rows with a customer that the largest customer has; of"
    " a labelled table, of the rows with a group",
    "rounded_customer_share": "share of the rows with a customer whose identifier looks rounded",
    "unreadable_quantity": "share of the rows whose quantity could not be read",
    "unreadable_unit_price": "share of the rows whose unit price could not be read",
    "unreadable_amount": "share of the rows whose amount could not be read",
    "unreadable_invoiced_at": "share of the rows whose time could not be read",
}
CHANGES = {
    "history_change": "rows of the days that the last batch had, over its rows then, less 1",
    "volume_change": "rows per day over those of the last batch, less 1",
    "anonymous_change": "share of the rows without a customer, less that of the last batch",
    "price_change": "geometric mean of the unit price over that of the last batch, less 1",
    "unseen_share": "of a labelled table: share of a column's values that are not"
    " among its categories, the largest over the columns; checked for a first batch too",
    "unseen_change": "of a labelled table: that share less that of the last batch, the largest over"
    " the columns",
}


def known(declared: frozenset[str]) -> frozenset[str]:
    """Return the canonical columns that hold data of the source: an amount gives a price, but the
    quantity of 1 and the invoice that replace missing columns are not data."""
    return declared | ({"unit_price"} if "amount" in declared else frozenset())


def row_rules(contract: Contract, declared: frozenset[str]) -> dict[str, Rule]:
    """Return name -> rule for the columns that the source has, in the order of the document, with
    severity `quarantine` first. Reasons are reported in this order."""
    columns = known(declared)
    applicable = {
        name: rule
        for name, rule in contract.rules.items()
        if rule.column
        and rule.severity != "ignore"
        and DERIVED.get(rule.column, ("", rule.column))[1] in {None, *columns}
    }
    return dict(sorted(applicable.items(), key=lambda item: item[1].severity == "warn"))


def batch_rules(contract: Contract, declared: frozenset[str]) -> dict[str, Rule]:
    """Name -> rule about a measure of the batch by itself."""
    return {
        name: rule
        for name, rule in contract.rules.items()
        if rule.measure in MEASURES
        and rule.severity != "ignore"
        and ("customer_id" in declared or "customer_share" not in rule.measure)
        and (
            not rule.measure.startswith("unreadable_")
            or rule.measure.removeprefix("unreadable_") in declared
        )
    }


def change_rules(contract: Contract) -> dict[str, Rule]:
    """Name -> rule about a measure beside that of the last accepted batch."""
    return {
        name: rule
        for name, rule in contract.rules.items()
        if rule.measure in CHANGES and rule.severity != "ignore"
    }


def in_words(rule: Rule) -> str:
    """Write a rule in words: `unit_price is at most 5,000`."""
    subject = rule.column or rule.measure or ""
    if rule.required:
        return f"{subject} is there"
    if rule.forbidden is not None:
        return f"{subject} is not {plain(rule.forbidden)}"
    if rule.pattern is not None:
        return f"{subject} matches {rule.pattern}"
    return f"{subject} is {limits(rule)}"


def limits(rule: Rule) -> str:
    """`at least 1`, `at most 0.5`, or `1 to 50,000`."""
    if rule.low is None:
        return f"at most {plain(rule.high)}"
    return (
        f"at least {plain(rule.low)}"
        if rule.high is None
        else f"{plain(rule.low)} to {plain(rule.high)}"
    )


def plain(number: float | None) -> str:
    """A limit as it was written: 5,000 and 0.01, not 5000.0."""
    if number is None:
        return "nothing"
    return f"{int(number):,}" if float(number).is_integer() and abs(number) < 1e15 else repr(number)


def latest_time(contract: Contract, now: datetime) -> datetime:
    """Return the time from which rows lie in the future: the midnight after `not_after`, or now."""
    if contract.not_after is None:
        return now
    if contract.not_after == date.max:
        return datetime.max
    return datetime.combine(contract.not_after + timedelta(days=1), time())


def cancelled(contract: Contract, declared: frozenset[str]) -> str:
    """Return SQL of whether a row cancels an earlier one: by the invoice's prefix or, without
    invoices, by the sign."""
    if "invoice_id" not in declared or not contract.cancellation_prefix:
        return "coalesce(quantity < 0, false)"
    return f"coalesce(starts_with(invoice_id, {literal(contract.cancellation_prefix)}), false)"


def derived_columns(contract: Contract, declared: frozenset[str], latest: datetime) -> str:
    """Return SQL of the columns that row rules refer to besides the canonical ones, except
    `copy_number` (`ingestion/judge.py`).

    Flags are BIGINT: Great Expectations compares other types in Python, row by row.
    """
    return f"""
        CAST(len(unreadable) AS BIGINT) AS unreadable_values,
        CAST(invoiced_at >= TIMESTAMP '{latest}' AS BIGINT) AS in_future,
        CASE WHEN {cancelled(contract, declared)} THEN -quantity ELSE quantity END
            AS sold_quantity"""


def to_sql(rule: Rule) -> str:
    """Return the condition that is true for a row that breaks the rule (null counts as false)."""
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
    """Return type and arguments of the Great Expectations check; `meta` has its code and why.

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
    """Translate DuckDB's regular expression for pandas: ASCII classes, and an end that, unlike
    Python's `$`, does not match before a last newline."""
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
