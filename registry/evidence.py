"""What the gate looks at: figures of the challenger, and of the champion on the same test rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True)
class Difference:
    """Challenger minus the other side on the same rows, with its 95 % interval."""

    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, (self.difference, self.low, self.high)))


@dataclass(frozen=True)
class SliceEvidence:
    """One slice that is large enough to be judged: ROC AUC of challenger minus champion on its
    rows; None where it could not be computed."""

    name: str
    rows: int
    roc_auc: Difference | None


@dataclass(frozen=True)
class ChampionEvidence:
    """The champion beside the challenger on today's test rows.

    The differences are None, and the slices empty, only where `Evidence.champion_problem` says why.
    schema: the features of its bundle, None where the bundle cannot be read.
    learnt_until: the last day whose outcomes it learnt from; None for a table without dates.
    """

    version: int
    schema: tuple[Mapping[str, Any], ...] | None = None
    learnt_until: date | None = None
    roc_auc: Difference | None = None
    log_loss: Difference | None = None
    slices: tuple[SliceEvidence, ...] = ()


@dataclass(frozen=True)
class ShadowEvidence:
    """The challenger in shadow of the champion (`serving.shadow`), by the log of the service.

    days, rows: on which, and how many, both answered.  harm: what speaks against it, in sentences.
    next_step: what to do while that is not enough.
    """

    days: int
    rows: int
    harm: tuple[str, ...] = ()
    next_step: str = ""


@dataclass(frozen=True)
class Evidence:
    """All the gate knows.

    chance_roc_auc: less the .5 of a model that knows nothing.
    baseline_roc_auc: less that of the one column that says most by itself.
    calibration_error: of the challenger on the test split.  latency_p99_ms: of one row.
    newest_row: the last day of the rows that the run saw; None for a table without dates.
    learnt_until: as in ChampionEvidence.  today: the day of the decision.
    schema: the features the challenger asks the service for, in order.
    champion_problem: why a champion that exists cannot be scored ("": it was, or there is none).
    shadow: None where the log of the service was not looked into.
    """

    export_max_difference: float
    chance_roc_auc: Difference
    baseline_roc_auc: Difference
    calibration_error: float
    latency_p99_ms: float
    today: date
    schema: tuple[Mapping[str, Any], ...]
    newest_row: date | None = None
    learnt_until: date | None = None
    champion: ChampionEvidence | None = None
    champion_problem: str = ""
    shadow: ShadowEvidence | None = None


def judged_slices(slices: Iterable[Mapping[str, Any]]) -> tuple[SliceEvidence, ...]:
    """The slices that are judged, from the dicts of `training/slices.py`."""
    return tuple(
        SliceEvidence(
            str(part["slice"]),
            int(part["rows"]),
            _difference(part["against_champion"]),
        )
        for part in slices
        if part["judged"]
    )


def schema_changes(champion: Iterable[Any], challenger: Iterable[Any]) -> list[str]:
    """What a service that speaks the champion's schema would trip over, in words; [] when nothing.

    Both are features in order, as dicts of name, unit, meaning, low, high, missing, categories.
    """
    theirs, ours = (
        {feature["name"]: _plain(feature) for feature in schema}
        for schema in (champion, challenger)
    )
    changes = [f"{name} is gone" for name in theirs if name not in ours]
    changes += [f"{name} is new" for name in ours if name not in theirs]
    for name in (name for name in theirs if name in ours):
        for key in sorted({*theirs[name], *ours[name]}):
            before, after = theirs[name].get(key), ours[name].get(key)
            if before != after:
                changes.append(f"{key} of {name} is {_short(after)}, was {_short(before)}")
    if not changes and list(theirs) != list(ours):
        changes.append("the features come in another order")
    return changes


def _difference(found: Mapping[str, float | None] | None) -> Difference | None:
    """None where any of its three numbers is not there."""
    if found is None or None in found.values():
        return None
    return Difference(found["difference"], found["low"], found["high"])  # type: ignore[arg-type]


def _plain(feature: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes out of bundle.json; a bundle from before there were categories has none."""
    return json.loads(json.dumps({"categories": [], **feature}))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
