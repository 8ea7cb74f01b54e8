"""The SQL files and the catalogue: one definition each, and one gate to the transactions."""

from __future__ import annotations

import re
from datetime import date

import duckdb
import pytest
from made_logs import as_table, make_spine, shop_log

from common.duck import connect
from configs.settings import Features
from features.catalogue import CATALOGUE, GROUPS, NAMES
from features.engine import LOG, SQL, build_features, read, read_log

FILES = {
    str(path.relative_to(SQL).with_suffix("")): re.sub(r"--.*", "", path.read_text("utf-8"))
    for path in SQL.rglob("*.sql")
}
ONCE = ("log_days", "product_counts", "cancelled_days")
PASS = ("asked", "past_orders", "past_products", "past_cancellations")
BASE = {f"base/{name}" for name in (*LOG, "spine", "buyers", "questions", *ONCE, *PASS)}
AS_OF = (date(2024, 3, 1), date(2024, 9, 1))


@pytest.fixture(scope="module")
def connection():
    with connect() as connection:
        connection.register("transactions", as_table(shop_log(20, 200)))
        read_log(connection, Features())
        make_spine(connection, AS_OF)
        build_features(connection)
        yield connection


def files_that_mention(word: str) -> set[str]:
    return {name for name, text in FILES.items() if re.search(rf"\b{word}\b", text)}


def test_every_file_is_used():
    assert set(FILES) == {*BASE, *GROUPS}


def test_each_file_is_one_select(connection):
    """One that can be pasted into DuckDB where the relations are that it reads."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE as_of_dates AS SELECT DATE '2024-03-01' AS as_of"
    )
    for name in FILES:
        parsed = duckdb.extract_statements(read(name))
        assert [statement.type for statement in parsed] == [duckdb.StatementType.SELECT], name
        connection.execute(read(name)).fetchall()


def test_only_base_sees_the_transactions():
    found = files_that_mention("transactions")
    lines = ("moments", "log_days", "product_counts", "cancelled_days")
    assert found == {f"base/{name}" for name in lines}


@pytest.mark.parametrize(
    ("table", "readers"),
    [
        ("moments", {"base/order_parts"}),
        ("order_parts", {"base/past_orders", "base/spine", "base/buyers"}),
        ("cancelled_days", {"base/past_cancellations"}),
        ("product_counts", {"base/past_products"}),
    ],
)
def test_what_still_holds_the_future_is_read_by_no_group(table, readers):
    read = {name for name, text in FILES.items() if re.search(rf"\b(FROM|JOIN)\s+{table}\b", text)}
    assert read == readers


@pytest.mark.parametrize("relation", ["past_orders", "past_cancellations"])
def test_what_the_feature_files_read_ends_before_the_as_of_date(connection, relation):
    query = f"""
        SELECT as_of, count(*), min(days_ago) FROM {relation} JOIN asked USING (row_id) GROUP BY 1
    """
    found = connection.execute(query).fetchall()
    assert {as_of for as_of, _, _ in found} == set(AS_OF)
    assert all(rows > 0 and nearest >= 1 for _, rows, nearest in found)


def test_every_feature_is_defined_in_the_file_of_its_group_and_in_no_other(connection):
    for group, members in GROUPS.items():
        columns = connection.sql(read(group)).columns
        assert columns == ["row_id", *(feature.name for feature in members)]
        assert all(files_that_mention(name) == {group} for name in columns[1:])


def test_the_catalogue_describes_each_feature_once():
    assert len(set(NAMES)) == len(NAMES)
    assert len({feature.meaning for feature in CATALOGUE}) == len(CATALOGUE)
    assert all(feature.unit and feature.meaning for feature in CATALOGUE)
    assert all(feature.high is None or feature.low < feature.high for feature in CATALOGUE)


def test_the_table_of_features_has_the_columns_of_the_catalogue_in_its_order(connection):
    columns = [row[0] for row in connection.execute("DESCRIBE features").fetchall()]
    assert columns == ["row_id", "customer_id", "as_of", *NAMES]
