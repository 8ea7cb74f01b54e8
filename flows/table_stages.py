"""The data set of a labelled table (`source.kind: table`), as stages.

A table has no days: beside the last accepted batch only its categories are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from common.files import sha256_of
from configs.settings import Settings
from configs.source import Text
from features.facts import TableFacts, read_facts
from flows.acceptance import accept_or_hold, refused
from flows.dataset import ROWS, TABLE, Parts, TableStage, ValidatedStage, keep_suites
from flows.run import log
from flows.stage import Stage, run_stage
from flows.stage_code import FEATURES_OF_TABLE, READ_TABLE_FILE, VALIDATE_TABLE
from ingestion.batches import Batch
from ingestion.contract import change_rules, to_expectation
from ingestion.expectations import Check
from ingestion.facts import Finding, ValidationResult
from ingestion.labelled.rules import LARGEST, table_rules
from ingestion.labelled.unseen import UNSEEN, unseen_changes, which_columns
from ingestion.labelled.validate import rules_of_batch, validate_table
from ingestion.outcome import TRANSACTIONS, ContractBroken


@dataclass(frozen=True)
class LabelledTable:
    """The data set of a labelled table (`flows/dataset.py` says what it must do)."""

    settings: Settings

    @property
    def content(self) -> str:
        return "cells"  # the text of its cells, whatever the settings read it as

    @property
    def before(self) -> date | None:
        return None

    def read(self) -> Parts:
        stages = self.read_files()
        return Parts(
            [stage.path(ROWS) for stage in stages],
            [stage.files[ROWS] for stage in stages],
            None,
            sum(stage.reused for stage in stages),
        )

    def read_files(self) -> list[Stage]:
        """Read each file into a part of its own, known by its content."""
        from ingestion.files import folder_columns
        from ingestion.labelled.read import named_columns, read_part
        from ingestion.sources import expand, labels

        settings, source = self.settings, self.settings.source
        stages: list[Stage] = []
        paths = expand(source)
        how = {
            "text": source.text.model_dump(
                mode="json", exclude={"decimal", "thousands", "symbols"}
            ),
            "columns": named_columns(source.table),
            "leave_out": source.table.leave_out,
        }
        for path, label in zip(paths, labels(paths), strict=True):

            def build(folder: Path, path: Path = path, label: str = label) -> dict[str, Any]:
                read_part(source, path, folder / ROWS, settings.compute, label=label)
                return {}

            depends_on = {
                "table": how,
                "label": label,
                "folders": folder_columns(path, how["columns"]),
                "content": sha256_of(path),
            }
            stages.append(run_stage(settings.var, "ingest", depends_on, READ_TABLE_FILE, build))
            log.info("%s %s", "reused" if stages[-1].reused else "read", path)
        return stages

    def validate(self, parts: Parts, page: Path) -> ValidatedStage:
        """Validate as every data set. Raises UserError, besides, for a target that is not
        binary."""
        settings, batch = self.settings, parts.batch
        source, contract = settings.source, settings.contract
        depends_on = {
            "rows": parts.hashes,
            "table": source.table.model_dump(mode="json", exclude={"valid_share", "test_share"}),
            "text": source.text.model_dump(mode="json"),
            "valid_share": [
                rule.model_dump(mode="json")
                for rule in contract.rules.values()
                if rule.measure == "valid_share"
            ],
            "audit_rows": contract.audit_rows,
            "heavy": [contract.warn_share, contract.hold_share],
        }

        def build(folder: Path) -> dict[str, Any]:
            try:
                outcome = validate_table(
                    parts.paths, folder, source, contract, batch=batch, compute=settings.compute
                )
            except ContractBroken as error:
                raise refused(settings, batch, error, folder, page) from None
            return outcome.to_dict()

        kept = run_stage(settings.var, "validate", depends_on, VALIDATE_TABLE, build)
        stage = kept.typed(ValidationResult.from_dict)
        accept_or_hold(self, batch, stage, page)
        return stage

    def build_table(self, validated: ValidatedStage) -> TableStage:
        from features.from_table import build_from_table, schema
        from features.leak_report import stop_on_leaks
        from features.table_leaks import check_table_leaks
        from flows.table_check import check_table

        settings, table = self.settings, self.settings.source.table
        limit = settings.features.max_feature_roc_auc

        def build(folder: Path) -> dict[str, Any]:
            target, described = folder / TABLE, schema(table)
            facts = build_from_table(
                validated.path(TRANSACTIONS),
                target,
                table,
                settings.seed,
                settings.compute,
                validated.files[TRANSACTIONS],
            )
            check_table(target, described, facts.rows, facts.positive_rate, dated=False)
            leaks = check_table_leaks(target, described, limit)
            stop_on_leaks(leaks.leaks, rebuilt=False)
            return replace(facts, leak_check=leaks).to_json()

        depends_on = {
            "rows": validated.files[TRANSACTIONS],
            "table": table.model_dump(mode="json"),
            "seed": settings.seed,
            "limit": limit,
        }
        stage = run_stage(settings.var, "features", depends_on, FEATURES_OF_TABLE, build)
        keep_suites(self)
        return stage.typed(read_facts)

    def write_report(
        self, parts: Parts, validated: ValidatedStage, table: TableStage, page: Path
    ) -> None:
        from features.from_table import schema
        from reports.labelled import write_table_report

        described = self.settings.source.table
        write_table_report(
            validated.folder,
            table.path(TABLE),
            schema(described),
            page,
            title=f"Data report: {self.settings.name}",
            predicted=f"{described.target} is {described.positive}",
            useless=table.facts.useless,
            compute=self.settings.compute,
        )

    def rules(self) -> Mapping[str, tuple[str, str]]:
        return {r.name: (r.words, r.why) for r in table_rules(self.settings.source.table)}

    def at_fault(self, reasons: list[str], cells: dict[str, Any]) -> list[str]:
        table, text = self.settings.source.table, self.settings.source.text
        column_of = {f"missing_{name}": name for name in table.columns}
        column_of |= {f"out_of_range_{name}": name for name in table.columns}
        column_of |= {"no_label": table.target or "", "unknown_split": table.split or ""}
        column_of |= {"no_group": table.group or ""}
        columns = {column_of[reason] for reason in reasons if reason in column_of}
        if "infinite_value" in reasons:
            numbers = {name for name, column in table.columns.items() if column.type == "number"}
            columns |= {name for name in numbers if _infinite(cells.get(name), text)}
        return [name for name in cells if name in columns]

    def suites(self) -> dict[str, Sequence[Check]]:
        from features.contract import table_checks
        from features.from_table import schema

        table, contract = self.settings.source.table, self.settings.contract
        changes = {
            name: rule for name, rule in change_rules(contract).items() if rule.measure in UNSEEN
        }
        batch = rules_of_batch(contract, table) | changes
        return {
            "rows": [rule.expectation() for rule in table_rules(table)],
            "batch": [to_expectation(name, rule) for name, rule in batch.items()],
            "table": table_checks(schema(table), dated=False),
        }

    def changes(self, stage: ValidatedStage, last: Batch | None) -> dict[str, float | None]:
        return unseen_changes(stage.facts.level, last.level if last else {})

    def columns_at_fault(self, finding: Finding, stage: ValidatedStage, last: Batch | None) -> str:
        if finding.column not in UNSEEN:
            return ""
        now, then = stage.facts.level, last.level if last else {}
        return f": {which_columns(finding.column, finding.high, now, then)}"


def torn_groups(settings: Settings, facts: TableFacts) -> str:
    """Return what a column that names the split does to groups, in words; "" when it keeps them
    whole."""
    table = settings.source.table
    if not facts.groups_torn:
        return ""
    return (
        f"{facts.groups_torn:,} different {table.group} have rows in more than one split, by the"
        f" column {table.split}: {facts.test_rows_torn:,} of {facts.rows['test']:,} test rows"
        " are of them, so the figures flatter any model that recognises one"
    )


def _infinite(text: str | None, written: Text) -> bool:
    digits = text or ""
    for part in (written.thousands, *written.symbols):
        digits = digits.replace(part, "")
    try:
        return abs(float(digits.replace(written.decimal, "."))) > LARGEST
    except ValueError:
        return False
