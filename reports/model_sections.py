"""Compute the sections of a run's pages as plain values, in the order of the page.

The report and the model card are both made from these, so that a figure in one is the figure in the
other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from common.statistics import wilson
from configs.make_command import make, typed, where
from reports import curves
from reports.model_context import ReportContext
from reports.words import SPLIT_NAMES
from training.importance import contribution_rows, summarise_contributions
from training.metrics import METRICS, point
from training.slices import worst

# Metric -> (name, digits, whether more is better).
TITLES: dict[str, tuple[str, int, bool]] = {
    "roc_auc": ("ROC AUC", 4, True),
    "log_loss": ("log loss", 4, False),
    "brier": ("Brier score", 3, False),
    "calibration_error": ("calibration error", 3, False),
    "average_precision": ("average precision", 3, True),
    "lift_top_decile": ("lift of the top tenth", 2, True),
}
SHOWN = 6  # features whose contributions are drawn along their values
PER = 1000  # rows: the value of contact is given per so many


def verdict(context: ReportContext) -> dict[str, Any]:
    """Describe the outcome, the rules of the gate, and the scores that it is based on."""
    decision, summary = context.summary["decision"], context.summary
    promoted = decision["action"] == "promote"
    rules = list(decision.get("rules") or [])
    broken = [rule for rule in rules if not rule["held"]]
    versus = context.evaluation.against_champion
    if promoted and versus:
        headline = "Promoted: it takes the champion's place"
    elif promoted:
        headline = "Promoted: it is the new champion"
    else:
        headline = "Not promoted: the champion, if there is one, stays"
    return {
        "promoted": promoted,
        "headline": headline,
        "model": summary["model"]["name"],
        "version": summary["model"]["version"],
        "winner": context.evaluation.winner,
        "reasons": list(decision["reasons"]),
        "rules": sorted(rules, key=lambda rule: bool(rule["held"])),
        "broken": broken,
        "questions": [question["text"] for question in context.summary.get("questions") or []],
        "scores": context.evaluation.scores[context.evaluation.winner],
        "rows": len(context.evaluation.test),
        "against_champion": versus,
        "against_baseline": context.evaluation.against_baseline,
        "baseline": context.evaluation.baseline,
        "oracle": _oracle(context),
    }


def data(context: ReportContext) -> dict[str, Any]:
    """Return rows, splits, dates and hashes."""
    summary = context.summary
    table, labelled = summary["table"], context.settings.source.table
    as_of = table.get("as_of") or {}
    splits = [
        {
            "split": SPLIT_NAMES.get(split, split),
            "dates": [str(day) for day in as_of.get(split) or []],
            "rows": rows,
            "rate": (table.get("positive_rate") or {}).get(split),
        }
        for split, rows in table["rows"].items()
    ]
    hashes = {
        "valid rows": summary.get("data_sha256"),
        "training table": summary.get("table_sha256"),
        "code": summary.get("code_sha256"),
        "model bundle": summary["model"].get("bundle_sha256"),
    }
    return {
        "source": summary["source"],
        "rows": summary.get("rows") or {},
        "splits": splits,
        "dated": any(split["dates"] for split in splits),
        "group": labelled.group or "",
        "kept_whole": labelled.split is None,
        "features": len(context.schema),
        "categorical": sum(bool(feature.get("categories")) for feature in context.schema),
        "hashes": {name: value for name, value in hashes.items() if value},
    }


def comparison(context: ReportContext) -> dict[str, Any]:
    """Return every candidate's figures on the same test rows, and the paired differences."""
    evaluation = context.evaluation
    ladder = [
        {
            "name": name,
            "winner": name == evaluation.winner,
            "kind": "candidate",
            "valid": context.results[name]["valid_metrics"],
            "test": evaluation.scores[name],
        }
        for name in context.candidates
    ]
    if evaluation.champion is not None:
        ladder.append(_row("champion until now", "champion", point(context.y, evaluation.champion)))
    ladder.append(_row("baseline", "baseline", {"roc_auc": evaluation.baseline.roc_auc}))
    if (oracle := _oracle(context)) is not None:
        ladder.append(_row("oracle (the ceiling)", "oracle", {"roc_auc": oracle}))
    reach = [
        value
        for row in ladder
        for key in ("roc_auc", "roc_auc_low", "roc_auc_high")
        if (value := row["test"].get(key)) is not None
    ]
    pairs = [
        {
            "pair": pair,
            "metric": metric,
            "says": _comparison_text(pair, metric, differences[metric]),
            **differences[metric],
        }
        for pair, differences in evaluation.between.items()
        for metric in ("roc_auc", "log_loss")
    ]
    champion = [
        {
            "metric": metric,
            "says": _comparison_text("winner - champion", metric, difference),
            **difference,
        }
        for metric, difference in (evaluation.against_champion or {}).items()
    ]
    return {
        "ladder": ladder,
        "low": min(reach),
        "high": max(reach),
        "pairs": pairs,
        "champion": sorted(champion, key=lambda pair: METRICS.index(pair["metric"])),
        "against_baseline": evaluation.against_baseline,
        "bootstrap": context.settings.training.bootstrap,
        "ensemble": context.results.get("ensemble"),
    }


def folds(context: ReportContext) -> list[dict[str, Any]]:
    """Return the rows and each candidate's figures per validation date, oldest first. A table
    without dates has one row, with the validation figures that decided the choice."""
    by_date: dict[str, dict[str, Any]] = {}
    for name in context.candidates:
        parts = context.results[name].get("folds") or []
        if not parts or any(not part.get("as_of") for part in parts):
            rows = sum(part["rows"] for part in parts) or None
            parts = [{"rows": rows, "metrics": context.results[name]["valid_metrics"]}]
        for part in parts:
            date = str(part.get("as_of") or "")
            row = by_date.setdefault(date, {"date": date, "train_rows": None, "candidates": {}})
            row["rows"] = part["rows"]
            row["train_rows"] = part.get("train_rows") or row["train_rows"]
            row["candidates"][name] = part["metrics"]
    return [by_date[date] for date in sorted(by_date)]


def calibration(context: ReportContext) -> dict[str, Any]:
    """Compare before and after, per candidate on the test split, and per date for the winner."""
    evaluation, winner = context.evaluation, context.evaluation.winner
    raw_winner = context.test_raw.get(winner)
    candidates = []
    for name in context.candidates:
        before = evaluation.before_calibration.get(name) or {}
        raw = context.test_raw.get(name)
        after = evaluation.scores[name]
        candidates.append(
            {
                "name": name,
                "kind": (context.results[name].get("calibration") or {}).get("kind", "none"),
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
        "observed": float(context.y.mean()),
        "candidates": candidates,
        "dates": _levels(context),
        "after": curves.reliability(context.y, evaluation.probabilities[winner]),
        "before": [] if raw_winner is None else curves.reliability(context.y, raw_winner),
    }


def contact(context: ReportContext) -> dict[str, Any] | None:
    """Return the stated costs, the threshold that follows from them, and what it would have
    brought; None where no costs are set."""
    training = context.settings.training
    if training.contact_cost is None or training.sale_value is None or training.threshold is None:
        return None
    p = context.evaluation.probabilities[context.evaluation.winner]
    costs = (training.contact_cost, training.sale_value)
    groups = context.evaluation.test.unit
    thresholds, worth = curves.values(context.y, p, *costs)
    best = int(np.argmax(worth))
    return {
        "contact_cost": training.contact_cost,
        "sale_value": training.sale_value,
        "threshold": training.threshold,
        "chosen": curves.contact(context.y, p, training.threshold, *costs, groups),
        "everybody": curves.contact(context.y, p, 0.0, *costs, groups),
        "half": curves.contact(context.y, p, 0.5, *costs, groups),
        "hindsight": (float(thresholds[best]), float(worth[best])),
        "thresholds": thresholds,
        "worth": worth,
        "per": PER,
        "rows": len(context.y),
    }


def importance(context: ReportContext) -> dict[str, Any]:
    """Put two views of each feature side by side: what shuffling costs, and what it adds."""
    meaning = {str(f["name"]): str(f.get("meaning") or "") for f in context.schema}
    unit = {str(f["name"]): str(f.get("unit") or "") for f in context.schema}
    given = _contributions(context)
    by_name = {one["name"]: one for one in given}
    shuffled = context.importance["features"] if context.importance else []
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
        "shuffling": context.importance,
        "contributions_of": context.contributions_of if given else "",
        "contribution_rows": 0 if context.contributions is None else len(context.contributions),
        "dependence": [
            {**one, "unit": unit.get(one["name"], "")} for one in given if len(one["bins"]) > 1
        ][:SHOWN],
    }


def slices(context: ReportContext) -> dict[str, Any]:
    """Return every slice with its figures; the worst judged ones named."""
    scored = list(context.evaluation.slices)
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
        "min_rows": context.settings.gate.slice_min_rows,
        "max_drop": context.settings.gate.max_slice_drop,
        "champion": any(s["against_champion"] for s in scored),
        "whole": context.evaluation.scores[context.evaluation.winner],
    }


def _levels(context: ReportContext) -> list[dict[str, Any]]:
    """Mean prediction of the winner against the outcome, per split and as-of date."""
    winner, rows = context.evaluation.winner, []
    if context.valid is not None and context.valid.y is not None and winner in context.valid_native:
        rows += _by_date(
            "valid",
            context.valid.as_of,
            context.valid.y,
            context.valid_native[winner],
            context.valid_raw.get(winner),
        )
    rows += _by_date(
        "test",
        context.evaluation.test.as_of,
        context.y,
        context.evaluation.probabilities[winner],
        context.test_raw.get(winner),
    )
    return rows


def _by_date(
    split: str, as_of: np.ndarray, y: np.ndarray, p: np.ndarray, raw: np.ndarray | None
) -> list[dict[str, Any]]:
    by_date = []
    for day in np.unique(as_of):  # a table without dates: one NaT
        rows = np.isnat(as_of) if np.isnat(day) else as_of == day
        low, high = wilson(float(y[rows].mean()), int(rows.sum()))
        outcomes = y[rows]
        by_date.append(
            {
                "split": SPLIT_NAMES[split],
                "date": "" if np.isnat(day) else str(day),
                "rows": int(rows.sum()),
                "observed": float(outcomes.mean()),
                "low": low,
                "high": high,
                "before": None if raw is None else float(raw[rows].mean()),
                "after": float(p[rows].mean()),
                "error": (
                    point(outcomes, np.clip(p[rows], 0, 1))["calibration_error"]
                    if len(set(outcomes.tolist())) == 2
                    else None
                ),
            }
        )
    return by_date


def _contributions(context: ReportContext) -> list[dict[str, Any]]:
    if context.contributions is None or not len(context.contributions):
        return []
    x = context.evaluation.test.x
    rows = contribution_rows(len(x), len(context.contributions))
    return summarise_contributions(context.contributions, x[rows], context.schema)


def _direction(given: dict[str, Any] | None) -> str:
    """Describe the direction of a feature's effect, if the correlation is strong enough."""
    if given is None or given["mean_size"] == 0:
        return ""
    correlation = given["direction"]
    if correlation is None:
        return "differs by value"
    if abs(correlation) < 0.3:
        return "no single one"
    return "larger raises it" if correlation > 0 else "larger lowers it"


def tuning(context: ReportContext) -> list[dict[str, Any]]:
    """Return trials by outcome and the best parameters, per candidate that was tuned."""
    candidates = []
    for name in context.candidates:
        result = context.results[name]
        trials = result.get("trials") or []
        if not trials:
            continue
        states = [trial["state"] for trial in trials]
        baseline = result.get("baseline") or {}
        candidates.append(
            {
                "name": name,
                "trials": trials,
                "complete": states.count("complete"),
                "pruned": states.count("pruned"),
                "failed": states.count("failed"),
                "errors": sorted({str(t["error"]) for t in trials if t.get("error")}),
                "seconds": sum((result.get("seconds") or {}).values()),
                "ended_by": result.get("ended_by", ""),
                "best_trial": result.get("best_trial"),
                "params": [
                    {
                        "name": key,
                        "best": value,
                        "first": baseline.get(key),
                        "tried": _range(t["params"].get(key) for t in trials),
                    }
                    for key, value in (result.get("params") or {}).items()
                ],
            }
        )
    return candidates


def parameters(context: ReportContext) -> list[dict[str, Any]]:
    """Return the winner's parameters, flat: those of an ensemble are its weights."""
    flat: list[dict[str, Any]] = []
    for name, value in (context.results[context.evaluation.winner].get("params") or {}).items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat += [{"name": f"{name} {key}".strip(), "best": part} for key, part in inner]
    return flat


def exports(context: ReportContext) -> list[dict[str, Any]]:
    """Return how far each exported model differs from the original."""
    return [
        {
            "name": name,
            "test": context.evaluation.export_difference[name],
            "fitted": context.results[name].get("export_difference_on_fitted_rows"),
        }
        for name in context.candidates
    ]


def reproduction(context: ReportContext) -> dict[str, Any]:
    """Say what to type to repeat the run, and what it ran on."""
    versions: dict[str, str] = {}
    for name in context.candidates:
        versions |= context.results[name].get("versions") or {}
    return {
        "reproduce": typed("reproduce", *where(context.settings), RUN=context.summary["run_id"]),
        "train": make("train", context.settings),
        "run_id": context.summary["run_id"],
        "config": context.settings.name,
        "seed": context.settings.seed,
        "revision": context.summary.get("code_revision"),
        "versions": versions,
        "by_clock": [n for n, r in context.results.items() if r.get("ended_by") == "seconds"],
        "threads": sorted(
            {r["threads"] for r in context.results.values() if r.get("threads") is not None}
        ),
        "seconds": context.summary.get("seconds") or {},
        "peak_memory_mb": context.summary.get("peak_memory_mb"),
    }


def _row(name: str, kind: str, test: dict[str, float]) -> dict[str, Any]:
    return {"name": name, "winner": False, "kind": kind, "valid": {}, "test": test}


def _oracle(context: ReportContext) -> float | None:
    return (context.summary.get("oracle") or {}).get("roc_auc")


def _comparison_text(pair: str, metric: str, difference: dict[str, float]) -> str:
    """Name the candidate that the interval favours: a colour or sign would need interpretation."""
    first, _, second = pair.partition(" - ")
    if difference["low"] <= 0 <= difference["high"]:
        return "no significant difference"
    return f"{first if (difference['low'] > 0) == TITLES[metric][2] else second} is better"


def _range(values: Iterable[Any]) -> str:
    """`0.01 to 0.2` of numbers; of anything else, the values that were tried."""
    parts = [value if isinstance(value, list | tuple) else [value] for value in values]
    known = [value for part in parts for value in part if value is not None]  # one per fold
    if not known:
        return ""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        low, high = min(known), max(known)
        return f"{low:.4g} to {high:.4g}" if high > low else f"{low:.4g}"
    return ", ".join(sorted({str(value) for value in known}))
