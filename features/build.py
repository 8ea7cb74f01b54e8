"""Valid transactions → the training table: spine, features, labels, splits, in one Parquet file."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from common.duck import connect, literal, parquet
from common.errors import UserError
from configs.settings import Compute, Features
from features.catalogue import ALL, select
from features.engine import build_features, make, read_log
from features.facts import TableFacts, metadata_option
from features.splits import as_of_dates

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


ROW_GROUP = 24_576  # rows: several groups are written side by side


def build_table(
    transactions: Path | list[Path],
    target: Path,
    settings: Features,
    declared: frozenset[str] = ALL,
    compute: Compute | None = None,
    source_sha256: str = "",
) -> TableFacts:
    """Write the training table (`customer_id, as_of, split, <features>, label`) to `target`.

    transactions: Parquet with the canonical columns.  declared: those that the source has
    (`settings.source.declared`); features that need another one are left out of the table.
    source_sha256: of the file of transactions, for the metadata of the table.
    Sorted by as-of date and customer, so that the same input gives the same file. Raises UserError
    when no sale is left or the log is too short for the splits.
    """
    features = select(declared)
    names = tuple(feature.name for feature in features)
    with connect(target.parent, compute) as connection:
        connection.execute(f"CREATE VIEW transactions AS FROM {parquet(transactions)}")
        read_log(connection, settings)
        dates = as_of_dates(*_span(connection), settings)
        connection.execute("CREATE TABLE as_of_dates (as_of DATE, split VARCHAR)")
        connection.executemany(
            "INSERT INTO as_of_dates VALUES (?, ?)",
            [[day, split] for split, days in dates.items() for day in days],
        )
        make(connection, "spine")
        build_features(connection, features)
        make(connection, "buyers")
        connection.execute(f"""
            COPY (
                SELECT customer_id, as_of, split, {", ".join(names)},
                       CAST(buyers.customer_id IS NOT NULL AS TINYINT) AS label
                FROM features JOIN as_of_dates USING (as_of)
                LEFT JOIN buyers USING (customer_id, as_of)
                ORDER BY row_id
            ) TO {literal(target)} (FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP},
                                    {metadata_option(features, source_sha256)})
        """)
        (log_start,) = connection.execute("SELECT first_day FROM log_start").fetchone() or ("",)
        counts = connection.execute(
            f"SELECT split, count(*), avg(label) FROM {parquet(target)} GROUP BY split"
        ).fetchall()
    per_split = {split: (rows, rate) for split, rows, rate in counts}
    return TableFacts(
        features=len(names),
        names=names,
        schema=features,
        rows={split: per_split.get(split, (0, 0.0))[0] for split in dates},
        positive_rate={split: per_split.get(split, (0, 0.0))[1] for split in dates},
        as_of={split: [day.isoformat() for day in days] for split, days in dates.items()},
        log_start=str(log_start),
    )


def _span(connection: DuckDBPyConnection) -> tuple[date, date]:
    """The days of the first and the last sale."""
    first, last = connection.execute("SELECT min(day), max(day) FROM order_parts").fetchone() or (
        None,
        None,
    )
    if first is None or last is None:
        raise UserError(
            "no sale is left after quarantine",
            where="transactions",
            next_step="see the reasons on the contract's page, contract.html",
        )
    return first, last
