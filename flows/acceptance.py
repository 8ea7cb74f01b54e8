"""A validated batch beside the last accepted one: accepted, or held until a person releases it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.command import make
from configs.errors import UserError
from configs.settings import Settings
from flows.stage import Stage, read_facts
from ingestion.batches import Batch, dataset_of, decide, find, last_accepted
from ingestion.contract import change_rules
from ingestion.expectations import Finding
from ingestion.measures import changes
from ingestion.page import write_page
from ingestion.validate import DAYS, ContractBroken, also, check_measures, figure, read_days


@dataclass(frozen=True)
class Validated:
    """The batch that was validated last: `folder` holds its files, `facts` its outcome."""

    batch: str
    folder: Path
    facts: dict[str, Any]


def last_validated(settings: Settings) -> Validated:
    """Raises UserError when nothing of this data set was validated yet."""
    var = settings.var.absolute()
    try:
        found = json.loads(_pointer(settings).read_text(encoding="utf-8"))
        folder = var / found["folder"]
        return Validated(found["batch"], folder, read_facts(folder))
    except (OSError, ValueError, LookupError):
        raise UserError(
            f"no batch of {dataset_of(settings)} was validated yet",
            where=str(var),
            next_step=make("train", settings),
        ) from None


def _pointer(settings: Settings) -> Path:
    return settings.var.absolute() / "validated" / f"{dataset_of(settings)}.json"


def remember(settings: Settings, batch: str, stage: Stage) -> None:
    file = _pointer(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = stage.folder.relative_to(settings.var.absolute())
    aside = file.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps({"batch": batch, "folder": str(folder)}), encoding="utf-8")
    aside.replace(file)


def accept_or_hold(settings: Settings, name: str, stage: Stage, page: Path) -> Batch:
    """Compare the batch with the last accepted one; raise ContractBroken when it is held."""
    var, dataset = settings.var.absolute(), dataset_of(settings)
    known, last = find(var, dataset, name), last_accepted(var, dataset, but=name)
    findings = [Finding(**_fields(finding)) for finding in stage.facts["findings"]]
    compared: list[Finding] = []
    if last is not None:
        measured = changes(read_days(stage.path(DAYS)), last.level)
        rules = {
            name: rule
            for name, rule in change_rules(settings.contract).items()
            if measured[str(rule.measure)] is not None
        }
        compared = check_measures(rules, measured)
    broken = [f for f in compared if not f.success and f.severity == "stop"]
    if known is not None and (
        known.status == "released" or (known.status == "accepted" and not broken)
    ):
        batch = known
    else:
        reasons = [f"{figure(f)} ({f.why})" for f in broken]
        beside = last.name if last else ""
        batch = decide(var, dataset, name, stage.facts["level"], beside, reasons)
    write_page(page, stage.facts["rows"], findings, name, compared, batch)
    if batch.status == "held":
        assert last is not None
        raise ContractBroken(
            f"the batch {batch.name} is held: {batch.reasons[0]}, beside the batch"
            f" {last.name} accepted on {last.decided[:10]}{also(broken)}",
            where=f"{page}, rule {broken[0].code}",
            next_step="look at the page; if the batch is right, release it with "
            f"{make('accept-batch', settings)} BATCH={batch.name}, and run this again",
        )
    return batch


def _fields(finding: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in finding.items() if name != "limit"}
