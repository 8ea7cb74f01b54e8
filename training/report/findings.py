"""The story as plain values, continued: calibration, value of contact, importance, slices."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.report.table import wilson
from training.importance import contribution_rows, summarise_contributions
from training.metrics import point
from training.report import curves
from training.report.facts import SPLIT_NAMES
from training.report.story import Story
from training.slices import worst

SHOWN = 6  # features whose contributions are drawn along their values
PER = 1000  # rows: the value of contact is told per so many


def calibration(story: Story) -> dict[str, Any]:
    """Before and after, per contestant on the test split, and per date for the winner."""
    evaluation, winner = story.evaluation, story.evaluation.winner
    contestants = []
    for name in story.contestants:
        before = evaluation.before_calibration.get(name) or {}
        raw = story.test_raw.get(name)
        after = evaluation.scores[name]
        contestants.append(
            {
                "name": name,
                "kind": (story.results[name].get("calibration") or {}).get("kind", "none"),
                "mean_before": None if raw is None else float(raw.mean()),
                "mean_after": float(evaluation.probabilities[name].mean()),
                "error_before": before.get("calibration_error"),
                "error_after": after["calibration_error"],
                "error_high": after["calibration_error_high"],
                "loss_before": before.get("log_loss"),
                "loss_after": after["log_loss"],
            }
        )
    return {
        "observed": float(story.y.mean()),
        "contestants": contestants,
        "dates": _levels(story),
        "after": curves.reliability(story.y, evaluation.probabilities[winner]),
        "before": (
            curves.reliability(story.y, story.test_raw[winner]) if winner in story.test_raw else []
        ),
    }


def contact(story: Story) -> dict[str, Any] | None:
    """The stated costs, the threshold that follows from them, and what it would have brought; None
    where no costs are set."""
    training = story.settings.training
    if training.contact_cost is None or training.sale_value is None or training.threshold is None:
        return None
    p = story.evaluation.probabilities[story.evaluation.winner]
    costs = (training.contact_cost, training.sale_value)
    groups = story.evaluation.test.unit
    thresholds, worth = curves.values(story.y, p, *costs)
    best = int(np.argmax(worth))
    return {
        "contact_cost": training.contact_cost,
        "sale_value": training.sale_value,
        "threshold": training.threshold,
        "chosen": curves.contact(story.y, p, training.threshold, *costs, groups),
        "everybody": curves.contact(story.y, p, 0.0, *costs, groups),
        "half": curves.contact(story.y, p, 0.5, *costs, groups),
        "hindsight": (float(thresholds[best]), float(worth[best])),
        "thresholds": thresholds,
        "worth": worth,
        "per": PER,
        "rows": len(story.y),
    }


def importance(story: Story) -> dict[str, Any]:
    """Per feature both views side by side: what shuffling costs, and what it adds on average."""
    meaning = {str(f["name"]): str(f.get("meaning") or "") for f in story.schema}
    unit = {str(f["name"]): str(f.get("unit") or "") for f in story.schema}
    given = _contributions(story)
    by_name = {one["name"]: one for one in given}
    shuffled = story.importance["features"] if story.importance else []
    order = [one["name"] for one in shuffled] or [one["name"] for one in given]
    by_shuffle = {one["name"]: one for one in shuffled}
    features = [
        {
            "name": name,
            "meaning": meaning.get(name, ""),
            "shuffled": by_shuffle.get(name),
            "given": by_name.get(name),
            "direction": _direction(by_name.get(name)),
        }
        for name in order
    ]
    return {
        "features": features,
        "most_lost": max((one["roc_auc_loss"] for one in shuffled), default=0.0),
        "most_given": max((one["mean_size"] for one in given), default=0.0),
        "facts": story.importance,
        "contributions_of": story.contributions_of if given else "",
        "contribution_rows": 0 if story.contributions is None else len(story.contributions),
        "dependence": [
            {**one, "unit": unit.get(one["name"], "")} for one in given if len(one["bins"]) > 1
        ][:SHOWN],
    }


def slices(story: Story) -> dict[str, Any]:
    """Every slice with its figures; the worst judged ones named."""
    scored = list(story.evaluation.slices)
    named = worst(scored)
    low = min((s["roc_auc_low"] for s in scored if s["roc_auc_low"] is not None), default=0.5)
    high = max((s["roc_auc_high"] for s in scored if s["roc_auc_high"] is not None), default=1.0)
    off = sorted(
        (s for s in scored if s["judged"]),
        key=lambda s: -abs(s["mean_predicted"] - s["observed"]),
    )
    return {
        "slices": scored,
        "worst": named,
        "worst_names": {s["slice"] for s in named},
        "most_off": off[0] if off else None,
        "low": low,
        "high": high,
        "min_rows": story.settings.gate.slice_min_rows,
        "max_drop": story.settings.gate.max_slice_drop,
        "champion": any(s["against_champion"] for s in scored),
        "whole": story.evaluation.scores[story.evaluation.winner],
    }


def _levels(story: Story) -> list[dict[str, Any]]:
    """Mean prediction of the winner against the outcome, per split and as-of date."""
    winner, found = story.evaluation.winner, []
    if story.valid is not None and story.valid.y is not None and winner in story.valid_native:
        found += _by_date(
            "valid",
            story.valid.as_of,
            story.valid.y,
            story.valid_native[winner],
            story.valid_raw.get(winner),
        )
    found += _by_date(
        "test",
        story.evaluation.test.as_of,
        story.y,
        story.evaluation.probabilities[winner],
        story.test_raw.get(winner),
    )
    return found


def _by_date(
    split: str, as_of: np.ndarray, y: np.ndarray, p: np.ndarray, raw: np.ndarray | None
) -> list[dict[str, Any]]:
    found = []
    for day in np.unique(as_of):  # a table without dates: one NaT
        rows = np.isnat(as_of) if np.isnat(day) else as_of == day
        low, high = wilson(int(y[rows].sum()), int(rows.sum()))
        one = y[rows]
        found.append(
            {
                "split": SPLIT_NAMES[split],
                "date": "" if np.isnat(day) else str(day),
                "rows": int(rows.sum()),
                "observed": float(one.mean()),
                "low": low,
                "high": high,
                "before": None if raw is None else float(raw[rows].mean()),
                "after": float(p[rows].mean()),
                "error": (
                    point(one, np.clip(p[rows], 0, 1))["calibration_error"]
                    if len(set(one.tolist())) == 2
                    else None
                ),
            }
        )
    return found


def _contributions(story: Story) -> list[dict[str, Any]]:
    if story.contributions is None or not len(story.contributions):
        return []
    x = story.evaluation.test.x
    rows = contribution_rows(len(x), len(story.contributions))
    return summarise_contributions(story.contributions, x[rows], story.schema)


def _direction(given: dict[str, Any] | None) -> str:
    """In words, where the correlation is strong enough to speak of a direction."""
    if given is None or given["mean_size"] == 0:
        return ""
    found = given["direction"]
    if found is None:
        return "differs by value"
    if abs(found) < 0.3:
        return "no single one"
    return "larger raises it" if found > 0 else "larger lowers it"
