"""The stages of a log of transactions: its data set, from the source to the training table.

Each file of a source is a stage of its own, known by its content: a second run with one more file
reads that one. A database is read from where the last run stopped (`ingestion/database.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import sha256_of
from configs.rules import Contract
from configs.settings import Settings
from configs.source import CANONICAL
from features.facts import read_facts
from flows.acceptance import accept_or_hold, refused
from flows.dataset import ROWS, TABLE, TRUTH, Parts, TableStage, ValidatedStage, keep_suites
from flows.run import log
from flows.stage import Stage, hash_text, run_stage
from flows.stage_code import CUT, FEATURES, READ_FILE, SIMULATE, VALIDATE
from ingestion.batches import Batch
from ingestion.contract import batch_rules, change_rules, in_words, row_rules, to_expectation
from ingestion.expectations import Check
from ingestion.facts import Finding, ValidationResult
from ingestion.judge import changes
from ingestion.labelled.unseen import UNSEEN
from ingestion.outcome import DAYS, TRANSACTIONS, ContractBroken
from ingestion.validate import read_days, validate_batch


@dataclass(frozen=True)
class Log:
    """The data set of a log of transactions (`flows/dataset.py` says what it must do)."""

    settings: Settings

    @property
    def content(self) -> str:
        return ", ".join(CANONICAL)

    @property
    def before(self) -> date | None:
        return self.settings.operations.today

    def read(self) -> Parts:
        """The parts, without the rows of `operations.today` and later."""
        parts, today = self._read(), self.settings.operations.today
        return parts if today is None else self._cut(parts, today)

    def _read(self) -> Parts:
        settings, source = self.settings, self.settings.source
        if source.kind == "database":
            from ingestion.database import read_new

            key = hash_text(json.dumps(source.model_dump(mode="json"), sort_keys=True))[:16]
            paths = read_new(source, settings.var.absolute() / "sources" / key, settings.compute)
            return Parts(paths, [sha256_of(path) for path in paths], None, 0)
        simulated = source.kind == "simulated"
        stages = [self.simulate()] if simulated else self.read_files()
        return Parts(
            [stage.path(ROWS) for stage in stages],
            [stage.files[ROWS] for stage in stages],
            stages[0].path(TRUTH) if simulated else None,
            sum(stage.reused for stage in stages),
        )

    def simulate(self) -> Stage:
        """Make the simulated log, and its truth."""
        from simulator.simulator import simulate_part

        settings = self.settings

        def build(folder: Path) -> dict[str, Any]:
            simulate_part(settings.source, settings.seed, folder, settings.compute)
            return {}

        simulation = settings.source.simulation.model_dump(mode="json")
        depends_on = {"simulation": simulation, "seed": settings.seed}
        return run_stage(settings.var, "ingest", depends_on, SIMULATE, build)

    def read_files(self) -> list[Stage]:
        """Read each file into a part of its own, known by its content."""
        from ingestion.files import folder_columns, read_file
        from ingestion.sources import expand, labels

        settings, source = self.settings, self.settings.source
        stages: list[Stage] = []
        how = source.model_dump(mode="json", include={"columns", "time_format", "text"})
        paths = expand(source)
        seen: dict[str, str] = {}
        for path, label in zip(paths, labels(paths), strict=True):
            content, folders = sha256_of(path), folder_columns(path, source.wanted)
            first = seen.setdefault(json.dumps([content, folders], sort_keys=True), label)
            if first != label:  # delivered twice: its rows would all be copies
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

    def _cut(self, parts: Parts, today: date) -> Parts:
        """The parts without the rows of that day and later ones. Most are wholly before or after
        it."""
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
                stage = self.cut_part(path, content)
                path, content = stage.path(ROWS), stage.files[ROWS]
            paths.append(path)
            hashes.append(content)
        if not paths:
            raise UserError(
                f"no row of the source lies before {today}",
                where="operations.today",
                next_step="set a later day, or bring the rows of before",
            )
        later = later and goes_on(parts.paths, today, self.settings.compute)
        return replace(parts, paths=paths, hashes=hashes, later=later)

    def cut_part(self, path: Path, content: str) -> Stage:
        """Cut the rows of `operations.today` and later from a part. content: its hash."""
        from ingestion.cut import cut_part

        settings, today = self.settings, self.settings.operations.today
        assert today is not None

        def build(folder: Path) -> dict[str, Any]:
            cut_part(path, folder / ROWS, today, settings.compute)
            return {}

        return run_stage(settings.var, "cut", {"part": content, "today": today}, CUT, build)

    def validate(self, parts: Parts, page: Path) -> ValidatedStage:
        settings = self.settings
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
                raise refused(settings, batch, error, folder, page) from None
            # What lies in the future now may be past at the next run, on the same day.
            repeats = contract.not_after is not None or "future_time" not in outcome.rows.reasons
            return {**outcome.to_dict(), "repeats": repeats}

        kept = run_stage(settings.var, "validate", depends_on, VALIDATE, build)
        stage = kept.typed(ValidationResult.from_dict)
        accept_or_hold(self, batch, stage, page)
        return stage

    def build_table(self, validated: ValidatedStage) -> TableStage:
        from features.build import build_table
        from features.catalogue import select
        from features.leak_report import stop_on_leaks
        from features.leaks import check_leaks
        from flows.table_check import check_table

        settings = self.settings
        declared = settings.source.declared
        transactions, features = validated.path(TRANSACTIONS), select(declared)

        def build(folder: Path) -> dict[str, Any]:
            target = folder / TABLE
            facts = build_table(
                transactions,
                target,
                settings.features,
                declared,
                settings.compute,
                validated.files[TRANSACTIONS],
            )
            check_table(target, features, facts.rows, facts.positive_rate)
            leaks = check_leaks(transactions, target, settings.features, declared, settings.compute)
            stop_on_leaks(leaks.leaks)
            return replace(facts, leak_check=leaks).to_json()

        depends_on = {
            "transactions": validated.files[TRANSACTIONS],
            "declared": sorted(declared),
            "features": settings.features.model_dump(mode="json"),
        }
        stage = run_stage(settings.var, "features", depends_on, FEATURES, build)
        keep_suites(self)
        return stage.typed(read_facts)

    def write_report(
        self, parts: Parts, validated: ValidatedStage, table: TableStage, page: Path
    ) -> None:
        from reports.data import write_data_report

        write_data_report(
            parts.paths,
            validated.folder,
            table.path(TABLE),
            page,
            title=f"Data report: {self.settings.name}",
            compute=self.settings.compute,
        )

    def rules(self) -> Mapping[str, tuple[str, str]]:
        rules = self.settings.contract.rules
        return {name: (in_words(rule), rule.why) for name, rule in rules.items()}

    def at_fault(self, reasons: list[str], cells: dict[str, Any]) -> list[str]:
        return [name for name, value in cells.items() if value is not None]

    def suites(self) -> dict[str, Sequence[Check]]:
        from features.catalogue import select
        from features.contract import table_checks

        declared, contract = self.settings.source.declared, self.settings.contract
        of_days = {
            name: rule
            for name, rule in change_rules(contract).items()
            if rule.measure not in UNSEEN
        }
        rules = {
            "rows": row_rules(contract, declared),
            "batch": batch_rules(contract, declared) | of_days,
        }
        return {
            **{
                suite: [to_expectation(name, rule) for name, rule in named.items()]
                for suite, named in rules.items()
            },
            "table": table_checks(select(declared)),
        }

    def changes(self, stage: ValidatedStage, last: Batch | None) -> dict[str, float | None]:
        return changes(read_days(stage.path(DAYS)), last.level) if last else {}

    def columns_at_fault(self, finding: Finding, stage: ValidatedStage, last: Batch | None) -> str:
        return ""


def dated(settings: Settings) -> Contract:
    """Return the contract with the last day that a row can carry, where the source knows it."""
    from ingestion.sources import last_day

    contract, today = settings.contract, settings.operations.today
    if contract.not_after is not None:
        return contract
    last = last_day(settings.source) if today is None else today - timedelta(days=1)
    return contract.model_copy(update={"not_after": last})
