"""`POST /predict_transactions`: raw invoice lines → features → probabilities."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from queue import LifoQueue
from threading import Lock
from typing import Any

import duckdb
import msgspec
import numpy as np

from configs.errors import UserError
from configs.rules import Contract
from configs.settings import Features
from features.catalogue import CATALOGUE
from serving.asked import Asked, Skipped, choice
from serving.handover import arrow, from_numpy
from serving.judged import (
    AFTER,
    LINE,
    WHY_AFTER,
    Prepared,
    Row,
    line_columns,
    line_rules,
    select_rows,
)
from serving.lines import Lines, LinesDecoder
from serving.messages import FromLines, LeftOut
from serving.messages import LinesAnswer as Answer
from serving.problems import same_customer
from serving.refusal import Problem, Refused, shown
from serving.schema import Customers
from serving.scoring import score

CONNECTIONS = 2  # requests at once; each keeps a plan, and computes on one core

encode = msgspec.json.Encoder().encode


@dataclass
class _Call:
    """A request that is being answered."""

    connection: Any = None
    cut_off: bool = False


class Transactions:
    """What a model of a transaction log needs to answer for invoice lines. For any thread.

    section: `bundle.json["transactions"]`.  features: the bundle's. Raises UserError for one that
    is not in the catalogue: then another version of this project trained the model.
    """

    def __init__(self, section: dict[str, Any], features: list[dict[str, Any]]) -> None:
        catalogue = {feature.name: feature for feature in CATALOGUE}
        self.names = [feature["name"] for feature in features]
        if strangers := [name for name in self.names if name not in catalogue]:
            raise UserError(
                f"no SQL here makes its feature {strangers[0]}",
                where="features/catalogue.py",
                next_step="train again with this version, or serve with the one that trained it",
            )
        self.declared = frozenset(section["declared"])
        self.settings = Features.model_validate(section["features"])
        self.decoder = LinesDecoder(self.declared)
        self.request = self.decoder.request  # the type, for the service's description
        contract = Contract.model_validate_json(msgspec.json.encode(section["contract"]))
        rules = line_rules(contract, self.declared)
        self._why = {name: rule.why for name, rule in rules.items()} | {AFTER: WHY_AFTER}
        self._columns = line_columns(self.declared)
        query = select_rows(
            contract,
            self.declared,
            self.settings,
            date.fromisoformat(section["log_start"]),
            [catalogue[name] for name in self.names],
        )
        # A connection runs one query at a time, so each request takes one for as long as it needs;
        # the last one given back first, because its memory is warm.
        self._free: LifoQueue[Prepared] = LifoQueue()
        opened = [Prepared(query, self.declared) for _ in range(CONNECTIONS)]
        for one in opened:
            self._free.put(one)
        self._calls: dict[int, _Call] = {}
        self._lock = Lock()
        self.close = weakref.finalize(self, _close, opened)  # DuckDB reports what outlives it

    def read(self, asked: Asked) -> Lines:
        return self.decoder.read(asked.body, asked.limits, asked.skip)

    def interrupt(self, asked: Asked | None = None) -> None:
        """Cut off one request, which then raises Refused, or all that are being answered."""
        with self._lock:
            for key, call in self._calls.items():
                if asked is None or key == id(asked):
                    call.cut_off = True
                    if call.connection is not None:
                        call.connection.interrupt()

    def rows(self, asked: Asked, lines: Lines) -> list[Row | None]:
        """What came of each customer; None where their values are too large to be counted."""
        last = len(lines.customers)
        table = self._table(lines.customers, 0, last)
        with self._called(asked) as (prepared, call):
            return self._halved(prepared, call, lines, table, 0, last)

    def reasons(self, bits: int) -> list[str]:
        return [name for bit, name in enumerate(self._why) if bits & (1 << bit)]

    def why(self, reason: str) -> str:
        return self._why[reason]

    @contextmanager
    def _called(self, asked: Asked) -> Iterator[tuple[Prepared, _Call]]:
        call, prepared = _Call(), None
        with self._lock:
            self._calls[id(asked)] = call
        try:
            prepared = self._free.get()
            with self._lock:
                call.connection = prepared.connection
            yield prepared, call
        finally:
            # From here on an interruption finds nothing, and cannot hit the next request.
            with self._lock:
                del self._calls[id(asked)]
            if prepared is not None:
                self._free.put(prepared)

    def _halved(
        self,
        prepared: Prepared,
        call: _Call,
        lines: Lines,
        table: dict[str, Any],
        first: int,
        last: int,
    ) -> list[Row | None]:
        """The customers from first to before last, whose lines are the table. Where a sum of theirs
        is too large for its type, half of them at a time, until who it is stands alone."""
        if call.cut_off:
            raise cut_off()
        try:
            return list(prepared.run(table, lines.as_of))
        except duckdb.InterruptException:
            raise cut_off() from None
        except duckdb.OutOfMemoryException:
            raise Refused(
                "too_large", "the lines need more memory than a request may use"
            ) from None
        except duckdb.DataError:
            if last - first == 1:
                return [None]
        found: list[Row | None] = []
        middle = (first + last) // 2
        for begin, end in ((first, middle), (middle, last)):
            half = self._table(lines.customers, begin, end)
            found += self._halved(prepared, call, lines, half, begin, end)
        return found

    def _table(self, customers: Sequence[Any], first: int, last: int) -> dict[str, Any]:
        """The lines of the customers from first to before last as Arrow columns."""
        chosen = customers[first:last]
        counts = np.array([len(customer.lines) for customer in chosen])
        lines = [line for customer in chosen for line in customer.lines]
        number = np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)
        key = np.repeat(np.arange(first, last), counts) * LINE + number
        ids = [customer.customer_id for customer in chosen for _ in customer.lines]
        values = {name: [getattr(line, name) for line in lines] for name in self.decoder.columns}
        return {"key": from_numpy("BIGINT", key)} | {
            name: arrow(self._columns[name], column)
            for name, column in ({"customer_id": ids} | values).items()
        }


def cut_off() -> Refused:
    return Refused("timeout", "answering took too long; send fewer customers or lines at once")


def answer(asked: Asked) -> bytes:
    """Probability and decision for each customer who bought in the `active_days`; the lines that
    do not count, with the reasons. Raises Refused."""
    transactions = asked.champion.transactions
    if transactions is None:
        raise Refused(
            "no_transactions",
            "this model comes from a labelled table, not from invoice lines: ask /predict",
        )
    with_features = choice(asked.query, "features", ("false", "true")) == "true"
    lines = transactions.read(asked)
    rows = transactions.rows(asked, lines)
    left_out = _left_out(transactions, lines, rows)
    customers = _customers(transactions, asked, lines, rows)
    asked.lines_left_out(Counter(line.reasons[0] for line in left_out))
    predictions, skipped = score(asked, customers, lines.as_of)
    features: dict[int, dict[str, float | str | None]] = {}
    if with_features:
        features = {
            lines.rows[at]: dict(zip(transactions.names, row.features, strict=True))
            for at, row in enumerate(rows)
            if row is not None and row.features is not None
        }
    told = [
        FromLines(one.row, one.customer_id, one.probability, one.decision, features.get(one.row))
        for one in predictions
    ]
    return encode(Answer(asked.champion.model, told, skipped, left_out))


def _left_out(
    transactions: Transactions, lines: Lines, rows: Sequence[Row | None]
) -> list[LeftOut]:
    found = []
    for row, customer, judged in zip(lines.rows, lines.customers, rows, strict=True):
        for line, bits in judged.left_out if judged else ():
            reasons = transactions.reasons(bits)
            why = [transactions.why(reason) for reason in reasons]
            found.append(LeftOut(row, customer.customer_id, line, reasons, why))
    return found


def _customers(
    transactions: Transactions, asked: Asked, lines: Lines, rows: Sequence[Row | None]
) -> Customers:
    """Who can be asked about. Raises Refused for the others, or with `on_error=skip` when there is
    nobody else."""
    skipped, first_place = list(lines.skipped), dict[str, int]()
    good, invalid = [], bool(skipped)
    for at, row in enumerate(rows):
        problem = _problem(transactions, lines, at, row, first_place)
        if problem is None:
            good.append(at)
            continue
        invalid |= problem.reason != "not_active"
        skipped.append(Skipped(lines.rows[at], lines.customers[at].customer_id, [problem]))
    skipped.sort(key=lambda one: one.row)
    if skipped and not (asked.skip and good):
        problems = [problem for one in skipped for problem in one.detail]
        # What is wrong with the request comes first: without it, there may be answers.
        problems.sort(key=lambda one: one.reason == "not_active")
        raise Refused("invalid" if invalid else "no_answer", "", *problems)
    found = [rows[at].features for at in good]  # type: ignore[union-attr]
    return Customers(
        [lines.customers[at].customer_id for at in good],
        [lines.rows[at] for at in good],
        np.array(found, dtype=np.float32),
        skipped,
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
    where = f"customers[{row}]"
    if found is None:
        return Problem(
            what="the values of these lines are too large to be counted",
            where=f"{where}.lines",
            reason="out_of_range",
            row=row,
            field="lines",
        )
    if found.customer_id is None:
        return Problem(
            what="must not be blank",
            where=f"{where}.customer_id",
            reason="blank",
            row=row,
            field="customer_id",
            value=shown(sent.customer_id),
            expected="text",
        )
    first = first_place.setdefault(found.customer_id, row)
    if first != row:
        return same_customer(row, sent.customer_id, first)
    if found.features is None:
        return _not_active(transactions, lines, at, found)
    return None


def _not_active(transactions: Transactions, lines: Lines, at: int, found: Row) -> Problem:
    row, sent = lines.rows[at], lines.customers[at]
    days = transactions.settings.active_days
    counted = Counter(reason for _, bits in found.left_out for reason in transactions.reasons(bits))
    reasons = ", ".join(f"{reason} {count}" for reason, count in counted.most_common())
    left = f"; of {len(sent.lines)} lines {len(found.left_out)} do not count ({reasons})"
    return Problem(
        what=f"bought nothing in the {days} days before {lines.as_of}, so the model was never asked"
        f" about such a customer{left if counted else ''}",
        where=f"customers[{row}].lines",
        reason="not_active",
        row=row,
        field="lines",
        expected=f"a sale from {days} days before the as-of date on",
    )


def _close(opened: list[Prepared]) -> None:
    for one in opened:
        one.close()
