"""Made evaluations to render reports of: with and without dates, champion, categories, oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
from made_outcomes import (
    DATES,
    PLAIN,
    RETAIL,
    TEST_DATE,
    made_rows,
    plain_model,
    retail_model,
    sigmoid,
)

from configs.settings import Settings, Training
from features.table import Rows
from reports.model_context import ReportContext
from training.evaluate import Baseline, Evaluation
from training.importance import permutation_importance
from training.metrics import paired_difference, point, score
from training.slices import score_slices, slice_rows


def made_context(
    n: int = 600,
    *,
    names: tuple[str, ...] = ("ensemble", "xgboost", "logistic"),
    champion: bool = True,
    promoted: bool = True,
    plain: bool = False,
    contributions: bool = True,
    bootstrap: int = 60,
    **replaced: Any,
) -> ReportContext:
    """A whole run's results, from rows whose outcome follows known probabilities."""
    rng = np.random.default_rng(5)
    dates = ("NaT",) if plain else DATES
    schema, model = (PLAIN, plain_model) if plain else (RETAIL, retail_model)
    test = made_rows(n, 1, ("NaT",) if plain else (TEST_DATE,), plain)
    valid = made_rows(n, 2, dates, plain)
    assert test.y is not None and valid.y is not None
    logit = lambda x: np.log(model(x) / (1 - model(x)))  # noqa: E731
    noise = {name: 0.25 * (i + 1) for i, name in enumerate(names)}
    tested = {m: sigmoid(logit(test.x) + s * rng.normal(size=n)) for m, s in noise.items()}
    validated = {m: sigmoid(logit(valid.x) + s * rng.normal(size=n)) for m, s in noise.items()}
    lower = {m: sigmoid(np.log(p / (1 - p)) - 0.4) for m, p in tested.items()}
    older = sigmoid(logit(test.x) + rng.normal(size=n)) if champion else None
    draw: dict[str, Any] = {"bootstrap": bootstrap, "seed": 3, "groups": test.customer_id}
    winner = names[0]
    first = test.x[:, 2].astype(float)
    ranking = np.argsort(np.argsort(first, kind="stable")) / n
    evaluation = Evaluation(
        test=test,
        winner=winner,
        probabilities=tested,
        scores={m: score(test.y, p, **draw) for m, p in tested.items()},
        before_calibration={m: point(test.y, p) for m, p in lower.items()},
        export_difference={m: 1.25e-7 * (i + 1) for i, m in enumerate(names)},
        between={
            f"{a} - {b}": paired_difference(test.y, tested[a], tested[b], **draw)
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        },
        baseline=Baseline(str(schema[2]["name"]), 1, "last", point(test.y, ranking)["roc_auc"]),
        against_baseline=paired_difference(test.y, tested[winner], ranking, **draw)["roc_auc"],
        champion=older,
        against_champion=(
            None if older is None else paired_difference(test.y, tested[winner], older, **draw)
        ),
        slices=score_slices(
            test.y, tested[winner], slice_rows(test.x, schema), champion=older, min_rows=80, **draw
        ),
        latency={"p50_ms": 0.0123, "p99_ms": 0.0456},
    )
    rates = {"valid": float(valid.y.mean()), "test": float(test.y.mean())}
    m = n // 2
    shap = np.column_stack(
        [rng.normal(size=(m, len(schema))) * np.arange(1, len(schema) + 1) / 10, np.zeros(m)]
    )
    held: dict[str, Any] = {
        "summary": _summary(plain, promoted, n, rates, names),
        "settings": Settings(training=Training(contact_cost=2.0, sale_value=5.0)),
        "evaluation": evaluation,
        "results": {name: _result(name, valid, validated[name], rng) for name in names},
        "schema": schema,
        "valid": valid,
        "valid_native": validated,
        "valid_raw": {k: sigmoid(np.log(p / (1 - p)) - 0.4) for k, p in validated.items()},
        "test_raw": lower,
        "contributions": shap.astype(np.float32) if contributions else None,
        "contributions_of": winner if contributions else "",
        "importance": permutation_importance(
            model, test, [str(f["name"]) for f in schema], seed=1, most_rows=300
        ),
    }
    return ReportContext(**{**held, **replaced})


def _summary(
    plain: bool, promoted: bool, n: int, rates: dict[str, float], names: tuple[str, ...]
) -> dict[str, Any]:
    rules = [
        {
            "rule": "export",
            "held": True,
            "found": "the export differs by at most 1.2e-07",
            "limit": "at most 1e-05",
            "why": "what is served must be what was scored",
            "figure": 1.2e-7,
        },
        {
            "rule": "latency",
            "held": promoted,
            "found": "a row takes 0.046 ms",
            "limit": "at most 5 ms",
            "why": "a slow answer is no answer",
            "figure": 0.046,
        },
    ]
    return {
        "schema_version": 3,
        "run_id": "20261123-192324-f9b0",
        "config": "default",
        "source": "table" if plain else "simulated",
        "rows": {"raw": 301_215, "valid": 230_256, "quarantined": 70_959},
        "table": {
            "rows": {"train": 17_669, "valid": n, "test": n},
            "positive_rate": {"train": 0.3891, **rates},
            "as_of": {}
            if plain
            else {"train": ["2024-07-01", "2024-08-01"], "valid": list(DATES), "test": [TEST_DATE]},
        },
        "oracle": None if plain else {"roc_auc": 0.8012},
        "winner": names[0],
        "decision": {
            "action": "promote" if promoted else "reject",
            "reasons": ["held: export"] if promoted else ["broken: latency"],
            "rules": rules,
        },
        "model": {"name": "buy-again", "version": 3, "bundle_sha256": "b" * 64},
        "data_sha256": "a" * 64,
        "table_sha256": "c" * 64,
        "seconds": {"total": 61.25},
        "peak_memory_mb": 1741.9,
        "code_revision": "0123abcd",
    }


def _result(name: str, valid: Rows, p: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    assert valid.y is not None
    folds = []
    for day in np.unique(valid.as_of):
        rows = np.isnat(valid.as_of) if np.isnat(day) else valid.as_of == day
        folds.append(
            {
                "as_of": None if np.isnat(day) else str(day),
                "train_rows": 5000,
                "rows": int(rows.sum()),
                "metrics": point(valid.y[rows], p[rows]),
            }
        )
    means = {k: float(np.mean([f["metrics"][k] for f in folds])) for k in folds[0]["metrics"]}
    common = {
        "family": name,
        "valid_metrics": means,
        "folds": folds,
        "export_difference_on_fitted_rows": 2e-7,
        "seed": 7,
        "threads": 1,
        "versions": {"python": "3.11.9", "numpy": "2.4.6"},
    }
    if name == "ensemble":
        weights = {"xgboost": 0.65, "logistic": 0.35}
        kind = {"kind": "of its members"}
        return common | {"params": {"weights": weights}, "trials": [], "calibration": kind}
    best, trials = 9.0, []
    for number in range(20):
        state = "failed" if number == 13 else "pruned" if number % 4 == 3 else "complete"
        value = means["recalibrated_log_loss"] + abs(rng.normal()) * 0.01 * (number != 5)
        best = min(best, value) if state == "complete" else best
        trials.append(
            {
                "number": number,
                "state": state,
                "params": {"learning_rate": 0.01 * (number + 1), "rounds": [200 + number, 300]},
                "metrics": {"recalibrated_log_loss": value} if state == "complete" else {},
                "seconds": 0.8,
                "best": best,
                "error": "ValueError: no <number>" if state == "failed" else None,
            }
        )
    return common | {
        "params": {"learning_rate": 0.06, "max_depth": 3, "rounds": 210},
        "baseline": {"learning_rate": 0.05, "max_depth": 3},
        "calibration": {"kind": "season"},
        "best_trial": 5,
        "trials": trials,
        "ended_by": "trials",
        "seconds": {"tuning": 6.2, "refit": 0.5, "export": 0.3},
    }
