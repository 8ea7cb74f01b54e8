"""Raw rows in, valid rows and quarantine out; or the batch is refused as a whole.

Always `raw = valid + quarantined`. Every row that breaks a rule of severity `quarantine` is in
quarantine with every reason, its source, its row there and the batch; nothing is sampled and
nothing is dropped. DuckDB judges all rows; Great Expectations judges the batch by its measures,
and audits the row rules on a sample, where the two must count the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from common.duck import literal, parquet
from common.errors import UserError
from configs.rules import COUNTED, Contract, Rule
from configs.settings import Compute
from configs.source import CANONICAL
from ingestion.contract import MEASURES, batch_rules, in_words
from ingestion.expectations import Finding, validate
from ingestion.judge import Judged, judge
from ingestion.measures import DAILY, Day, RowCounts, count, describe, measure
from ingestion.translate import latest_time, to_expectation

TRANSACTIONS, QUARANTINE, DAYS = "transactions.parquet", "quarantine.parquet", "daily.parquet"
ALL = frozenset(CANONICAL)
EXAMPLES = 20  # rows of each combination of reasons that the audit sees in any case
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)  # of a column whose limit keeps out many rows


@dataclass(frozen=True)
class Heavy:
    """A row rule that keeps out more of the rows than `warn_share` allows. text: the rule, the
    share and the values found, for people; setting: where it is set; hold: above `hold_share` too.
    """

    code: str
    rows: int
    text: str
    setting: str
    hold: bool


def heavy_text(code: str, rows: int, raw: int, words: str) -> str:
    """`impossible_price keeps out 34.0% of the rows (340): the rule says that …`."""
    return f"{code} keeps out {rows / raw:.1%} of the rows ({rows:,}): the rule says that {words}"


def quantiles(connection: duckdb.DuckDBPyConnection, column: str) -> str:
    """What a column of the table `judged` holds, in words."""
    (found,) = connection.execute(
        f"SELECT quantile_disc({column}, {list(QUANTILES)}) FROM judged"
    ).fetchall()[0]
    shown = (f"{share:.0%} {value:,g}" for share, value in zip(QUANTILES, found or []))
    return f"; quantiles found: {', '.join(shown)}"


@dataclass(frozen=True)
class Outcome:
    """rows and findings of the contract, how many rows were audited, what the batch measures
    (`ingestion/measures.py`), and the rules that keep out a large share, the largest first."""

    rows: RowCounts
    findings: list[Finding]
    audited: int
    measures: dict[str, float | None]
    level: dict[str, Any]
    heavy: list[Heavy] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [finding.to_dict() for finding in self.findings]}


class ContractBroken(UserError):
    """The batch breaks a rule that stops the run. Carries the outcome, for the page."""

    outcome: Outcome | None = None


def validate_batch(
    parts: list[Path],
    folder: Path,
    contract: Contract,
    *,
    now: datetime,
    declared: frozenset[str] = ALL,
    batch: str = "",
    compute: Compute | None = None,
) -> Outcome:
    """Check the parts (`ingestion/canonical.py`) and write the outcome into `folder`.

    Writes `transactions.parquet`, `quarantine.parquet`, `daily.parquet` and `contract.json`.
    Raises ContractBroken with the rule, the figure and the limit when a rule of severity `stop`
    fails: then of the Parquet files only the quarantine is there, to look into.

    declared: the columns that the source has.  batch: the batch's name, kept with its rows.
    """
    for name in (TRANSACTIONS, QUARANTINE, DAYS):  # of an earlier batch
        (folder / name).unlink(missing_ok=True)
    check_patterns(contract)
    latest = latest_time(contract, now)
    with judge(parts, folder, contract, declared, latest, compute or Compute()) as judged:
        counts = count(judged)
        measures = measure(judged, counts)
        rules = batch_rules(contract, declared)
        findings = check_measures(rules, measures)
        audited, audit = _audit(judged, contract, counts)
        days: list[Day] = judged.connection.execute(DAILY).fetchall()
        heavy = _heavy_rules(judged, counts, contract)
        outcome = Outcome(counts, [*findings, *audit], audited, measures, describe(days), heavy)
        content = json.dumps(outcome.to_dict(), indent=2, default=str)
        (folder / "contract.json").write_text(content, encoding="utf-8")
        if broken := [f for f in findings if not f.success and f.severity == "stop"]:
            error = ContractBroken(
                f"the batch breaks the data contract: {figure(broken[0])}"
                f" ({broken[0].why}){_example(judged, broken[0])}{at_fault(broken[0], heavy)}"
                f"{also(broken)}",
                where=f"rule {broken[0].code}",
                next_step=f"mend the source; or, if the batch is right, change"
                f" contract.rules.{broken[0].code} in the preset",
            )
            error.outcome = outcome
            _write(judged, folder, batch, [QUARANTINE])
            raise error
        _write(judged, folder, batch, [TRANSACTIONS, QUARANTINE, DAYS])
        _reconcile(folder, counts)
    return outcome


def read_days(path: Path) -> list[Day]:
    """The rows of `daily.parquet`."""
    with duckdb.connect() as connection:
        return connection.execute(f"FROM {parquet(path)} ORDER BY day NULLS LAST").fetchall()


def check_patterns(contract: Contract) -> None:
    """Raise UserError for a pattern that is no regular expression."""
    for name, rule in contract.rules.items():
        if rule.pattern is None:
            continue
        try:
            with duckdb.connect() as connection:
                connection.execute("SELECT regexp_matches('', ?)", [rule.pattern]).fetchall()
        except duckdb.Error as error:
            raise UserError(
                f"the pattern {rule.pattern!r} is no regular expression: {error}",
                where=f"contract.rules.{name}.pattern",
                next_step=r"mend it; the default for products is ^\d{5}[A-Z]{0,2}$",
            ) from error


def check_measures(rules: dict[str, Rule], measures: dict[str, Any]) -> list[Finding]:
    """Great Expectations' verdict on measures, on a frame of one row."""
    import pandas as pd

    columns = {str(rule.measure): measures[str(rule.measure)] for rule in rules.values()}
    frame = pd.DataFrame({name: [value] for name, value in columns.items()}, dtype="float64")
    found = validate(frame, [to_expectation(name, rule) for name, rule in rules.items()])
    return [
        replace(
            finding,
            severity=rule.severity,
            found=columns[str(rule.measure)],
            rule=in_words(rule),
            success=finding.success and columns[str(rule.measure)] is not None,
        )
        for finding, rule in zip(found, rules.values(), strict=True)
    ]


def _heavy_rules(judged: Judged, counts: RowCounts, contract: Contract) -> list[Heavy]:
    """The rules that keep out more than `warn_share` of the rows, with the values found."""
    found = []
    for bit, (name, rule) in enumerate(judged.rules.items()):
        rows = counts.reasons.get(name, 0)
        warn = contract.warn_share if rule.warn_share is None else rule.warn_share
        hold_at = contract.hold_share if rule.hold_share is None else rule.hold_share
        if rows > warn * counts.raw:
            text = heavy_text(name, rows, counts.raw, in_words(rule)) + _values(judged, rule, bit)
            hold = rows > hold_at * counts.raw
            found.append(Heavy(name, rows, text, f"contract.rules.{name}", hold))
    return sorted(found, key=lambda heavy: -heavy.rows)


def _values(judged: Judged, rule: Rule, bit: int) -> str:
    """What stands in the column: quantiles of numbers, or the most frequent texts kept out."""
    if rule.required or (rule.column in COUNTED and rule.column != "sold_quantity"):
        return ""
    if rule.pattern is None:
        return quantiles(judged.connection, rule.column or "")
    texts = judged.connection.execute(
        f"SELECT {rule.column} FROM judged WHERE broken & {1 << bit} <> 0"
        " GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5"
    ).fetchall()
    return f"; most frequent: {', '.join(repr(text[:30]) for (text,) in texts)}"


def at_fault(finding: Finding, heavy: list[Heavy]) -> str:
    """Which rule leaves too few rows."""
    if finding.column != "valid_share" or not heavy:
        return ""
    return f"; most rows are lost to one rule: {heavy[0].text}"


def _audit(judged: Judged, contract: Contract, counts: RowCounts) -> tuple[int, list[Finding]]:
    """Great Expectations judges a sample by the same rules: every n-th row, and some of each
    combination of reasons. Raises ContractBroken when it counts other rows than DuckDB, which is a
    fault of ours."""
    every = max(1, counts.raw // contract.audit_rows)
    if every > 1:
        judged.connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE picked AS
            SELECT unnest(min(key, {EXAMPLES})) AS key FROM judged WHERE broken <> 0 GROUP BY broken
        """)
    columns = ", ".join(dict.fromkeys(str(rule.column) for rule in judged.rules.values()))
    also_picked = "OR key IN (SELECT key FROM picked)" if every > 1 else ""
    sample = judged.connection.sql(
        f"SELECT {columns or 'key'}, broken FROM judged"
        f" WHERE source_row % {every} = 0 {also_picked}"
    ).to_arrow_table()
    checks = [to_expectation(name, rule) for name, rule in judged.rules.items()]
    findings = []
    broken = sample["broken"].to_numpy()
    for bit, finding in enumerate(validate(sample.to_pandas(), checks)):
        ours = int((broken & (1 << bit) != 0).sum())
        if finding.found != ours:
            raise ContractBroken(
                f"rule {finding.code}: of {sample.num_rows} rows Great Expectations finds"
                f" {finding.found}, DuckDB {ours}",
                where="ingestion/translate.py",
                next_step="the two translations of this rule differ: please report it, with rows",
            )
        rule = judged.rules[finding.code]
        rows = {**counts.reasons, **counts.warned}.get(finding.code, 0)
        findings.append(
            replace(
                finding, found=rows, success=not rows, severity=rule.severity, rule=in_words(rule)
            )
        )
    return sample.num_rows, findings


def _write(judged: Judged, folder: Path, batch: str, names: list[str]) -> None:
    """Write these Parquet files of a batch; they are renamed when all of them are whole."""
    columns = ", ".join(CANONICAL)
    queries = {
        TRANSACTIONS: f"SELECT {columns} FROM judged WHERE broken & {judged.quarantine} = 0",
        QUARANTINE: f"SELECT {literal(batch)} AS batch, source, source_row,"
        f" {judged.reasons()} AS reasons, {columns}, unreadable"
        f" FROM judged WHERE broken & {judged.quarantine} <> 0",
        DAYS: DAILY,
    }
    aside = {name: folder / f".{name}.unfinished" for name in names}
    try:
        for name in names:
            copy = f"COPY ({queries[name]}) TO {literal(aside[name])} (FORMAT parquet)"
            judged.connection.execute(copy)
        for name, file in aside.items():
            file.replace(folder / name)
    finally:
        for file in aside.values():
            file.unlink(missing_ok=True)


def _reconcile(folder: Path, counts: RowCounts) -> None:
    """The files hold the rows that were counted: they were written by queries of their own."""
    import pyarrow.parquet as pq

    written = [pq.read_metadata(folder / name).num_rows for name in (TRANSACTIONS, QUARANTINE)]
    if written != [counts.valid, counts.quarantined]:
        raise AssertionError(
            f"{counts.valid} + {counts.quarantined} rows counted, {written} written"
        )


def figure(finding: Finding) -> str:
    """What was found, beside the limit, with enough digits to tell the two apart."""
    found = finding.found
    if isinstance(found, float):
        close = any(
            f"{found:.4g}" == f"{limit:.4g}" for limit in (finding.low, finding.high) if limit
        )
        found = repr(found) if close else f"{found:.4g}"
    said = "not to be computed, no row has a value" if found is None else found
    return f"{finding.code} is {said}, the limit is {finding.limit}"


def also(broken: list[Finding]) -> str:
    return f"; also broken: {', '.join(f.code for f in broken[1:])}" if broken[1:] else ""


def _example(judged: Judged, finding: Finding) -> str:
    """Where a column that does not read as its type first fails."""
    name = finding.column.removeprefix("unreadable_")
    if name == finding.column or finding.column not in MEASURES:
        return ""
    found = judged.connection.execute(
        "SELECT source, source_row, value"
        " FROM (SELECT key, source, source_row, unnest(unreadable) AS value FROM raw)"
        f" WHERE starts_with(value, {literal(name + '=')}) ORDER BY key LIMIT 1"
    ).fetchall()
    return "".join(
        f"; row {row} of {source} holds {value.partition('=')[2]!r}" for source, row, value in found
    )
