"""Raw invoice lines of a request → the feature values of their customers (`/predict_transactions`).

The lines are read (`requests.py`), handed to the one SQL statement that judges them and makes the
features (`transactions_sql.py`), and what cannot be answered is named with its reason.
"""

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
from serving.errors import Place, Problem, Refused
from serving.limits import Limits, Stop
from serving.line_requests import NUMBERS, Lines, LinesReader
from serving.problems import refuse_or_skip, same_customer
from serving.requests import Customers
from serving.responses import LeftOut, Skipped
from serving.transactions_sql import (
    AFTER,
    LINE,
    WHY_AFTER,
    Pool,
    Prepared,
    Row,
    arrow,
    from_numpy,
    line_columns,
    line_rules,
    select_rows,
)

CONNECTIONS = 2  # requests at once; each keeps a plan, and computes on one core


@dataclass(frozen=True)
class Table:
    """Lines as Arrow columns (`line_columns`). as_text: numbers are text."""

    columns: dict[str, Any]
    as_text: bool


@dataclass(frozen=True)
class ReadTransactions:
    """A request of invoice lines, as customers to score. features: by row of the request, for those
    who have any, in the order of the bundle."""

    customers: Customers
    as_of: date
    left_out: list[LeftOut]
    features: dict[int, tuple[float | None, ...]]


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
        if unknown := [name for name in self.names if name not in catalogue]:
            raise UserError(
                f"its feature {unknown[0]} is not in the feature catalogue",
                where="features/catalogue.py",
                next_step="train again with this version, or serve with the one that trained it",
            )
        self.declared = frozenset(section["declared"])
        self.settings = Features.model_validate(section["features"])
        self.form = form or Form()
        contract = Contract.model_validate_json(msgspec.json.encode(section["contract"]))
        self.reader = LinesReader(self.declared, self.form, contract.not_after)
        self.request = self.reader.request  # the type, for the service's description
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

    def read(self, body: bytes, limits: Limits, skip: bool, stop: Stop) -> ReadTransactions:
        """The customers of a request with their features. Raises Refused for those without an
        answer, or with `skip` when there is nobody else."""
        lines = self.reader.read(body, limits, skip)
        rows = self.rows(lines, stop)
        return ReadTransactions(
            self._customers(skip, lines, rows),
            lines.as_of,
            self._left_out(lines, rows),
            {
                lines.rows[at]: row.features
                for at, row in enumerate(rows)
                if row is not None and row.features is not None
            },
        )

    def rows(self, lines: Lines, stop: Stop) -> list[Row | None]:
        """The result of each customer; None where their values are too large to be counted."""
        last = len(lines.customers)
        table = self._table(stop, lines.customers, 0, last)
        with self.pool.take() as prepared:
            return self._halved(prepared, stop, lines, table, 0, last)

    def reasons(self, bits: int) -> list[str]:
        return [name for bit, name in enumerate(self._why) if bits & (1 << bit)]

    def _left_out(self, lines: Lines, rows: Sequence[Row | None]) -> list[LeftOut]:
        left_out = []
        for row, customer, judged in zip(lines.rows, lines.customers, rows, strict=True):
            for line, bits in judged.left_out if judged else ():
                reasons = self.reasons(bits)
                why = [self._why[reason] for reason in reasons]
                left_out.append(LeftOut(row, customer.customer_id, line, reasons, why))
        return left_out

    def _customers(self, skip: bool, lines: Lines, rows: Sequence[Row | None]) -> Customers:
        """Return the customers who can be scored. Raises Refused when there are others; with `skip`
        only when no customer can be scored."""
        skipped, first_rows = list(lines.skipped), dict[str, int]()
        good, invalid = [], bool(skipped)
        for at, row in enumerate(rows):
            problem = self._problem(lines, at, row, first_rows)
            if problem is None:
                good.append(at)
                continue
            invalid |= problem.reason != "not_active"
            skipped.append(Skipped(lines.rows[at], lines.customers[at].customer_id, [problem]))
        # What is wrong with the request comes first: without it, there may be answers.
        skipped.sort(key=lambda one: one.detail[0].reason == "not_active")
        skipped = refuse_or_skip(skipped, bool(good), skip, "invalid" if invalid else "no_answer")
        values = [rows[at].features for at in good]  # type: ignore[union-attr]
        return Customers(
            [lines.customers[at].customer_id for at in good],
            [lines.rows[at] for at in good],
            np.array(values, dtype=np.float32),
            skipped,
            persons=[rows[at].customer_id for at in good],  # type: ignore[union-attr]
        )

    def _problem(
        self, lines: Lines, at: int, judged: Row | None, first_rows: dict[str, int]
    ) -> Problem | None:
        """Return why a customer cannot be scored. first_rows: customer -> their first row."""
        row, customer = lines.rows[at], lines.customers[at]
        if judged is None:
            what = "the values of these lines are too large to be counted"
            return Place(row).problem("out_of_range", what, "lines")
        if judged.customer_id is None:
            what = "must not be blank"
            return Place(row).problem("blank", what, "customer_id", customer.customer_id, "text")
        first = first_rows.setdefault(judged.customer_id, row)
        if first != row:
            return same_customer(Place(row), customer.customer_id, first)
        if judged.features is not None:
            return None
        days, lost = self.settings.active_days, judged.left_out
        counted = Counter(reason for _, bits in lost for reason in self.reasons(bits))
        reasons = ", ".join(f"{reason} {count}" for reason, count in counted.most_common())
        left = f"; of {len(customer.lines)} lines {len(lost)} do not count ({reasons})"
        return Place(row).problem(
            "not_active",
            f"bought nothing in the {days} days before {lines.as_of}, and the model knows only"
            f" customers who did{left if counted else ''}",
            "lines",
            expected=f"a sale from {days} days before the as-of date on",
        )

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
        is too large for its type, half of them at a time, until that customer stands alone."""
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
        rows: list[Row | None] = []
        middle = (first + last) // 2
        for begin, end in ((first, middle), (middle, last)):
            half = self._table(stop, lines.customers, begin, end)
            rows += self._halved(prepared, stop, lines, half, begin, end)
        return rows

    def _table(self, stop: Stop, customers: Sequence[Any], first: int, last: int) -> Table:
        """The lines of the customers from first to before last."""
        chosen = customers[first:last]
        counts = np.array([len(customer.lines) for customer in chosen])
        lines = [line for customer in chosen for line in customer.lines]
        number = np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)
        key = np.repeat(np.arange(first, last), counts) * LINE + number
        ids = [customer.customer_id for customer in chosen for _ in customer.lines]
        values: dict[str, list[Any]] = {"customer_id": ids}
        for name in self.reader.columns:
            stop.check()
            values[name] = [getattr(line, name) for line in lines]
        as_text = self._in_one_form(values)
        columns = line_columns(self.declared, as_text)
        table = {name: arrow(columns[name], column) for name, column in values.items()}
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
