"""What a bundle keeps of the data: the rows that explanations compare with, and customers to try
the service on. `registry/bundle.py` writes it as `examples.json`.

    {"reference": [[3.0, null, ...], ...],   the model's input, of rows of the validation split
     "samples": [{"name": "sample 1", "as_of": "2025-09-24", "lines": [{"invoice_id": ...}, ...]}]}

A sample of a labelled table has `values` (feature -> value, as in a request) in place of as_of and
lines. Nobody is named: there is no customer identifier in it, but there are invoice numbers and
what was bought. Whoever may not show that sets `training.samples` to 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from common.duck import connect, parquet
from configs.source import CANONICAL
from features.categories import decode
from features.table import Rows, read_rows
from flows.dataset import TABLE, TableStage, ValidatedStage
from flows.run import RunContext
from ingestion.outcome import TRANSACTIONS
from registry.bundle import EXAMPLES, LARGEST

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from training.evaluate import Evaluation

REFERENCE_ROWS = 64
MOST_LINES = 400  # of a sample customer
SPACE = LARGEST[EXAMPLES] // 2  # bytes for the reference rows, and as many for the samples
VALUE_BYTES = 24  # of a float32 in JSON, with room to spare


def make_examples(
    context: RunContext, validated: ValidatedStage, table: TableStage, evaluation: Evaluation
) -> dict[str, Any]:
    """Make the content of `examples.json`; the same run makes the same."""
    settings, schema = context.settings, table.facts.described
    valid = read_rows(table.path(TABLE), ("valid",), table.facts.names, label=False)
    test, probability = evaluation.test, evaluation.probabilities[evaluation.winner]
    if settings.source.kind == "table":
        samples = table_samples(test, probability, schema, settings.training.samples)
    else:
        with connect(context.run.folder, settings.compute) as connection:
            connection.execute(f"CREATE VIEW log AS FROM {parquet(validated.path(TRANSACTIONS))}")
            samples = log_samples(
                connection, test, probability, settings.source.declared, settings.training.samples
            )
    return {"reference": reference_rows(valid.x), "samples": fitting(samples)}


def reference_rows(x: np.ndarray) -> list[list[float | None]]:
    """Return up to REFERENCE_ROWS rows of x float32 (n, f), evenly spread; None for a missing
    value."""
    most = max(1, min(REFERENCE_ROWS, len(x), SPACE // (VALUE_BYTES * x.shape[1])))
    rows = x[np.linspace(0, len(x) - 1, most).astype(int)]
    # A float32's own digits: 84.3, where float() would say 84.30000305175781.
    return [[None if value != value else float(str(value)) for value in row] for row in rows]


def table_samples(
    test: Rows, probability: np.ndarray, schema: Sequence[dict[str, Any]], count: int
) -> list[dict[str, Any]]:
    """Return rows of a labelled table's test split in the form of a request."""
    return [
        {
            "name": f"sample {number}",
            "values": {
                feature["name"]: decode(float(value), feature)
                for feature, value in zip(schema, test.x[row], strict=True)
            },
        }
        for number, row in enumerate(spread(np.arange(len(test)), probability, count), 1)
    ]


def log_samples(
    connection: DuckDBPyConnection,
    test: Rows,
    probability: np.ndarray,
    declared: frozenset[str],
    count: int,
) -> list[dict[str, Any]]:
    """Customers of the last test date with their valid invoice lines before it, oldest first.

    connection: has the relation `log`, of canonical columns.  declared: those that the source has;
    the lines have no others, so that a request with them is one that the service takes.
    """
    if not count:
        return []
    as_of: date = test.as_of.max().astype(object)
    few = connection.execute(
        "SELECT customer_id FROM log WHERE invoiced_at < ? GROUP BY 1 HAVING count(*) <= ?",
        [as_of, MOST_LINES],
    ).fetchall()
    eligible = {customer_id for (customer_id,) in few}
    candidates = [
        row
        for row in np.flatnonzero(test.as_of == test.as_of.max())
        if test.customer_id[row] in eligible
    ]
    rows = spread(np.array(candidates), probability, count)
    chosen = [str(test.customer_id[row]) for row in rows]
    columns = [name for name in CANONICAL if name in declared and name != "customer_id"]
    selected = {name: name for name in columns}
    if "amount" in declared:  # its quantity or price was made of it, and may not be declared
        selected["amount"] = "quantity * unit_price"
    every = ", ".join(str(place) for place in range(1, len(selected) + 2))
    records = connection.execute(
        f"SELECT customer_id, {', '.join(selected.values())} FROM log"
        f" WHERE invoiced_at < ? AND list_contains(?, customer_id) ORDER BY invoiced_at, {every}",
        [as_of, chosen],
    ).fetchall()
    lines: dict[str, list[dict[str, Any]]] = {customer_id: [] for customer_id in chosen}
    for customer_id, *values in records:
        lines[customer_id].append(_line(dict(zip(selected, values, strict=True))))
    return [
        {"name": f"sample {number}", "as_of": as_of.isoformat(), "lines": lines[customer_id]}
        for number, customer_id in enumerate(chosen, 1)
    ]


def spread(rows: np.ndarray, probability: np.ndarray, count: int) -> np.ndarray:
    """Choose `count` rows of different probability, the least likely first: the middle row of each
    of as many equal groups."""
    by_probability = rows[np.argsort(probability[rows], kind="stable")] if len(rows) else rows
    count = min(count, len(rows))
    return by_probability[((np.arange(count) + 0.5) * len(rows) / max(count, 1)).astype(int)]


def fitting(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first samples, as many as fit into SPACE."""
    size = np.cumsum([len(json.dumps(one, ensure_ascii=False).encode()) for one in samples])
    return samples[: int(np.searchsorted(size, SPACE, side="right"))]


def _line(values: dict[str, Any]) -> dict[str, Any]:
    values["invoiced_at"] = values["invoiced_at"].isoformat()
    if "amount" in values:  # 3 * (9.99 / 3) may be off by its last digit
        values["amount"] = float(f"{values['amount']:.14g}")
    return values
