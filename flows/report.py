"""What a run leaves: `summary.json` for machines (docs/summary.schema.json), the report and the
model card for people, questions that only a person can answer, and the parent run in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from configs.settings import Settings
from features.facts import TableFacts
from flows.dataset import TABLE, Parts, TableStage, ValidatedStage
from flows.family import read_result
from flows.outcome import Outcome
from flows.run import RunContext, code_revision
from flows.stage import Stage, code_sha256
from flows.table_stages import torn_groups
from ingestion.facts import ValidationResult
from ingestion.outcome import TRANSACTIONS
from registry import runs
from registry.location import tracking_uri
from registry.mlmodel import columns

if TYPE_CHECKING:
    from training.evaluate import Evaluation
STRONG = 0.75  # ROC AUC of a column by itself: few honest ones are that good
DWARFS = 0.05  # of ROC AUC lost without it, and more than without all the others together


def summarise(
    context: RunContext,
    parts: Parts,
    validated: ValidatedStage,
    table: TableStage,
    candidates: dict[str, Stage],
    evaluation: Evaluation,
    oracle_roc_auc: float | None,
    outcome: Outcome,
) -> dict[str, Any]:
    """Return the content of `summary.json`, JSON values only."""
    settings, run = context.settings, context.run
    facts = table.facts.to_json()
    return {
        "schema_version": 3,
        "run_id": run.id,
        "config": settings.name,
        "source": settings.source.kind,
        "data_sha256": validated.files[TRANSACTIONS],
        "table_sha256": table.files[TABLE],
        "code_revision": code_revision(),
        "code_sha256": code_sha256(),
        "seconds": {"total": round(run.elapsed(), 3), **run.seconds},
        "peak_memory_mb": run.peak_memory_mb,
        "batch": parts.batch,
        "rows": asdict(validated.facts.rows),
        "unseen": validated.facts.unseen,
        "warnings": warnings(validated.facts),
        "table": {key: facts[key] for key in ("features", "rows", "positive_rate", "as_of")},
        "leak_check": {
            name: value
            for name, value in facts["leak_check"].items()
            if name not in ("leaks", "strong")
        },
        "families": {name: _family(stage, evaluation, name) for name, stage in candidates.items()},
        "differences": evaluation.between,
        "baseline": asdict(evaluation.baseline),
        "oracle": None if oracle_roc_auc is None else {"roc_auc": oracle_roc_auc},
        "winner": evaluation.winner,
        "against": {
            "baseline": evaluation.against_baseline,
            "champion": evaluation.against_champion,
        },
        "slices": evaluation.slices,
        "threshold": settings.training.threshold,
        "decision": {
            "action": outcome.decision.action,
            "reasons": list(outcome.decision.reasons),
            "rules": list(outcome.decision.rules),
        },
        "model": {
            "name": outcome.version.name,
            "version": outcome.version.version,
            "bundle_sha256": outcome.version.bundle_sha256,
            "export_max_difference": evaluation.export_difference[evaluation.winner],
            "latency": evaluation.latency,
        },
        "mlflow": {"tracking_uri": tracking_uri(settings), "run_id": context.parent_run},
    }


def warnings(result: ValidationResult) -> list[str]:
    """Return what a person should look at in the rows, as sentences: rules that keep out a large
    share, and broken rules of severity `warn` about the whole batch."""
    measured = [
        f"{finding.code} is {finding.found:.3g}, the limit is {finding.limit}:"
        f" {finding.why} (contract.rules.{finding.code})"
        for finding in result.findings
        if not finding.success and finding.severity == "warn" and isinstance(finding.found, float)
    ]
    heavy = [f"{rule.text} ({rule.setting})" for rule in result.heavy]
    return [*heavy, *measured]


def _family(stage: Stage, evaluation: Evaluation, name: str) -> dict[str, Any]:
    result = read_result(stage)
    return {
        "folder": stage.folder.name,
        "trials": len(result["trials"]),
        "seconds": round(sum(result["seconds"].values()), 3),
        "fit_seconds": round(result["seconds"]["tuning"] + result["seconds"]["refit"], 3),
        "ended_by": result["ended_by"],
        "reused": stage.reused,
        "params": result["params"],
        "calibration": result["calibration"]["kind"],
        "valid": result["valid_metrics"],
        "test": evaluation.scores[name],
        "test_before_calibration": evaluation.before_calibration[name],
    }


def log_run(
    context: RunContext,
    summary: dict[str, Any],
    validated: ValidatedStage,
    table: TableStage,
    candidates: dict[str, Stage],
    evaluation: Evaluation,
) -> None:
    """Write report.html and model_card.md into the run's folder, and log the parent run. The
    summary gets its questions here, where the importance of the features is computed."""
    from reports.model import write_model_report
    from reports.model_context import read_context

    folder = context.run.folder
    with context.run.clock("report"):
        shown = read_context(
            summary,
            context.settings,
            evaluation,
            {name: stage.folder for name, stage in candidates.items()},
            table.facts.described,
            table.path(TABLE),
        )
        summary["questions"] = questions(
            context.settings,
            table.facts,
            summary["against"]["baseline"],
            summary["baseline"],
            shown.importance,
        )
        pages = write_model_report(shown, folder)
        pages += [folder / name for name in ("contract.html", "data_report.html")]
        runs.log(
            context.client,
            context.parent_run,
            params=parameters(context.settings),
            metrics=_metrics(summary),
            tags={
                "data_sha256": summary["data_sha256"],
                "code_revision": summary["code_revision"],
                "winner": summary["winner"],
                "decision": summary["decision"]["action"],
                "reasons": "\n".join(summary["decision"]["reasons"]),
                "test_split_opened": "1",  # by evaluate_task, after the winner was chosen
            },
        )
        runs.log_files(context.client, context.parent_run, pages, "report")
        runs.log_files(context.client, context.parent_run, [folder / "settings.yaml"])
        _log_for_the_list(context, summary, validated, table)


def _log_for_the_list(
    context: RunContext, summary: dict[str, Any], validated: ValidatedStage, table: TableStage
) -> None:
    """Log what the list of runs shows in columns: the data sets, and each family's test figures."""
    client, name = context.client, context.settings.name
    families = runs.children(client, context.parent_run)
    features = columns(table.facts.described)
    runs.log_dataset(
        client,
        context.parent_run,
        name=f"{name} valid rows",
        file=validated.path(TRANSACTIONS),
        sha256=validated.files[TRANSACTIONS],
        rows=summary["rows"]["valid"],
    )
    for run in (context.parent_run, *families.values()):
        runs.log_dataset(
            client,
            run,
            name=f"{name} training table",
            file=table.path(TABLE),
            sha256=table.files[TABLE],
            rows=sum(table.facts.rows.values()),
            columns=features,
        )
    for family, run in families.items():
        test = summary["families"][family]["test"]
        runs.log(client, run, metrics={f"test_{metric}": v for metric, v in test.items()})


def parameters(settings: Settings) -> dict[str, Any]:
    """Return the settings as MLflow's parameters, to compare runs by. The columns of a source are
    only in the run's `settings.yaml`: there may be hundreds, with any name."""
    tree = settings.model_dump(mode="json")
    tree["source"]["columns"] = len(settings.source.columns)
    tree["source"]["table"]["columns"] = len(settings.source.table.columns)
    return _flat(tree)


def _metrics(summary: dict[str, Any]) -> dict[str, float | None]:
    """Return the winner's test figures under plain names, to compare runs by; every candidate's
    under its own; and the baseline and oracle."""
    families, rows = summary["families"], summary["rows"]
    winner = families[summary["winner"]]
    return {
        **{
            f"{split}_{name}": v for split in ("valid", "test") for name, v in winner[split].items()
        },
        **{
            f"{candidate}/test_{name}": value
            for candidate, figures in families.items()
            for name, value in figures["test"].items()
        },
        "baseline_roc_auc": summary["baseline"]["roc_auc"],
        "oracle_roc_auc": (summary["oracle"] or {}).get("roc_auc"),
        **{f"rows_{name}": rows[name] for name in ("raw", "valid", "quarantined")},
    }


def oracle_roc_auc(
    settings: Settings,
    parts: Parts,
    validated: ValidatedStage,
    table: TableStage,
    evaluation: Evaluation,
) -> float | None:
    """Return the ROC AUC that the best possible predictor reaches on the test rows; None for real
    data."""
    if parts.truth is None:
        return None
    from features.table import read_column
    from simulator.oracle import oracle_probability
    from training.metrics import point

    path = table.path(TABLE)
    probability = oracle_probability(
        validated.path(TRANSACTIONS),
        path,
        parts.truth,
        settings.features.horizon_days,
    )
    assert evaluation.test.y is not None
    return point(evaluation.test.y, probability[read_column(path, "split") == "test"])["roc_auc"]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


# --- questions to a person: none stops a run (`features/leaks.py` does, where a leak is certain) --


def questions(
    settings: Settings,
    table: TableFacts,
    against_baseline: Mapping[str, float],
    baseline: Mapping[str, Any],
    importance: Mapping[str, Any] | None,
) -> list[dict[str, str]]:
    """Return questions to a person, each `about` a column, with its `text`.

    table: the facts of the training table.  against_baseline: the winner's ROC AUC less that of the
    `baseline`.  importance: of the winner (`training/importance.py`).
    """
    open_questions = []
    if torn := torn_groups(settings, table):
        open_questions.append({"about": str(settings.source.table.group), "text": torn})
    if against_baseline["low"] <= 0:
        low, high = against_baseline["low"], against_baseline["high"]
        name = str(baseline["feature"])
        figures = f"{against_baseline['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        text = f"the model does not rank significantly better than {name} alone: ROC AUC {figures}"
        open_questions.append({"about": name, "text": text})
    if settings.source.kind == "table" and table.leak_check is not None:
        for name, why in _strong(table.leak_check.strong, importance).items():
            text = (
                f"is {name} known before the outcome? {'. '.join(why)}. If not, move it to"
                " source.table.leave_out and train again"
            )
            open_questions.append({"about": name, "text": text})
    return open_questions


def _strong(
    strong: Sequence[tuple[str, float]], importance: Mapping[str, Any] | None
) -> dict[str, list[str]]:
    """Return why a column is suspiciously strong, for each that is: by itself, or to the model."""
    reasons: dict[str, list[str]] = {}
    for name, score in strong:
        if score > STRONG:
            reasons[name] = [f"By itself it reaches a ROC AUC of {score:.3f}"]
    lost = {
        one["name"]: one["roc_auc_loss"] for one in (importance or {"features": ()})["features"]
    }
    if lost:
        first = max(lost, key=lambda name: lost[name])
        others = sum(max(loss, 0.0) for name, loss in lost.items() if name != first)
        if lost[first] > max(DWARFS, others):
            reasons.setdefault(first, []).append(
                f"Shuffled, it costs the model {lost[first]:.3f} of ROC AUC, all others together"
                f" {others:.3f}"
            )
    return reasons
