"""Raw rows in, valid rows and quarantine out; or the batch is refused as a whole.

Always `raw = valid + quarantined`. Every row that breaks a rule of severity `quarantine` is in
quarantine with every reason, its source, its row there and the batch; nothing is sampled and
nothing is dropped. DuckDB judges all rows; Great Expectations judges the batch by its measures,
and audits the row rules on a sample, where the two must count the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import duckdb

from common.duck import literal, parquet
from common.errors import UserError
from configs.rules import COUNTED, Contract, Rule
from configs.settings import Compute
from configs.source import CANONICAL
from ingestion.contract import MEASURES, batch_rules, in_words, latest_time, to_expectation
from ingestion.expectations import validate
from ingestion.facts import Finding, Heavy, RowCounts, ValidationResult
from ingestion.judge import DAILY, Day, Judged, count, describe, judge, measure
from ingestion.outcome import (
    DAYS,
    QUARANTINE,
    TRANSACTIONS,
    ContractBroken,
    also,
    at_fault,
    check_measures,
    compare_engines,
    figure,
    heavy_text,
    quantiles,
    write_outcome,
)

ALL = frozenset(CANONICAL)
SORTED_AT_ONCE = 4_000_000  # rows: about 800 MB
EXAMPLES = 20  # rows of each combination of reasons that the audit sees in any case


def validate_batch(
    parts: list[Path],
    folder: Path,
    contract: Contract,
    *,
    now: datetime,
    declared: frozenset[str] = ALL,
    batch: str = "",
    compute: Compute | None = None,
) -> ValidationResult:
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
        outcome = ValidationResult(
            counts, [*findings, *audit], audited, measures, describe(days), heavy
        )
        refusal = None
        if broken := [f for f in findings if not f.success and f.severity == "stop"]:
            refusal = ContractBroken(
                f"the batch breaks the data contract: {figure(broken[0])}"
                f" ({broken[0].why}){_example(judged, broken[0])}{at_fault(broken[0], heavy)}"
                f"{also(broken)}",
                where=f"rule {broken[0].code}",
                next_step=f"correct the source; or, if the batch is right, change"
                f" contract.rules.{broken[0].code} in the preset",
            )
        with TemporaryDirectory(dir=folder, prefix=".sorted") as temporary:
            quarantine = _in_order(judged, _quarantine(judged, batch), Path(temporary))
            queries = {QUARANTINE: quarantine, DAYS: DAILY}
            if refusal is None:  # of a refused batch only the quarantine is written
                queries[TRANSACTIONS] = _in_order(judged, _valid(judged), Path(temporary))
            return write_outcome(judged.connection, folder, outcome, queries, refusal)


def read_days(path: Path) -> list[Day]:
    """The rows of `daily.parquet`."""
    with duckdb.connect() as connection:
        return connection.execute(f"FROM {parquet(path)} ORDER BY day NULLS LAST").fetchall()


def check_patterns(contract: Contract) -> None:
    """Raise UserError for a pattern that is not a regular expression."""
    for name, rule in contract.rules.items():
        if rule.pattern is None:
            continue
        try:
            with duckdb.connect() as connection:
                connection.execute("SELECT regexp_matches('', ?)", [rule.pattern]).fetchall()
        except duckdb.Error as error:
            raise UserError(
                f"the pattern {rule.pattern!r} is not a regular expression: {error}",
                where=f"contract.rules.{name}.pattern",
                next_step=r"correct it; the default for products is ^\d{5}[A-Z]{0,2}$",
            ) from error


def _heavy_rules(judged: Judged, counts: RowCounts, contract: Contract) -> list[Heavy]:
    """List the rules that keep out more than `warn_share` of the rows, with typical values."""
    heavy_rules = []
    for bit, (name, rule) in enumerate(judged.rules.items()):
        rows = counts.reasons.get(name, 0)
        warn = contract.warn_share if rule.warn_share is None else rule.warn_share
        hold_at = contract.hold_share if rule.hold_share is None else rule.hold_share
        if rows > warn * counts.raw:
            text = heavy_text(name, rows, counts.raw, in_words(rule)) + _values(judged, rule, bit)
            hold = rows > hold_at * counts.raw
            heavy_rules.append(Heavy(name, rows, text, f"contract.rules.{name}", hold))
    return sorted(heavy_rules, key=lambda heavy: -heavy.rows)


def _values(judged: Judged, rule: Rule, bit: int) -> str:
    """Describe the column's values: quantiles of numbers, or the most frequent texts kept out."""
    if rule.required or (rule.column in COUNTED and rule.column != "sold_quantity"):
        return ""
    if rule.pattern is None:
        return quantiles(judged.connection, rule.column or "")
    texts = judged.connection.execute(
        f"SELECT {rule.column} FROM judged WHERE broken & {1 << bit} <> 0"
        " GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5"
    ).fetchall()
    return f"; most frequent: {', '.join(repr(text[:30]) for (text,) in texts)}"


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
    broken = sample["broken"].to_numpy()
    audit = validate(sample.to_pandas(), checks)
    ours = [int((broken & (1 << bit) != 0).sum()) for bit in range(len(audit))]
    compare_engines(audit, ours, sample.num_rows, "ingestion/contract.py")
    rows = counts.reasons | counts.warned
    findings = []
    for finding in audit:
        rule, failed = judged.rules[finding.code], rows.get(finding.code, 0)
        findings.append(
            replace(
                finding,
                found=failed,
                success=not failed,
                severity=rule.severity,
                rule=in_words(rule),
            )
        )
    return sample.num_rows, findings


def _valid(judged: Judged) -> str:
    return f"SELECT {', '.join(CANONICAL)} FROM judged WHERE broken & {judged.quarantine} = 0"


def _quarantine(judged: Judged, batch: str) -> str:
    return (
        f"SELECT {literal(batch)} AS batch, source, source_row, {judged.reasons()} AS reasons,"
        f" {', '.join(CANONICAL)}, unreadable"
        f" FROM judged WHERE broken & {judged.quarantine} <> 0"
    )


def _in_order(judged: Judged, rows: str, temporary: Path) -> str:
    """Return SQL of these rows of `judged` in the order of the source, which the join with `copies`
    loses on several threads: in order, they are the same bytes every time.

    A sort that does not fit in memory takes minutes. So a large log is sorted in pieces, written to
    `temporary`, which follow each other.
    """
    spans = judged.connection.execute(
        "SELECT part, min(source_row), max(source_row) FROM raw GROUP BY part ORDER BY part"
    ).fetchall()
    if sum(last - first + 1 for _, first, last in spans) <= SORTED_AT_ONCE:
        return f"{rows} ORDER BY key"
    pieces: list[Path] = []
    folder = Path(mkdtemp(dir=temporary))
    for first_part, last_part, first, last in _pieces(spans):
        pieces.append(folder / f"{len(pieces)}.parquet")
        judged.connection.execute(
            f"COPY ({rows} AND part BETWEEN {first_part} AND {last_part}"
            f" AND source_row BETWEEN {first} AND {last} ORDER BY key)"
            f" TO {literal(pieces[-1])} (FORMAT parquet)"
        )
    return f"SELECT * FROM {parquet(pieces)}"


def _pieces(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Cut (part, first row, last row) into pieces of at most SORTED_AT_ONCE rows: first and last
    part, first and last row. Small parts that follow each other are one piece."""
    pieces: list[tuple[int, int, int, int]] = []
    room = 0  # rows that the last piece may still take
    for part, first, last in spans:
        count = last - first + 1
        if count <= room:
            first_part, _, lowest, highest = pieces.pop()
            pieces.append((first_part, part, min(lowest, first), max(highest, last)))
            room -= count
            continue
        for start in range(first, last + 1, SORTED_AT_ONCE):
            pieces.append((part, part, start, min(start + SORTED_AT_ONCE - 1, last)))
        room = SORTED_AT_ONCE - count if count <= SORTED_AT_ONCE else 0
    return pieces


def _example(judged: Judged, finding: Finding) -> str:
    """Where a column that does not read as its type first fails."""
    name = finding.column.removeprefix("unreadable_")
    if name == finding.column or finding.column not in MEASURES:
        return ""
    examples = judged.connection.execute(
        "SELECT source, source_row, value"
        " FROM (SELECT key, source, source_row, unnest(unreadable) AS value FROM raw)"
        f" WHERE starts_with(value, {literal(name + '=')}) ORDER BY key LIMIT 1"
    ).fetchall()
    return "".join(
        f"; row {row} of {source} holds {value.partition('=')[2]!r}"
        for source, row, value in examples
    )
