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
PASS = ("spine_part", "past_orders", "past_products", "past_cancellations")
BASE = {f"base/{name}" for name in (*LOG, "spine", "buyers", "numbered_spine", *ONCE, *PASS)}
AS_OF = (date(2024, 3, 1), date(2024, 9, 1))


@pytest.fixture(scope="module")
def connection():
    with connect() as connection:
        connection.register("transactions", as_table(shop_log(20, 200)))
        read_log(connection, Features())
        make_spine(connection, AS_OF)
        build_features(connection)
        yield connection


def files_with(pattern: str) -> set[str]:
    return {name for name, text in FILES.items() if re.search(pattern, text)}


def test_every_file_is_used_and_is_one_select_that_can_be_pasted_into_duckdb(connection):
    assert set(FILES) == {*BASE, *GROUPS}
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE as_of_dates AS SELECT DATE '2024-03-01' AS as_of"
    )
    for name in FILES:
        parsed = duckdb.extract_statements(read(name))
        assert [statement.type for statement in parsed] == [duckdb.StatementType.SELECT], name
        connection.execute(read(name)).fetchall()


@pytest.mark.parametrize(
    ("table", "readers"),
    [
        ("transactions", {"moments", "log_days", "product_counts", "cancelled_days"}),
        ("moments", {"order_parts"}),
        ("order_parts", {"past_orders", "spine", "buyers"}),
        ("cancelled_days", {"past_cancellations"}),
        ("product_counts", {"past_products"}),
    ],
)
def test_what_still_holds_the_future_is_read_by_no_group(table, readers):
    assert files_with(rf"\b(FROM|JOIN)\s+{table}\b") == {f"base/{name}" for name in readers}


@pytest.mark.parametrize("relation", ["past_orders", "past_cancellations"])
def test_what_the_feature_files_read_ends_before_the_as_of_date(connection, relation):
    found = connection.execute(
        f"SELECT as_of, min(days_ago) FROM {relation} JOIN spine_part USING (row_id) GROUP BY as_of"
    ).fetchall()
    assert {as_of for as_of, _ in found} == set(AS_OF)
    assert all(nearest >= 1 for _, nearest in found)


def test_every_feature_is_defined_in_the_file_of_its_group_and_in_no_other(connection):
    for group, members in GROUPS.items():
        columns = connection.sql(read(group)).columns
        assert columns == ["row_id", *(feature.name for feature in members)]
        assert all(files_with(rf"\b{name}\b") == {group} for name in columns[1:])


def test_the_catalogue_describes_each_feature_once():
    assert len(set(NAMES)) == len(NAMES)
    assert len({feature.meaning for feature in CATALOGUE}) == len(CATALOGUE)
    assert all(feature.unit and feature.meaning for feature in CATALOGUE)
    assert all(feature.high is None or feature.low < feature.high for feature in CATALOGUE)
