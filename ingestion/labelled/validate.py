"""Parts of a labelled table in, valid rows and quarantine out; or the table is refused as a whole.

As for a log: always `raw = valid + quarantined`, nothing is sampled and nothing dropped; DuckDB
judges all rows, Great Expectations audits a sample by the same rules, and the two must count the
same. What is refused as a whole is a target that is not binary, and mostly quarantine.

Valid rows: `row_id` (the identifier, or the row's number), `group_id` (whose row it is; NULL where
the settings name no group), `label` (1: the positive value), `split` (NULL: to be drawn), `cells`
(the text as it was) and `typed` (a STRUCT of the features: DOUBLE for numbers, text for
categories).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import connect, literal, parquet, quoted
from configs.rules import Contract, Rule
from configs.settings import Compute
from configs.source import Source, Text
from configs.table import LONGEST_TEXT, Table
from ingestion.canonical import LINE_ENDS, read_code, read_number
from ingestion.contract import batch_rules
from ingestion.expectations import validate
from ingestion.facts import Finding, Heavy, RowCounts, ValidationResult
from ingestion.labelled.rules import LARGEST, TableRule, check_target, same_classes, table_rules
from ingestion.labelled.unseen import count_unseen, describe
from ingestion.outcome import (
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

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

VALID = TRANSACTIONS  # one name for the valid rows of any source: later stages look for it
AUDITED = ("unreadable_values", "infinite_values", "copy_number", "stray_split", "label", "id")
SPLITS = {"train": "train", "valid": "valid", "validation": "valid", "test": "test"}


def validate_table(
    parts: list[Path],
    folder: Path,
    source: Source,
    contract: Contract,
    *,
    batch: str = "",
    compute: Compute | None = None,
) -> ValidationResult:
    """Check the parts (`ingestion/labelled/read.py`) and write the outcome into `folder`: the valid
    rows, the quarantine and `contract.json`. Where `source.table.target` is None the rows are there
    to be scored, and need no label.

    Raises UserError for a target that is not binary, and ContractBroken when hardly a row is valid:
    then of the Parquet files only the quarantine is there.
    """
    table, rules = source.table, table_rules(source.table)
    with connect(folder, compute or Compute(), ordered=True) as connection:
        each = " UNION ALL ".join(
            f"SELECT {number} AS part, * FROM {parquet(part)}" for number, part in enumerate(parts)
        )
        connection.execute(f"CREATE TEMP VIEW raw AS {each}")
        label = "NULL::VARCHAR" if table.target is None else _label(connection, table)
        judged = _judged(source, rules, len(parts), label)
        connection.execute(f"CREATE TEMP TABLE judged AS {judged}")
        labels = connection.execute(
            "SELECT label, count(*) FROM judged GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
        if table.target is not None:
            check_target(labels, table)
        counts = _count(connection)
        labelled = counts.raw - counts.reasons.get("no_label", 0)  # others are there to be scored
        valid_share = counts.valid / labelled if labelled else None
        measures = {"rows": float(counts.raw), "valid_share": valid_share}
        if table.group is not None:
            measures["largest_customer_share"] = _largest_group(connection)
        findings = check_measures(rules_of_batch(contract, table), measures)
        audited, audit = _audit(connection, rules, counts, contract.audit_rows)
        level = describe(count_unseen(connection, table))
        heavy = _heavy_rules(connection, rules, counts, contract)
        outcome = ValidationResult(counts, [*findings, *audit], audited, measures, level, heavy)
        refusal = None
        if broken := [f for f in findings if not f.success and f.severity == "stop"]:
            refusal = ContractBroken(
                f"the table breaks its contract: {figure(broken[0])} ({broken[0].why})"
                f"{at_fault(broken[0], heavy)}{also(broken)}",
                where=f"rule {broken[0].code}",
                next_step="look at the rows (make quarantine), then correct the source, or what"
                " source.table.columns says of the column",
            )
        return write_outcome(connection, folder, outcome, _queries(batch, table), refusal)


def rules_of_batch(contract: Contract, table: Table) -> dict[str, Rule]:
    """Name -> rule about a measure of the whole table."""
    measures = {"valid_share"} | ({"largest_customer_share"} if table.group is not None else set())
    rules = batch_rules(contract, frozenset({"customer_id"}))
    return {name: rule for name, rule in rules.items() if rule.measure in measures}


def _largest_group(connection: DuckDBPyConnection) -> float | None:
    """The share of the rows with a group that the largest one has."""
    rows = "SELECT count(*) AS rows FROM judged WHERE group_id IS NOT NULL GROUP BY group_id"
    return connection.execute(f"SELECT max(rows) / sum(rows) FROM ({rows})").fetchall()[0][0]


def _heavy_rules(
    connection: DuckDBPyConnection,
    rules: list[TableRule],
    counts: RowCounts,
    contract: Contract,
) -> list[Heavy]:
    """List the rules that keep out a large share. Rows without a label do not hold the batch: a
    table may contain rows that are to be scored."""
    heavy_rules = []
    for rule in rules:
        rows = counts.reasons.get(rule.name, 0)
        if rows > contract.warn_share * counts.raw:
            text = heavy_text(rule.name, rows, counts.raw, rule.words)
            if rule.bounded:
                text += quantiles(connection, rule.column)
            hold = rows > contract.hold_share * counts.raw and rule.name != "no_label"
            heavy_rules.append(Heavy(rule.name, rows, text, rule.setting, hold))
    return sorted(heavy_rules, key=lambda rule: -rule.rows)


def _label(connection: DuckDBPyConnection, table: Table) -> str:
    """Return SQL of the label: one text for each class, however it is spelt."""
    column = _cell_text(table, table.target or "")
    classes = connection.execute(
        f"SELECT {column}, count(*) FROM raw GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    spelt = same_classes(classes, table.positive).items()
    cases = " ".join(f"WHEN {literal(text)} THEN {literal(label)}" for text, label in spelt)
    return f"CASE {column} {cases} END" if cases else column


def _judged(source: Source, rules: list[TableRule], parts: int, label: str) -> str:
    """SQL of every row with its typed values and the rules that it breaks. label: SQL of it."""
    table = source.table
    numbers = [p for p, column in enumerate(table.columns.values()) if column.type == "number"]
    texts = [
        *(f"{_cell_text(table, name)} AS t{place}" for place, name in enumerate(table.columns)),
        f"{label} AS label",
        f"{_key(table, table.id)} AS id",
        f"{_key(table, table.group)} AS group_id",
        f"{_cell_text(table, table.split) if table.split else 'NULL::VARCHAR'} AS raw_split",
    ]
    read = ", ".join(f"{_number(f't{p}', source.text)} AS n{p}" for p in numbers)
    # A value over many lines: a stray quote has taken what is between it and the next for one.
    long = [
        f"(from_text AND {_line_ends(f't{p}')} > {LINE_ENDS}"
        f" OR coalesce(len(t{p}), 0) > {LONGEST_TEXT})"
        for p in range(len(table.columns))
    ]
    failed = [
        f"(t{p} IS NOT NULL AND n{p} IS NULL)" if p in numbers else long[p]
        for p in range(len(table.columns))
    ]
    infinite = [f"coalesce(abs(n{p}) > {LARGEST!r} AND NOT isnan(n{p}), false)" for p in numbers]
    shown = ", ".join(
        f"CASE WHEN {condition} THEN {literal(name + '=')} || left(t{p}, 200) END"
        for p, (name, condition) in enumerate(zip(table.columns, failed, strict=True))
    )
    values = ", ".join(
        f"CASE WHEN NOT isnan(n{p}) THEN n{p} END AS v{p}" if p in numbers else f"t{p} AS v{p}"
        for p in range(len(table.columns))
    )
    known = " ".join(f"WHEN {literal(a)} THEN {literal(b)}" for a, b in SPLITS.items())
    split = f"CASE lower(raw_split) {known} END"
    reasons = ", ".join(f"CASE WHEN {rule.broken} THEN {literal(rule.name)} END" for rule in rules)
    row_id = "id" if table.id else "source_row::VARCHAR"
    if not table.id and parts > 1:
        row_id = "source || ':' || source_row"
    typed = ", ".join(f"{quoted(name)} := v{p}" for p, name in enumerate(table.columns))
    kept = ", ".join(f"v{p}" for p in range(len(table.columns)))
    return f"""
        WITH texts AS (SELECT part, source, source_row, from_text, cells, {", ".join(texts)}
                       FROM raw),
        numbers AS (SELECT *{", " + read if read else ""} FROM texts),
        typed AS (
            SELECT *, {values}, {split} AS split,
                   CAST({_sum(failed)} AS BIGINT) AS unreadable_values,
                   CAST({_sum(infinite)} AS BIGINT) AS infinite_values,
                   list_filter([{shown}]::VARCHAR[], lambda x: x IS NOT NULL) AS unreadable,
                   CASE WHEN id IS NULL THEN 1 ELSE row_number() OVER (
                       PARTITION BY id ORDER BY part, source_row) END AS copy_number
            FROM numbers
        ),
        marked AS (SELECT *, CAST(split IS NULL AS BIGINT) AS stray_split FROM typed)
        SELECT part, source, source_row, cells, label, {row_id} AS row_id, group_id,
               split, unreadable, struct_pack({typed}) AS typed, {", ".join(AUDITED[:4])}, id,
               {kept},
               list_filter([{reasons}]::VARCHAR[], lambda x: x IS NOT NULL) AS reasons
        FROM marked
    """


def _cell_text(table: Table, name: str) -> str:
    """Return SQL of a cell's text, or NULL where the text stands for a missing value."""
    cell = f"cells.{quoted(name)}"
    if not table.missing_values:
        return cell
    return (
        f"CASE WHEN {cell} NOT IN ({', '.join(map(literal, table.missing_values))}) THEN {cell} END"
    )


def _key(table: Table, name: str | None) -> str:
    """SQL of an identifier: 7.0 is 7. One that has lost digits, or is too long for the service,
    counts as none."""
    if name is None:
        return "NULL::VARCHAR"
    text = read_code(f"({_cell_text(table, name)})", "VARCHAR")
    return f"CASE WHEN len({text}) <= {LONGEST_TEXT} THEN {text} END"


def _number(text: str, written: Text) -> str:
    """Numbers in text files are written as `source.text` says, in any other file as usual."""
    plain = read_number(text, "VARCHAR", None)
    if written.plain:
        return plain
    return f"CASE WHEN from_text THEN {read_number(text, 'VARCHAR', written)} ELSE {plain} END"


def _line_ends(text: str) -> str:
    return f"coalesce(len({text}) - len(replace({text}, chr(10), '')), 0)"


def _sum(conditions: list[str]) -> str:
    return " + ".join(f"CAST({condition} AS INTEGER)" for condition in conditions) or "0"


def _count(connection: DuckDBPyConnection) -> RowCounts:
    raw, valid = connection.execute(
        "SELECT count(*), count(*) FILTER (len(reasons) = 0) FROM judged"
    ).fetchall()[0]
    reasons = connection.execute("""
        SELECT reason, count(*) FROM (SELECT unnest(reasons) AS reason FROM judged)
        GROUP BY 1 ORDER BY 2 DESC, 1
    """).fetchall()
    return RowCounts(raw, valid, raw - valid, dict(reasons), {})


def _audit(
    connection: DuckDBPyConnection, rules: list[TableRule], counts: RowCounts, most: int
) -> tuple[int, list[Finding]]:
    """Great Expectations judges every n-th row by the same rules. Raises ContractBroken when it
    counts other rows than DuckDB, which is a fault of ours."""
    every = max(1, counts.raw // most)
    columns = ", ".join(dict.fromkeys(rule.column for rule in rules))
    sample = connection.sql(
        f"SELECT {columns}, reasons FROM judged WHERE source_row % {every} = 0"
    ).to_arrow_table()
    ours = dict.fromkeys((rule.name for rule in rules), 0)
    for reasons in sample["reasons"].to_pylist():
        for reason in reasons:
            ours[reason] += 1
    frame = sample.drop_columns(["reasons"]).to_pandas()
    checked = validate(frame, [rule.expectation() for rule in rules])
    compare_engines(checked, list(ours.values()), sample.num_rows, "ingestion/labelled/rules.py")
    findings = []
    for rule, finding in zip(rules, checked, strict=True):
        failed = counts.reasons.get(rule.name, 0)
        kept = replace(finding, found=failed, success=not failed, severity="quarantine")
        findings.append(replace(kept, rule=rule.words, column=""))
    return sample.num_rows, findings


def _queries(batch: str, table: Table) -> dict[str, str]:
    """The Parquet files of a batch -> SQL of their rows."""
    return {
        VALID: f"SELECT row_id, group_id, CAST(label = {literal(table.positive or '')} AS TINYINT)"
        " AS label, split, cells, typed FROM judged WHERE len(reasons) = 0"
        " ORDER BY part, source_row",
        QUARANTINE: f"SELECT {literal(batch)} AS batch, source, source_row, reasons, cells,"
        " unreadable FROM judged WHERE len(reasons) > 0 ORDER BY part, source_row",
    }
