"""Raw rows in, valid rows and quarantine out; or the batch is refused as a whole.

Always `raw = valid + quarantined`. Every row that breaks a row rule is in quarantine, with every
reason; nothing is sampled and nothing is dropped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from configs.errors import UserError
from configs.settings import Contract
from ingestion.canonical import COLUMNS, literal
from ingestion.contract import BatchRule, RowRule, batch_rules, row_rules
from ingestion.expectations import Finding, validate
from ingestion.page import write_page
from ingestion.translate import derived_columns, latest_time, to_expectation, to_sql

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
    names = ("transactions", "quarantine")
    targets = [folder / f"{name}.parquet" for name in names]
    unfinished = [folder / f".{name}.unfinished" for name in names]
    for file in targets:  # what an earlier batch left is not the outcome of this one
        file.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        _check_pattern(connection, contract)
        connection.execute(f"CREATE TEMP VIEW raw AS FROM read_parquet({literal(str(raw))})")
        _check_columns(connection, folder, contract)
        _check_rows(connection, contract, latest_time(contract, now))
        counts = _count(connection, contract)
        rules: list[BatchRule | RowRule] = [*batch_rules(contract), *row_rules(contract)]
        findings = validate(_frame(connection), [to_expectation(rule) for rule in rules])
        _write_findings(folder, counts, findings)
        _stop_if_broken(connection, findings, folder, contract)
        _stop_if_engines_disagree(findings, counts)
        columns = ", ".join(COLUMNS)
        queries = (
            f"SELECT {columns} FROM checked WHERE valid = 1",
            f"SELECT source_row, reasons, {columns}, unreadable FROM checked WHERE valid = 0",
        )
        try:
            for query, file in zip(queries, unfinished, strict=True):
                ordered = f"COPY ({query} ORDER BY source_row) TO {literal(str(file))}"
                connection.execute(f"{ordered} (FORMAT parquet)")
            for file, target in zip(unfinished, targets, strict=True):
                file.replace(target)
        finally:
            for file in unfinished:
                file.unlink(missing_ok=True)
    return counts


def _check_pattern(connection: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    try:
        connection.execute("SELECT regexp_matches('', ?)", [contract.product_pattern]).fetchall()
    except duckdb.Error as error:
        raise UserError(
            f"the pattern {contract.product_pattern!r} is no regular expression: {error}",
            where="contract.product_pattern",
            next_step=r"mend it; the default is ^\d{5}[A-Z]{0,2}$",
        ) from error


def _check_columns(connection: duckdb.DuckDBPyConnection, folder: Path, contract: Contract) -> None:
    """Stop by the rule `columns` alone: without its columns no other rule can be judged."""
    raw = connection.table("raw")
    if set(COLUMNS) <= set(raw.columns):
        return
    rule = next(rule for rule in batch_rules(contract) if rule.code == "columns")
    findings = validate(raw.limit(0).to_arrow_table().to_pandas(), [to_expectation(rule)])
    rows = len(raw)
    _write_findings(folder, RowCounts(rows, 0, rows, {}), findings)
    _stop_if_broken(connection, findings, folder, contract)


def _check_rows(
    connection: duckdb.DuckDBPyConnection, contract: Contract, latest: datetime
) -> None:
    """The table `checked`: raw rows, derived columns, reasons, and the flags of the batch rules."""
    reasons = ",\n".join(
        f"CASE WHEN {to_sql(rule)} THEN {literal(rule.code)} END" for rule in row_rules(contract)
    )
    connection.execute(f"""
        CREATE TEMP TABLE checked AS
        WITH derived AS (SELECT *, {derived_columns(contract, latest)} FROM raw),
        judged AS (
            SELECT *, list_filter([{reasons}], lambda reason: reason IS NOT NULL) AS reasons
            FROM derived
        )
        SELECT *,
            CAST(len(reasons) = 0 AS BIGINT) AS valid,
            CAST(copy_number > 1 AS BIGINT) AS duplicate
        FROM judged
    """)


def _count(connection: duckdb.DuckDBPyConnection, contract: Contract) -> RowCounts:
    raw, valid = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE valid = 1) FROM checked"
    ).fetchone() or (0, 0)
    each = "SELECT unnest(reasons) AS reason FROM checked"
    found = dict(connection.execute(f"SELECT reason, count(*) FROM ({each}) GROUP BY 1").fetchall())
    reasons = {rule.code: found[rule.code] for rule in row_rules(contract) if rule.code in found}
    return RowCounts(raw, valid, raw - valid, reasons)


def _frame(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    query = "SELECT * EXCLUDE (source_row, reasons, unreadable) FROM checked"
    return connection.sql(query).to_arrow_table().to_pandas()


def _write_findings(folder: Path, counts: RowCounts, findings: list[Finding]) -> None:
    rows = asdict(counts)
    content = {"rows": rows, "findings": [finding.to_dict() for finding in findings]}
    (folder / "contract.json").write_text(
        json.dumps(content, indent=2, default=str), encoding="utf-8"
    )
    write_page(folder / "contract.html", rows, findings)


def _stop_if_broken(
    connection: duckdb.DuckDBPyConnection,
    findings: list[Finding],
    folder: Path,
    contract: Contract,
) -> None:
    broken = [
        finding for finding in findings if not finding.success and finding.severity == "critical"
    ]
    if not broken:
        return
    first = broken[0]
    rule = next(rule for rule in batch_rules(contract) if rule.code == first.code)
    others = f"; also broken: {', '.join(f.code for f in broken[1:])}" if broken[1:] else ""
    limit = f"contract.{rule.setting}" if rule.setting else "source.columns"
    raise ContractBroken(
        f"the batch breaks the data contract: {_figure(first)} ({first.why})"
        f"{_example(connection, first)}{others}",
        where=f"{folder / 'contract.html'}, rule {first.code}",
        next_step=f"mend the source; or, if the batch is right, change {limit} in the preset",
    )


def _figure(finding: Finding) -> str:
    """What was found, beside the limit, with enough digits to tell the two apart."""
    if finding.code == "columns":
        missing = [name for name in COLUMNS if name not in finding.found]
        return f"columns lacks {', '.join(missing)}; the limit is {', '.join(COLUMNS)}"
    found = finding.found
    if isinstance(found, float):
        close = any(
            f"{found:.4g}" == f"{limit:.4g}" for limit in (finding.low, finding.high) if limit
        )
        found = repr(found) if close else f"{found:.4g}"
    said = "not to be computed, no row has a value" if found is None else found
    return f"{finding.code} is {said}, the limit is {finding.limit}"


def _example(connection: duckdb.DuckDBPyConnection, finding: Finding) -> str:
    """Where a column that does not read as its type first fails."""
    if not finding.code.startswith("type_of_"):
        return ""
    name = finding.code.removeprefix("type_of_")
    row, value = connection.execute(
        "SELECT source_row, value"
        " FROM (SELECT source_row, unnest(unreadable) AS value FROM checked)"
        " WHERE starts_with(value, ?) ORDER BY source_row LIMIT 1",
        [f"{name}="],
    ).fetchone() or (None, "")
    return f"; row {row} holds {value.partition('=')[2]!r}" if row is not None else ""


def _stop_if_engines_disagree(findings: list[Finding], counts: RowCounts) -> None:
    """Great Expectations and DuckDB judge the same rules; a difference is a fault of ours."""
    for finding in findings:
        counted = counts.reasons.get(finding.code, 0)
        if finding.severity == "warning" and finding.found != counted:
            raise ContractBroken(
                f"rule {finding.code}: Great Expectations finds {finding.found} rows,"
                f" DuckDB {counted}",
                where="ingestion/contract.py",
                next_step="the two translations of this rule differ: please report it, with rows",
            )
