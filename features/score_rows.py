"""Valid rows → the features that a champion scores: a log at one as-of date, or a labelled table.

The same SQL as the training table, without labels and splits, in the same Parquet form:
`customer_id, as_of, <features>`, sorted by customer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from configs.duck import connect, content_hash, literal, parquet, quoted
from configs.settings import Compute, Features
from features.build import ROW_GROUP
from features.catalogue import ALL, Feature, select
from features.engine import build_features, read_log, run
from features.from_table import feature_sql

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


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
    """
    features = select(declared)
    names = ", ".join(feature.name for feature in features)
    with connect(target.parent, compute) as connection:
        connection.execute(
            f"CREATE VIEW transactions AS FROM {parquet(transactions)}"
            f" WHERE invoiced_at < DATE '{as_of}'"
        )
        read_log(connection, settings, log_start)
        connection.execute(f"CREATE TABLE as_of_dates AS SELECT DATE '{as_of}' AS as_of")
        run(connection, "spine")
        build_features(connection, features)
        connection.execute(f"""
            COPY (SELECT customer_id, as_of, {names} FROM features ORDER BY row_id)
            TO {literal(target)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP})
        """)
        return _count(connection, target)


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
        return _count(connection, target)


def digest_of_rows(features: Path, compute: Compute | None = None) -> str:
    """A digest of the rows of a features file, whatever their order and the file they came from."""
    with connect(None, compute) as connection:
        columns = connection.execute(f"DESCRIBE FROM {parquet(features)}").fetchall()
        texts = [quoted(name) for name, kind, *_ in columns if kind == "VARCHAR"]
        others = [quoted(name) for name, kind, *_ in columns if kind != "VARCHAR"]
        found = connection.execute(
            f"SELECT count(*), sum({content_hash(texts, others)}) FROM {parquet(features)}"
        ).fetchall()[0]
    return hashlib.sha256(json.dumps([texts, others, *map(str, found)]).encode()).hexdigest()


def _count(connection: DuckDBPyConnection, target: Path) -> int:
    return connection.execute(f"SELECT count(*) FROM {parquet(target)}").fetchall()[0][0]
