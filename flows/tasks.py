"""The stages of training as Prefect tasks. Wiring only: each calls one room and hands on paths.

Nothing here is cached by Prefect (`flows/stage.py` says why), and tasks share the `Journey` of one
run instead of shipping data: what goes from stage to stage lies in files with known hashes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.errors import UserError
from configs.settings import Settings
from flows.display import Display
from flows.run import Run, log
from flows.stage import Stage, hash_file, run_stage

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from training.evaluate import Evaluation


@dataclass(frozen=True)
class Journey:
    """What all stages of one run share."""

    settings: Settings
    run: Run
    display: Display
    client: MlflowClient
    parent_run: str


@task(cache_policy=NO_CACHE, task_run_name="ingest")
def ingest_task(journey: Journey) -> Stage:
    from ingestion.ingest import ingest

    source = journey.settings.source
    depends_on: dict[str, Any] = {
        "source": source.model_dump(mode="json"),
        "seed": journey.settings.seed,
    }
    if source.path is not None and source.path.is_file():
        depends_on["file"] = hash_file(source.path)

    def build(folder: Path) -> dict[str, Any]:
        ingest(source, journey.settings.seed, folder)
        return {}

    return _stage(journey, "ingest", depends_on, ("ingestion",), build)


@task(cache_policy=NO_CACHE, task_run_name="validate")
def validate_task(journey: Journey, ingested: Stage) -> Stage:
    from ingestion.ingest import ROWS, last_day
    from ingestion.validate import ContractBroken, validate_batch

    contract = journey.settings.contract
    if contract.not_after is None:
        contract = contract.model_copy(update={"not_after": last_day(journey.settings.source)})
    now = datetime.now(UTC).replace(tzinfo=None)  # times in the log are UTC
    depends_on = {
        "rows": ingested.files[ROWS],
        "contract": contract.model_dump(mode="json"),
        "today": now.date() if contract.not_after is None else None,
    }

    def build(folder: Path) -> dict[str, Any]:
        try:
            return asdict(validate_batch(ingested.path(ROWS), folder, contract, now=now))
        except ContractBroken as error:  # the page stays with the run; nothing else is left
            _keep(folder, journey.run.folder, "contract.html", "contract.json")
            page = str(journey.run.folder / "contract.html")
            raise ContractBroken(error.what, where=page, next_step=error.next_step) from None

    stage = _stage(journey, "validate", depends_on, ("ingestion",), build)
    _keep(stage.folder, journey.run.folder, "contract.html", "contract.json")
    return stage


@task(cache_policy=NO_CACHE, task_run_name="features")
def features_task(journey: Journey, validated: Stage) -> Stage:
    from features.build import build_table
    from features.contract import read_frame, table_checks
    from ingestion.expectations import validate

    def build(folder: Path) -> dict[str, Any]:
        facts = build_table(
            validated.path("transactions.parquet"),
            folder / "table.parquet",
            journey.settings.features,
        )
        broken = [
            f
            for f in validate(read_frame(folder / "table.parquet"), table_checks())
            if not f.success
        ]
        if broken:
            first = broken[0]
            raise UserError(
                f"the training table breaks its contract: {first.code}"
                f"{'' if first.found is None else f' is {first.found}'}"
                f"{f', the limit is {first.limit}' if first.limit else ''} ({first.why})",
                where=f"rows per split {facts.rows}, positive rate {facts.positive_rate}",
                next_step="check the valid rows and features.* settings (horizon, as-of dates)",
            )
        return asdict(facts)

    depends_on = {
        "transactions": validated.files["transactions.parquet"],
        "features": journey.settings.features.model_dump(mode="json"),
    }
    return _stage(journey, "features", depends_on, ("features", "ingestion/expectations.py"), build)


@task(cache_policy=NO_CACHE, task_run_name="evaluate")
def evaluate_task(
    journey: Journey, table: Stage, fitted: dict[str, Stage]
) -> tuple[Evaluation, str]:
    """The evaluation, and why the present champion could not be scored ("" when it was)."""
    from features.catalogue import NAMES
    from registry.bundle import BundleRefused, load_bundle
    from registry.compare import question, why_not_comparable
    from registry.models import find_champion
    from training.evaluate import evaluate

    settings = journey.settings
    champion, problem = find_champion(journey.client, settings), ""
    predict = None
    if champion is not None:
        try:
            bundle = load_bundle(champion.bundle, expected_sha256=champion.bundle_sha256)
            order = [NAMES.index(feature["name"]) for feature in bundle.features]
            problem = why_not_comparable(
                bundle.description, question(settings), table.facts["as_of"]["test"]
            )
            predict = lambda x: bundle.predict(x[:, order])  # noqa: E731
        except BundleRefused as error:
            problem = error.what
        except ValueError:
            problem = "it needs a feature that is no longer in the catalogue"
    with journey.run.clock("evaluate"):
        journey.display.stage("evaluate", "opening the test split")
        evaluation = evaluate(
            table.path("table.parquet"),
            NAMES,
            {name: stage.folder for name, stage in fitted.items()},
            bootstrap=settings.training.bootstrap,
            seed=settings.seed,
            champion=None if problem else predict,
        )
    return evaluation, problem


def read_result(stage: Stage) -> dict[str, Any]:
    """The `result.json` of a fitted family."""
    return json.loads(stage.path("result.json").read_text(encoding="utf-8"))


def _stage(
    journey: Journey, name: str, depends_on: dict[str, Any], rooms: tuple[str, ...], build: Any
) -> Stage:
    journey.display.stage(name)
    with journey.run.clock(name):
        stage = run_stage(journey.settings.var, name, depends_on, rooms, build)
    log.info("%s %s %s", name, "reused" if stage.reused else "built", stage.folder)
    journey.display.stage_end(name, journey.run.seconds[name], stage.reused)
    return stage


def _keep(source: Path, target: Path, *names: str) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
