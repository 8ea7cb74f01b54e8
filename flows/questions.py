"""What only a person can answer, asked at the end of a run: printed, in the report, in the summary.

Nothing here stops a run: `features/leaks.py` does that where the figures are beyond doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from configs.settings import Settings
from features.facts import TableFacts
from flows.table_stages import torn_groups

STRONG = 0.75  # ROC AUC of a column by itself: few honest ones are that good
DWARFS = 0.05  # of ROC AUC lost without it, and more than without all the others together


def questions(
    settings: Settings,
    table: TableFacts,
    against_baseline: Mapping[str, float],
    baseline: Mapping[str, Any],
    importance: Mapping[str, Any] | None,
) -> list[dict[str, str]]:
    """Each is `about` a column, with its `text`.

    table: the facts of the training table.  against_baseline: the winner's ROC AUC less that of the
    `baseline`.  importance: of the winner (`training/importance.py`).
    """
    found = []
    if torn := torn_groups(settings, table):
        found.append({"about": str(settings.source.table.group), "text": torn})
    if against_baseline["low"] <= 0:
        low, high = against_baseline["low"], against_baseline["high"]
        name = str(baseline["feature"])
        said = f"{against_baseline['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        text = f"the model does not surely rank better than {name} alone: ROC AUC {said}"
        found.append({"about": name, "text": text})
    if settings.source.kind == "table" and table.leak_check is not None:
        for name, why in _strong(table.leak_check.strong, importance).items():
            text = (
                f"is {name} known before the outcome? {'. '.join(why)}. If not, move it to"
                " source.table.leave_out and train again"
            )
            found.append({"about": name, "text": text})
    return found


def _strong(
    strong: Sequence[tuple[str, float]], importance: Mapping[str, Any] | None
) -> dict[str, list[str]]:
    """Columns that are strong by themselves or to the model -> why."""
    found: dict[str, list[str]] = {}
    for name, score in strong:
        if score > STRONG:
            found[name] = [f"By itself it reaches a ROC AUC of {score:.3f}"]
    lost = {
        one["name"]: one["roc_auc_loss"] for one in (importance or {"features": ()})["features"]
    }
    if lost:
        first = max(lost, key=lambda name: lost[name])
        others = sum(max(loss, 0.0) for name, loss in lost.items() if name != first)
        if lost[first] > max(DWARFS, others):
            found.setdefault(first, []).append(
                f"Shuffled, it costs the model {lost[first]:.3f} of ROC AUC, all others together"
                f" {others:.3f}"
            )
    return found
