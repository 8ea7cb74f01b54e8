"""Does a column of the training table know the future? Asked in every training, in two ways.

- **Alone it is too good.** ROC AUC of the column by itself on the training split. Missing values
  stand below or above all others and the column may point either way: the worst case counts.
- **It changes when the future is taken away.** Sampled rows are worked out again from a log in
  which each row's customer has nothing at or after the row's as-of date. What differs from the
  table saw what is gone. (Kaufman et al. 2012, doi:10.1145/2382577.2382579, calls this a learn-
  predict separation.) A column that no feature of the catalogue makes cannot be worked out again,
  and is named for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.duck import connect, parquet, quoted
from configs.errors import UserError
from configs.settings import Compute, Features
from features.catalogue import ALL, select
from features.engine import build_features, read_log

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS_SCORED = 10_000  # of the training split, or a few more: the ROC AUC is known to about .005
ROWS_REBUILT = 400  # a feature that is wrong in one row of a hundred is missed once in fifty runs


@dataclass(frozen=True)
class Leak:
    """A column that knows the future.  figure: what was found.  limit: the most that is allowed."""

    name: str
    why: str
    figure: float
    limit: float

    def __str__(self) -> str:
        return f"{self.name} ({self.why}: {self.figure:.3g}, the limit is {self.limit:g})"


def find_leaks(
    transactions: Path | list[Path],
    table: Path,
    settings: Features,
    declared: frozenset[str] = ALL,
    compute: Compute | None = None,
) -> list[Leak]:
    """Every column between `split` and `label` of `table` that knows the future, in their order.

    transactions: what the table was built from, and declared: as `build_table` had it.
    """
    with connect(table.parent, compute) as connection:
        connection.execute(f"CREATE VIEW log AS FROM {parquet(transactions)}")
        connection.execute(f"CREATE VIEW built AS FROM {parquet(table)}")
        columns = [row[0] for row in connection.execute("DESCRIBE built").fetchall()]
        columns = columns[columns.index("split") + 1 : columns.index("label")]
        leaks = _too_good(connection, columns, settings.max_feature_roc_auc)
        leaks += _rebuilt_otherwise(connection, columns, settings, declared)
    return sorted(leaks, key=lambda leak: columns.index(leak.name))


def stop_on_leaks(leaks: list[Leak]) -> None:
    """Raise UserError that names them, if there are any."""
    if not leaks:
        return
    names = dict.fromkeys(leak.name for leak in leaks)
    some = "a feature knows" if len(names) == 1 else f"{len(names)} features know"
    raise UserError(
        f"{some} the future: {'; '.join(map(str, leaks))}",
        where=f"columns {', '.join(names)} of the training table",
        next_step="mend the SQL that makes it (features/sql/); where a single feature may be that"
        " good, raise features.max_feature_roc_auc",
    )


def roc_auc_alone(values: np.ndarray, label: np.ndarray) -> float:
    """ROC AUC (Mann & Whitney, ties count half) of one column, .5 to 1: the better direction.

    values: (n,) with NaN where missing, which rank below or above all others, whichever is better.
    label: (n,) of 0 and 1. With one class only it is .5.
    """
    missing = np.isnan(values)
    _, rank = np.unique(values[~missing], return_inverse=True)
    order = np.zeros(len(values), dtype=np.int64)
    found = []
    for place in (0, rank.max(initial=0) + 2):  # below all others, above all others
        order[missing], order[~missing] = place, rank + 1
        positive = np.bincount(order[label == 1], minlength=place + 1)
        negative = np.bincount(order[label == 0], minlength=len(positive))
        positive = np.pad(positive, (0, len(negative) - len(positive)))
        pairs = positive.sum() * negative.sum()
        if pairs == 0:
            return 0.5
        below = np.cumsum(negative) - negative / 2
        found.append(float(positive @ below / pairs))
    return max(max(score, 1 - score) for score in found)


def _too_good(connection: DuckDBPyConnection, columns: list[str], limit: float) -> list[Leak]:
    numbers = ", ".join(
        f"coalesce(TRY_CAST({quoted(name)} AS DOUBLE), 'nan'::DOUBLE) AS {quoted(name)}"
        for name in columns
    )
    (rows,) = connection.execute("SELECT count(*) FROM built WHERE split = 'train'").fetchone() or (
        0,
    )
    scored = connection.execute(f"""
        SELECT label, {numbers} FROM built
        WHERE split = 'train' AND hash(customer_id) % {max(1, rows // ROWS_SCORED)} = 0
    """).fetchnumpy()
    alone = {name: roc_auc_alone(scored[name], scored["label"]) for name in columns}
    why = "ROC AUC by itself"
    return [Leak(name, why, score, limit) for name, score in alone.items() if score > limit]


def _rebuilt_otherwise(
    connection: DuckDBPyConnection,
    columns: list[str],
    settings: Features,
    declared: frozenset[str],
) -> list[Leak]:
    features = [feature for feature in select(declared) if feature.name in columns]
    known = {feature.name for feature in features}
    unknown = [
        Leak(name, "no feature of the catalogue: share that cannot be worked out again", 1, 0)
        for name in columns
        if name not in known
    ]
    if not features:
        return unknown
    # Each sampled row becomes a customer of its own, whose log ends at the row's as-of date. So one
    # run answers all as-of dates, and there is no later row that anything could look at.
    connection.execute(f"""
        CREATE TEMP TABLE sampled AS
        SELECT customer_id, as_of, customer_id || ' ' || as_of AS alias
        FROM built ORDER BY hash(customer_id, as_of) LIMIT {ROWS_REBUILT};

        CREATE TEMP TABLE transactions AS
        SELECT log.* REPLACE (alias AS customer_id)
        FROM log JOIN sampled USING (customer_id) WHERE invoiced_at < as_of;

        CREATE TEMP TABLE spine AS SELECT alias AS customer_id, as_of FROM sampled;
    """)
    (log_start,) = connection.execute(
        "SELECT CAST(min(invoiced_at) AS DATE) FROM log WHERE quantity > 0"
    ).fetchone() or (None,)
    read_log(connection, settings, log_start)
    build_features(connection, features)
    differ = ", ".join(
        f"count(*) FILTER (coalesce(built.{name}, 'nan'::DOUBLE)"
        f" IS DISTINCT FROM coalesce(features.{name}, 'nan'::DOUBLE)) / count(*)"
        for name in (feature.name for feature in features)
    )
    shares = (
        connection.execute(f"""
        SELECT {differ}
        FROM sampled JOIN built USING (customer_id, as_of)
        JOIN features ON features.customer_id = alias
    """).fetchone()
        or ()
    )
    why = "share of rows that change without the rows after the as-of date"
    changed = [
        Leak(feature.name, why, share, 0)
        for feature, share in zip(features, shares)
        if share is not None and share > 0  # of no rows there is no share
    ]
    return unknown + changed
