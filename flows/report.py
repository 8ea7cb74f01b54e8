"""What a run leaves in MLflow on its parent: settings, data hash, revision, figures, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from configs.settings import Settings
from flows.data_stages import Parts
from flows.run import code_revision
from flows.stage import Stage
from flows.tasks import Journey, read_result
from registry import tracking

if TYPE_CHECKING:
    from training.evaluate import Evaluation


def log_run(
    journey: Journey,
    summary: dict[str, Any],
    validated: Stage,
    fitted: dict[str, Stage],
    evaluation: Evaluation,
) -> None:
    """Log the parent run. The pictures also stay in the run's folder."""
    from training.figures import draw_figures

    with journey.run.clock("report"):
        results = {name: read_result(stage) for name, stage in fitted.items()}
        pictures = draw_figures(evaluation, results, journey.run.folder)
        winner = summary["families"][summary["winner"]]
        tracking.log(
            journey.client,
            journey.parent_run,
            params=_flat(journey.settings.model_dump(mode="json")),
            metrics={f"test_{name}": value for name, value in winner["test"].items()}
            | {"baseline_roc_auc": summary["baseline"]["roc_auc"]}
            | {"oracle_roc_auc": (summary["oracle"] or {}).get("roc_auc")}
            | {f"rows_{name}": summary["rows"][name] for name in ("raw", "valid", "quarantined")},
            tags={
                "data_sha256": validated.files["transactions.parquet"],
                "code_revision": code_revision(),
                "winner": summary["winner"],
                "decision": summary["decision"]["action"],
                "reasons": "\n".join(summary["decision"]["reasons"]),
                "test_split_opened": "1",  # by evaluate_task, after the winner was chosen
            },
        )
        pages = [journey.run.folder / name for name in ("contract.html", "data_report.html")]
        tracking.log_files(journey.client, journey.parent_run, [*pictures, *pages], "report")


def oracle_roc_auc(
    settings: Settings, parts: Parts, validated: Stage, table: Stage, evaluation: Evaluation
) -> float | None:
    """The ROC AUC that the best possible predictor reaches on the test rows; None for real data."""
    if parts.truth is None:
        return None
    from features.table import read_column
    from ingestion.simulation.oracle import oracle_probability
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
