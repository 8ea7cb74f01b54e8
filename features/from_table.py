"""Valid rows of a labelled table → the training table: codes for categories, splits, in one file.

The table is the same as that of a log (`features/table.py`), without dates: `as_of` is empty, and
`customer_id` is the row's identifier. Where no column says the split, it is drawn by a hash of the
seed and of what the row is: sorted by it, the first rows of each class go to the test split, the
next to validation. So the split is the same in whatever order the rows come, and the share of the
positive class is nearly the same in every split.

Rows that are equal in every feature, as a model sees them, are in one split, whatever their label
and identifier: a model that learnt one would know the label of its copy. But where a combination is
common (`COMMON` of the rows), it is not a copy, and keeping it together would leave a table of few
and coarse columns without a split: its rows are drawn one by one.

Where the settings name a group (`source.table.group`), all rows of one are in one split, and copies
tie groups together (`features/sides.py`). A column that says the split is followed,
whatever it does to groups: the facts say how many have rows in several splits.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from common.duck import connect, literal, parquet, quoted
from common.errors import UserError
from common.spelling import recognised
from configs.settings import Compute
from configs.table import Column, Table
from features.catalogue import Feature
from features.categories import code_sql
from features.facts import TableFacts, metadata_option
from features.sides import draw_sides
from features.table import GROUP, SPLITS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEAST = 5  # units of each class in each split: fewer cannot be fitted, calibrated or scored on
COMMON, FEW = 0.01, 5  # equal rows are common as more than this share of all, and more than so many
IS_COMMON = f"equal_rows > greatest({FEW}, {COMMON!r} * all_rows)"


def schema(table: Table) -> tuple[Feature, ...]:
    """The features of the table, in order."""
    return tuple(_feature(name, column) for name, column in table.columns.items())


def _feature(name: str, column: Column) -> Feature:
    missing = "the table has rows without it" if column.missing else ""
    meaning = column.meaning or f"column {name} of the table"
    if column.type == "number":
        return Feature(name, column.unit or "number", meaning, column.low, column.high, missing)
    high = float(len(column.values))
    return Feature(name, "category", meaning, 0.0, high, missing, categories=column.values)


def build_from_table(
    valid: Path,
    target: Path,
    table: Table,
    seed: int,
    compute: Compute | None = None,
    source_sha256: str = "",
) -> TableFacts:
    """Write the training table (`customer_id, as_of, split, <features>, label`, and `split_group`
    where the settings name a group) to `target`.

    valid: rows of `ingestion/labelled/validate.py`.  source_sha256: of their file, for the metadata
    of the table.  Raises UserError where a split would have
    fewer than `LEAST` rows of a class, or groups with a row of it.
    """
    features = schema(table)
    with connect(target.parent, compute) as connection:
        connection.execute(f"CREATE VIEW valid AS FROM {parquet(valid)}")
        values = {feature.name: feature_sql(connection, feature) for feature in features}
        columns = ", ".join(f"{value} AS {quoted(name)}" for name, value in values.items())
        _draw(connection, table, values, seed)
        _check_splits(connection, table)
        group = f", {GROUP}" if table.group else ""
        connection.execute(f"""
            COPY (
                SELECT row_id AS customer_id, CAST(NULL AS DATE) AS as_of, split, {columns},
                       label{group}
                FROM drawn ORDER BY place, row_id
            ) TO {literal(target)} (FORMAT parquet, ROW_GROUP_SIZE 24576,
                                    {metadata_option(features, source_sha256)})
        """)
        counts = connection.execute(
            "SELECT split, count(*), avg(label) FROM drawn GROUP BY 1"
        ).fetchall()
        useless = _useless(connection, target, features)
        groups, torn, rows_torn = _groups(connection, table)
    per_split = {split: (rows, rate) for split, rows, rate in counts}
    return TableFacts(
        features=len(features),
        names=tuple(feature.name for feature in features),
        schema=features,
        rows={split: per_split[split][0] for split in SPLITS},
        positive_rate={split: per_split[split][1] for split in SPLITS},
        as_of={split: [] for split in SPLITS},
        useless=useless,
        groups=groups,
        groups_torn=torn,
        test_rows_torn=rows_torn,
    )


def feature_sql(connection: DuckDBPyConnection, feature: Feature) -> str:
    """SQL of a feature, from the rows of `valid`."""
    column = f"typed.{quoted(feature.name)}"
    if not feature.categories:
        return f"CAST({column} AS DOUBLE)"
    texts = connection.execute(
        f"SELECT DISTINCT {column} AS text FROM valid WHERE text IS NOT NULL ORDER BY text"
    ).fetchall()
    spellings = recognised((text for (text,) in texts), feature.categories)
    return f"CAST({code_sql(column, spellings, len(feature.categories))} AS FLOAT)"


def _draw(connection: DuckDBPyConnection, table: Table, values: dict[str, str], seed: int) -> None:
    """Make the table `drawn`: the rows with their split and group, and `place`, their order in the
    file, which is that of a hash of the seed and of what the row is.

    values: feature -> SQL of it.
    """
    content = ", ".join(
        # As float32, in which 0.1 + 0.2 is 0.3; and -0.0 is 0.0.
        f"{quoted(name)} := CAST({value} AS FLOAT) + CAST(0 AS FLOAT)"
        for name, value in values.items()
    )
    same = f"md5({literal(f'{seed}:')} || CAST(struct_pack({content}) AS VARCHAR))"
    group = f"group_id AS {GROUP}" if table.group else f"NULL::VARCHAR AS {GROUP}"
    known = f"SELECT row_id, label, typed, split, {same} AS same, {group} FROM valid"
    if table.split is not None:
        query = f"SELECT * RENAME (same AS place) FROM ({known})"
    elif table.group is None:
        query = _by_row(known, table)
    else:
        # Groups are numbered in the order of a hash of the seed: that is their draw.
        connection.execute(f"""
            CREATE TEMP TABLE known AS
            SELECT *, dense_rank() OVER (ORDER BY md5({literal(f"{seed}:")} || {GROUP})) - 1 AS own,
                   dense_rank() OVER (ORDER BY same) - 1 AS copies,
                   count(*) OVER () AS all_rows, count(*) OVER (PARTITION BY same) AS equal_rows
            FROM ({known})
        """)
        rows = connection.execute(
            f"SELECT own, CASE WHEN {IS_COMMON} THEN -1 ELSE copies END AS copies, label FROM known"
        ).fetchnumpy()
        shares = (1 - table.test_share - table.valid_share, table.valid_share, table.test_share)
        sides = draw_sides(rows["own"], rows["copies"], rows["label"], shares)
        named = pa.array(np.array(SPLITS)[sides])
        connection.register("sides", pa.table({"own": np.arange(len(sides)), "split": named}))
        query = f"""
            SELECT row_id, label, typed, same AS place, {GROUP}, sides.split
            FROM known JOIN sides USING (own)
        """
    connection.execute(f"CREATE TEMP TABLE drawn AS {query}")


def _by_row(known: str, table: Table) -> str:
    """SQL of the rows with their split, for a table without groups."""
    # Without an identifier equal rows differ only by their count: the order does not matter.
    unique_key = "row_id" if table.id else "copy"
    test, valid = table.test_share, table.test_share + table.valid_share
    return f"""
        WITH counted AS (
            SELECT *, count(*) OVER () AS all_rows,
                   count(*) OVER (PARTITION BY same) AS equal_rows,
                   avg(label) OVER (PARTITION BY same) AS rate,
                   row_number() OVER (PARTITION BY same, label ORDER BY row_id) AS copy
            FROM ({known})
        ),
        grouped AS (
            SELECT *, {IS_COMMON} AS common FROM counted
        ),
        placed AS (
            SELECT row_id, label, typed, {GROUP},
                   CASE WHEN common THEN md5(same || {unique_key}) ELSE same END AS place,
                   CASE WHEN common THEN 1 ELSE equal_rows END AS together,
                   CASE WHEN common OR rate IN (0, 1) THEN label ELSE 2 END AS class
            FROM grouped
        ),
        ranked AS (
            SELECT *, count(*) OVER (PARTITION BY class) AS rows,
                   rank() OVER (PARTITION BY class ORDER BY place) + (together - 1) / 2 AS middle
            FROM placed
        )
        SELECT row_id, label, typed, place, {GROUP},
               CASE WHEN middle <= round({test!r} * rows) THEN 'test'
                    WHEN middle <= round({valid!r} * rows) THEN 'valid' ELSE 'train' END AS split
        FROM ranked
    """


def _groups(connection: DuckDBPyConnection, table: Table) -> tuple[dict[str, int], int, int]:
    """Groups of each split, groups with rows in several, and the test rows of those."""
    if table.group is None:
        return {}, 0, 0
    counts = connection.execute(
        f"SELECT split, count(DISTINCT {GROUP}) FROM drawn GROUP BY 1"
    ).fetchall()
    ((torn, rows),) = connection.execute(f"""
        SELECT count(*), coalesce(sum(test_rows), 0) FROM (
            SELECT count(DISTINCT split) AS splits, count(*) FILTER (split = 'test') AS test_rows
            FROM drawn GROUP BY {GROUP}
        ) WHERE splits > 1
    """).fetchall()
    groups_of = dict(counts)
    return {split: groups_of[split] for split in SPLITS}, int(torn), int(rows)


def least_rows(table: Table) -> int:
    """Rows of each class that a drawn split needs."""
    share = min(table.test_share, table.valid_share, 1 - table.test_share - table.valid_share)
    return ceil(LEAST / share)


def _check_splits(connection: DuckDBPyConnection, table: Table) -> None:
    """A unit is a row, or a group: rows of one group say hardly more than one of them."""
    unit = "*" if table.group is None else f"DISTINCT {GROUP}"
    units = dict.fromkeys(((split, label) for split in SPLITS for label in (0, 1)), 0)
    for split, label, count in connection.execute(
        f"SELECT split, label, count({unit}) FROM drawn GROUP BY ALL"
    ).fetchall():
        units[split, label] = count
    if min(units.values()) >= LEAST:
        return
    rows, positive, others, groups = connection.execute(f"""
        SELECT count(*), count({unit}) FILTER (label = 1), count({unit}) FILTER (label = 0),
               count(DISTINCT {GROUP}) FROM drawn
    """).fetchall()[0]
    of, each, grouped = "rows", f"{LEAST} rows of each class", ""
    if table.group is not None:
        of, each = "groups", f"{LEAST} groups with a row of each class"
        grouped = f" of {groups:,} groups ({table.group})"
    classes = "; ".join(f"{split} {units[split, 1]} and {units[split, 0]}" for split in SPLITS)
    where = "source.table.split" if table.split else "source.table.valid_share, test_share"
    if table.split:
        next_step = f"give a split to more {of} in that column"
    else:
        next_step = f"bring at least {least_rows(table)} {of} of each class"
    if table.group is not None:
        where = f"source.table.group, {where}"
        next_step += (
            "; or leave out source.table.group, if rows of one group may be in several splits"
        )
    raise UserError(
        f"the table is too small: {rows:,} valid rows{grouped}, {positive:,} {of} of the positive"
        f" class ({table.positive!r}) and {others:,} others. Each split needs at least {each};"
        f" they would have (positive and others): {classes}",
        where=where,
        next_step=next_step,
    )


def _useless(
    connection: DuckDBPyConnection, target: Path, features: tuple[Feature, ...]
) -> dict[str, str]:
    """Features with one value or none on the training split."""
    counted = ", ".join(
        f"count({quoted(f.name)}), min({quoted(f.name)}) IS NOT DISTINCT FROM max({quoted(f.name)})"
        for f in features
    )
    counts = connection.execute(
        f"SELECT count(*), {counted} FROM {parquet(target)} WHERE split = 'train'"
    ).fetchall()[0]
    rows, useless = counts[0], {}
    for place, feature in enumerate(features):
        filled, same = counts[1 + 2 * place : 3 + 2 * place]
        if not filled:
            useless[feature.name] = "no training row has a value"
        elif same and filled == rows:
            useless[feature.name] = "all training rows have the same value"
    return useless
