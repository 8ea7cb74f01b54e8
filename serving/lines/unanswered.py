"""Which lines and customers of a request stay without an answer, and what is said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from serving.lines.judged import Row
from serving.lines.schema import Lines
from serving.messages import LeftOut, Skipped
from serving.reading import refuse_or_skip, same_customer
from serving.refusal import Place, Problem
from serving.values.schema import Customers

if TYPE_CHECKING:
    from serving.lines.transactions import Transactions


def lines_left_out(
    transactions: Transactions, lines: Lines, rows: Sequence[Row | None]
) -> list[LeftOut]:
    found = []
    for row, customer, judged in zip(lines.rows, lines.customers, rows, strict=True):
        for line, bits in judged.left_out if judged else ():
            reasons = transactions.reasons(bits)
            why = [transactions.why(reason) for reason in reasons]
            found.append(LeftOut(row, customer.customer_id, line, reasons, why))
    return found


def customers_asked(
    transactions: Transactions, skip: bool, lines: Lines, rows: Sequence[Row | None]
) -> Customers:
    """Who can be asked about. Raises Refused for the others, or with `skip` when there is nobody
    else."""
    skipped, first_place = list(lines.skipped), dict[str, int]()
    good, invalid = [], bool(skipped)
    for at, row in enumerate(rows):
        problem = _problem(transactions, lines, at, row, first_place)
        if problem is None:
            good.append(at)
            continue
        invalid |= problem.reason != "not_active"
        skipped.append(Skipped(lines.rows[at], lines.customers[at].customer_id, [problem]))
    # What is wrong with the request comes first: without it, there may be answers.
    skipped.sort(key=lambda one: one.detail[0].reason == "not_active")
    skipped = refuse_or_skip(skipped, bool(good), skip, "invalid" if invalid else "no_answer")
    found = [rows[at].features for at in good]  # type: ignore[union-attr]
    return Customers(
        [lines.customers[at].customer_id for at in good],
        [lines.rows[at] for at in good],
        np.array(found, dtype=np.float32),
        skipped,
        persons=[rows[at].customer_id for at in good],  # type: ignore[union-attr]
    )


def _problem(
    transactions: Transactions,
    lines: Lines,
    at: int,
    found: Row | None,
    first_place: dict[str, int],
) -> Problem | None:
    """Why a customer cannot be asked about."""
    row, sent = lines.rows[at], lines.customers[at]
    if found is None:
        what = "the values of these lines are too large to be counted"
        return Place(row).problem("out_of_range", what, "lines")
    if found.customer_id is None:
        what = "must not be blank"
        return Place(row).problem("blank", what, "customer_id", sent.customer_id, "text")
    first = first_place.setdefault(found.customer_id, row)
    if first != row:
        return same_customer(Place(row), sent.customer_id, first)
    if found.features is None:
        return _not_active(transactions, lines, at, found)
    return None


def _not_active(transactions: Transactions, lines: Lines, at: int, found: Row) -> Problem:
    row, sent = lines.rows[at], lines.customers[at]
    days = transactions.settings.active_days
    counted = Counter(reason for _, bits in found.left_out for reason in transactions.reasons(bits))
    reasons = ", ".join(f"{reason} {count}" for reason, count in counted.most_common())
    left = f"; of {len(sent.lines)} lines {len(found.left_out)} do not count ({reasons})"
    return Place(row).problem(
        "not_active",
        f"bought nothing in the {days} days before {lines.as_of}, so the model was never asked"
        f" about such a customer{left if counted else ''}",
        "lines",
        expected=f"a sale from {days} days before the as-of date on",
    )
