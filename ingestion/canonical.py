"""The canonical columns of a transaction log, and how any column is read into them.

Every source ends here: `source_row` (1-based, as a person would count the rows of the file), the
eight canonical columns, and `unreadable`: the values that could not be read, kept as text so that
quarantine can show them.
"""

from __future__ import annotations

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


def quoted(name: str) -> str:
    """A column or file name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def select_canonical(relation: str, mapping: dict[str, str], time_format: str | None) -> str:
    """SQL that reads a relation with `source_row` into the canonical columns and `unreadable`."""
    read = {
        name: _reader(name, quoted(mapping[name]), time_format)
        if name in mapping
        else f"CAST(NULL AS {kind})"
        for name, kind in COLUMNS.items()
    }
    failures = ", ".join(
        f"CASE WHEN {read[name]} IS NULL AND nullif(trim(CAST({quoted(source)} AS VARCHAR)), '') IS NOT NULL"
        f" THEN {literal(name + '=')} || CAST({quoted(source)} AS VARCHAR) END"
        for name, source in mapping.items()
        if COLUMNS[name] != "VARCHAR"
    )
    columns = ",\n  ".join(f"{expression} AS {name}" for name, expression in read.items())
    return (
        f"SELECT source_row,\n  {columns},\n"
        f"  list_filter([{failures}]::VARCHAR[], lambda value: value IS NOT NULL) AS unreadable\nFROM {relation}"
    )


def _reader(name: str, source: str, time_format: str | None) -> str:
    text = f"nullif(trim(CAST({source} AS VARCHAR)), '')"
    match name:
        case "product_id":  # 173 codes of the published log differ only in letter case
            return f"upper({text})"
        case "customer_id" | "invoice_id":  # spreadsheets and null-bearing frames write 13085.0
            return f"regexp_replace({text}, '\\.0$', '')"
        case "quantity":  # a fraction is unreadable, not rounded
            number = f"TRY_CAST({text} AS DOUBLE)"
            return f"CASE WHEN {number} = floor({number}) THEN TRY_CAST({number} AS BIGINT) END"
        case "unit_price":
            return f"CASE WHEN isfinite(TRY_CAST({text} AS DOUBLE)) THEN TRY_CAST({text} AS DOUBLE) END"
        case "invoiced_at":
            if time_format:
                return f"try_strptime({text}, {literal(time_format)})"
            return f"TRY_CAST({text} AS TIMESTAMP)"
    return text
