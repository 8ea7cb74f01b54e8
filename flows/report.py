"""Write what a run leaves for people: its report and model card, and the parent run in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from configs.settings import Settings
from flows.dataset import TABLE, Parts, TableStage
from flows.questions import questions
from flows.run import RunContext
from flows.stage import Stage
from ingestion.outcome import TRANSACTIONS
from registry import runs
from registry.mlmodel import columns

if TYPE_CHECKING:
    from training.evaluate import Evaluation


def log_run(
    context: RunContext,
    summary: dict[str, Any],
    validated: Stage,
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
    context: RunContext, summary: dict[str, Any], validated: Stage, table: TableStage
) -> None:
    """What the list of runs shows in columns: the data sets, and each family's test figures."""
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
    """The settings as MLflow's parameters, to compare runs by. The columns of a source are left to
    `settings.yaml`, which is with the run: they may be hundreds, and be called anything."""
    tree = settings.model_dump(mode="json")
    tree["source"]["columns"] = len(settings.source.columns)
    tree["source"]["table"]["columns"] = len(settings.source.table.columns)
    return _flat(tree)


def _metrics(summary: dict[str, Any]) -> dict[str, float | None]:
    """The winner's test figures under plain names, which run compares with run; every
    candidate's under its own; and what they are to be compared with."""
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
    validated: Stage,
    table: TableStage,
    evaluation: Evaluation,
) -> float | None:
    """The ROC AUC that the best possible predictor reaches on the test rows; None for real data."""
    if parts.truth is None:
        return None
    from features.table import read_column
    from simulator.oracle import oracle_probability
    from training.metrics import point

    path = table.path("table.parquet")
    probability = oracle_probability(
        validated.path("transactions.parquet"),
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
