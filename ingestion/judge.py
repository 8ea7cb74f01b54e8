"""Every row judged by the row rules, by DuckDB, in a few passes over the files.

Nothing is kept in memory that grows with the rows but the hashes that find equal ones, and DuckDB
spills those: thirty million rows pass through two gigabytes. A row's broken rules are one number,
a bit for each rule, and `profile` counts rows by day and that number. All counts and measures come
from this small table.

The judgement itself is SQL text (`SHARED`, `COPIES`, `select_judged`): the service judges the lines
of a request by the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from duckdb import DuckDBPyConnection

from common.duck import connect, literal, parquet
from configs.rules import Contract, Rule
from configs.settings import Compute
from configs.source import CANONICAL
from ingestion.contract import row_rules
from ingestion.translate import cancelled, derived_columns, to_sql

TYPES = ("quantity", "unit_price", "amount", "invoiced_at")
# A row of the batch as one number: the file's place in the list, and the row in it.
KEY = "part * 1099511627776 + source_row"
# Equal rows have equal hashes. Only rows that share a hash of four columns are compared in all,
# because grouping a large log by all of its columns would mean sorting all of it.
QUICK = "hash(invoice_id, product_id, invoiced_at, unit_price)"
SHARED = f"""
    SELECT quick FROM (SELECT {QUICK} AS quick FROM raw) GROUP BY quick HAVING count(*) > 1
"""
# Key and number of every second and later copy of an equal row; reads `shared`, as above.
COPIES = f"""
    SELECT key, copy_number FROM (
        SELECT key, row_number() OVER (
            PARTITION BY {", ".join(CANONICAL)}, unreadable ORDER BY key
        ) AS copy_number
        FROM raw WHERE {QUICK} IN (SELECT quick FROM shared)
    ) WHERE copy_number > 1
"""


@dataclass(frozen=True)
class Judged:
    """A connection with the view `judged` and the table `profile`.

    judged: the columns of the parts, `key`, the derived columns and `broken`, a bit per rule.
    profile: day, broken -> rows, and sums of what the measures need.
    """

    connection: DuckDBPyConnection
    rules: dict[str, Rule]

    @property
    def quarantine(self) -> int:
        """The bits of the rules that quarantine."""
        return quarantining(self.rules)

    def reasons(self, column: str = "broken") -> str:
        """SQL: the names of the broken rules that quarantine, as a list."""
        each = ", ".join(
            f"CASE WHEN {column} & {1 << bit} <> 0 THEN {literal(name)} END"
            for bit, (name, rule) in enumerate(self.rules.items())
            if rule.severity == "quarantine"
        )
        return f"list_filter([{each}]::VARCHAR[], lambda reason: reason IS NOT NULL)"


def quarantining(rules: dict[str, Rule]) -> int:
    """The bits of those of the rules that quarantine."""
    return sum(1 << bit for bit, rule in enumerate(rules.values()) if rule.severity == "quarantine")


def select_judged(
    rules: dict[str, Rule], contract: Contract, declared: frozenset[str], latest: datetime
) -> str:
    """SELECT of the columns of `raw` (`key` and those of a part), what is derived from them, and
    `broken`: a bit for each of the rules, in their order. Reads `copies` too."""
    bits = " + ".join(
        f"CASE WHEN {to_sql(rule)} THEN {1 << bit} ELSE 0 END"
        for bit, rule in enumerate(rules.values())
    )
    return f"""
        WITH derived AS (
            SELECT raw.*, {derived_columns(contract, declared, latest)},
                   coalesce(copies.copy_number, 1) AS copy_number
            FROM raw LEFT JOIN copies USING (key)
        )
        SELECT *, CAST({bits or 0} AS BIGINT) AS broken FROM derived
    """


@contextmanager
def judge(
    parts: list[Path],
    folder: Path,
    contract: Contract,
    declared: frozenset[str],
    latest: datetime,
    compute: Compute,
) -> Iterator[Judged]:
    """Judge the rows of the parts (`ingestion/canonical.py`); `folder` is where DuckDB may spill.

    latest: from here on a time lies in the future.
    """
    rules = row_rules(contract, declared)
    with connect(folder, compute, ordered=True) as connection:
        each = " UNION ALL ".join(
            f"SELECT CAST({number} AS BIGINT) AS part, * FROM {parquet(part)}"
            for number, part in enumerate(parts)
        )
        connection.execute(f"CREATE TEMP VIEW raw AS SELECT {KEY} AS key, * FROM ({each})")
        connection.execute(f"CREATE TEMP TABLE shared AS {SHARED}")
        connection.execute(f"CREATE TEMP TABLE copies AS {COPIES}")
        connection.execute("DROP TABLE shared")
        judged = select_judged(rules, contract, declared, latest)
        connection.execute(f"CREATE TEMP VIEW judged AS {judged}")
        _profile(connection, contract, declared)
        yield Judged(connection, rules)


def _profile(connection: DuckDBPyConnection, contract: Contract, declared: frozenset[str]) -> None:
    unreadable = ", ".join(
        f"count(*) FILTER (len(unreadable) > 0 AND {_unreadable(name)}) AS unreadable_{name}"
        for name in TYPES
    )
    # A sum of logarithms: the last digits of a sum of doubles depend on the order of its rows.
    price = "CASE WHEN unit_price > 0 THEN CAST(ln(unit_price) * 1e6 AS BIGINT) END"
    connection.execute(f"""
        CREATE TEMP TABLE profile AS
        SELECT CASE WHEN in_future = 0 THEN CAST(invoiced_at AS DATE) END AS day, broken,
               count(*) AS rows,
               count(*) FILTER (customer_id IS NULL) AS anonymous,
               count(*) FILTER ({cancelled(contract, declared)}) AS cancelled,
               count(*) FILTER (copy_number > 1) AS duplicates,
               {unreadable},
               sum({price}) AS log_price, count({price}) AS priced
        FROM judged GROUP BY 1, 2
    """)


def _unreadable(name: str) -> str:
    return f"list_bool_or(list_transform(unreadable, lambda v: starts_with(v, '{name}=')))"
