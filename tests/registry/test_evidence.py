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


def table_settings(*arguments: str):
    return settings("--source.kind", "table", "--source.table.target", "churn", *arguments)


def champion(*arguments: str):
    return {"question": question(settings(*arguments)), "as_of": AS_OF}


@pytest.mark.parametrize(
    ("today", "test_date", "reason"),
    [
        ((), "2025-09-24", ""),
        ((), "2025-10-24", ""),
        (("--source.simulation.days", "760"), "2025-10-24", ""),  # a longer log of the same shop
        # It learnt from outcomes until 2025-06-24 + 90 days.
        ((), "2025-09-22", ""),
        ((), "2025-09-21", "until 2025-09-22, and the labels of the test rows begin on 2025-09-21"),
        (("--features.horizon_days", "30"), "2025-09-24", "horizon_days is 90 there and 30 in"),
        (("--features.active_days", "180"), "2025-09-24", "active_days is"),
        (("--features.home_country", "France"), "2025-09-24", "home_country is"),
        (("--seed", "8"), "2025-09-24", "another question: seed is"),
        (("--source.simulation.season", "0.1"), "2025-09-24", "season is"),
        (("--source.kind", "files", "--source.path", "x.csv"), "2025-09-24", "'files' in this run"),
    ],
)
def test_a_champion_of_the_same_question_is_compared_on_rows_whose_outcomes_it_has_not_seen(
    today, test_date, reason
):
    said = why_not_comparable(champion(), question(settings(*today)), [test_date])
    assert reason in said and bool(reason) == bool(said)


def test_a_bundle_that_does_not_say_what_it_answers_is_not_compared():
    assert why_not_comparable({"as_of": AS_OF}, question(settings()), ["2025-09-24"]) != ""


# --- tables without dates ---------------------------------------------------------------------

ROWS = [(i, ("train", "valid", "test")[i % 3], None if i == 5 else i / 7, i % 2) for i in range(12)]
NAMED, UNNAMED = ("--source.table.id", "id"), ()


@pytest.mark.parametrize(
    ("rows", "same_for"),
    [
        pytest.param(ROWS[::-1], {NAMED, UNNAMED}, id="in another order"),
        pytest.param([*ROWS, (99, "train", 0.5, 1)], {NAMED, UNNAMED}, id="more training rows"),
        pytest.param([(i, "test", v, y) for i, _, v, y in ROWS], set(), id="more test rows"),
        pytest.param([(i, s, v, 1 - y) for i, s, v, y in ROWS], set(), id="other labels"),
        pytest.param([(i, s, 0.25, y) for i, s, _, y in ROWS], {NAMED}, id="other values"),
        pytest.param([(f"x{i}", s, v, y) for i, s, v, y in ROWS], {UNNAMED}, id="other names"),
    ],
)
def test_a_test_row_is_its_identifier_and_label_or_without_identifiers_its_values(
    tmp_path, rows, same_for
):
    def hash_of(rows, arguments):
        columns = {
            "customer_id": [str(row[0]) for row in rows],
            "as_of": pa.nulls(len(rows), pa.date32()),
            "split": [row[1] for row in rows],
            "value": [row[2] for row in rows],
            "label": [row[3] for row in rows],
        }
        pq.write_table(pa.table(columns), tmp_path / "table.parquet")
        return held_out_sha256(tmp_path / "table.parquet", table_settings(*arguments))

    assert {by for by in (NAMED, UNNAMED) if hash_of(rows, by) == hash_of(ROWS, by)} == same_for


def test_only_the_champions_own_test_rows_are_known_to_be_new_to_it():
    today = question(table_settings())
    theirs = {"question": today, "as_of": {split: [] for split in AS_OF}, "held_out_sha256": "abc"}
    assert why_not_comparable(theirs, today, [], "abc") == ""
    for rows in ("abd", ""):
        assert "may have learnt from some" in why_not_comparable(theirs, today, [], rows)
    del theirs["held_out_sha256"]
    assert why_not_comparable(theirs, today, [], "") != ""


@pytest.mark.parametrize(
    "change", [("--source.table.target", "sold"), ("--source.table.positive", "maybe")]
)
def test_another_target_is_another_question(change):
    theirs = {"question": question(table_settings(*change)), "held_out_sha256": "abc"}
    for today in (table_settings(), settings()):
        assert "another question" in why_not_comparable(theirs, question(today), [], "abc")
