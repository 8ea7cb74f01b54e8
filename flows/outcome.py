"""From figures to a decision: the bundle, the registered version, the gate's verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.run import code_revision
from flows.stage import Stage
from flows.tasks import Journey, read_result

if TYPE_CHECKING:
    from registry.gate import Decision
    from registry.models import ModelVersion
    from training.evaluate import Evaluation

EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Outcome:
    version: ModelVersion
    decision: Decision


@task(cache_policy=NO_CACHE, task_run_name="register and decide")
def register_task(
    journey: Journey,
    validated: Stage,
    table: Stage,
    fitted: dict[str, Stage],
    evaluation: Evaluation,
    champion_problem: str,
) -> Outcome:
    """Bundle the winner, register it as challenger, and ask the gate. Nothing is promoted yet."""
    from registry.bundle import verify_bundle, write_bundle
    from registry.gate import Difference, Evidence, decide
    from registry.models import register

    with journey.run.clock("register"):
        winner = evaluation.winner
        bundle = journey.run.folder / "bundle"
        description = _description(journey, validated, table, fitted[winner], evaluation)
        sha = write_bundle(bundle, fitted[winner].path("model.onnx").read_bytes(), description)
        version = register(
            journey.client,
            journey.settings,
            run_id=journey.parent_run,
            bundle=bundle,
            bundle_sha256=sha,
            tags={"family": winner, "config": journey.settings.name},
        )
        verify_bundle(version.bundle, expected_sha256=sha)
        versus = evaluation.against_champion
        evidence = Evidence(
            export_max_difference=evaluation.export_difference[winner],
            baseline_roc_auc=Difference(**evaluation.against_baseline),
            champion_roc_auc=Difference(**versus["roc_auc"]) if versus else None,
            champion_log_loss=Difference(**versus["log_loss"]) if versus else None,
            champion_problem=champion_problem,
        )
        decision = decide(evidence, journey.settings.gate)
    return Outcome(version, decision)


def write_example(journey: Journey, table: Stage, evaluation: Evaluation) -> Path:
    """A request for `make predict`: a few test rows as the service wants them."""
    import numpy as np

    names = table.facts["names"]
    rows = np.linspace(0, len(evaluation.test) - 1, EXAMPLE_ROWS, dtype=int)
    customers = [
        {"customer_id": str(evaluation.test.customer_id[row])}
        | {
            name: None if np.isnan(value) else round(float(value), 6)
            for name, value in zip(names, evaluation.test.x[row], strict=True)
        }
        for row in rows
    ]
    target = journey.run.folder / "example.json"
    target.write_text(json.dumps({"customers": customers}, indent=2), encoding="utf-8")
    return target


def _description(
    journey: Journey, validated: Stage, table: Stage, fitted: Stage, evaluation: Evaluation
) -> dict[str, Any]:
    """What `bundle.json` says: enough to serve the model, and to know where it comes from."""
    from features.catalogue import select
    from registry.compare import question

    result, settings = read_result(fitted), journey.settings
    return {
        "schema_version": 1,
        "family": evaluation.winner,
        "run_id": journey.run.id,
        "mlflow_run_id": journey.parent_run,
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": settings.name,
        "seed": settings.seed,
        "features": [asdict(feature) for feature in select(settings.source.declared)],
        "question": question(settings),
        "threshold": settings.training.threshold,
        "as_of": table.facts["as_of"],
        "data_sha256": validated.files["transactions.parquet"],
        "table_sha256": table.files["table.parquet"],
        "code_revision": code_revision(),
        "params": result["params"],
        "versions": result["versions"],
        "valid": result["valid_metrics"],
        "test": evaluation.scores[evaluation.winner],
    }
