"""A labelled table in: what is valid, what is kept apart and why, what is refused as a whole."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from made_log import copy_parquet, query
from made_table import HEADER, made_rows, save, settings, table

from common.errors import UserError
from configs.settings import Compute
from configs.source import Text
from ingestion.labelled.draft import draft
from ingestion.labelled.read import read_part
from ingestion.labelled.rules import check_target
from ingestion.labelled.unseen import count_unseen, in_words
from ingestion.labelled.validate import VALID, validate_table
from ingestion.outcome import QUARANTINE, ContractBroken
from ingestion.sources import check_source

pytestmark = pytest.mark.slow


def judged(folder: Path, file: Path | None = None, *arguments: str, **changes):
    """Read and judge `table.csv` (or `file`) of the folder."""
    file = file or folder / "table.csv"
    found = settings(file, folder / "var", *arguments, **changes)
    check_source(found.source)
    read_part(found.source, file, folder / "part.parquet", Compute(), label=file.name)
    return validate_table([folder / "part.parquet"], folder, found.source, found.contract)


def refused(folder: Path, file: Path | None = None, **changes) -> UserError:
    with pytest.raises(UserError) as caught:
        judged(folder, file, **changes)
    assert caught.value.where and caught.value.next_step
    return caught.value


# --- rows ---------------------------------------------------------------------------------------


def test_nan_is_missing_whatever_the_statistics_of_the_file_say(tmp_path):
    """The least and the greatest value of a Parquet file leave NaN out, in a target too."""
    nan, made = float("nan"), made_rows(40)
    columns = [list(column) for column in zip(*made, strict=True)]
    columns[1] = [nan, *([41.0] * 39)]
    columns[2] = [nan, *(row[2] + 0.5 for row in made[1:])]
    columns[4] = [1.0, nan, *(float(row[4] == "Yes") for row in made[2:])]
    pq.write_table(
        pa.table(dict(zip(HEADER, columns, strict=True))), file := tmp_path / "table.parquet"
    )
    assert draft(file, "left", Text()).labels[0][0] in ("0", "1")
    outcome = judged(tmp_path, file, positive="1")
    assert outcome.rows.reasons == {"missing_visits": 1, "no_label": 1}
    assert outcome.rows.valid == 38


def test_every_bad_row_is_kept_with_its_reasons_its_place_and_its_text(tmp_path):
    good = made_rows(40)
    bad = [
        (["b1", "old", 3, "plus", "No"], ["unreadable_value"]),
        (["b2", "1e999", 3, "plus", "No"], ["infinite_value", "out_of_range_age"]),
        (["b3", "-inf", 3, "plus", "No"], ["infinite_value", "out_of_range_age"]),
        (["b4", 40, "1e300", "plus", "No"], ["infinite_value"]),  # too large for float32
        (["b5", 40, 3, "plus", ""], ["no_label"]),
        (["", 40, 3, "plus", "No"], ["no_id"]),
        (["m00000", 40, 3, "plus", "No"], ["duplicate_id"]),
        (["b6", 40, "", "plus", "No"], ["missing_visits"]),
        (["b7", 130, -1, "plus", "No"], ["out_of_range_age", "out_of_range_visits"]),
        (["b8", 40, 3, "x" * 301, "No"], ["unreadable_value"]),  # the service takes no longer text
        (["i" * 301, 40, 3, "plus", "No"], ["no_id"]),
    ]
    save(tmp_path / "table.csv", [*good, *(row for row, _ in bad)])
    outcome = judged(tmp_path)
    assert (outcome.rows.raw, outcome.rows.valid) == (51, 40)
    found = query(tmp_path / QUARANTINE, "source, source_row, reasons", "source_row")
    assert found == [("table.csv", 41 + n, reasons) for n, (_, reasons) in enumerate(bad)]
    assert query(tmp_path / QUARANTINE, "cells.age, unreadable", "source_row")[0] == (
        "old",
        ["age=old"],
    )
    assert outcome.rows.reasons["out_of_range_age"] == 3
    by_code = {finding.code: finding for finding in outcome.findings}
    assert by_code["duplicate_id"].found == 1 and by_code["no_label"].rule == "left is there"


def test_blanks_and_nan_are_missing_and_a_category_that_is_not_named_is_not(tmp_path):
    rows = [["a", " ", 1, "\u00a0", "Yes"], ["b", "NaN", 1, " plus ", "No"]]
    save(tmp_path / "table.csv", [*rows, ["c", 3, 1, "gold", "No"]])
    assert judged(tmp_path).rows.valid == 3
    assert query(tmp_path / VALID, "row_id, label, typed.age, typed.plan") == [
        ("a", 1, None, None),
        ("b", 0, None, "plus"),
        ("c", 0, 3.0, "gold"),
    ]


def test_texts_for_a_missing_value_are_those_of_the_settings(tmp_path):
    save(tmp_path / "table.csv", [["a", "?", 1, "?", "Yes"], ["b", "1", 1, "plus", "No"]])
    assert judged(tmp_path).rows.reasons == {"unreadable_value": 1}
    assert judged(tmp_path, missing_values=("?",)).rows.valid == 2
    assert query(tmp_path / VALID, "typed.age, typed.plan", "row_id")[0] == (None, None)


def test_values_that_are_not_categories_are_counted_by_column_and_by_the_worst_file(tmp_path):
    columns = {
        "plan": {"type": "category", "values": ["1", "Month", "S\u00e3o Paulo"], "missing": True},
        "age": {"type": "number"},
        "left_out": {"type": "category", "values": ["x"]},
    }
    header = ["member", "plan", "age", "left_out", "left"]
    texts = ["1.0", "MONTH", "Sa\u0303o  Paulo", "", "gold", "gold", "silver"]
    made = [[f"m{n}", texts[n % 7], 1, "x", "Yes" if n % 2 else "No"] for n in range(210)]
    made.append(["bad", "tin", "old", "x", "No"])  # in quarantine: not counted
    save(tmp_path / "table.csv", made, header)
    found = judged(tmp_path, columns=columns).level["unseen"]
    assert found["left_out"]["unseen"] == 0 and list(found) == ["plan", "left_out"]
    plan = found["plan"]
    assert (plan["values"], plan["unseen"], plan["texts"]) == (180, 90, 2)
    assert plan["examples"] == ["gold", "silver"] and plan["share"] == 0.5
    # Of two files, the one that spells them anew counts, however many there are beside it.
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE judged (source VARCHAR, v0 VARCHAR, reasons VARCHAR[])")
        for file, text, rows in (("a", "1", 900), ("b", "one", 100), ("c", "uno", 99)):
            row = f"SELECT '{file}', '{text}', []::VARCHAR[] FROM range({rows})"
            connection.execute(f"INSERT INTO judged {row}")
        (plan,) = count_unseen(connection, table(columns={"plan": columns["plan"]})).values()
        assert (plan["unseen"], plan["file"], plan["share"]) == (199, "b", 1.0)
        # So does a small one, unless it may be chance.
        for size, surely in ((20, True), (4, False)):
            connection.execute("DELETE FROM judged WHERE source <> 'a'")
            row = f"SELECT 'd', 'une', []::VARCHAR[] FROM range({size})"
            connection.execute(f"INSERT INTO judged {row}")
            (plan,) = count_unseen(connection, table(columns={"plan": columns["plan"]})).values()
            assert plan["file"] == "d" and plan["at_least"] and (plan["share"] > 0.5) == surely
            assert "at least" in in_words("plan", plan)


def test_equal_rows_without_an_identifier_are_rows_of_their_own(tmp_path):
    save(tmp_path / "table.csv", [["x", 30, 3, "plus", "No"]] * 5 + [["x", 31, 3, "plus", "Yes"]])
    assert judged(tmp_path, id=None, leave_out=("member",)).rows.valid == 6
    assert [row for (row,) in query(tmp_path / VALID, "row_id")] == list("123456")


def test_a_row_of_an_unknown_split_goes_to_quarantine(tmp_path):
    parts = ["train", "Test", " valid ", "validation", "holdout", ""]
    rows = [[f"m{n}", 30, n, "plus", "YN"[n % 2], part] for n, part in enumerate(parts)]
    save(tmp_path / "table.csv", rows, [*HEADER, "fold"])
    assert judged(tmp_path, split="fold", positive="Y").rows.reasons == {"unknown_split": 2}
    splits = query(tmp_path / VALID, "split", "row_id")
    assert splits == [("train",), ("test",), ("valid",), ("valid",)]


@pytest.mark.parametrize(("largest", "codes"), [(4, []), (6, ["largest_customer_share"])])
def test_a_group_with_a_large_share_of_the_rows_is_warned_about(tmp_path, largest, codes):
    houses = ["1"] * largest + [f"h{n}" for n in range(20 - largest)]
    rows = [[house, f"m{n}", 30, n, "plus", "yn"[n % 2]] for n, house in enumerate(houses)]
    save(tmp_path / "table.csv", rows, ["house", *HEADER])
    findings = judged(tmp_path, group="house", positive="y").findings
    assert [f.code for f in findings if not f.success and f.severity == "warn"] == codes


def test_a_group_is_kept_as_text_and_a_row_without_one_goes_to_quarantine(tmp_path):
    houses = ["007", "12345678901234567890", "", "7.0", "?", "4.00638E+12"]
    rows = [[f"m{n}", 30, n, "plus", "YN"[n % 2], house] for n, house in enumerate(houses)]
    save(tmp_path / "table.csv", rows, [*HEADER, "household"])
    outcome = judged(tmp_path, group="household", missing_values=("?",), positive="Y")
    assert outcome.rows.reasons == {"no_group": 3}  # the last one has lost digits
    groups = query(tmp_path / VALID, "group_id", "row_id")
    assert groups == [("007",), ("12345678901234567890",), ("7",)]


def test_numbers_in_text_are_written_as_the_settings_say_and_in_other_files_as_usual(tmp_path):
    (tmp_path / "table.csv").write_text(
        "member;age;visits;plan;left\na;1.234,5;1;plus;Yes\nb;7,5;2;plus;No\n"
    )
    comma = ("--source.text.decimal", ",", "--source.text.thousands", ".")
    plan = {"type": "category", "values": ["plus", "true", "false"]}
    columns = {"age": {"type": "number"}, "visits": {"type": "number"}, "plan": plan}
    judged(tmp_path, None, *comma, columns=columns)
    assert query(tmp_path / VALID, "typed.age") == [(7.5,), (1234.5,)]
    row = "range AS member, range + 0.5::DOUBLE AS age, true AS plan, range::DOUBLE AS visits"
    left = "CASE WHEN range % 2 = 0 THEN 1.0 ELSE 0.0 END::DOUBLE AS left"
    file = copy_parquet(tmp_path / "table.parquet", f"SELECT {row}, {left} FROM range(4)")
    judged(tmp_path, file, *comma, columns=columns, positive="1")
    rows = query(tmp_path / VALID, "row_id, typed.age, typed.plan, label")
    assert rows[:2] == [("0", 0.5, "true", 1), ("1", 1.5, "true", 0)]


def test_columns_may_be_called_anything(tmp_path):
    header = ["source", "source_row", 'a "b"', "x.y", "rows", "it's"]
    made = [[f"s{n}", n, n / 2, "u" if n % 3 else "v", n, "Y" if n % 2 else "N"] for n in range(9)]
    save(tmp_path / "table.csv", made, header)
    columns = {
        "source_row": {"type": "number"},
        'a "b"': {"type": "number", "low": 0},
        "x.y": {"type": "category", "values": ["u", "v"]},
        "rows": {"type": "number", "high": 6},
    }
    outcome = judged(tmp_path, target="it's", positive="Y", id="source", columns=columns)
    assert outcome.rows.reasons == {"out_of_range_rows": 2}
    assert query(tmp_path / VALID, """typed."a ""b\""" """, "row_id")[1] == (0.5,)


CELL = st.sampled_from(
    ["", " ", "1", "-1", "200", "1e39", "inf", "nan", "x", "plus", "gold", "Yes"]
)


@bounded(max_examples=8, deadline=None)
@given(cells=st.lists(st.tuples(*[CELL] * 4, st.sampled_from(["Yes", "No", ""])), max_size=12))
def test_every_row_is_valid_or_in_quarantine_with_a_reason(tmp_path_factory, cells):
    """Great Expectations counts the same, or the judging itself would raise."""
    folder = tmp_path_factory.mktemp("any")
    ends = [["y", 1, 1, "plus", "Yes"], ["n", 1, 1, "plus", "No"]]
    save(folder / "table.csv", [*ends, *map(list, cells)])
    try:
        counts = judged(folder).rows
    except ContractBroken as error:
        counts = error.outcome.rows
        assert counts.valid < counts.raw / 2
    else:
        assert len(query(folder / VALID)) == counts.valid
    held = query(folder / QUARANTINE, "reasons")
    assert len(held) == counts.quarantined == counts.raw - counts.valid
    assert all(reasons for (reasons,) in held)


# --- the target ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            [("No", 20), ("Yes", 10), ("Maybe", 1)],
            "binary targets only: this one has 3 values: 'No' (20 rows), 'Yes' (10 rows), 'Maybe'"
            " (1 row)",
        ),
        ([(f"{n}.5", 1) for n in range(30)], "30 different numbers, from 0.5 to 29.5; regression"),
        ([("No", 20), (None, 3)], "one class only: all 20 rows that have a label are 'No'"),
        ([(None, 20)], "the label is missing in all 20 rows"),
        ([("no", 20), ("yes", 10)], "the target is never 'Yes'"),
        ([], "the table has no rows"),
    ],
)
def test_a_target_that_is_not_binary_is_refused_by_what_it_is(labels, said):
    with pytest.raises(UserError) as caught:
        check_target(labels, table())
    assert said in caught.value.what and caught.value.next_step


def test_a_target_with_three_values_stops_the_run_and_leaves_nothing_to_go_on_with(tmp_path):
    save(tmp_path / "table.csv", [*made_rows(30), ["z", 1, 1, "plus", "Perhaps"]])
    assert "'Perhaps' (1 row)" in refused(tmp_path).what
    assert not (tmp_path / VALID).exists()


def test_spellings_of_a_class_are_one_class(tmp_path):
    made = made_rows(60)
    save(tmp_path / "table.csv", made)
    judged(tmp_path)
    expected = query(tmp_path / VALID, "row_id, label")
    for n, row in enumerate(made):
        row[4] = (row[4].upper(), row[4].lower(), row[4])[n % 3]
    save(tmp_path / "table.csv", made)
    judged(tmp_path)
    assert query(tmp_path / VALID, "row_id, label") == expected


def test_rows_without_a_label_do_not_hold_the_table(tmp_path):
    made = made_rows(90)
    for row in made[:60]:
        row[4] = ""
    save(tmp_path / "table.csv", made)
    outcome = judged(tmp_path)
    assert (outcome.rows.valid, outcome.rows.quarantined) == (30, 60)
    assert outcome.measures["valid_share"] == 1 and not any(heavy.hold for heavy in outcome.heavy)


def test_a_table_that_is_mostly_quarantine_is_refused_and_the_quarantine_kept(tmp_path):
    save(tmp_path / "table.csv", [[m, "old", v, p, y] for m, _, v, p, y in made_rows(30)])
    what = refused(tmp_path).what
    assert "valid_share is 0" in what
    assert "unreadable_value keeps out 100.0% of the rows (30)" in what
    assert len(query(tmp_path / QUARANTINE)) == 30 and not (tmp_path / VALID).exists()


@pytest.mark.parametrize(
    ("words", "named", "held"),
    [
        ((), True, False),
        (("--contract.hold_share", "0.05"), True, True),
        (("--contract.warn_share", "0.2"), False, False),
    ],
)
def test_the_shares_that_warn_and_hold_are_settings_of_a_table_too(tmp_path, words, named, held):
    bad = [[f"x{n}", "old", 3, "plus", "No"] for n in range(10)]
    save(tmp_path / "table.csv", [*made_rows(90), *bad])
    heavy = judged(tmp_path, None, *words).heavy
    assert [rule.code for rule in heavy] == ["unreadable_value"] * named
    assert [rule.hold for rule in heavy] == [held] * named


# --- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what", "next_step"),
    [
        ({}, "do not say what column 'surname' is", "leave_out"),
        ({"target": "Left"}, "the file has no column", "did you mean"),
        ({"id": "Member"}, "the file has no column", "did you mean"),
        ({"leave_out": ("surnames",)}, "the file has no column", "did you mean"),
        ({"target": None}, "the table has no target", "make adopt"),
        ({"positive": None}, "the table has no positive", "make adopt"),
        ({"columns": {}}, "the table has no features", "make adopt"),
    ],
)
def test_settings_that_do_not_fit_the_columns_are_refused(tmp_path, changes, what, next_step):
    save(tmp_path / "table.csv", [[*row, 1] for row in made_rows(9)], [*HEADER, "surname"])
    error = refused(tmp_path, **changes)
    assert what in error.what and next_step in error.next_step
    assert judged(tmp_path, leave_out=("surname",)).rows.valid == 9


def test_a_column_of_lists_is_refused(tmp_path):
    row = "range AS member, [1] AS age, 1 AS visits, 'plus' AS plan, 'Yes' AS left"
    file = copy_parquet(tmp_path / "table.parquet", f"SELECT {row} FROM range(4)")
    assert "'age' is of type INTEGER[]" in refused(tmp_path, file).what
