"""`POST /predict_transactions`: raw invoice lines → features → probabilities."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import msgspec
import numpy as np

from common.errors import UserError
from configs.rules import Contract
from configs.settings import Features
from configs.source import Form
from features.catalogue import CATALOGUE
from serving.asked import Asked, choice
from serving.lines.handover import arrow, from_numpy
from serving.lines.judged import (
    AFTER,
    LINE,
    WHY_AFTER,
    Prepared,
    Row,
    line_columns,
    line_rules,
    select_rows,
)
from serving.lines.pool import Pool
from serving.lines.problems import NUMBERS
from serving.lines.schema import Lines, LinesDecoder
from serving.lines.unanswered import customers_asked, lines_left_out
from serving.messages import FromLines, LinesAnswer
from serving.refusal import Refused
from serving.stop import Stop
from serving.values.scoring import score

CONNECTIONS = 2  # requests at once; each keeps a plan, and computes on one core

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Table:
    """Lines as Arrow columns (`line_columns`). as_text: numbers are text."""

    columns: dict[str, Any]
    as_text: bool


class Transactions:
    """What a model of a transaction log needs to answer for invoice lines. For any thread.

    section: `bundle.json["transactions"]`.  features: the bundle's.  max_lines: of one request,
    for which there must be memory.  form: how its source writes values; None: as JSON and ISO do.
    Raises UserError for a feature that is not in the catalogue: then another version of this
    project trained the model.
    """

    def __init__(
        self,
        section: dict[str, Any],
        features: list[dict[str, Any]],
        max_lines: int,
        form: Form | None = None,
    ) -> None:
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
        self.form = form or Form()
        contract = Contract.model_validate_json(msgspec.json.encode(section["contract"]))
        self.decoder = LinesDecoder(self.declared, self.form, contract.not_after)
        self.request = self.decoder.request  # the type, for the service's description
        rules = line_rules(contract, self.declared)
        self._why = {name: rule.why for name, rule in rules.items()} | {AFTER: WHY_AFTER}
        queries = {
            as_text: select_rows(
                contract,
                self.declared,
                self.settings,
                date.fromisoformat(section["log_start"]),
                [catalogue[name] for name in self.names],
                self.form,
                as_text,
            )
            for as_text in ((False,) if self.form.text is None else (False, True))
        }
        self.pool = Pool([Prepared(queries, self.declared, max_lines) for _ in range(CONNECTIONS)])
        self.close = weakref.finalize(self, self.pool.close)  # DuckDB reports what outlives it

    def read(self, asked: Asked) -> Lines:
        return self.decoder.read(asked.body, asked.limits, asked.skip)

    def rows(self, asked: Asked, lines: Lines) -> list[Row | None]:
        """What came of each customer; None where their values are too large to be counted."""
        last = len(lines.customers)
        table = self._table(asked.stop, lines.customers, 0, last)
        with self.pool.take() as prepared:
            return self._halved(prepared, asked.stop, lines, table, 0, last)

    def reasons(self, bits: int) -> list[str]:
        return [name for bit, name in enumerate(self._why) if bits & (1 << bit)]

    def why(self, reason: str) -> str:
        return self._why[reason]

    def _halved(
        self,
        prepared: Prepared,
        stop: Stop,
        lines: Lines,
        table: Table,
        first: int,
        last: int,
    ) -> list[Row | None]:
        """The customers from first to before last, whose lines are the table. Where a sum of theirs
        is too large for its type, half of them at a time, until who it is stands alone."""
        try:
            with stop.calling(prepared.connection.interrupt):
                return [*prepared.run(table.columns, lines.as_of, table.as_text)]
        except duckdb.InterruptException:
            stop.check()
            raise
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
            half = self._table(stop, lines.customers, begin, end)
            found += self._halved(prepared, stop, lines, half, begin, end)
        return found

    def _table(self, stop: Stop, customers: Sequence[Any], first: int, last: int) -> Table:
        """The lines of the customers from first to before last."""
        chosen = customers[first:last]
        counts = np.array([len(customer.lines) for customer in chosen])
        lines = [line for customer in chosen for line in customer.lines]
        number = np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)
        key = np.repeat(np.arange(first, last), counts) * LINE + number
        ids = [customer.customer_id for customer in chosen for _ in customer.lines]
        values: dict[str, list[Any]] = {"customer_id": ids}
        for name in self.decoder.columns:
            stop.check()
            values[name] = [getattr(line, name) for line in lines]
        as_text = self._in_one_form(values)
        columns = line_columns(self.declared, as_text)
        table = {name: arrow(columns[name], found) for name, found in values.items()}
        return Table({"key": from_numpy("BIGINT", key), **table}, as_text)

    def _in_one_form(self, values: dict[str, list[Any]]) -> bool:
        """Make the values of each column of one type, and say whether numbers are text: one that
        the client wrote as its source does makes the others so too."""
        if self.form.time_format is not None and "invoiced_at" in values:
            values["invoiced_at"] = [_digits(one) for one in values["invoiced_at"]]
        numbers = [name for name in NUMBERS if name in values]
        if self.form.text is None or not any(
            isinstance(one, str) for name in numbers for one in values[name]
        ):
            return False
        for name in numbers:
            values[name] = [_written(one, self.form.text.decimal) for one in values[name]]
        return True


def _digits(value: float | str | None) -> str | None:
    """A time that is a number as the text of one: 20230426, not 20230426.0."""
    if not isinstance(value, float):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


def _written(value: float | str | None, decimal: str) -> str | None:
    """A number as the source would write it; text and None as they are."""
    return value if value is None or isinstance(value, str) else repr(value).replace(".", decimal)


def answer(asked: Asked) -> bytes:
    """Probability and decision for each customer who bought in the `active_days`; the lines that
    do not count, with the reasons. Raises Refused."""
    transactions = asked.champion.transactions
    if transactions is None:
        raise Refused(
            "no_transactions",
            "this model's bundle says nothing of invoice lines (a labelled table, or one of before"
            " they were kept): ask /predict",
        )
    with_features = choice(asked.query, "features", ("false", "true")) == "true"
    lines = transactions.read(asked)
    rows = transactions.rows(asked, lines)
    left_out = lines_left_out(transactions, lines, rows)
    customers = customers_asked(transactions, asked.skip, lines, rows)
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
    return encode(LinesAnswer(asked.champion.model, told, skipped, left_out))
