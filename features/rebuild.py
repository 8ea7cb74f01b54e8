"""Compute as-of dates of the training table again, from logs that end there, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from common.duck import quoted
from configs.settings import Features
from features.catalogue import Feature
from features.engine import build_features, make, read_log
from features.leak_report import SPINE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LARGE_LOG = 5_000_000  # lines: from there on one date is computed again, not two


def dates_to_rebuild(connection: DuckDBPyConnection) -> list[date]:
    """The last training date and the last test date; of a large log the first of these only."""
    days = connection.execute("""
        SELECT max(as_of) FROM built WHERE split IN ('train', 'test') GROUP BY split ORDER BY 1
    """).fetchall()
    (lines,) = connection.execute("SELECT count(*) FROM log").fetchone() or (0,)
    return [day for (day,) in days][: 1 if lines > LARGE_LOG else 2]


def rebuild(
    connection: DuckDBPyConnection, day: date, features: Sequence[Feature], settings: Features
) -> tuple[dict[str, float], int]:
    """Share of the rows of this date that change when the log ends there, and how many there are.

    By feature; and `spine`, the share of customers who are in one of the two only.
    Values are compared exactly: the features of one log are the same to the last bit.
    connection: has the views `log` (canonical columns) and `built` (the table).
    """
    with connection.cursor() as own:  # temporary tables are its own, log and built are shared
        own.execute("SET TimeZone = 'UTC'")
        own.execute(f"""
            CREATE OR REPLACE TEMP VIEW transactions AS FROM log WHERE invoiced_at < DATE '{day}';
            CREATE OR REPLACE TEMP TABLE as_of_dates AS SELECT DATE '{day}' AS as_of;
        """)
        read_log(own, settings)
        make(own, "spine")
        if features:
            build_features(own, features)
        differ = "".join(
            f", avg(CAST({number('built', f.name)} IS DISTINCT FROM {number('again', f.name)}"
            " AS INTEGER)) FILTER (built.customer_id IS NOT NULL AND again.customer_id IS NOT NULL)"
            for f in features
        )
        rows, unmatched, *shares = own.execute(f"""
            SELECT count(*), avg(CAST(
                       built.customer_id IS NULL OR again.customer_id IS NULL AS INTEGER)){differ}
            FROM (FROM built WHERE as_of = DATE '{day}') AS built
            FULL JOIN {"features" if features else "spine"} AS again USING (customer_id)
        """).fetchone() or (0, 0)
    names = (SPINE, *(feature.name for feature in features))
    return {name: share or 0 for name, share in zip(names, (unmatched, *shares), strict=True)}, rows


def number(relation: str, name: str) -> str:
    """A column as SQL of a number; NaN where it is missing, or is none."""
    return f"coalesce(TRY_CAST({relation}.{quoted(name)} AS DOUBLE), 'nan'::DOUBLE)"
