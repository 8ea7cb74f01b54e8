"""The result of a check for leaks, and the message that stops a run.

The checks are `features/leaks.py` of a log and `features/table_leaks.py` of a labelled table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from features.roc_auc import RocAuc

SPINE = "spine"  # the customers of each as-of date, among the names of features
ROWS_SCORED = 5_000  # of the training split, or a few more: the ROC AUC is known to about .01
ROWS_OF_A_CLASS = 30  # fewer say nothing about a ROC AUC
SHOWN = 3  # columns in a message, the strongest

# What a message says of each kind, and what to do next.
STATEMENTS = {
    "changed": (
        "the training table knows the future: this changes when the future is removed",
        "repair the SQL that makes it (features/sql/)",
    ),
    "unknown": (
        "the training table has columns that are not features of the catalogue",
        "leave them out of the table, or add them to features/catalogue.py and features/sql/",
    ),
    "presence": (
        "whether a feature has a value tells the label",
        "check whether the source fills it in after the outcome, and leave it out then; if it is"
        " known before, pass --features.max_feature_roc_auc 1",
    ),
    "strong": (
        "a feature is suspiciously good by itself",
        "check whether the source fills it in after the outcome; if a single feature may be that"
        " good, pass --features.max_feature_roc_auc {}",
    ),
}


@dataclass(frozen=True)
class Leak:
    """A column that knows the future, or may; `spine` stands for which customers are in the table.

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
        where = "the customers of a date" if self.name == SPINE else "its rows"
        return f"{self.name} ({100 * self.figure:.3g} % of {where})"


@dataclass(frozen=True)
class LeakReport:
    """What was checked, and found.  leaks: in the order of the table's columns.

    limit: of the ROC AUC of a column by itself.  rows_scored: those it was measured on.
    rows_rebuilt: rows that were worked out again without the future, at these dates (ISO).
    strongest: the best column by itself and its ROC AUC; None with too few rows of a class.
    strong: of a table, the best `SHOWN` of them, the strongest first.
    """

    leaks: tuple[Leak, ...]
    limit: float
    rows_scored: int
    rows_rebuilt: int
    dates: tuple[str, ...]
    strongest: tuple[str, float] | None
    strong: tuple[tuple[str, float], ...] = ()


def suspicious(
    scores: Mapping[str, RocAuc], presence: Mapping[str, RocAuc | None], limit: float
) -> list[Leak]:
    """The columns significantly above the limit, by themselves or by being there at all."""
    leaks = []
    for name, score in scores.items():
        present = presence[name]
        if score.low > limit:
            leaks.append(Leak(name, "strong", score.score, score.low, limit))
        elif present is not None and present.low > limit:
            leaks.append(Leak(name, "presence", present.score, present.low, limit))
    return leaks


def stop_on_leaks(leaks: Sequence[Leak], *, rebuilt: bool = True) -> None:
    """Raise UserError if there are any, those that are proven before those that are suspicious.

    rebuilt: whether features were made again without the future, which a table has none of.
    """
    if not leaks:
        return
    statements, columns, next_step = [], [], ""
    of_kind = {kind: [leak for leak in leaks if leak.kind == kind] for kind in STATEMENTS}
    proven = {leak.name for leak in (*of_kind["changed"], *of_kind["unknown"])}
    for kind in ("strong", "presence"):
        of_kind[kind] = [leak for leak in of_kind[kind] if leak.name not in proven]
    for kind, named in of_kind.items():
        if not named:
            continue
        statement, remedy = STATEMENTS[kind]
        named.sort(key=lambda leak: -leak.low)
        names = ", ".join(map(str, named[:SHOWN])) + _more(named)
        statements.append(f"{statement}: {names}")
        columns.append(", ".join(leak.name for leak in named[:SHOWN]) + _more(named))
        next_step = next_step or remedy.format(0.99 if named[0].low < 0.99 else 1)
    if rebuilt and not proven:
        statements.append("nothing changed when the future was removed")
    where = f"columns of the training table: {', '.join(columns)}"
    raise UserError("; ".join(statements), where=where, next_step=next_step)


def _more(leaks: Sequence[Leak]) -> str:
    return f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
