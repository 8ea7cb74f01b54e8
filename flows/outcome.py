"""From figures to a decision: the bundle, the registered version, the gate's verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.clock import today
from flows.compare import Comparison
from flows.dataset import TABLE, TableStage, ValidatedStage
from flows.family import read_result
from flows.run import RunContext, code_revision
from flows.stage import Stage, code_sha256

if TYPE_CHECKING:
    from configs.settings import Settings
    from registry.champion import ModelVersion
    from registry.evidence import Evidence, ShadowEvidence
    from registry.gate import Decision
    from training.evaluate import Evaluation

EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class Outcome:
    version: ModelVersion
    decision: Decision


@task(cache_policy=NO_CACHE, task_run_name="register and decide")
def register_task(
    context: RunContext,
    validated: ValidatedStage,
    table: TableStage,
    candidates: dict[str, Stage],
    comparison: Comparison,
) -> Outcome:
    """Bundle the winner, register it as challenger, and ask the gate. Nothing is promoted yet."""
    from flows.examples import make_examples
    from registry.bundle import verify_bundle, write_bundle
    from registry.champion import fetch, register
    from registry.gate import decide

    with context.run.clock("register"):
        winner = comparison.evaluation.winner
        bundle = context.run.folder / "bundle"
        description = describe(context, validated, table, candidates[winner], comparison.evaluation)
        model = candidates[winner].path("model.onnx").read_bytes()
        examples = make_examples(context, validated, table, comparison.evaluation)
        sha = write_bundle(bundle, model, description, examples)
        version = register(
            context.client,
            context.settings,
            run_id=context.parent_run,
            bundle=bundle,
            bundle_sha256=sha,
            tags={"family": winner, "config": context.settings.name},
        )
        fetch(version)  # what will be served is what was registered
        verify_bundle(version.bundle, expected_sha256=sha)
        gate_evidence = evidence(
            table,
            comparison,
            description,
            today(context.settings),
            shadow_evidence(context, comparison, version),
        )
        decision = decide(gate_evidence, context.settings.gate)
    return Outcome(version, decision)


def carry_out(
    context: RunContext, comparison: Comparison, outcome: Outcome, summary: dict[str, Any]
) -> dict[str, Any]:
    """Write the decision into the ledger and, if it says so, move the alias; returns which record.

    Last in a run, so that one that fails has promoted nothing. Raises ChampionChanged when the
    champion is not the one that the challenger was compared with.
    """
    from registry.decisions import conclude

    evaluation = comparison.evaluation
    entry = conclude(
        context.client,
        context.settings,
        version=outcome.version,
        decision=outcome.decision,
        expected_champion=comparison.champion.version if comparison.champion else None,
        figures={
            **evaluation.scores[evaluation.winner],
            "against_champion": evaluation.against_champion or {},
            "against_baseline": evaluation.against_baseline,
            "clock": str(today(context.settings)),
        },
        data_sha256=summary["data_sha256"],
        code_revision=summary["code_revision"],
        run_id=context.run.id,
    )
    return {"sequence": entry.sequence, "sha256": entry.sha256}


def shadow_evidence(
    context: RunContext, comparison: Comparison, version: ModelVersion
) -> ShadowEvidence | None:
    """Return what the service has seen of this version in shadow, where the gate requires it:
    nothing yet, as it was just registered, with what to do about it."""
    from flows.shadow import evidence_of

    settings = context.settings
    if comparison.champion is None or settings.gate.shadow_days is None:
        return None
    return evidence_of(settings, comparison.champion.version, version.version)[0]


def evidence(
    table: TableStage,
    comparison: Comparison,
    description: dict[str, Any],
    day: date,
    shadow: ShadowEvidence | None = None,
) -> Evidence:
    """Gather what the gate judges, from the evaluation and the two bundles' descriptions. day:
    today by the clock."""
    from registry.evidence import ChampionEvidence, Difference, Evidence, judged_slices

    evaluation, theirs = comparison.evaluation, comparison.description
    versus, beside, scores = evaluation.against_champion, None, evaluation.scores[evaluation.winner]
    if comparison.champion:
        beside = ChampionEvidence(
            schema=tuple(theirs["features"]) if theirs else None,
            learnt_until=learnt_until(theirs) if theirs else None,
            roc_auc=Difference(**versus["roc_auc"]) if versus else None,
            log_loss=Difference(**versus["log_loss"]) if versus else None,
            slices=judged_slices(evaluation.slices) if versus else (),
        )
    return Evidence(
        export_max_difference=evaluation.export_difference[evaluation.winner],
        chance_roc_auc=Difference(
            *(scores[f"roc_auc{end}"] - 0.5 for end in ("", "_low", "_high"))
        ),
        baseline_roc_auc=Difference(**evaluation.against_baseline),
        calibration_error=scores["calibration_error"],
        latency_p99_ms=evaluation.latency["p99_ms"],
        today=day,
        schema=tuple(description["features"]),
        newest_row=newest_row(table.facts.as_of, description["question"]),
        learnt_until=learnt_until(description),
        champion=beside,
        champion_problem=comparison.problem,
        shadow=shadow,
    )


def learnt_until(description: dict[str, Any]) -> date | None:
    """Return the last day whose outcomes a model was trained on; None for a table without dates."""
    days = description["as_of"]["train"] + description["as_of"]["valid"]
    return _window_end(days, description["question"])


def newest_row(as_of: dict[str, list[str]], question: dict[str, Any]) -> date | None:
    """Return the last day of the rows that a run saw: the end of the test split's label window."""
    return _window_end(as_of["test"], question)


def _window_end(days: list[str], question: dict[str, Any]) -> date | None:
    if not days:
        return None
    return date.fromisoformat(max(days)) + timedelta(days=question["horizon_days"])


def write_example(context: RunContext, table: TableStage, evaluation: Evaluation) -> Path:
    """Write a request for `make predict`: a few test rows in the form that the service takes."""
    import numpy as np

    from features.categories import decode

    schema = table.facts.described
    rows = np.linspace(0, len(evaluation.test) - 1, EXAMPLE_ROWS, dtype=int)
    customers: list[dict[str, Any]] = [
        {"customer_id": str(evaluation.test.customer_id[row])}
        | {
            feature["name"]: decode(float(value), feature)
            for feature, value in zip(schema, evaluation.test.x[row], strict=True)
        }
        for row in rows
    ]
    target = context.run.folder / "example.json"
    target.write_text(json.dumps({"customers": customers}, indent=2), encoding="utf-8")
    return target


def describe(
    context: RunContext,
    validated: ValidatedStage,
    table: TableStage,
    fitted: Stage,
    evaluation: Evaluation,
) -> dict[str, Any]:
    """Return the content of `bundle.json`: what is needed to serve the model, and where it comes
    from."""
    from registry.evidence import held_out_sha256, question

    result, settings = read_result(fitted), context.settings
    return {
        "schema_version": 2,
        "family": evaluation.winner,
        "run_id": context.run.id,
        "mlflow_run_id": context.parent_run,
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": settings.name,
        "seed": settings.seed,
        "features": table.facts.described,
        "question": question(settings),
        "threshold": settings.training.threshold,
        "contact_cost": settings.training.contact_cost,
        "sale_value": settings.training.sale_value,
        "as_of": table.facts.as_of,
        "data_sha256": validated.files["transactions.parquet"],
        "table_sha256": table.files[TABLE],
        "held_out_sha256": held_out_sha256(table.path(TABLE), settings),
        "code_revision": code_revision(),
        "code_sha256": code_sha256(),
        "params": result["params"],
        "versions": result["versions"],
        "calibration": result["calibration"]["kind"],
        "valid": result["valid_metrics"],
        "test": evaluation.scores[evaluation.winner],
        # The best single feature, and how much the model is above it: difference, low, high.
        "baseline": {**asdict(evaluation.baseline), **evaluation.against_baseline},
        "transactions": transactions(settings, table),
        "source_form": settings.source.form.model_dump(mode="json"),
    }


def transactions(settings: Settings, table: TableStage) -> dict[str, Any] | None:
    """Return what the service needs to make features of invoice lines as this run did; None for a
    labelled table."""
    from features.engine import VARIABLES
    from flows.log_stages import dated

    if settings.source.kind == "table":
        return None
    return {
        "declared": sorted(settings.source.declared),
        "contract": dated(settings).model_dump(mode="json"),
        "features": settings.features.model_dump(mode="json", include=set(VARIABLES)),
        "log_start": table.facts.log_start,
    }
