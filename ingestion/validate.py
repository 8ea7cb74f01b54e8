"""Raw rows in, valid rows and quarantine out; or the batch is refused as a whole.

Always `raw = valid + quarantined`. Every row that breaks a row rule is in quarantine, with every
reason; nothing is sampled and nothing is dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import UserError
from configs.settings import Contract
from ingestion.canonical import COLUMNS, literal
from ingestion.contract import (
    batch_rules,
    derived_columns,
    latest_time,
    row_rules,
    to_expectation,
    to_sql,
)
from ingestion.expectations import Finding, validate
from ingestion.page import write_page

if TYPE_CHECKING:
    import pandas as pd


class ContractBroken(UserError):
    """The batch breaks a rule that stops the run."""


@dataclass(frozen=True)
class RowCounts:
    raw: int
    valid: int
    quarantined: int
    reasons: dict[str, int]  # rows per reason; a row may have several


def validate_batch(raw: Path, folder: Path, contract: Contract, *, now: datetime) -> RowCounts:
    """Check `raw` (canonical form) and write the outcome into `folder`.

    Writes `transactions.parquet`, `quarantine.parquet`, `contract.json` and `contract.html`.
    Raises ContractBroken with the rule, the figure and the limit when a batch rule fails: then
    the two Parquet files are not written, the page is.
    """
    connection = duckdb.connect()
    with connection:
        _check_rows(connection, raw, contract, latest_time(contract, now))
        counts = _count(connection, contract)
        checks = [to_expectation(rule) for rule in (*batch_rules(contract), *row_rules(contract))]
        findings = validate(_frame(connection), checks)
        _write_findings(folder, counts, findings)
        _stop_if_broken(findings, folder)
        _stop_if_engines_disagree(findings, counts)
        columns = ", ".join(COLUMNS)
        for name, query in {
            "transactions": f"SELECT {columns} FROM checked WHERE valid = 1",
            "quarantine": f"SELECT source_row, reasons, {columns}, unreadable FROM checked WHERE valid = 0",
        }.items():
            target = literal(str(folder / f"{name}.parquet"))
            connection.execute(f"COPY ({query} ORDER BY source_row) TO {target} (FORMAT parquet)")
    return counts


def _check_rows(
    connection: duckdb.DuckDBPyConnection, raw: Path, contract: Contract, latest: datetime
) -> None:
    """The table `checked`: raw rows, derived columns, reasons, and the flags of the batch rules."""
    reasons = ",\n".join(
        f"CASE WHEN {to_sql(rule)} THEN {literal(rule.code)} END" for rule in row_rules(contract)
    )
    connection.execute(f"""
        CREATE TEMP TABLE checked AS
        WITH derived AS (SELECT *, {derived_columns(contract, latest)} FROM read_parquet({literal(str(raw))})),
        judged AS (SELECT *, list_filter([{reasons}], lambda reason: reason IS NOT NULL) AS reasons FROM derived)
        SELECT *, CAST(len(reasons) = 0 AS TINYINT) AS valid, CAST(copy_number > 1 AS TINYINT) AS duplicate
        FROM judged
    """)


def _count(connection: duckdb.DuckDBPyConnection, contract: Contract) -> RowCounts:
    raw, valid = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE valid = 1) FROM checked"
    ).fetchone() or (0, 0)
    found = dict(
        connection.execute(
            "SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM checked) GROUP BY 1"
        ).fetchall()
    )
    reasons = {rule.code: found[rule.code] for rule in row_rules(contract) if rule.code in found}
    return RowCounts(raw, valid, raw - valid, reasons)


def _frame(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    query = "SELECT * EXCLUDE (source_row, reasons, unreadable) FROM checked"
    return connection.sql(query).to_arrow_table().to_pandas()


def _write_findings(folder: Path, counts: RowCounts, findings: list[Finding]) -> None:
    content = {"rows": counts.__dict__, "findings": [finding.to_dict() for finding in findings]}
    (folder / "contract.json").write_text(
        json.dumps(content, indent=2, default=str), encoding="utf-8"
    )
    write_page(folder / "contract.html", counts.__dict__, findings)


def _stop_if_broken(findings: list[Finding], folder: Path) -> None:
    broken = [
        finding for finding in findings if not finding.success and finding.severity == "critical"
    ]
    if not broken:
        return
    first = broken[0]
    found = f"{first.found:.4g}" if isinstance(first.found, float) else first.found
    others = (
        f"; also broken: {', '.join(finding.code for finding in broken[1:])}" if broken[1:] else ""
    )
    raise ContractBroken(
        f"the batch breaks the data contract: {first.code} is {found}, the limit is {first.limit or 'the canonical form'}"
        f" ({first.why}){others}",
        where=str(folder / "contract.html"),
        next_step=f"mend the source, or change contract limits in the preset (rule {first.code})",
    )


def _stop_if_engines_disagree(findings: list[Finding], counts: RowCounts) -> None:
    """Great Expectations and DuckDB judge the same rules; a difference is a fault of ours."""
    for finding in findings:
        if finding.severity == "warning" and finding.found != counts.reasons.get(finding.code, 0):
            raise ContractBroken(
                f"rule {finding.code}: Great Expectations finds {finding.found} rows, DuckDB {counts.reasons.get(finding.code, 0)}",
                where="ingestion/contract.py",
                next_step="the two translations of this rule differ: please report it with the batch",
            )
