"""The story as plain values, ready to be laid out: verdict, data, contest, decision.

Both pages are made from these, so that a figure in one is the figure in the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from configs.command import make, typed, where
from training.metrics import METRICS, point
from training.report.story import Story

# Metric -> (name, digits, whether more is better).
TITLES: dict[str, tuple[str, int, bool]] = {
    "roc_auc": ("ROC AUC", 4, True),
    "log_loss": ("log loss", 4, False),
    "brier": ("Brier score", 3, False),
    "calibration_error": ("calibration error", 3, False),
    "average_precision": ("average precision", 3, True),
    "lift_top_decile": ("lift of the top tenth", 2, True),
}
SPLIT_NAMES = {"train": "train", "valid": "validation", "test": "test"}


def verdict(story: Story) -> dict[str, Any]:
    """The outcome in plain words, and what speaks for or against."""
    decision, summary = story.summary["decision"], story.summary
    promoted = decision["action"] == "promote"
    rules = list(decision.get("rules") or [])
    broken = [rule for rule in rules if not rule["held"]]
    versus = story.evaluation.against_champion
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
        "winner": story.evaluation.winner,
        "reasons": list(decision["reasons"]),
        "rules": sorted(rules, key=lambda rule: bool(rule["held"])),
        "broken": broken,
        "questions": [question["text"] for question in story.summary.get("questions") or []],
        "scores": story.evaluation.scores[story.evaluation.winner],
        "rows": len(story.evaluation.test),
        "against_champion": versus,
        "against_baseline": story.evaluation.against_baseline,
        "baseline": story.evaluation.baseline,
        "oracle": _oracle(story),
    }


def data(story: Story) -> dict[str, Any]:
    """Rows, splits, dates and hashes."""
    summary = story.summary
    table, asked = summary["table"], story.settings.source.table
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
        "group": asked.group or "",
        "kept_whole": asked.split is None,
        "features": len(story.schema),
        "categorical": sum(bool(feature.get("categories")) for feature in story.schema),
        "hashes": {name: value for name, value in hashes.items() if value},
    }


def contest(story: Story) -> dict[str, Any]:
    """Every contestant's figures on the same test rows, and the paired differences."""
    evaluation = story.evaluation
    ladder = [
        {
            "name": name,
            "winner": name == evaluation.winner,
            "kind": "contestant",
            "valid": story.results[name]["valid_metrics"],
            "test": evaluation.scores[name],
        }
        for name in story.contestants
    ]
    if evaluation.champion is not None:
        ladder.append(_row("champion until now", "champion", point(story.y, evaluation.champion)))
    ladder.append(_row("baseline", "baseline", {"roc_auc": evaluation.baseline.roc_auc}))
    if (oracle := _oracle(story)) is not None:
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
            "says": _says(pair, metric, found[metric]),
            **found[metric],
        }
        for pair, found in evaluation.between.items()
        for metric in ("roc_auc", "log_loss")
    ]
    champion = [
        {"metric": metric, "says": _says("winner - champion", metric, found), **found}
        for metric, found in (evaluation.against_champion or {}).items()
    ]
    return {
        "ladder": ladder,
        "low": min(reach),
        "high": max(reach),
        "pairs": pairs,
        "champion": sorted(champion, key=lambda one: METRICS.index(one["metric"])),
        "against_baseline": evaluation.against_baseline,
        "bootstrap": story.settings.training.bootstrap,
        "ensemble": story.results.get("ensemble"),
    }


def folds(story: Story) -> list[dict[str, Any]]:
    """Per validation date the rows and each contestant's figures, oldest first. A table without
    dates has one line, with the figures that the choice was made by."""
    found: dict[str, dict[str, Any]] = {}
    for name in story.contestants:
        parts = story.results[name].get("folds") or []
        if not parts or any(not part.get("as_of") for part in parts):
            rows = sum(part["rows"] for part in parts) or None
            parts = [{"rows": rows, "metrics": story.results[name]["valid_metrics"]}]
        for part in parts:
            date = str(part.get("as_of") or "")
            one = found.setdefault(date, {"date": date, "train_rows": None, "contestants": {}})
            one["rows"] = part["rows"]
            one["train_rows"] = part.get("train_rows") or one["train_rows"]
            one["contestants"][name] = part["metrics"]
    return [found[date] for date in sorted(found)]


def tuning(story: Story) -> list[dict[str, Any]]:
    """Per contestant that was tuned: trials by outcome, and the best parameters in their range."""
    found = []
    for name in story.contestants:
        result = story.results[name]
        trials = result.get("trials") or []
        if not trials:
            continue
        states = [trial["state"] for trial in trials]
        baseline = result.get("baseline") or {}
        found.append(
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
    return found


def parameters(story: Story) -> list[dict[str, Any]]:
    """The winner's, flat: those of an ensemble are its weights."""
    flat: list[dict[str, Any]] = []
    for name, value in (story.results[story.evaluation.winner].get("params") or {}).items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        flat += [{"name": f"{name} {key}".strip(), "best": part} for key, part in inner]
    return flat


def exports(story: Story) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "test": story.evaluation.export_difference[name],
            "fitted": story.results[name].get("export_difference_on_fitted_rows"),
        }
        for name in story.contestants
    ]


def reproduction(story: Story) -> dict[str, Any]:
    """What to type to repeat the run, and what it ran on."""
    versions: dict[str, str] = {}
    for name in story.contestants:
        versions |= story.results[name].get("versions") or {}
    return {
        "reproduce": typed("reproduce", *where(story.settings), RUN=story.summary["run_id"]),
        "train": make("train", story.settings),
        "run_id": story.summary["run_id"],
        "config": story.settings.name,
        "seed": story.settings.seed,
        "revision": story.summary.get("code_revision"),
        "versions": versions,
        "by_clock": [n for n, r in story.results.items() if r.get("ended_by") == "seconds"],
        "threads": sorted(
            {r["threads"] for r in story.results.values() if r.get("threads") is not None}
        ),
        "seconds": story.summary.get("seconds") or {},
        "peak_memory_mb": story.summary.get("peak_memory_mb"),
    }


def _row(name: str, kind: str, test: dict[str, float]) -> dict[str, Any]:
    return {"name": name, "winner": False, "kind": kind, "valid": {}, "test": test}


def _oracle(story: Story) -> float | None:
    return (story.summary.get("oracle") or {}).get("roc_auc")


def _says(pair: str, metric: str, found: dict[str, float]) -> str:
    """Whom the interval favours, in words: colour and sign alone would leave it to the reader."""
    first, _, second = pair.partition(" - ")
    if found["low"] <= 0 <= found["high"]:
        return "no sure difference"
    return f"{first if (found['low'] > 0) == TITLES[metric][2] else second} is better"


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
