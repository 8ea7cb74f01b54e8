"""Valid rows → the features that a champion scores: a log at one as-of date, or a labelled table.

The same SQL as the training table, without labels and splits, in the same Parquet form:
`customer_id, as_of, <features>`, sorted by customer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import date
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.duck import connect, content_hash, literal, parquet, quoted
from configs.settings import Compute, Features
from features.build import ROW_GROUP
from features.catalogue import ALL, Feature, select
from features.engine import build_features, make, read_log
from features.from_table import feature_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LINES_PER_PART = 2_000_000  # about 500 MB
SAMPLE = 10_000  # lines, to part the customers by


def rows_of_log(
    transactions: Path,
    target: Path,
    as_of: date,
    settings: Features,
    declared: frozenset[str] = ALL,
    compute: Compute | None = None,
    log_start: date | None = None,
) -> int:
    """Write the features of everybody who bought in the `active_days` before `as_of`; returns how
    many customers there are.

    transactions: Parquet with the canonical columns. Only rows before `as_of` are read.
    settings, declared (columns), log_start (the day of the first sale): as the champion's bundle
    has them.

    A customer's features come from that customer's lines alone, so a large log is processed in
    parts, each with some of the customers: memory does not grow with it.
    """
    import pyarrow.parquet as pq

    features = select(declared)
    names = ", ".join(feature.name for feature in features)
    lines = f"FROM {parquet(transactions)} WHERE invoiced_at < DATE '{as_of}'"
    with connect(target.parent, compute) as connection:
        customers, first_sale = _customers(connection, lines)
    rows, writer = 0, None
    try:
        for some in customers:
            with connect(target.parent, compute) as connection:
                connection.execute(f"CREATE VIEW transactions AS {lines} AND {some}")
                read_log(connection, settings, log_start or first_sale)
                connection.execute(f"CREATE TABLE as_of_dates AS SELECT DATE '{as_of}' AS as_of")
                make(connection, "spine")
                build_features(connection, features)
                table: Any = connection.sql(
                    f"SELECT customer_id, as_of, {names} FROM features ORDER BY row_id"
                ).to_arrow_table()
            writer = writer or pq.ParquetWriter(target, table.schema)
            writer.write_table(table, ROW_GROUP)
            rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def _customers(connection: DuckDBPyConnection, lines: str) -> tuple[list[str], date | None]:
    """Conditions for about as many lines each, in the order of the customers; and the day of the
    first sale."""
    ((count, first_sale),) = connection.execute(
        f"SELECT count(*), min(CAST(invoiced_at AS DATE)) FILTER (quantity > 0) {lines}"
    ).fetchall()
    parts = max(1, ceil(count / LINES_PER_PART))
    if parts == 1:
        return ["true"], first_sale
    sample = connection.execute(f"""
        SELECT customer_id FROM (SELECT customer_id {lines}) USING SAMPLE {SAMPLE} ROWS ORDER BY 1
    """).fetchall()
    bounds = sorted({sample[len(sample) * part // parts][0] for part in range(1, parts)})
    above = ["true", *(f"customer_id >= {literal(bound)}" for bound in bounds)]
    below = [*(f"customer_id < {literal(bound)}" for bound in bounds), "true"]
    return [f"{low} AND {high}" for low, high in zip(above, below, strict=True)], first_sale


def rows_of_table(
    valid: Path, target: Path, features: Iterable[Feature], compute: Compute | None = None
) -> int:
    """Write the features of the valid rows of a labelled table, which need no label; returns how
    many there are.

    features: as the champion's bundle has them: its categories give the codes.
    """
    with connect(target.parent, compute) as connection:
        connection.execute(f"CREATE VIEW valid AS FROM {parquet(valid)}")
        values = ", ".join(
            f"{feature_sql(connection, feature)} AS {quoted(feature.name)}" for feature in features
        )
        connection.execute(f"""
            COPY (
                SELECT row_id AS customer_id, CAST(NULL AS DATE) AS as_of, {values}
                FROM valid ORDER BY row_id
            ) TO {literal(target)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})
        """)
        (rows,) = connection.execute(f"SELECT count(*) FROM {parquet(target)}").fetchall()[0]
    return rows


def digest_of_rows(features: Path, compute: Compute | None = None) -> str:
    """A digest of the rows of a features file, whatever their order and the file they came from."""
    with connect(None, compute) as connection:
        columns = connection.execute(f"DESCRIBE FROM {parquet(features)}").fetchall()
        texts = [quoted(name) for name, kind, *_ in columns if kind == "VARCHAR"]
        others = [quoted(name) for name, kind, *_ in columns if kind != "VARCHAR"]
        totals = connection.execute(
            f"SELECT count(*), sum({content_hash(texts, others)}) FROM {parquet(features)}"
        ).fetchall()[0]
    return hashlib.sha256(json.dumps([texts, others, *map(str, totals)]).encode()).hexdigest()
