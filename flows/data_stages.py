"""From the source to valid rows, as stages: what `make train` and `make replay` both do first.

Each file of a source is a stage of its own, known by its content: a second run with one more file
reads that one. A database is read from where the last run stopped (`ingestion/database.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from common.errors import UserError
from configs.rules import Contract
from configs.settings import Settings
from flows import table_stages
from flows.acceptance import accept_or_hold, keep_refused
from flows.run import log
from flows.stage import Stage, hash_file, hash_text, run_stage
from flows.stage_code import CUT, READ_FILE, SIMULATE, VALIDATE
from ingestion.batches import name_of
from ingestion.validate import ContractBroken, validate_batch
from reports.contract import write_contract_page

ROWS, TRUTH = "rows.parquet", "truth.json"


@dataclass(frozen=True)
class Parts:
    """The raw rows in canonical form, and of simulated ones the truth."""

    paths: list[Path]
    hashes: list[str]
    truth: Path | None
    reused: int
    later: bool = False  # whether the source goes on after `operations.today`

    @property
    def batch(self) -> str:
        return name_of(self.hashes)


def ingest(settings: Settings) -> Parts:
    """Read what is new in the source. Raises UserError for what cannot be read.

    With `operations.today`, a log is as it stood before that day.
    """
    parts, today = _read(settings), settings.operations.today
    if today is None or settings.source.kind == "table":
        return parts
    return _cut(settings, parts, today)


def _cut(settings: Settings, parts: Parts, today: date) -> Parts:
    """The parts without the rows of that day and later ones. Most are wholly before or after it."""
    from ingestion.cut import goes_on, spans

    paths: list[Path] = []
    hashes: list[str] = []
    later = False
    for path, content in zip(parts.paths, parts.hashes, strict=True):
        first, last = spans(path)
        later |= last is not None and last >= today
        if first is not None and first >= today:
            continue
        if last is not None and last >= today:
            stage = _cut_part(settings, path, content)
            path, content = stage.path(ROWS), stage.files[ROWS]
        paths.append(path)
        hashes.append(content)
    if not paths:
        raise UserError(
            f"no row of the source lies before {today}",
            where="operations.today",
            next_step="set a later day, or bring the rows of before",
        )
    later = later and goes_on(parts.paths, today, settings.compute)
    return replace(parts, paths=paths, hashes=hashes, later=later)


def _cut_part(settings: Settings, path: Path, content: str) -> Stage:
    from ingestion.cut import cut_part

    today = settings.operations.today
    assert today is not None

    def build(folder: Path) -> dict[str, Any]:
        cut_part(path, folder / ROWS, today, settings.compute)
        return {}

    return run_stage(settings.var, "cut", {"part": content, "today": today}, CUT, build)


def _read(settings: Settings) -> Parts:
    source = settings.source
    if source.kind == "database":
        from ingestion.database import read_new

        key = hash_text(json.dumps(source.model_dump(mode="json"), sort_keys=True))[:16]
        paths = read_new(source, settings.var.absolute() / "sources" / key, settings.compute)
        return Parts(paths, [hash_file(path) for path in paths], None, 0)
    read = {"simulated": _simulated, "table": table_stages.ingest_files}.get(source.kind, _files)
    stages = read(settings)
    truth = stages[0].path(TRUTH) if source.kind == "simulated" else None
    return Parts(
        [stage.path(ROWS) for stage in stages],
        [stage.files[ROWS] for stage in stages],
        truth,
        sum(stage.reused for stage in stages),
    )


def _simulated(settings: Settings) -> list[Stage]:
    from simulator.part import simulate_part

    def build(folder: Path) -> dict[str, Any]:
        simulate_part(settings.source, settings.seed, folder, settings.compute)
        return {}

    simulation = settings.source.simulation.model_dump(mode="json")
    depends_on = {"simulation": simulation, "seed": settings.seed}
    return [run_stage(settings.var, "ingest", depends_on, SIMULATE, build)]


def _files(settings: Settings) -> list[Stage]:
    from ingestion.files import expand, labels, read_file
    from ingestion.formats import folder_columns

    source, stages = settings.source, []
    how = source.model_dump(mode="json", include={"columns", "time_format", "text"})
    paths = expand(source)
    seen: dict[str, str] = {}
    for path, label in zip(paths, labels(paths), strict=True):
        content, folders = hash_file(path), folder_columns(path, source.wanted)
        first = seen.setdefault(json.dumps([content, folders], sort_keys=True), label)
        if first != label:  # sent twice: its rows would all be copies
            log.warning("%s holds the same bytes as %s: it is read once", label, first)
            continue

        def build(folder: Path, path: Path = path, label: str = label) -> dict[str, Any]:
            read_file(source, path, folder / ROWS, settings.compute, label=label)
            return {}

        depends_on = {
            "how": how,
            "label": label,
            "folders": folders,
            "content": content,
        }
        stages.append(run_stage(settings.var, "ingest", depends_on, READ_FILE, build))
        log.info("%s %s", "reused" if stages[-1].reused else "read", path)
    return stages


def validate(settings: Settings, parts: Parts, page: Path) -> Stage:
    """The validated batch: transactions, quarantine, rows per day. Its page goes to `page`.

    Raises ContractBroken when a rule of severity stop is broken, and when the batch is unlike the
    last accepted one and nobody has released it.
    """
    if settings.source.kind == "table":
        return table_stages.validate(settings, parts.paths, parts.hashes, parts.batch, page)
    contract = dated(settings)
    now = datetime.now(UTC).replace(tzinfo=None)  # times in the log are UTC
    declared, batch = settings.source.declared, parts.batch
    depends_on = {
        "rows": parts.hashes,
        "contract": contract.model_dump(mode="json"),
        "declared": sorted(declared),
        "today": now.date() if contract.not_after is None else None,
    }

    def build(folder: Path) -> dict[str, Any]:
        try:
            outcome = validate_batch(
                parts.paths,
                folder,
                contract,
                now=now,
                declared=declared,
                batch=batch,
                compute=settings.compute,
            )
        except ContractBroken as error:
            if error.outcome is not None:
                found = error.outcome.findings
                write_contract_page(page, error.outcome.to_dict()["rows"], found, batch)
                keep_refused(settings, batch, error, folder)
            # Prefect keeps the error to the end of the process: one that leads to a module of
            # DuckDB's makes that complain at exit.
            where = f"{page}, {error.where}"
            raise ContractBroken(error.what, where=where, next_step=error.next_step) from None
        # What lies in the future now may be past at the next run, on the same day.
        repeats = contract.not_after is not None or "future_time" not in outcome.rows.reasons
        return {**outcome.to_dict(), "repeats": repeats}

    stage = run_stage(settings.var, "validate", depends_on, VALIDATE, build)
    accept_or_hold(settings, batch, stage, page)
    return stage


def dated(settings: Settings) -> Contract:
    """The contract, with the last day that a row can carry where the source knows it."""
    from ingestion.ingest import last_day

    contract, today = settings.contract, settings.operations.today
    if contract.not_after is not None:
        return contract
    last = last_day(settings.source) if today is None else today - timedelta(days=1)
    return contract.model_copy(update={"not_after": last})
