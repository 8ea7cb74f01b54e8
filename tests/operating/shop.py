"""A small shop whose monthly files arrive one after the other, and a champion that was not trained.

Everything here runs the real functions on real files; `champion` registers a bundle of a linear
model by the real registry, which takes a second where a training takes half a minute.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from configs.load import load
from configs.settings import Settings
from features.catalogue import CATALOGUE, Feature
from features.engine import VARIABLES
from flows import log_stages
from flows.commands import accept_batch
from flows.year_shop import deliver, write_months
from registry import runs
from registry.champion import champion_now, register
from registry.decisions import conclude
from registry.evidence import question
from registry.gate import Decision
from registry.tracking import open_store
from tests.serving.made_linear import write_linear_bundle

FIRST = "2026-04"  # the first month that is operated
SIMULATED = {
    "source": {
        "kind": "simulated",
        "simulation": {
            "customers": 1500,
            "days": 1004,  # 2024-01-01 to 2026-09-30
            "lines_per_invoice": 3.0,
            "products": 60,
        },
    }
}
SMALL = {  # and as little training as there can be
    "features": {"train_dates": 4, "valid_dates": 1, "test_dates": 1},
    "tuning": {"trials": 1},
    "training": {"families": ["logistic"], "bootstrap": 100},
    "gate": {"max_calibration_error": 0.5},
}
# What the registry knows of the champion's test; below what its scores come to, so that it is not
# judged worse.
TEST = {"roc_auc": 0.5, "roc_auc_low": 0.4, "roc_auc_high": 0.6}


def simulate_months(folder: Path) -> Path:
    """The files of all months, 2024-01 to 2026-09."""
    preset = folder / "simulated.yaml"
    preset.write_text(yaml.safe_dump(SIMULATED))
    settings = load(str(preset), ["--var", str(folder)], {})
    return write_months(settings, "none", date(2026, 7, 1), folder / "months")


@dataclass(frozen=True)
class Shop:
    """home: holds `log.yaml`, `incoming/` and `var/`.  months: where all monthly files lie."""

    home: Path
    months: Path

    @property
    def var(self) -> Path:
        return self.home / "var"

    @property
    def preset(self) -> Path:
        return self.home / "log.yaml"

    @property
    def incoming(self) -> Path:
        return self.home / "incoming"

    @property
    def kept(self) -> Path:
        """What monitoring keeps."""
        return self.var / "monitoring" / "log"

    @property
    def words(self) -> list[str]:
        return ["--config", str(self.preset), "--var", str(self.var)]

    def settings(self, today: str | None = None, *arguments: str) -> Settings:
        clock = [] if today is None else ["--operations.today", today]
        return load(str(self.preset), ["--var", str(self.var), *clock, *arguments], {})

    def open(self, **operations: Any) -> None:
        """Write the preset. operations: settings of that section."""
        source = {"kind": "files", "path": [str(self.incoming / "*.parquet")]}
        usual = {"start": date.fromisoformat(f"{FIRST}-01"), "retrain_months": 0}
        content = {"source": source, "operations": usual | operations} | SMALL
        self.preset.write_text(yaml.safe_dump(content))

    def deliver(self, *months: str, before: str | None = None) -> None:
        if before is not None:
            deliver(self.months, self.incoming, before=before)
        for month in months:
            deliver(self.months, self.incoming, month=month)

    def withdraw(self, *months: str) -> None:
        for month in months:
            (self.incoming / f"{month}.parquet").unlink()

    def rewrite(self, month: str, select: str) -> None:
        """Replace the file of a month by what a query makes of it: `SELECT … FROM {file}`."""
        import duckdb

        file = self.incoming / f"{month}.parquet"
        aside = file.with_name("rewritten")
        duckdb.execute(
            f"COPY ({select.format(file=repr(str(file)))}) TO '{aside}' (FORMAT parquet)"
        )
        aside.rename(file)

    def champion(
        self, seed: int = 0, features: tuple[Feature, ...] = CATALOGUE, clock: str = f"{FIRST}-01"
    ) -> int:
        """Make a champion, as of a day of the clock; returns its version."""
        settings = self.settings()
        section = {
            "declared": sorted(settings.source.declared),
            "contract": log_stages.dated(settings).model_dump(mode="json"),
            "features": settings.features.model_dump(mode="json", include=set(VARIABLES)),
            "log_start": "2024-01-01",
        }
        client, folder = open_store(settings), self.home / "bundle"
        sha = write_linear_bundle(
            folder,
            features,
            seed=seed,
            question=question(settings),
            transactions=section,
            test=TEST,
            as_of={"train": ["2025-06-01"], "valid": ["2025-09-01"], "test": ["2026-01-01"]},
        )
        run = runs.open_run(client, f"run-{seed}")
        made = register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha, tags={})
        before = champion_now(settings)
        conclude(
            client,
            settings,
            version=made,
            decision=Decision("promote", ("held: made for a test",)),
            expected_champion=before.version if before else None,
            figures={**TEST, "clock": clock},
            data_sha256="",
            code_revision="",
            run_id=f"run-{seed}",
        )
        runs.close_run(client, run)
        return made.version

    def accept(self, held: UserError) -> None:
        """What `make accept-batch` does with the batch that this error is about."""
        words = held.what.split()
        accept_batch.main(self.settings(), words[words.index("batch") + 1])

    def hashes(self, kinds: Iterable[str] = ("scores", "facts", "verdicts")) -> dict[str, str]:
        """SHA-256 of the files of these kinds, by their path."""
        places = {"scores": self.var / "scores"} | {
            name: self.kept / name for name in ("facts", "verdicts", "baseline", "operated")
        }
        return {
            str(file.relative_to(self.var)): hashlib.sha256(file.read_bytes()).hexdigest()
            for kind in kinds
            for file in sorted(places[kind].rglob("*"))
            if file.is_file() and not file.name.endswith(".html")
        }

    def verdict(self, month: str) -> dict[str, Any]:
        return json.loads((self.kept / "verdicts" / f"month={month}.json").read_text())["verdict"]


REGISTRY = "mlflow"  # keeps absolute paths, and connections to its database in each process


def copy_state(var: Path, target: Path) -> None:
    """Copy a state without its registry."""
    shutil.copytree(var, target, ignore=lambda folder, names: {REGISTRY} & {*names})


def refill(known: Path, var: Path) -> None:
    """Put a state back to where it was made; the registry stays as it is."""
    for path in var.iterdir():
        if path.name != REGISTRY:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(known, var, dirs_exist_ok=True)
