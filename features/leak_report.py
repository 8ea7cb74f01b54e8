"""What a check for leaks has found, and the message that stops a run for it.

Found by `features/leaks.py` in a log, and by `features/table_leaks.py` in a labelled table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from features.roc_auc import RocAuc

SPINE = "spine"  # who is asked about, among the names of features
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
    """The columns that are surely above the limit by themselves, or by being there at all."""
    leaks = []
    for name, score in scores.items():
        told = presence[name]
        if score.low > limit:
            leaks.append(Leak(name, "strong", score.score, score.low, limit))
        elif told is not None and told.low > limit:
            leaks.append(Leak(name, "presence", told.score, told.low, limit))
    return leaks


def stop_on_leaks(leaks: Sequence[Leak], *, rebuilt: bool = True) -> None:
    """Raise UserError if there are any: what is proven apart from what is suspicious.

    rebuilt: whether features were made again without the future, which a table has none of.
    """
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
    if rebuilt and not proven:
        said.append("nothing changed when the future was removed")
    where = f"columns of the training table: {', '.join(shown)}"
    raise UserError("; ".join(said), where=where, next_step=next_step)


def _more(leaks: Sequence[Leak]) -> str:
    return f" and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
