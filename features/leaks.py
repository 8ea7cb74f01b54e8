"""Does the training table know the future? Asked in every training, in two ways.

- **It changes when the future is removed.** For the last training date and the test date, who is
  asked about and every feature are worked out once more, by the same SQL, from a log that ends at
  that date. What differs from the table, in any row, saw what is gone. (Kaufman et al. 2012,
  doi:10.1145/2382577.2382579, calls this a learn-predict separation.) A column that no feature of
  the catalogue makes cannot be worked out again, and is named for that.
- **Alone it is suspiciously good.** ROC AUC of the column by itself on the training split. This
  finds what is wrong in the log itself, such as a field written after the fact, which the first way
  cannot see. It proves nothing: where some customers come weekly and most came once, an honest
  feature is as good. The same is asked of whether a feature has a value at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from configs.duck import connect, parquet, quoted
from configs.errors import UserError
from configs.settings import Compute, Features
from features.catalogue import ALL, select
from features.rebuild import SPINE, dates_to_rebuild, number, rebuild
from features.roc_auc import RocAuc, presence_alone, roc_auc_alone

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEYS = ("customer_id", "as_of", "split", "label")  # every other column is checked
ROWS_SCORED = 5_000  # of the training split, or a few more: the ROC AUC is known to about .01
ROWS_OF_A_CLASS = 30  # fewer say nothing about a ROC AUC
SHOWN = 3  # columns in a message, the strongest

# What a message says of each kind, and what to do next.
STATEMENTS = {
    "changed": (
        "the training table knows the future, for this changes when the future is removed",
        "mend the SQL that makes it (features/sql/)",
    ),
    "unknown": (
        "the training table has what no feature of the catalogue makes",
        "take it out of the table, or describe it in features/catalogue.py and make it by SQL",
    ),
    "presence": (
        "whether a feature has a value tells the label",
        "look whether the source fills it in after the fact, and leave it out then; where it is"
        " known before, pass --features.max_feature_roc_auc 1",
    ),
    "strong": (
        "a feature is suspiciously good by itself",
        "look whether the source fills it in after the fact; where a single feature may be that"
        " good, pass --features.max_feature_roc_auc {}",
    ),
}


@dataclass(frozen=True)
class Leak:
    """A column that knows the future, or may, or who is asked about (`spine`).

    kind: `changed` when the future is removed; `unknown` to the catalogue; `strong` by itself;
    `presence`: whether it has a value is what is strong.
    figure: the share of rows that changed, or the ROC AUC; of a presence, the share of one label
    among these rows, were both equally frequent.  low: the lower end of its interval.
    limit: the most that `low` may be.
    """

    name: str
    kind: Literal["changed", "unknown", "strong", "presence"]
    figure: float
    low: float
    limit: float

    def __str__(self) -> str:
        if self.kind == "strong":
            interval = f"95 % interval from {self.low:.3f}, the limit is {self.limit:g}"
            return f"{self.name} (ROC AUC {self.figure:.3f}, {interval})"
        if self.kind == "presence":
            return f"{self.name} ({100 * self.figure:.3g} % of one label)"
        if self.kind == "unknown":
            return self.name
        where = "the customers who are asked about" if self.name == SPINE else "its rows"
        return f"{self.name} ({100 * self.figure:.3g} % of {where})"


@dataclass(frozen=True)
class LeakReport:
    """What was checked, and found.  leaks: in the order of the table's columns.

    limit: of the ROC AUC of a column by itself.  rows_scored: those it was measured on.
    rows_rebuilt: rows that were worked out again without the future, at these dates (ISO).
    strongest: the best column by itself and its ROC AUC; None with too few rows of a class.
    """

    leaks: tuple[Leak, ...]
    limit: float
    rows_scored: int
    rows_rebuilt: int
    dates: tuple[str, ...]
    strongest: tuple[str, float] | None


def find_leaks(
    transactions: Path | list[Path],
    table: Path,
    settings: Features,
    declared: frozenset[str] = ALL,
    compute: Compute | None = None,
) -> list[Leak]:
    """The leaks of `check_leaks`."""
    return list(check_leaks(transactions, table, settings, declared, compute).leaks)


def check_leaks(
    transactions: Path | list[Path],
    table: Path,
    settings: Features,
    declared: frozenset[str] = ALL,
    compute: Compute | None = None,
) -> LeakReport:
    """Check every column of `table` but the keys and the label, and who is asked about.

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


def suspicious(
    scores: Mapping[str, RocAuc], presence: Mapping[str, RocAuc | None], limit: float
) -> list[Leak]:
    """The columns that are surely above the limit by themselves, or by being there at all."""
    leaks = []
    for name, score in scores.items():
        told = presence[name]
        if score.low > limit:
            leaks.append(Leak(name, "strong", score.score, score.low, limit))
        elif told is not None and told.low > limit:
            leaks.append(Leak(name, "presence", told.score, told.low, limit))
    return leaks


def stop_on_leaks(leaks: Sequence[Leak]) -> None:
    """Raise UserError if there are any: what is proven apart from what is suspicious."""
    if not leaks:
        return
    said, shown, next_step = [], [], ""
    of_kind = {kind: [leak for leak in leaks if leak.kind == kind] for kind in STATEMENTS}
    proven = {leak.name for leak in (*of_kind["changed"], *of_kind["unknown"])}
    for kind in ("strong", "presence"):
        of_kind[kind] = [leak for leak in of_kind[kind] if leak.name not in proven]
    for kind, found in of_kind.items():
        if not found:
            continue
        statement, remedy = STATEMENTS[kind]
        found.sort(key=lambda leak: -leak.low)
        names = ", ".join(map(str, found[:SHOWN])) + _more(found)
        said.append(f"{statement}: {names}")
        shown.append(", ".join(leak.name for leak in found[:SHOWN]) + _more(found))
        next_step = next_step or remedy.format(0.99 if found[0].low < 0.99 else 1)
    if not proven:
        said.append("nothing changed when the future was removed")
    where = f"columns of the training table: {', '.join(shown)}"
    raise UserError("; ".join(said), where=where, next_step=next_step)


def _more(leaks: Sequence[Leak]) -> str:
    return f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""


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
