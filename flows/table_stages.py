"""The stages of a labelled table (`source.kind: table`): what `data_stages` and `features_task` do
for a log. A table has no days: beside the last accepted batch only its categories are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.settings import Settings
from flows.acceptance import accept_or_hold, keep_refused
from flows.run import log
from flows.stage import Stage, hash_file, run_stage
from flows.stage_code import FEATURES_OF_TABLE, READ_TABLE_FILE, VALIDATE_TABLE
from ingestion.validate import TRANSACTIONS, ContractBroken
from reports.contract import write_contract_page

ROWS, TABLE = "rows.parquet", "table.parquet"


def ingest_files(settings: Settings) -> list[Stage]:
    """A part for each file, known by its content."""
    from ingestion.files import expand, labels
    from ingestion.formats import folder_columns
    from ingestion.labelled.read import named_columns, read_part

    source, stages = settings.source, []
    paths = expand(source)
    how = {
        "text": source.text.model_dump(mode="json", exclude={"decimal", "thousands", "symbols"}),
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
            "content": hash_file(path),
        }
        stages.append(run_stage(settings.var, "ingest", depends_on, READ_TABLE_FILE, build))
        log.info("%s %s", "reused" if stages[-1].reused else "read", path)
    return stages


def validate(
    settings: Settings, paths: list[Path], hashes: list[str], batch: str, page: Path
) -> Stage:
    """The valid rows and the quarantine; the page goes to `page`.

    Raises UserError for a target that is not binary, and ContractBroken when hardly a row is valid,
    and when the batch is held (`flows/acceptance.py`).
    """
    from ingestion.labelled.validate import validate_table

    source, contract = settings.source, settings.contract
    depends_on = {
        "rows": hashes,
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
                paths, folder, source, contract, batch=batch, compute=settings.compute
            )
        except ContractBroken as error:
            if error.outcome is not None:
                found = error.outcome.findings
                write_contract_page(page, error.outcome.to_dict()["rows"], found, batch)
                keep_refused(settings, batch, error, folder)
            where = f"{page}, {error.where}"
            raise ContractBroken(error.what, where=where, next_step=error.next_step) from None
        return outcome.to_dict()

    stage = run_stage(settings.var, "validate", depends_on, VALIDATE_TABLE, build)
    accept_or_hold(settings, batch, stage, page)
    return stage


def features(settings: Settings, validated: Stage) -> Stage:
    """The training table, checked."""
    from features.from_table import build_from_table, schema
    from features.leak_report import stop_on_leaks
    from features.table_leaks import check_table_leaks
    from flows.table_check import check_table

    table = settings.source.table
    limit = settings.features.max_feature_roc_auc

    def build(folder: Path) -> dict[str, Any]:
        target, described = folder / TABLE, schema(table)
        facts = build_from_table(
            validated.path(TRANSACTIONS), target, table, settings.seed, settings.compute
        )
        check_table(target, described, facts.rows, facts.positive_rate, dated=False)
        leaks = check_table_leaks(target, described, limit)
        stop_on_leaks(leaks.leaks, rebuilt=False)
        return {
            **asdict(facts),
            "schema": [asdict(feature) for feature in described],
            "leak_check": asdict(leaks),
        }

    depends_on = {
        "rows": validated.files[TRANSACTIONS],
        "table": table.model_dump(mode="json"),
        "seed": settings.seed,
        "limit": limit,
    }
    return run_stage(settings.var, "features", depends_on, FEATURES_OF_TABLE, build)


def torn_groups(settings: Settings, facts: Mapping[str, Any]) -> str:
    """What a column that says the split does to groups, in words; "" when it keeps them whole."""
    table = settings.source.table
    if not facts.get("groups_torn"):
        return ""
    return (
        f"{facts['groups_torn']:,} different {table.group} have rows in more than one split, by the"
        f" column {table.split}: {facts['test_rows_torn']:,} of {facts['rows']['test']:,} test rows"
        " are of them, so the figures flatter any model that recognises one"
    )


def write_report(settings: Settings, validated: Stage, table: Stage, page: Path) -> None:
    """The page about the data."""
    from features.from_table import schema
    from reports.labelled import write_table_report

    asked = settings.source.table
    write_table_report(
        validated.folder,
        table.path(TABLE),
        schema(asked),
        page,
        title=f"Data report: {settings.name}",
        predicted=f"{asked.target} is {asked.positive}",
        useless=table.facts["useless"],
        compute=settings.compute,
    )
