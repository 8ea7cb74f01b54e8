"""Check whether the training table knows the future, in two ways; every training does it.

- **It changes when the future is removed.** For the last training date and the test date, the
  customers and every feature are computed again, by the same SQL, from a log that ends at that
  date. A value that differs from the table, in any row, depends on what is gone. (Kaufman et al.
  2012, doi:10.1145/2382577.2382579, calls this a learn-predict separation.) A column that no
  feature of the catalogue makes cannot be computed again, and is named for that.
- **A column is suspiciously good by itself.** Its ROC AUC on the training split. This finds what is
  wrong in the log itself, such as a field written after the outcome, which the first way cannot
  see. It proves nothing: where some customers come weekly and most came once, an honest
  feature is as good. Whether a feature has a value at all is checked in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.duck import connect, parquet, quoted
from configs.settings import Compute, Features
from features.catalogue import ALL, select
from features.leak_report import (
    ROWS_OF_A_CLASS,
    ROWS_SCORED,
    SPINE,
    Leak,
    LeakReport,
    suspicious,
)
from features.rebuild import dates_to_rebuild, number, rebuild
from features.roc_auc import RocAuc, presence_alone, roc_auc_alone

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEYS = ("customer_id", "as_of", "split", "label")  # every other column is checked


def check_leaks(
    transactions: Path | list[Path],
    table: Path,
    settings: Features,
    declared: frozenset[str] = ALL,
    compute: Compute | None = None,
) -> LeakReport:
    """Check every column of `table` but the keys and the label, and which customers it has.

    transactions: what the table was built from, and declared: as `build_table` had it.
    """
    with connect(table.parent, compute) as connection:
        connection.execute(f"CREATE VIEW log AS FROM {parquet(transactions)}")
        connection.execute(f"CREATE VIEW built AS FROM {parquet(table)}")
        columns = [row[0] for row in connection.execute("DESCRIBE built").fetchall()]
        columns = [name for name in columns if name not in KEYS]
        features = [feature for feature in select(declared) if feature.name in columns]
        dates = dates_to_rebuild(connection)
        with ThreadPoolExecutor(max(1, len(dates))) as pool:  # a date does not fill two cores
            rebuilt = pool.map(lambda day: rebuild(connection, day, features, settings), dates)
            scores, presence, scored = _score(connection, columns)
        limit = settings.max_feature_roc_auc
        leaks = suspicious(scores, presence, limit)
        known = {feature.name for feature in features}
        leaks += [Leak(name, "unknown", 1, 1, 0) for name in columns if name not in known]
        rows, changed = 0, dict.fromkeys([SPINE, *columns], 0.0)
        for shares, rows_of_date in rebuilt:
            rows += rows_of_date
            changed |= {name: max(share, changed[name]) for name, share in shares.items()}
        leaks += [
            Leak(name, "changed", share, share, 0) for name, share in changed.items() if share
        ]
    order = [SPINE, *columns]
    best = max(scores, key=lambda name: scores[name].score, default=None)
    return LeakReport(
        leaks=tuple(sorted(leaks, key=lambda leak: order.index(leak.name))),
        limit=limit,
        rows_scored=scored,
        rows_rebuilt=rows,
        dates=tuple(day.isoformat() for day in dates),
        strongest=None if best is None else (best, round(scores[best].score, 4)),
    )


def _score(
    connection: DuckDBPyConnection, columns: Sequence[str]
) -> tuple[dict[str, RocAuc], dict[str, RocAuc | None], int]:
    """Each column by itself on the training split, whether it has a value, and on how many rows;
    none with too few."""
    positives, negatives = connection.execute("""
        SELECT count(*) FILTER (label = 1), count(*) FILTER (label = 0)
        FROM built WHERE split = 'train'
    """).fetchone() or (0, 0)
    rarer = min(positives, negatives)
    every = max(1, min((positives + negatives) // ROWS_SCORED, rarer // (10 * ROWS_OF_A_CLASS)))
    numbers = "".join(f", {number('built', name)} AS {quoted(name)}" for name in columns)
    scored = connection.execute(f"""
        SELECT label, hash(customer_id) AS customer{numbers} FROM built
        WHERE split = 'train' AND hash(customer_id) % {every} = 0
    """).fetchnumpy()
    label = scored["label"]
    if np.bincount(label, minlength=2).min() < ROWS_OF_A_CLASS:
        return {}, {}, 0
    _, customer = np.unique(scored["customer"], return_inverse=True)
    alone = {name: roc_auc_alone(scored[name], label, customer) for name in columns}
    presence = {name: presence_alone(scored[name], label, customer) for name in columns}
    return alone, presence, len(label)
