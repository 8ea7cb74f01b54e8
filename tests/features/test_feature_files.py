"""The SQL files and the catalogue: one definition each, and one gate to the transactions."""

from __future__ import annotations

import re
from datetime import date

import pytest
from made_logs import as_table, make_spine, shop_log

from configs.settings import Features
from features.catalogue import CATALOGUE, NAMES
from features.engine import GROUPS, SQL, build_features, connect

FILES = {path.stem: re.sub(r"--.*", "", path.read_text("utf-8")) for path in SQL.glob("*.sql")}
AS_OF = (date(2024, 3, 1), date(2024, 9, 1))


@pytest.fixture(scope="module")
def connection():
    with connect(Features()) as connection:
        connection.register("transactions", as_table(shop_log(20, 200)))
        make_spine(connection, AS_OF)
        build_features(connection)
        yield connection


def files_that_mention(word: str) -> set[str]:
    return {name for name, text in FILES.items() if re.search(rf"\b{word}\b", text)}


def test_every_file_is_used():
    assert set(FILES) == {"base", "spine", "label", *GROUPS}


def test_only_base_spine_and_label_see_the_transactions():
    assert files_that_mention("transactions") == {"base", "spine", "label"}


@pytest.mark.parametrize("table", ["lines", "moments"])
def test_what_still_holds_the_future_is_read_by_base_alone(table):
    read = {name for name, text in FILES.items() if re.search(rf"\b(FROM|JOIN)\s+{table}\b", text)}
    assert read == {"base"}


@pytest.mark.parametrize(
    ("relation", "column"),
    [("past_orders", "ordered_at"), ("past_lines", "invoiced_at"), ("log_start", "first_day")],
)
def test_what_the_feature_files_read_ends_before_the_as_of_date(connection, relation, column):
    query = (
        f"SELECT as_of, count(*), count(*) FILTER ({column} >= as_of) FROM {relation} GROUP BY 1"
    )
    found = connection.execute(query).fetchall()
    assert {as_of for as_of, _, _ in found} == set(AS_OF)
    assert all(rows > 0 and late == 0 for _, rows, late in found)


def test_every_feature_is_defined_in_exactly_one_file_and_no_file_defines_another(connection):
    defined = []
    for group in GROUPS:
        columns = [row[0] for row in connection.execute(f"DESCRIBE group_{group}").fetchall()]
        assert columns[:2] == ["customer_id", "as_of"]
        defined += columns[2:]
        assert all(files_that_mention(name) == {group} for name in columns[2:])
    assert sorted(defined) == sorted(NAMES)


def test_the_catalogue_describes_25_to_40_features_once_each():
    assert 25 <= len(CATALOGUE) <= 40
    assert len(set(NAMES)) == len(NAMES)
    assert len({feature.meaning for feature in CATALOGUE}) == len(CATALOGUE)
    assert all(feature.unit and feature.meaning for feature in CATALOGUE)
    assert all(feature.high is None or feature.low < feature.high for feature in CATALOGUE)


def test_the_table_of_features_has_the_columns_of_the_catalogue_in_its_order(connection):
    columns = [row[0] for row in connection.execute("DESCRIBE features").fetchall()]
    assert columns == ["customer_id", "as_of", *NAMES]
