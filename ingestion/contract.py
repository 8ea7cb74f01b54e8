"""The data contract, defined once.

Two kinds of rule. A **row rule** sends each row that breaks it to quarantine, with the rule's code
as the reason. A **batch rule** is about the batch as a whole and stops the run. Each rule is
written down once, here; `ingestion/translate.py` turns it into the condition that DuckDB
quarantines by, and into the Great Expectations check that judges the same batch. The two count
the same rows, and a run in which they disagree stops (`ingestion/validate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from configs.settings import Contract
from ingestion.canonical import COLUMNS


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
