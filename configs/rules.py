"""The settings of the data contract: what a rule is. The rules stand in `configs/contract.yaml`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from configs.section import Section, Share

CONTRACT = Path(__file__).parent / "contract.yaml"
Column = Literal[
    "invoice_id",
    "product_id",
    "description",
    "quantity",
    "unit_price",
    "invoiced_at",
    "customer_id",
    "country",
    "unreadable_values",
    "in_future",
    "sold_quantity",
    "copy_number",
]
Measure = Literal[
    "rows",
    "days",
    "anonymous_share",
    "cancelled_share",
    "duplicate_share",
    "valid_share",
    "largest_customer_share",
    "rounded_customer_share",
    "unreadable_quantity",
    "unreadable_unit_price",
    "unreadable_amount",
    "unreadable_invoiced_at",
    "history_change",
    "volume_change",
    "anonymous_change",
    "price_change",
    "unseen_share",
    "unseen_change",
]


COUNTED = ("unreadable_values", "in_future", "sold_quantity", "copy_number")
TEXTS = ("invoice_id", "product_id", "description", "customer_id", "country")
NUMBERS = ("quantity", "unit_price", *COUNTED)
# Without these a row cannot be counted for anyone: the rules about them are not to be switched off.
NEEDED = ("missing_customer", "missing_time", "missing_quantity", "missing_price")


class Rule(Section):
    """One rule of the data contract: about a column of each row, or a measure of the batch.

    A row that breaks a rule of severity `quarantine` goes there with the rule's name as its reason;
    a batch that breaks one of severity `stop` is refused; `warn` is only reported.
    """

    severity: Literal["stop", "quarantine", "warn", "ignore"] = Field(description="what follows")
    why: str = Field(min_length=1, description="the reason for the rule, for people")
    column: Column | None = Field(None, description="of each row: what the rule is about")
    measure: Measure | None = Field(None, description="of the batch: what the rule is about")
    required: bool = Field(False, description="the column must have a value")
    forbidden: float | None = Field(None, description="the one value it must not have")
    pattern: str | None = Field(None, description="the regular expression it must match")
    low: float | None = Field(None, description="minimum allowed value")
    high: float | None = Field(None, description="maximum allowed value")
    warn_share: Share | None = Field(
        None, description="of the rows: above it, it is named; none: contract.warn_share"
    )
    hold_share: Share | None = Field(
        None, description="of the rows: above it the batch is held; none: contract.hold_share"
    )

    @model_validator(mode="after")
    def _one_check(self) -> Rule:
        if (self.column is None) == (self.measure is None):
            raise ValueError("a rule is about a column of each row, or about a measure")
        bounded = self.low is not None or self.high is not None
        checks = (self.required, self.forbidden is not None, self.pattern is not None, bounded)
        if sum(checks) != 1 or (self.measure and not bounded):
            raise ValueError(
                "a rule has one check: low and high, or for a column required, forbidden or pattern"
            )
        if bounded and self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"low is {self.low:g}, above high, {self.high:g}: no value can be valid"
            )
        if self.pattern is not None and self.column not in TEXTS:
            raise ValueError(f"a pattern is for text, and {self.column} does not hold it")
        if self.column and (bounded or self.forbidden is not None) and self.column not in NUMBERS:
            raise ValueError(
                f"low, high and forbidden are for numbers, and {self.column} does not hold it"
            )
        if self.severity == ("stop" if self.column else "quarantine"):
            raise ValueError(
                "rows go to quarantine and batches are stopped: severity is "
                + ("quarantine, warn or ignore" if self.column else "stop, warn or ignore")
            )
        return self


def default_rules() -> dict[str, Any]:
    """The rules of `configs/contract.yaml`, which every data set starts from."""
    return yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["contract"]["rules"]


class Contract(Section):
    """The data contract (`configs/contract.yaml`), and what its rules need to know."""

    rules: dict[str, Rule] = Field(
        default_factory=default_rules,
        validate_default=True,
        description="the rules; see docs/contract.md",
    )
    cancellation_prefix: str = Field(
        "C", description="what a cancelling invoice begins with; empty: a negative quantity cancels"
    )
    warn_share: Share = Field(
        0.05,
        description="of the rows: a rule that keeps out more is named at the end, of a table too",
    )
    hold_share: Share = Field(
        0.25, description="of the rows: a rule that keeps out more holds the batch"
    )
    not_after: date | None = Field(None, description="later rows are in the future; none: now")
    audit_rows: int = Field(
        100_000, ge=1, description="rows on which Great Expectations audits what DuckDB finds"
    )

    @field_validator("rules")
    @classmethod
    def _needed(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        for name in NEEDED:
            if name in rules and rules[name].severity != "quarantine":
                raise ValueError(
                    f"{name} cannot be {rules[name].severity}: {rules[name].why}, so such a row is"
                    " always kept out"
                )
        return rules
