"""Only what answers the same question, and has not seen the outcomes, is a fair comparison."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.load import load
from registry.evidence import held_out_sha256, question, why_not_comparable

AS_OF = {"train": ["2025-01-24", "2025-03-24"], "valid": ["2025-06-24"], "test": ["2025-09-24"]}


def settings(*arguments: str):
    return load("smoke", arguments, env={})


def champion(*arguments: str):
    return {"question": question(settings(*arguments)), "as_of": AS_OF}


def test_the_same_question_on_later_rows_is_comparable():
    assert why_not_comparable(champion(), question(settings()), ["2025-09-24"]) == ""
    assert why_not_comparable(champion(), question(settings()), ["2025-10-24"]) == ""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--features.horizon_days", "30"), "horizon_days is 30"),
        (("--features.active_days", "180"), "active_days is 180"),
        (("--features.home_country", "France"), "home_country is 'France'"),
        (("--seed", "8"), "seed is 8"),
        (("--source.simulation.season", "0.1"), "season is 0.1"),
        (("--source.kind", "files", "--source.path", "x.csv"), "'files'"),
    ],
)
def test_another_question_or_another_world_is_not(change, named):
    reason = why_not_comparable(champion(*change), question(settings()), ["2025-09-24"])
    assert "another question" in reason and named in reason


def test_a_longer_log_of_the_same_shop_is_the_same_question():
    longer = question(settings("--source.simulation.days", "760"))
    assert why_not_comparable(champion(), longer, ["2025-10-24"]) == ""


def test_a_champion_that_learnt_from_the_outcomes_asked_about_is_not():
    # It learnt from outcomes until 2025-06-24 + 90 days = 2025-09-22.
    today = question(settings())
    assert why_not_comparable(champion(), today, ["2025-09-22"]) == ""
    reason = why_not_comparable(champion(), today, ["2025-09-21"])
    assert "2025-09-22" in reason and "2025-09-21" in reason


def test_a_bundle_that_does_not_say_what_it_answers_is_not():
    assert why_not_comparable({"as_of": AS_OF}, question(settings()), ["2025-09-24"]) != ""


# --- tables without dates ---------------------------------------------------------------------


def table_file(path, rows, *, order=1, **changes):
    """A training table: (identifier, split, value, label) of each row."""
    rows = list(rows)[::order]
    columns = {
        "customer_id": [str(row[0]) for row in rows],
        "as_of": pa.nulls(len(rows), pa.date32()),
        "split": [row[1] for row in rows],
        "value": [changes.get("value", row[2]) for row in rows],
        "label": [row[3] for row in rows],
    }
    pq.write_table(pa.table(columns), path)
    return path


ROWS = [(i, ("train", "valid", "test")[i % 3], None if i == 5 else i / 7, i % 2) for i in range(12)]


def table_settings(*arguments: str):
    return settings("--source.kind", "table", "--source.table.target", "churn", *arguments)


def test_the_same_test_rows_in_another_order_are_the_same(tmp_path):
    first = held_out_sha256(table_file(tmp_path / "a", ROWS), table_settings())
    assert first == held_out_sha256(table_file(tmp_path / "b", ROWS, order=-1), table_settings())


def test_other_test_rows_are_not_and_other_training_rows_do_not_matter(tmp_path):
    named = table_settings("--source.table.id", "id")
    grown = [*ROWS, (99, "train", 0.5, 1)]
    moved = [(i, "test" if i == 0 else split, value, y) for i, split, value, y in ROWS]
    relabelled = [(i, split, value, 1 - y) for i, split, value, y in ROWS]
    for asked in (table_settings(), named):
        first = held_out_sha256(table_file(tmp_path / "a", ROWS), asked)
        assert first == held_out_sha256(table_file(tmp_path / "b", grown), asked)
        for other in (moved, relabelled):
            assert first != held_out_sha256(table_file(tmp_path / "c", other), asked)


def test_a_row_is_its_identifier_or_where_it_has_none_its_values(tmp_path):
    a, b = table_file(tmp_path / "a", ROWS), table_file(tmp_path / "b", ROWS, value=0.25)
    renamed = table_file(tmp_path / "c", [(f"x{row[0]}", *row[1:]) for row in ROWS])
    named, unnamed = table_settings("--source.table.id", "id"), table_settings()
    assert held_out_sha256(a, named) == held_out_sha256(b, named)
    assert held_out_sha256(a, named) != held_out_sha256(renamed, named)
    assert held_out_sha256(a, unnamed) != held_out_sha256(b, unnamed)
    assert held_out_sha256(a, unnamed) == held_out_sha256(renamed, unnamed)


def test_only_the_champions_own_test_rows_are_known_to_be_new_to_it():
    today = question(table_settings())
    theirs = {
        "question": today,
        "as_of": {"train": [], "valid": [], "test": []},
        "held_out_sha256": "abc",
    }
    assert why_not_comparable(theirs, today, [], "abc") == ""
    for rows in ("abd", ""):
        assert "may have learnt from some" in why_not_comparable(theirs, today, [], rows)
    unsaid = {name: value for name, value in theirs.items() if name != "held_out_sha256"}
    assert why_not_comparable(unsaid, today, [], "") != ""


@pytest.mark.parametrize(
    "change", [("--source.table.target", "sold"), ("--source.table.positive", "maybe")]
)
def test_another_target_is_another_question(change):
    today = question(table_settings())
    theirs = {"question": question(table_settings(*change)), "held_out_sha256": "abc"}
    assert "another question" in why_not_comparable(theirs, today, [], "abc")
    assert "another question" in why_not_comparable(theirs, question(settings()), ["2025-09-24"])
