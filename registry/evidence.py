"""The figures that the gate judges: of the challenger, and of the champion on the same test rows.

Only a champion that answers the same question, and has not learnt from the outcomes of these rows,
can be compared fairly (`why_not_comparable`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from configs.settings import Settings


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

    schema: tuple[Mapping[str, Any], ...] | None = None
    learnt_until: date | None = None
    roc_auc: Difference | None = None
    log_loss: Difference | None = None
    slices: tuple[SliceEvidence, ...] = ()


@dataclass(frozen=True)
class ShadowEvidence:
    """The challenger in shadow of the champion (`serving.shadow`), by the log of the service.

    days, rows: how many were scored by both.  harm: what speaks against the challenger, in
    sentences.  next_step: what to do while days or rows are too few.
    """

    days: int
    rows: int
    harm: tuple[str, ...] = ()
    next_step: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that the gate knows.

    chance_roc_auc: ROC AUC less the 0.5 of chance.
    baseline_roc_auc: ROC AUC less that of the most predictive single column.
    calibration_error: of the challenger on the test split.  latency_p99_ms: of one row.
    newest_row: the last day of the rows that the run saw; None for a table without dates.
    learnt_until: as in ChampionEvidence.  today: the day of the decision.
    schema: the challenger's features, in order.
    champion_problem: why a champion that exists cannot be scored ("": it was, or there is none).
    shadow: None where the log of the service was not read.
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
    """The differences that a client of the champion would notice, in words.

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
        changes.append("the features are in another order")
    return changes


# --- can a champion be compared? -----------------------------------------------------------------


def question(settings: Settings) -> dict[str, Any]:
    """What a model predicts, and about which data: models with different questions cannot be
    compared. A file may grow from month to month; a simulation of another seed is another shop."""
    source = settings.source
    if source.kind == "table":
        table = source.table
        return {"source": source.kind, "target": table.target, "positive": table.positive}
    question = {name: getattr(settings.features, name) for name in settings.features.question}
    if source.kind == "simulated":
        simulated = source.simulation.model_dump(mode="json", exclude={"days", "drift"})
        return {**question, "source": source.kind, "seed": settings.seed, **simulated}
    return {**question, "source": source.kind}


def held_out_sha256(table: Path, settings: Settings) -> str:
    """The hash of the rows of the test split, in any order: of their identifiers and labels, and
    where the source has no identifiers of their values too (a row number does not identify a row).

    "" for a log, where the as-of dates say which outcomes a model has learnt from.
    """
    import pyarrow.parquet as pq

    if settings.source.kind != "table":
        return ""
    named = settings.source.table.id is not None
    columns = ["customer_id", "label"] if named else None
    rows = pq.read_table(table, columns=columns, filters=[("split", "==", "test")])
    if not named:
        rows = rows.drop_columns(["customer_id"])
    # Through text, so that a missing value is the same as itself.
    lines = sorted("\x1f".join(map(str, row.values())) for row in rows.to_pylist())
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def why_not_comparable(
    champion: dict[str, Any],
    today: dict[str, Any],
    test_dates: list[str],
    test_rows: str = "",
) -> str:
    """Why the champion cannot be judged fairly on test rows of these as-of dates; "" when it can.

    champion: the content of its `bundle.json`.  today: the question of this run.
    test_rows: the rows' `held_out_sha256`, which decides for a table without dates: only rows of
    the champion's own test split are known to be new to it.
    """
    theirs = champion.get("question", {})
    for name in dict.fromkeys([*today, *theirs]):
        if today.get(name) != theirs.get(name):
            return (
                f"it answers another question: {name} is {theirs.get(name)!r} there and"
                f" {today.get(name)!r} in this run"
            )
    if not test_dates:
        if not test_rows or champion.get("held_out_sha256") != test_rows:
            return (
                "these are not the rows of its own test split, so it may have learnt from some"
                " (a column that names the split, source.table.split, keeps the split the same)"
            )
        return ""
    learnt_from = max(champion["as_of"]["train"] + champion["as_of"]["valid"])
    seen_until = date.fromisoformat(learnt_from) + timedelta(days=today["horizon_days"])
    if seen_until > date.fromisoformat(min(test_dates)):
        return (
            f"it learnt from outcomes until {seen_until}, and the labels of the test rows begin on"
            f" {min(test_dates)}"
        )
    return ""


def _difference(values: Mapping[str, float | None] | None) -> Difference | None:
    """None where one of its three numbers is missing."""
    if values is None or None in values.values():
        return None
    return Difference(values["difference"], values["low"], values["high"])  # type: ignore[arg-type]


def _plain(feature: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back. A bundle from before there were categories has none."""
    return json.loads(json.dumps({"categories": [], **feature}))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
