"""After the families are fitted: the ensemble, and all candidates on the test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.dataset import TABLE, TableStage
from flows.family import read_result
from flows.run import RunContext
from flows.stage import Stage, run_stage
from flows.stage_code import ENSEMBLE

if TYPE_CHECKING:
    from registry.champion import ModelVersion
    from training.evaluate import Evaluation

FILES = (
    "model.onnx",
    "result.json",
    "valid_native.npy",
    "valid_raw.npy",
    "test_native.npy",
    "test_raw.npy",
)


@dataclass(frozen=True)
class Comparison:
    """The evaluation, and the champion it was made beside: its version, the content of its
    bundle.json (None where it cannot be read), and why it could not be scored ("" when it was)."""

    evaluation: Evaluation
    champion: ModelVersion | None
    description: dict[str, Any] | None
    problem: str


@task(cache_policy=NO_CACHE, task_run_name="ensemble")
def ensemble_task(
    context: RunContext, table: TableStage, fitted: dict[str, Stage]
) -> dict[str, Stage]:
    """The candidates: the families, and where there are several, their ensemble."""
    from training.ensemble import NAME, build_ensemble

    settings = context.settings
    if not settings.training.ensemble or len(fitted) < 2:
        return fitted
    features = table.facts.names
    folders = {name: stage.folder for name, stage in fitted.items()}

    def build(folder: Path) -> dict[str, Any]:
        build_ensemble(table.path(TABLE), features, folders, settings.seed, folder)
        return {}

    depends_on = {
        "table": table.files[TABLE],
        "families": {n: {file: s.files[file] for file in FILES} for n, s in fitted.items()},
        "seed": settings.seed,
    }
    with context.run.clock("ensemble"):
        stage = run_stage(settings.var, NAME, depends_on, ENSEMBLE, build)
    weights = read_result(stage)["params"]["weights"]
    shares = ", ".join(f"{name} {weight:.0%}" for name, weight in weights.items())
    loss = read_result(stage)["valid_metrics"]["recalibrated_log_loss"]
    context.display.say(f"ensemble: {shares}; recalibrated log loss {loss:.4f}")
    return {**fitted, NAME: stage}


@task(cache_policy=NO_CACHE, task_run_name="evaluate")
def evaluate_task(
    context: RunContext, table: TableStage, candidates: dict[str, Stage]
) -> Comparison:
    from registry.bundle import BundleRefused, load_bundle
    from registry.champion import fetch, find_champion
    from registry.evidence import held_out_sha256, question, why_not_comparable
    from training.evaluate import evaluate, in_terms_of

    settings, schema = context.settings, table.facts.described
    champion, description, problem = find_champion(context.client, settings), None, ""
    predict = None
    if champion is not None:
        try:
            fetch(champion)
            bundle = load_bundle(champion.bundle, expected_sha256=champion.bundle_sha256)
            description = bundle.description
            problem = why_not_comparable(
                description,
                question(settings),
                table.facts.as_of["test"],
                held_out_sha256(table.path(TABLE), settings),
            )
            place = in_terms_of(bundle.features, schema)
            predict = lambda x: bundle.predict(place(x))  # noqa: E731
        except BundleRefused as error:
            problem = error.what
        except ValueError as error:
            problem = str(error)
    with context.run.clock("evaluate"):
        context.display.say("evaluate: opening the test split")
        evaluation = evaluate(
            table.path(TABLE),
            schema,
            {name: stage.folder for name, stage in candidates.items()},
            bootstrap=settings.training.bootstrap,
            seed=settings.seed,
            slice_min_rows=settings.gate.slice_min_rows,
            champion=None if problem else predict,
        )
    return Comparison(evaluation, champion, description, problem)
