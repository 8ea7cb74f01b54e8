"""What `make adopt` guesses about a file, and what it says when it cannot."""

from __future__ import annotations

import random
import shlex
from pathlib import Path
from uuid import UUID

import openpyxl
import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from made_log import copy_parquet
from made_table import HEADER, made_rows, save

from common.duck import connect, quoted
from common.errors import UserError
from configs.command import CommandLine
from configs.load import load
from configs.source import Text
from configs.table import LONGEST_TEXT, Column, Table
from flows.commands import adopt
from ingestion.labelled.columns import role_of
from ingestion.labelled.draft import Draft, draft
from ingestion.labelled.guess import Guess, guess
from ingestion.labelled.read import as_text
from tests.places import find

pytestmark = pytest.mark.slow


def drafted(file: Path, target: str = "left", **changes) -> Draft:
    return draft(file, target, Text(), **changes)


def spelt(word: str, number: int) -> str:
    """Most often as it is."""
    return (word.upper(), word.lower(), word, word, word)[number % 5]


def preset(file: Path, target: str, *arguments: str) -> Table:
    """The table as the drafted preset says it, once loaded."""
    output = file.with_name("drafted.yaml")
    adopt.main(load("default", arguments, {}), str(file), target, str(output), force=True)
    return load(str(output), (), {}).source.table


# --- the guesses ---------------------------------------------------------------------------------


def test_telco_is_drafted_with_its_identifier_target_and_types(tmp_path, capsys):
    telco = find("telco_churn.csv")
    if telco is None:
        pytest.skip("no folder that tests/data_places names holds telco_churn.csv")
    output = tmp_path / "telco.yaml"
    adopt.main(load("default", (), {}), str(telco), "Churn", str(output))
    found = load(str(output), (), {}).source.table
    assert (found.target, found.positive, found.id) == ("Churn", "Yes", "customerID")
    assert not found.leave_out and len(found.columns) == 19
    total = found.columns["TotalCharges"]
    assert (total.type, total.missing, total.low) == ("number", True, 0)
    assert [name for name, column in found.columns.items() if column.missing] == ["TotalCharges"]
    assert found.columns["Contract"].values == ("Month-to-month", "Two year", "One year")
    assert found.columns["SeniorCitizen"].type == "number"
    said = capsys.readouterr().out
    assert "11 missing" in said and "'Yes' (1,869 rows)" in said
    assert said.rstrip().endswith(f"make train CONFIG={output}")
    assert "# 3 texts: Month-to-month 3,875, Two year 1,695, One year 1,473" in output.read_text()


# Columns of 600 rows about 200 persons.
DIGITS = {  # column -> its values, as a function of the row; the guess; why
    "customer_id": (lambda n: 15_600_000 + 7 * n, "id", "by its name"),
    "CustomerId": (lambda n: 15_600_000 + 7 * (n // 3), "group", "200 different ones in 600 rows"),
    "patient_nbr": (lambda n: 55_000_000 + n // 3 * 131, "group", "200 different ones"),
    "account": (lambda n: 700_000 + n % 200, "group", "200 different ones"),
    "subscriberid": (lambda n: n // 3, "group", "200 different ones"),
    "order no": (lambda n: 90_000 + 3 * n, "id", "by its name"),
    "zip": (lambda n: 10_000 + n % 5, "category", "taken for a code (by its name)"),
    "store_id": (lambda n: n % 40, "category", "taken for a code (by its name)"),
    "admission_type_id": (lambda n: n % 8 + 1, "category", "taken for a code (by its name)"),
    "Region_Code": (lambda n: n % 50, "category", "taken for a code (by its name)"),
    "Phone": (lambda n: 555_000_000 + 17 * n, "leave_out", "a different whole number in each row"),
    "diag_1": (lambda n: 250 + n % 20, "category", "taken for a code (by its name)"),
    "week_number": (lambda n: n % 53 + 1, "number", ""),
    "customers": (lambda n: n % 90, "number", ""),
    "income": (lambda n: 20_000 + 13 * n, "number", "5 digits each: if they name something"),
    "ref": (lambda n: 4_006_381_000_000_000 + 2 * n, "id", "a different whole number in each row"),
    "traffic": (lambda n: 4_006_381_000_000_000 + n // 3, "leave_out", "beyond 15 digits"),
    "RowNumber": (lambda n: n + 1, "leave_out", "the number of the row"),
    "Unnamed: 0": (lambda n: (7 * n) % 601, "leave_out", "the number of the row"),
    "index": (lambda n: n % 300, "leave_out", "the number of the row"),
    "row": (lambda n: 1000 + 7 * n % 600, "leave_out", "the number of the row"),  # shuffled
    "id": (lambda n: n, "id", "by its name"),
    "run": (lambda n: n + 17, "id", "without a gap, one for each row"),
}


def judged(name: str, kind: str, values: list) -> Guess:
    """The guess about one column, stored as the DuckDB type `kind`."""
    column = as_text(f"CAST(v AS {kind})", kind)
    query = f"SELECT {column} AS {quoted(name)} FROM (SELECT unnest(?) AS v)"
    with connect() as connection:
        connection.execute(f"CREATE TABLE texts AS {query}", [values])
        return guess(connection, name, kind, Text() if kind == "VARCHAR" else None)


@pytest.mark.parametrize("name", DIGITS)
def test_the_name_and_the_values_of_a_column_of_digits_say_what_it_is(name):
    value, kind, why = DIGITS[name]
    found = judged(name, "BIGINT", [value(n) for n in range(600)])
    assert found.kind == kind and why in f"{found.reason}; {found.check}"


@bounded(max_examples=6, deadline=None)
@given(
    name=st.sampled_from([*DIGITS, "n", "x", "age", "member_no", "key", "PLZ", "Kundennummer"]),
    low=st.sampled_from([0, 1, 99, 10_000, 2**24, 4_000_000_000]),
    step=st.sampled_from([0, 1, 2, 7, 100]),
    distinct=st.integers(1, 90),
    gaps=st.booleans(),
    shuffled=st.booleans(),
)
def test_digits_get_the_same_guess_however_they_are_stored(
    name, low, step, distinct, gaps, shuffled
):
    values: list = [low + step * (n % distinct) for n in range(60)]
    if shuffled:
        random.Random(1).shuffle(values)
    if gaps:
        values[7] = None
    expected = judged(name, "BIGINT", values)
    as_digits = [None if value is None else str(value) for value in values]
    assert judged(name, "VARCHAR", as_digits) == expected
    assert judged(name, "DOUBLE", values) == expected


PERSONS = ("CustomerID", "account_no")
CLASSES = ("store", "plan_id")
ONES = {  # of a number: an identifier as files write it
    "digits": str,
    "beside missing ones": lambda n: f"{10_000 + n}.0",
    "zeros in front": lambda n: f"{n:06}",
    "uuid": lambda n: str(UUID(int=n * 7919**7)),
    "e-mail": lambda n: f"p{n}@mail.example",
    "letters": lambda n: f"A{n:05}",
}


@pytest.mark.parametrize(("form", "rows"), [*((form, 400) for form in ONES), ("digits", 60)])
def test_persons_are_identifiers_or_groups_and_classes_never_are(form, rows):
    one = ONES[form]
    shapes = {
        "unique": [one(3 * n) for n in range(rows)],
        "repeats": [one(n // 3) for n in range(rows)],
        "few": [one(n % 5) for n in range(rows)],
    }
    found: dict[tuple[str, str], Guess] = {}
    for shape, values in shapes.items():
        names = [*PERSONS, *CLASSES, "loyalty_tier"]
        with connect() as connection:
            same = ", ".join(f"v AS {quoted(name)}" for name in names)
            query = f"CREATE TABLE texts AS SELECT {same} FROM (SELECT unnest(?) AS v)"
            connection.execute(query, [values])
            for name in names:
                found[name, shape] = guess(connection, name, "VARCHAR", Text())
    for name in PERSONS:
        assert found[name, "unique"].kind == "id"
        # Of 20 persons no split can be made.
        assert found[name, "repeats"].kind == ("group" if rows > 90 else "leave_out")
        assert found[name, "few"].kind == "leave_out"
        assert "rows of one may stand on both sides" in found[name, "few"].check
    for name in CLASSES:
        for shape in ("repeats", "few"):
            assert found[name, shape].kind in ("category", "leave_out")
            assert found[name, shape].check or form in ("uuid", "e-mail", "letters")
    assert found["loyalty_tier", "few"].kind not in ("id", "group")


@pytest.mark.parametrize(
    ("name", "values", "kind", "check"),
    [
        ("zone", ["02139", "10001", "94105"], "category", "they begin with zeros"),
        ("primary", ["250.83", "401", "428", "V27", "V57"], "category", "letters stand among them"),
        ("who", ["a9b3c4d5e6f7a8b9", "b9b3c4d5e6f7a8b9", "c9b3c4d5e6f7a8b9"], "category", ""),
        ("patient_nbr", ["7", "8", "9", "12", "13"], "leave_out", "rows of one may stand on both"),
        ("loyalty_id", ["a1", "b2", "c3"], "category", ""),
        ("member_id", ["4.00638E+12", *(f"4.{n:05}E+12" for n in range(99))], "group", "rounded"),
        ("client", [f"4.{n:05}E+12" for n in range(30)], "category", "rounded by a spreadsheet"),
        ("store", [f"4.{n:05}E+12" for n in range(200)], "leave_out", "rounded by a spreadsheet"),
        ("size", ["16777217", "20000000", "33333333"], "number", "float32"),
        ("days", [*map(str, range(90)), "999"], "number", "999 in 4 rows"),
        ("days", [*map(str, range(90)), "-1"], "number", "-1 in 4 rows"),
        ("days", [*map(str, range(-9, 90)), "899"], "number", ""),
        ("seen", [f"{n % 12 + 1}/{n % 28 + 1}/2024 8:26" for n in range(90)], "leave_out", "days"),
        ("debt", ["1e38", "9e38", "4e38"], "leave_out", "another unit"),
        ("charge", ["1e-50", "3e-48", "2e-41"], "leave_out", "another unit"),
        ("flag", ["TRUE", "True", "true"], "leave_out", ""),
        ("answer", ["Yes", "No", "x" * 301], "leave_out", "300 characters"),
        ("answer", [*["Yes"] * 99, *["No"] * 100, "x" * 301], "category", "2 rows go to quar"),
    ],
)
def test_what_values_say_of_a_column_and_what_is_to_be_checked(name, values, kind, check):
    found = judged(name, "VARCHAR", [values[n % len(values)] for n in range(400)])
    assert found.kind == kind and check in found.check and bool(check) == bool(found.check)
    assert all(len(value) <= LONGEST_TEXT for value in found.values)


def test_spellings_of_one_category_are_merged_and_codes_are_not():
    zeros = judged("x", "DOUBLE", [-0.0, 0.0, 0.5, -0.0])
    assert zeros.reason.startswith("2 numbers from 0 to")
    colours = judged("colour", "VARCHAR", ["red", "RED", "blue", "red", "Blue"] * 40)
    assert colours.values == ("red", "Blue") and "if they differ, name each" in colours.check
    codes = judged("icd_code", "VARCHAR", ["250.8", "250.80", "V27", "401"] * 40)
    assert set(codes.values) == {"250.8", "250.80", "V27", "401"}


def seconds(n: int) -> int:
    return 1_600_000_000 + 90_001 * n


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("joined", seconds, "leave_out", "seconds since 1970, from 2020-09-13 to 20"),
        ("x", lambda n: 1000 * seconds(n), "leave_out", "milliseconds since 1970, from 2020-09-13"),
        ("x", lambda n: 10**6 * seconds(n) + n, "leave_out", "microseconds since 1970"),
        ("x", lambda n: f"{seconds(n)}.25", "leave_out", "seconds since 1970"),
        ("start_date", lambda n: 43_000 + 3 * n, "leave_out", "2017-09-22"),
        ("since", lambda n: 43_000 + 3 * n, "number", "if they are dates (days as a spreadsheet"),
        ("joined", lambda n: f"{n % 28 + 1} March 2024", "leave_out", "dates; make a number"),
        ("joined", lambda n: f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}", "leave_out", "dates"),
        ("day", lambda n: 20240101 + n % 28, "leave_out", "dates"),
        ("period", lambda n: 202_001 + n % 12 + 100 * (n % 4), "leave_out", "dates; make a number"),
        ("customer_id", lambda n: seconds(n // 3), "group", "by its name"),
        ("customer_id2", lambda n: f"c{n // 2}", "group", ""),
        ("built", lambda n: 1950 + n % 70, "number", "70 numbers from 1950"),
        ("amount", lambda n: 900_000_000 + 10**7 * n, "number", "float32"),
        ("weight", lambda n: f"{n * 0.6180339887 % 1:.9f}", "number", ""),  # all different
        ("note", lambda n: f"lorem ipsum dolor {n} sit amet " * 4, "leave_out", "free text"),
        ("empty", lambda n: "", "leave_out", "no row has a value"),
        ("constant", lambda n: "same", "leave_out", "every row has the same value"),
        ("town", lambda n: f"town {n * 3 % 350}", "leave_out", ""),
    ],
)
def test_what_cannot_be_a_feature_is_left_out_with_the_reason(name, value, kind, said):
    """A time is never taken for a number without a word."""
    found = judged(name, "VARCHAR", [str(value(n)) or None for n in range(400)])
    assert found.kind == kind and said in f"{found.reason}; {found.check}"


def test_what_the_service_would_not_take_the_settings_and_the_draft_do_not_take_either():
    assert judged("x" * 301, "BIGINT", [1, 2, 3]).kind == "leave_out"
    assert "zero byte" in judged("a\0b", "BIGINT", [1, 2, 3]).check
    many = tuple(f"{n:0300}" for n in range(1700))
    for columns in (
        {"x" * 301: Column(type="number")},
        {"x": Column(type="category", values=many)},
    ):
        with pytest.raises(ValueError, match="characters"):
            Table(target="y", columns=columns)
    with pytest.raises(ValueError, match="301 characters"):
        Column(type="category", values=("a", "x" * 301))


def test_the_person_column_is_the_group_and_the_best_identifier_is_the_id(tmp_path):
    header = ["", "order no", "customer_id", "account", "plan", "left"]
    rows = [[n, 90_000 + 3 * n, 700 + n // 3, n // 3, "ab"[n % 2], "yn"[n % 2]] for n in range(300)]
    found = preset(save(tmp_path / "t.csv", rows, header), "left")
    assert (found.id, found.group) == ("order no", "customer_id")
    assert found.leave_out == ("column_1", "account") and list(found.columns) == ["plan"]
    said = (tmp_path / "drafted.yaml").read_text()
    assert '- "account"  # another identifier: by its name' in said
    assert "CHECK: rows of one may stand on both sides" in said


def test_an_identifier_with_gaps_names_the_rows_only_where_no_better_one_does(tmp_path):
    """pandas writes whole numbers among missing ones as 10003.0."""
    rows = [["" if n == 7 else f"{10_000 + 3 * n}.0", n % 9, "yn"[n % 2]] for n in range(90)]
    (found, *_) = drafted(save(tmp_path / "t.csv", rows, ["customer_id", "x", "left"])).guesses
    assert found.kind == "id" and found.check == "1 row without one goes to quarantine"
    rows = [[*row[:2], f"k{n}", row[2]] for n, row in enumerate(rows)]
    found = preset(save(tmp_path / "t.csv", rows, ["customer_id", "x", "key", "left"]), "left")
    assert (found.id, found.group, found.leave_out) == ("key", None, ("customer_id",))


def test_customer_id_names_the_rows_though_no_feature_may_be_called_so(tmp_path):
    rows = [[15_600_000 + 7 * n, n % 9, "yn"[n % 2]] for n in range(90)]
    assert preset(save(tmp_path / "t.csv", rows, ["customer_id", "x", "left"]), "left").id == (
        "customer_id"
    )
    rows = [["ab"[n % 2], n % 9, "yn"[n % 2]] for n in range(90)]
    found = drafted(save(tmp_path / "t.csv", rows, ["Split", "x", "left"])).guesses[0]
    assert found.kind == "leave_out" and "rename it" in found.check


def test_many_categories_are_pooled_the_most_frequent_are_named():
    draw = random.Random(2)
    values = [f"p{min(int(draw.expovariate(0.1)), 60):02}" for _ in range(900)]
    codes = judged("code", "VARCHAR", values)
    assert codes.kind == "category" and "are categories" in codes.check
    assert len(codes.values) == 30 and codes.values[0] == "p00"


def test_words_for_missing_values_other_texts_and_negative_numbers_in_a_column_of_numbers(tmp_path):
    rows = [
        [member, "NA" if n % 9 == 0 else n, "about ten" if n == 7 else n % 30, n % 50 - 5, label]
        for n, (member, *_, label) in enumerate(made_rows())
    ]
    file = save(tmp_path / "t.csv", rows, ["member", "age", "visits", "balance", "left"])
    checks = {guess.name: (guess.kind, guess.check) for guess in drafted(file).guesses}
    assert checks["visits"][0] == "number"
    assert "1 row goes to quarantine: not a number: 'about ten'" in checks["visits"][1]
    table = preset(file, "left")
    assert table.missing_values == ("NA",) and table.columns["age"].missing
    assert table.columns["visits"].low == 0 and table.columns["balance"].low is None


@pytest.mark.parametrize(
    ("labels", "positive", "why"),
    [
        (("Yes", "No"), "Yes", "it reads as a yes"),
        (("1", "0"), "1", "it reads as a yes"),
        (("True.", "False."), "True.", "it reads as a yes"),
        (("Nein", "Ja"), "Ja", "it reads as a yes"),
        (("1", "2"), "1", "the rarer one: '1' (90 rows)"),
        (("<=50K", ">50K"), "<=50K", "the rarer one: '<=50K' (90 rows)"),
    ],
)
def test_the_positive_value_is_a_yes_or_the_rarer_one(tmp_path, labels, positive, why):
    rows = [[n, n * 1.5, labels[n % 10 > 2]] for n in range(300)]
    found = drafted(save(tmp_path / "t.csv", rows, ["id", "x", "left"]))
    assert (found.positive, found.why_positive) == (positive, why)
    asked = f"the classes are {labels[1]} and {labels[0]}" in " ".join(found.checks)
    assert asked == why.startswith("the rarer")


def test_types_of_parquet_are_taken_as_they_are(tmp_path):
    query = """SELECT range AS key, range % 7 > 2 AS member, range::DOUBLE / 3 AS x,
        DATE '2024-01-01' + range::INTEGER AS day, [range] AS list, range || ',50 €' AS price,
        range % 3 = 0 AS left FROM range(300)"""
    found = drafted(copy_parquet(tmp_path / "t.parquet", query))
    kinds = {guess.name: guess.kind for guess in found.guesses}
    price = {guess.name: guess for guess in found.guesses}["price"]
    assert "stored as text" in price.check and found.text.plain
    assert kinds.pop("price") == price.kind and found.positive == "true"
    assert kinds == dict(key="id", member="category", x="number", day="leave_out", list="leave_out")


def written(tmp_path: Path, columns: dict[str, list[str]]) -> Draft:
    """The draft of a file with a semicolon between values, whose columns repeat these."""
    rows = [[v[n % len(v)] for v in columns.values()] + ["yn"[n % 3 == 0]] for n in range(60)]
    lines = [";".join(f'"{value}"' for value in row) for row in [[*columns, "left"], *rows]]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    return drafted(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("columns", "decimal", "thousands", "symbols"),
    [
        ({"x": ["75,49", "3,5"], "turnover": ["13.588", "7.419", "612"]}, ",", ".", ()),
        ({"x": ["13,588", "1,234,567", "12"], "y": ["2.5", "3.25"]}, ".", ",", ()),
        ({"x": ["12.3 %", "7 %", "0.5 %"], "y": ["€ 9", "€ 12", "€ 3"]}, ".", "", ("%", "€")),
        ({"x": ["1.5", "2.25", "1e-3"], "y": ["a", "b", "1,5"]}, ".", "", ()),
        ({"x": ["1\u2009234,5", "\u221212\u202f345,6", "7\u2007000,1"]}, ",", " ", ()),
        ({"x": ["63 kg", "71 kg"], "y": ["$1.5 mio", "$2 mio"]}, ".", "", ("$", "kg", "mio")),
    ],
)
def test_how_numbers_are_written_is_seen_from_all_columns(
    tmp_path, columns, decimal, thousands, symbols
):
    found = written(tmp_path, columns)
    text = found.text
    assert (text.decimal, text.thousands, text.symbols) == (decimal, thousands, symbols)
    kinds = {guess.name: guess.kind for guess in found.guesses}
    assert kinds == {name: "category" if "a" in v else "number" for name, v in columns.items()}
    assert bool(found.checks) == (not text.plain)


@pytest.mark.parametrize(
    ("columns", "check"),
    [
        ({"x": ["1.234", "12.345", "7.000", "999"]}, "1.234 is read as a fraction"),
        ({"x": ["1.5", "2.5"], "z": ["3.5", "4"], "y": ["3,5", "7,25"]}, "in another way"),
        ({"x": ["$1", "€2", "$3"], "y": ["1", "2"]}, "in another way"),
        ({"x": ["1", "2", "3", "none"], "y": ["1", "2"]}, "if 'none' stand for a missing"),
        ({"x": ["1.5", "2", "3.5", "7", "1,5"]}, "in several"),
        ({"x": ["1.5", "2", "3.5", "7", "1/5"]}, "'1/5' are not read: correct them"),
        ({"x": ["63kg", "71kg"]}, "if it is a unit, pass --source.text.symbols kg"),
        ({"x": ["~6", "~7"]}, "pass --source.text.symbols '~'"),
        ({"x": ["2 years", "1 year", "3 years"]}, "in several"),
        ({"x": ["12 %", "7 %"], "y": ["12 %", "0.12"]}, "as if the same stood beside them"),
        ({"x": ["(1,234.00)", "12.50"]}, "'(1,234.00)' is read as -1234"),
        ({"x": ["5-", "12"]}, "'5-' is read as -5"),
        ({"x": ["\u0663", "\u0664"]}, "other digits than 0 to 9"),
    ],
)
def test_numbers_that_may_be_read_wrongly_or_not_at_all_are_to_be_checked(tmp_path, columns, check):
    assert check in " ".join(guess.check for guess in written(tmp_path, columns).guesses)


def test_codes_that_are_mostly_digits_have_no_missing_values(tmp_path):
    columns = {"primary": ["250.83", "401", "428", "V27", "V57"], "seen": ["1", "2", "none"]}
    first, second = written(tmp_path, columns).guesses
    assert "taken for a code" in first.check and "missing value" not in first.check
    assert "missing value" in second.check


def test_the_notation_that_was_seen_stands_in_the_preset_and_reads_the_file(tmp_path):
    rows = [[f"${n},{n:03}.50", f"{n % 9} %", "yn"[n % 2]] for n in range(1, 90)]
    found = preset(save(tmp_path / "t.csv", rows, ["fee", "share", "left"]), "left")
    assert [column.type for column in found.columns.values()] == ["number", "number"]
    settings = load(str(tmp_path / "drafted.yaml"), (), {})
    assert settings.source.text.symbols == ("$", "%") and settings.source.text.thousands == ","
    assert "# CHECK: numbers are read as" in (tmp_path / "drafted.yaml").read_text()


NAME = st.text(min_size=1, max_size=6).filter(lambda text: "\0" not in text and text.strip())
VALUE = st.text(max_size=6).filter(lambda text: "\0" not in text)


@bounded(max_examples=5, deadline=None)
@given(
    names=st.lists(NAME, min_size=2, max_size=3, unique_by=str.casefold),
    values=st.lists(VALUE, min_size=2, max_size=4),
)
def test_whatever_columns_and_values_are_called_the_draft_loads(tmp_path_factory, names, values):
    folder = tmp_path_factory.mktemp("names")
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: [values[n % len(values)] for n in range(40)] for name in names}
    columns["the target"] = ["Yes", "No"] * 20
    pq.write_table(pa.table(columns), folder / "t.parquet")
    try:
        found = preset(folder / "t.parquet", "the target")
    except UserError as error:
        assert "no column is left" in error.what or "more than one column" in error.what
    else:
        assert {*found.columns, *found.leave_out, found.id, "the target"} >= set(names)


# --- refusals ------------------------------------------------------------------------------------


def refused(*arguments) -> UserError:
    with pytest.raises(UserError) as caught:
        adopt.main(load("default", (), {}), *arguments)
    assert caught.value.where and caught.value.next_step
    return caught.value


def pasted(command: str) -> Path:
    """What a shell and make hand to adopt of this command, done; the preset that it wrote."""
    words = shlex.split(command)
    assert words[:2] == ["make", "adopt"]
    given = dict(word.split("=", 1) for word in words[2:])
    line = CommandLine(("data", "target"), adopt.OPTIONS, adopt.FLAGS)
    typed = line.parse([given["DATA"], given["TARGET"], *shlex.split(given["ARGS"])])
    assert not typed.overrides
    adopt.main(load("default", (), {}), **typed.values)
    return Path(typed.values["output"])


@pytest.mark.parametrize(
    ("target", "positive", "said", "next_step"),
    [
        ("plan", None, "binary targets only: this one has 3 values", ""),
        ("visits", None, "30 different numbers, from 0 to 29; regression is not done", ""),
        ("lef", None, "the file has no column 'lef'", ""),
        ("left", "yes", "is never 'yes'", "--positive Yes"),
    ],
)
def test_a_target_that_is_not_there_or_not_binary_is_refused(
    tmp_path, target, positive, said, next_step
):
    file = save(tmp_path / "t.csv", made_rows(600))
    error = refused(str(file), target, str(tmp_path / "o.yaml"), positive, False)
    assert said in error.what and next_step in error.next_step
    assert not (tmp_path / "o.yaml").exists()


def test_a_file_without_a_header_leads_to_the_names_of_its_columns(tmp_path):
    file = save(tmp_path / "t.csv", made_rows(60)[1:], made_rows(60)[0])
    error = refused(str(file), "left", str(tmp_path / "o.yaml"), None, False)
    assert "source.text.names a,b" in error.next_step
    found = preset(file, "left", "--source.text.names", ",".join(HEADER))
    assert found.id == "member" and found.columns["age"].type == "number"
    assert load(str(tmp_path / "drafted.yaml"), (), {}).source.text.names == HEADER


@pytest.mark.parametrize(
    ("header", "end", "target", "columns"),
    [
        ('\ufeff"member","age","visits","plan","left"', "", "left", ["age", "visits", "plan"]),
        ("member,age,visits,plan,left,", ",", "left", ["age", "visits", "plan"]),
        ("member,,visits,,left", "", "left", ["column_2", "visits", "column_4"]),
    ],
)
def test_a_header_of_any_form_leads_to_a_preset(tmp_path, header, end, target, columns):
    lines = [",".join(map(str, row)) + end for row in made_rows(90)]
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    table = preset(tmp_path / "t.csv", target)
    assert list(table.columns) == columns and table.target == target
    assert table.id == header.replace("\ufeff", "").replace('"', "").split(",")[0]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (" member , age ,visits, plan, left ", "TARGET=' left '"),
        ("member,age,visits,plan,LEFT", "TARGET=LEFT"),
        ("member,age,Age,plan,left", "source.text.names a,b,… (with source.text.skip_lines 1"),
        ("member,age,visits,plan,left,", "source.text.names: all of them, with skip_lines: 1"),
        ("age,visits,plan,left", "source.text.names: all of them, with skip_lines: 1"),
    ],
)
def test_a_header_that_is_not_clear_leads_to_what_helps(tmp_path, header, said):
    lines = [",".join(map(str, row)) for row in made_rows(90)]
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        drafted(tmp_path / "t.csv")
    assert said in caught.value.next_step
    if "source.text.names" in said:
        words = ("--source.text.names", ",".join(HEADER), "--source.text.skip_lines", "1")
        assert preset(tmp_path / "t.csv", "left", *words).id == "member"


@pytest.mark.parametrize("place", ["A1", "C4"])
def test_zeros_that_a_workbook_only_shows_are_to_be_checked(tmp_path, place):
    book = openpyxl.Workbook()
    first = book.active[place]
    for n, row in enumerate([["zip", "x", "left"], *([n, n % 7, "yn"[n % 2]] for n in range(60))]):
        for at, value in enumerate(row):
            cell = book.active.cell(first.row + n, first.column + at, value)
            cell.number_format = "00000" if at == 0 else "0.0"
    book.save(tmp_path / "t.xlsx")
    found = {guess.name: guess.check for guess in drafted(tmp_path / "t.xlsx").guesses}
    assert "shows zeros in front" in found["zip"] and "zeros" not in found["x"]


def test_formulas_that_no_spreadsheet_has_computed_are_named(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["x", "twice", "left"])
    for n in range(2, 62):
        book.active.append([n * n % 17, f"=A{n}*2", "yn"[n % 2]])
    book.save(file := tmp_path / "t.xlsx")
    checks = {guess.name: guess.check for guess in drafted(file).guesses}
    assert "formulas without a stored value" in checks["twice"]
    assert "formulas" not in checks["x"]
    assert "formulas without" in refused(str(file), "twice", None, None, False).what


def test_the_folder_of_a_user_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    save(tmp_path / "t.csv", made_rows(60))
    monkeypatch.setenv("HOME", str(tmp_path))
    adopt.main(load("default", (), {}), "~/t.csv", "left", "~/o.yaml")
    found = load(str(tmp_path / "o.yaml"), (), {}).source.path
    assert found == (str(tmp_path / "t.csv"),)
    assert "does not exist" in refused("~nobody/t.csv", "left", None, None, False).what


def test_a_word_for_a_missing_value_is_not_a_label(tmp_path, capsys):
    """As at training: there `missing_values` count for the target too."""
    rows = made_rows(200)
    for row in rows[:9]:
        row[4] = "NA"
    file = save(tmp_path / "t.csv", rows)
    found = preset(file, "left")
    assert found.missing_values == ("NA",)
    assert "9 rows have no label (not a label: 'NA' (9 rows))" in capsys.readouterr().out
    save(file, [[*row[:4], "Yes" if row[4] == "Yes" else "NA"] for row in rows])
    error = refused(str(file), "left", str(tmp_path / "o.yaml"), None, False)
    assert "one class only" in error.what and "not a label: 'NA'" in error.what
    assert "another word" in error.next_step


def test_a_target_may_spell_its_two_classes_in_several_ways(tmp_path, capsys):
    file = save(tmp_path / "t.csv", [[*r[:4], spelt(r[4], n)] for n, r in enumerate(made_rows(90))])
    assert preset(file, "left").positive == "Yes"
    said = " ".join(capsys.readouterr().out.split())
    assert "'YES'" in said and "are spellings of two classes" in said
    rows = [[n * n % 31, str(n % 2) + ".0" * (n % 3 == 0)] for n in range(40)]
    assert preset(save(tmp_path / "t.csv", rows, ["x", "left"]), "left").positive in ("1", "1.0")
    assert len(drafted(save(tmp_path / "t.csv", rows, ["x", "left"])).labels) == 2
    rows = [[n * n % 31, "aA"[n % 2]] for n in range(40)]
    assert len(drafted(save(tmp_path / "t.csv", rows, ["x", "left"])).labels) == 2, "as they stand"


def test_infinite_values_and_too_few_rows_are_reported(tmp_path, capsys):
    rows = made_rows(30)
    rows[3][2], rows[4][2], rows[5][1] = "inf", "1e300", "-inf"
    preset(save(tmp_path / "t.csv", rows), "left")
    said = capsys.readouterr().out
    assert "visits: 2 rows go to quarantine: infinite" in said
    assert "age: 1 row goes to quarantine: infinite" in said and "1e+300" not in said
    assert "too small to train on" in said and "at least 25 rows of each class" in said
    preset(save(tmp_path / "t.csv", made_rows(200)), "left")
    assert "too small" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["default.yaml", "contract.yaml", "a b.yaml", "x.txt"])
def test_a_file_name_that_cannot_be_a_new_preset_is_refused(tmp_path, name):
    file = save(tmp_path / "t.csv", made_rows(60))
    place = pasted(refused(str(file), "left", str(tmp_path / name), "No", True).next_step)
    assert place.parent == tmp_path and load(str(place), (), {}).source.table.positive == "No"


def test_a_draft_is_written_over_only_by_the_second_of_two_commands_that_can_be_pasted(tmp_path):
    file, output = save(tmp_path / "a t.csv", made_rows(60)), tmp_path / "o.yaml"
    output.write_text("mine")
    error = refused(str(file), "left", str(output), "No", False)
    assert "exists already" in error.what
    beside, over = error.next_step.split("; or to write over it: ")
    assert pasted(beside) == tmp_path / "o_2.yaml" and output.read_text() == "mine"
    assert pasted(over) == output
    assert load(str(output), (), {}).source.table.positive == "No"


def test_a_file_that_is_not_named_not_there_or_has_no_features_is_refused(tmp_path):
    assert "make adopt DATA=" in refused(None, None, None, None, False).next_step
    error = refused(str(tmp_path / "nowhere.csv"), "left", str(tmp_path / "o.yaml"), None, False)
    assert "does not exist" in error.what and error.where == str(tmp_path / "nowhere.csv")
    assert "DATA=FILE" in error.next_step and "--source" not in str(error)
    file = save(tmp_path / "t.csv", [[n, "a", "yn"[n % 2]] for n in range(50)], ["id", "c", "left"])
    error = refused(str(file), "left", str(tmp_path / "o.yaml"), None, False)
    assert "no column is left to learn from" in error.what


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("person", "CustomerID pk_customer_id store_customer_id patient_nbr hhid id_customer user"),
        ("kind", "store_id plan_id customer_type_id"),
        ("", "months_as_customer income_per_person type_of_client number_of_accounts"),
        ("", "loyalty_member distance_to_store years_with_employer days_in_school"),
    ],
)
def test_the_name_of_a_column_says_whether_it_identifies_a_person_or_a_kind(said, names):
    assert {name: role_of(name) for name in names.split()} == dict.fromkeys(names.split(), said)
