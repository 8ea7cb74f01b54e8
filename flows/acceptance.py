"""A validated batch beside the last accepted one: accepted, or held until a person releases it.

A log is compared by its days, a labelled table by the values that are not among its categories
(`Dataset.changes`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import RecordAltered, read_record, write_record
from configs.make_command import make
from configs.settings import Settings
from flows.dataset import Dataset, ValidatedStage
from ingestion.batches import ACCEPTED, Batch, decide, find, last_accepted
from ingestion.contract import change_rules
from ingestion.facts import Finding
from ingestion.labelled.unseen import UNSEEN
from ingestion.outcome import QUARANTINE, ContractBroken, check_measures, figure
from reports.contract import write_contract_page


@dataclass(frozen=True)
class Validated:
    """A batch that was validated: `folder` holds its files, `rows` the counts. `why` says why it
    was refused or held; such a batch has a quarantine to look into, and nothing goes on from it."""

    batch: str
    folder: Path
    rows: dict[str, Any]
    why: str = ""


def last_validated(settings: Settings) -> Validated:
    """Return the batch that was accepted last. Raises UserError when there is none yet."""
    validated = _read(settings, "validated")
    if validated is None:
        raise UserError(
            f"no batch of {settings.dataset} was accepted yet",
            where=str(settings.var),
            next_step=make("train", settings),
        )
    return validated


def last_refused(settings: Settings) -> Validated | None:
    """Return the batch that was refused or held since the last accepted one; None without one."""
    return _read(settings, "refused")


def last_seen(settings: Settings) -> Validated:
    """Return the batch that was refused or held last, or else the one that was accepted last."""
    return last_refused(settings) or last_validated(settings)


def remember(settings: Settings, kind: str, seen: Validated) -> None:
    """Record where a batch is kept: kind is `validated` or `refused`. A validated batch replaces
    the refused one before it."""
    folder = seen.folder.relative_to(settings.var.absolute())
    write_record(_pointer(settings, kind), {**asdict(seen), "folder": str(folder)})
    if kind == "validated":
        _pointer(settings, "refused").unlink(missing_ok=True)


def refused(
    settings: Settings, batch: str, error: ContractBroken, unfinished: Path, page: Path
) -> ContractBroken:
    """Write the page of a batch that breaks a rule, keep its quarantine so that one can look into
    it, and return the error to raise. unfinished: the folder of the unfinished stage."""
    if error.outcome is not None:
        rows = asdict(error.outcome.rows)
        write_contract_page(page, rows, error.outcome.findings, batch)
        folder = settings.var.absolute() / "refused" / settings.dataset
        folder.mkdir(parents=True, exist_ok=True)
        (unfinished / QUARANTINE).replace(folder / QUARANTINE)
        remember(settings, "refused", Validated(batch, folder, rows, f"refused: {error.what}"))
    # Prefect keeps the error to the end of the process: one that leads to a module of DuckDB's
    # makes that complain at exit.
    return ContractBroken(error.what, where=f"{page}, {error.where}", next_step=error.next_step)


def _pointer(settings: Settings, kind: str) -> Path:
    return settings.var.absolute() / kind / f"{settings.dataset}.json"


def _read(settings: Settings, kind: str) -> Validated | None:
    """Return what `remember` recorded; None when nothing was recorded, or its files are gone."""
    file = _pointer(settings, kind)
    try:
        record = read_record(file)
        folder = settings.var.absolute() / record.pop("folder")
        return Validated(folder=folder, **record) if (folder / QUARANTINE).exists() else None
    except FileNotFoundError:
        return None
    except (RecordAltered, TypeError, LookupError) as error:
        raise UserError(
            f"the record of the last batch was altered, or an earlier version wrote it: {error}",
            where=str(file),
            next_step=f"write it anew: {make('train', settings)}",
        ) from None


def accept_or_hold(data: Dataset, name: str, stage: ValidatedStage, page: Path) -> Batch:
    """Judge the batch by the change rules; raise ContractBroken when it is held.

    A batch that was accepted or released once is not judged again.
    """
    settings = data.settings
    var, dataset = settings.var.absolute(), settings.dataset
    known = find(var, dataset, name)
    last = last_accepted(var, dataset, but=name, before=data.before)
    result = stage.facts
    compared: list[Finding] = []
    if known is None or known.status != "accepted":
        measured = data.changes(stage, last)
        rules = {
            code: rule
            for code, rule in change_rules(settings.contract).items()
            if measured.get(str(rule.measure)) is not None
        }
        compared = check_measures(rules, measured)
    broken = [f for f in compared if not f.success and f.severity == "stop"]
    heavy = [rule for rule in result.heavy if rule.hold]
    if known is not None and known.status in ACCEPTED:
        batch = known
    else:
        reasons = [
            *(f"{figure(f)} ({f.why}){data.columns_at_fault(f, stage, last)}" for f in broken),
            *(rule.text for rule in heavy),
        ]
        beside = last.name if last else ""
        batch = decide(var, dataset, name, result.level, beside, reasons)
    rows = asdict(result.rows)
    write_contract_page(page, rows, result.findings, name, compared, batch, result.unseen)
    seen = Validated(name, stage.folder, rows)
    if batch.status == "held":
        remember(settings, "refused", replace(seen, why=f"held: {batch.reasons[0]}"))
        beside = f", beside the batch {last.name} accepted on {last.decided[:10]}" if last else ""
        codes = [finding.code for finding in broken] + [rule.code for rule in heavy]
        if not broken:
            setting = heavy[0].setting
            described = f"if the rule does not fit this data, change {setting} in the preset; "
        elif broken[0].column in UNSEEN:
            described = (
                f"describe the new values (source.table.columns, values) or change"
                f" contract.rules.{codes[0]}; or "
            )
        else:
            described = ""
        others = f"; also broken: {', '.join(codes[1:])}" if codes[1:] else ""
        raise ContractBroken(
            f"the batch {batch.name} is held: {batch.reasons[0]}{beside}{others}",
            where=f"{page}, rule {codes[0]}",
            next_step=f"look at the page and the rows ({make('quarantine', settings)}); {described}"
            f"if the batch is right, release it with"
            f" {make('accept-batch', settings, BATCH=batch.name)}, and run this again",
        )
    remember(settings, "validated", seen)
    return batch
