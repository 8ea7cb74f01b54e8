"""Check the measures of a batch, refuse it with rule, figure and limit, or write its outcome: of a
log as of a labelled table."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from common.duck import literal
from common.errors import UserError
from common.files import atomic_path
from configs.rules import Rule
from ingestion.contract import in_words, to_expectation
from ingestion.expectations import validate
from ingestion.facts import Finding, Heavy, RowCounts, ValidationResult

TRANSACTIONS, QUARANTINE, DAYS = "transactions.parquet", "quarantine.parquet", "daily.parquet"
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)  # of a column whose limit keeps out many rows


def heavy_text(code: str, rows: int, raw: int, words: str) -> str:
    """`impossible_price keeps out 34.0% of the rows (340): the rule says that …`."""
    return f"{code} keeps out {rows / raw:.1%} of the rows ({rows:,}): the rule says that {words}"


def quantiles(connection: duckdb.DuckDBPyConnection, column: str) -> str:
    """Describe the quantiles of a column of the table `judged`, in words."""
    (values,) = connection.execute(
        f"SELECT quantile_disc({column}, {list(QUANTILES)}) FROM judged"
    ).fetchall()[0]
    shown = (f"{share:.0%} {value:,g}" for share, value in zip(QUANTILES, values or []))
    return f"; quantiles found: {', '.join(shown)}"


class ContractBroken(UserError):
    """The batch breaks a rule that stops the run. Carries the outcome, for the page."""

    outcome: ValidationResult | None = None


def check_measures(rules: dict[str, Rule], measures: dict[str, Any]) -> list[Finding]:
    """Let Great Expectations check the measures, as a frame of one row."""
    import pandas as pd

    columns = {str(rule.measure): measures[str(rule.measure)] for rule in rules.values()}
    frame = pd.DataFrame({name: [value] for name, value in columns.items()}, dtype="float64")
    findings = validate(frame, [to_expectation(name, rule) for name, rule in rules.items()])
    return [
        replace(
            finding,
            severity=rule.severity,
            found=columns[str(rule.measure)],
            rule=in_words(rule),
            success=finding.success and columns[str(rule.measure)] is not None,
        )
        for finding, rule in zip(findings, rules.values(), strict=True)
    ]


def at_fault(finding: Finding, heavy: list[Heavy]) -> str:
    """Name the rule that loses the most rows, where too few are left."""
    if finding.column != "valid_share" or not heavy:
        return ""
    return f"; most rows are lost to one rule: {heavy[0].text}"


def write_outcome(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    outcome: ValidationResult,
    queries: dict[str, str],
    refusal: ContractBroken | None,
) -> ValidationResult:
    """Write `contract.json` and the result of each query as the Parquet file of that name.

    Raises the refusal of the batch, if there is one: then of the Parquet files only the quarantine
    is there, to look into.
    """
    content = json.dumps(outcome.to_dict(), indent=2, default=str)
    (folder / "contract.json").write_text(content, encoding="utf-8")
    if refusal is not None:
        refusal.outcome = outcome
        _write_files(connection, folder, {QUARANTINE: queries[QUARANTINE]})
        raise refusal
    _write_files(connection, folder, queries)
    _reconcile(folder, outcome.rows)
    return outcome


def _write_files(
    connection: duckdb.DuckDBPyConnection, folder: Path, queries: dict[str, str]
) -> None:
    """Write the result of each query as the Parquet file of that name, all of them or none."""
    with ExitStack() as stack:
        for name, query in queries.items():
            file = stack.enter_context(atomic_path(folder / name))
            connection.execute(f"COPY ({query}) TO {literal(file)} (FORMAT parquet)")


def _reconcile(folder: Path, counts: RowCounts) -> None:
    """Raise AssertionError unless the files hold the rows that were counted: they were written by
    queries of their own."""
    import pyarrow.parquet as pq

    written = [pq.read_metadata(folder / name).num_rows for name in (TRANSACTIONS, QUARANTINE)]
    if written != [counts.valid, counts.quarantined]:
        raise AssertionError(
            f"{counts.valid} + {counts.quarantined} rows counted, {written} written"
        )


def compare_engines(findings: list[Finding], ours: list[int], rows: int, place: str) -> None:
    """Raise ContractBroken where Great Expectations counts other rows than DuckDB, which is a fault
    of ours. ours: DuckDB's count for each finding.  rows: of the sample that both judged."""
    for finding, count in zip(findings, ours, strict=True):
        if finding.found != count:
            raise ContractBroken(
                f"rule {finding.code}: of {rows} rows Great Expectations finds"
                f" {finding.found}, DuckDB {count}",
                where=place,
                next_step="the two translations of this rule differ: please report it, with rows",
            )


def figure(finding: Finding) -> str:
    """Write a finding's value and its limit, with enough digits to distinguish the two."""
    value = finding.found
    if isinstance(value, float):
        close = any(
            f"{value:.4g}" == f"{limit:.4g}" for limit in (finding.low, finding.high) if limit
        )
        value = repr(value) if close else f"{value:.4g}"
    shown = "not to be computed, no row has a value" if value is None else value
    return f"{finding.code} is {shown}, the limit is {finding.limit}"


def also(broken: list[Finding]) -> str:
    return f"; also broken: {', '.join(f.code for f in broken[1:])}" if broken[1:] else ""
