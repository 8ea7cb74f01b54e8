"""The canonical columns of a transaction log, and how any column is read into them.

Every source ends here: `source_row` (1-based, as a person would count the rows of the file), the
eight canonical columns, and `unreadable`: the values that could not be read, kept as text so that
quarantine can show them.
"""

from __future__ import annotations

import re

COLUMNS = {
    "invoice_id": "VARCHAR",
    "product_id": "VARCHAR",
    "description": "VARCHAR",
    "quantity": "BIGINT",
    "unit_price": "DOUBLE",
    "invoiced_at": "TIMESTAMP",
    "customer_id": "VARCHAR",
    "country": "VARCHAR",
}
# What a log cannot do without. The others are read as missing when a source has none.
REQUIRED = ("invoice_id", "product_id", "quantity", "unit_price", "invoiced_at", "customer_id")

BLANKS = " \t\r\n\v\f\u00a0\u3000"
EARLIEST, LATEST = "TIMESTAMP '1900-01-01'", "TIMESTAMP '9999-12-31 23:59:59.999999'"


def quoted(name: str) -> str:
    """A column or file name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def select_canonical(
    relation: str, mapping: dict[str, str], types: dict[str, str], time_format: str | None
) -> str:
    """SQL that reads a relation into `source_row`, the canonical columns and `unreadable`.

    mapping: canonical column -> column of the relation.  types: its columns -> DuckDB types.
    Times become UTC when the session's time zone is UTC.
    """
    raw = [f"{quoted(column)} AS raw_{name}" for name, column in mapping.items()]
    read = {
        name: _reader(name, f"raw_{name}", types[mapping[name]], time_format)
        if name in mapping
        else f"CAST(NULL AS {kind})"
        for name, kind in COLUMNS.items()
    }
    failures = ", ".join(
        f"CASE WHEN {name} IS NULL AND {_given(f'raw_{name}', types[mapping[name]])}"
        f" THEN {literal(name + '=')} || CAST(raw_{name} AS VARCHAR) END"
        for name in mapping
        if COLUMNS[name] != "VARCHAR"
    )
    columns = ", ".join(f"{expression} AS {name}" for name, expression in read.items())
    return f"""
        WITH numbered AS (
            SELECT row_number() OVER () AS source_row, {", ".join(raw)} FROM {relation}
        ),
        readable AS (SELECT *, {columns} FROM numbered)
        SELECT source_row, {", ".join(COLUMNS)},
            list_filter([{failures}]::VARCHAR[], lambda value: value IS NOT NULL) AS unreadable
        FROM readable
    """


def _text(source: str) -> str:
    """The value as text without the blanks around it; nothing but blanks is a missing value."""
    return f"nullif(trim(CAST({source} AS VARCHAR), {literal(BLANKS)}), '')"


def _given(source: str, kind: str) -> str:
    """Whether there is a value at all. Blanks can only stand in text."""
    return f"{_text(source) if kind == 'VARCHAR' else source} IS NOT NULL"


def _reader(name: str, source: str, kind: str, time_format: str | None) -> str:
    text = _text(source)
    whole = f"regexp_replace({text}, '\\.0$', '')"  # null-bearing frames write 13085.0
    number = f"TRY_CAST({text} AS DOUBLE)"
    if re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", kind):  # no way through text: faster
        whole, number = f"CAST({source} AS VARCHAR)", f"CAST({source} AS DOUBLE)"
    elif kind in ("DOUBLE", "FLOAT"):
        number = f"CAST({source} AS DOUBLE)"
    match name:
        case "product_id":  # 173 codes of the published log differ only in letter case
            return f"upper({whole})"
        case "customer_id" | "invoice_id":
            return whole
        case "quantity":  # a fraction is unreadable, not rounded; beyond 2^53 doubles have gaps
            return (
                f"CASE WHEN {number} = floor({number}) AND abs({number}) <= {2**53}"
                f" THEN CAST({number} AS BIGINT) END"
            )
        case "unit_price":
            return f"CASE WHEN isfinite({number}) THEN {number} END"
        case "invoiced_at":
            if kind.startswith(("TIMESTAMP", "DATE")):
                time = f"CAST({source} AS TIMESTAMP)"
            elif time_format:
                time = f"CAST(try_strptime({text}, {literal(time_format)}) AS TIMESTAMP)"
            else:  # with a time zone first: DuckDB would drop the +01 of a text otherwise
                time = f"CAST(TRY_CAST({text} AS TIMESTAMPTZ) AS TIMESTAMP)"
            # A year of two digits is read as the year 10, and `infinity` as a time.
            return f"CASE WHEN {time} BETWEEN {EARLIEST} AND {LATEST} THEN {time} END"
    return text
