"""A champion without a training run: a small bundle, registered and promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.settings import Settings
from features.catalogue import CATALOGUE, Feature
from features.engine import VARIABLES
from flows import log_stages
from registry import runs
from registry.chain import Record
from registry.champion import ModelVersion, champion_now, register
from registry.decisions import conclude
from registry.evidence import question
from registry.gate import Decision
from registry.tracking import open_store
from tests.serving.made_linear import write_linear_bundle


def make_champion(
    settings: Settings, log_start: str = "2024-01-01", seed: int = 0, **described: Any
) -> ModelVersion:
    """Register a bundle for a log with these settings, and make it the champion."""
    section = {
        "declared": sorted(settings.source.declared),
        "contract": log_stages.dated(settings).model_dump(mode="json"),
        "features": settings.features.model_dump(mode="json", include=set(VARIABLES)),
        "log_start": log_start,
    }
    described = {"question": question(settings), "transactions": section, **described}
    folder = settings.var / "made-bundle"
    sha256 = write_linear_bundle(folder, seed=seed, **described)
    return promote_bundle(settings, folder, sha256)


def make_table_champion(
    settings: Settings, features: tuple[Feature, ...], seed: int = 0, **described: Any
) -> ModelVersion:
    """The same for a labelled table."""
    form = settings.source.form.model_dump(mode="json")
    described = {"question": question(settings), "source_form": form, **described}
    folder = settings.var / "made-bundle"
    sha256 = write_linear_bundle(folder, features, seed=seed, **described)
    return promote_bundle(settings, folder, sha256)


def promote_bundle(settings: Settings, folder: Path, sha256: str) -> ModelVersion:
    made = register_bundle(settings, folder, sha256)
    conclude_as(settings, made, Decision("promote", ("held: made for a test",)))
    now = champion_now(settings)
    assert now is not None and now.version == made.version
    return now


def small_version(settings: Settings, **described: Any) -> ModelVersion:
    """Register a bundle of one feature, without a decision."""
    sha256 = write_linear_bundle(settings.var / "made-bundle", CATALOGUE[:1], **described)
    return register_bundle(settings, settings.var / "made-bundle", sha256)


def register_bundle(settings: Settings, folder: Path, sha256: str) -> ModelVersion:
    client = open_store(settings)
    run = runs.open_run(client, "run")
    return register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha256, tags={})


def conclude_as(
    settings: Settings, version: ModelVersion, decision: Decision, **more: Any
) -> Record:
    """The record of a decision about a version, beside the champion of now."""
    now = champion_now(settings)
    nothing = {"figures": {}, "data_sha256": "", "code_revision": "", "run_id": "run"}
    return conclude(
        open_store(settings),
        settings,
        version=version,
        decision=decision,
        expected_champion=now.version if now else None,
        **{**nothing, **more},
    )
