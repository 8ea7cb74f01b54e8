"""Which rules of the contract's document (`configs/contract.yaml`) apply to a log, and what they
speak about besides the canonical columns.

A **row rule** sends each row that breaks it to quarantine, with the rule's name as the reason. A
**batch rule** is about a measure of the whole batch and stops the run; a **change rule** compares
a measure with the last accepted batch (`ingestion/batches.py`), and holds the batch until a person
accepts it. `ingestion/translate.py` turns each into the condition that DuckDB judges by and the
Great Expectations check that audits it.
"""

from __future__ import annotations

from configs.rules import Contract, Rule

# Columns that rules may speak about besides the canonical ones: what they are, and what of.
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
    "unseen_share": "of a labelled table: share of a column's values that are none of its"
    " categories, the largest over the columns; asked of a first batch too",
    "unseen_change": "of a labelled table: that share less that of the last batch, the largest over"
    " the columns",
}


def known(declared: frozenset[str]) -> frozenset[str]:
    """The canonical columns that hold something of the source's own: an amount is a price, but
    the quantity of 1 and the invoice that stand in for missing columns are made up."""
    return declared | ({"unit_price"} if "amount" in declared else frozenset())


def row_rules(contract: Contract, declared: frozenset[str]) -> dict[str, Rule]:
    """Name -> rule, for the columns that the source has, in the order of the document: those of
    severity quarantine first. Reasons are reported in this order."""
    columns = known(declared)
    found = {
        name: rule
        for name, rule in contract.rules.items()
        if rule.column
        and rule.severity != "ignore"
        and DERIVED.get(rule.column, ("", rule.column))[1] in {None, *columns}
    }
    return dict(sorted(found.items(), key=lambda item: item[1].severity == "warn"))


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
    """The rule as a person would say it: `unit_price is at most 5,000`."""
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
