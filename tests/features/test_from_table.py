"""A labelled table becomes a training table: codes, splits whatever the order of rows, leaks."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_table import made_rows, table

from common.duck import connect, literal, quoted
from common.errors import UserError
from common.spelling import BLANKS, recognised
from features.categories import code_sql, decode, encoder, other_name
from features.from_table import build_from_table, schema
from features.leak_report import LeakReport, stop_on_leaks
from features.table import SPLITS, read_rows
from features.table_leaks import check_table_leaks

TEXT = st.text(min_size=1, max_size=8).filter(lambda text: text == text.strip(BLANKS))
CATEGORIES = st.lists(TEXT, min_size=1, max_size=6, unique=True).map(tuple)


def built(
    folder: Path,
    rows: list,
    seed: int = 7,
    split: int | None = None,
    group: int | None = None,
    **changes,
):
    """The facts and the training table of `rows` (as `made_table` makes them); split and group:
    which of their values say those."""
    named = {"split": "fold" if split else None, "group": "household" if group else None}
    settings = table(**changes, **named)
    typed = {
        name: "DOUBLE" if column.type == "number" else "VARCHAR"
        for name, column in settings.columns.items()
    }
    cells = pa.table(
        {
            f"c{place}": ["" if cell is None else str(cell) for cell in column]
            for place, column in enumerate(zip(*rows, strict=True))
        }
    )
    fields = ", ".join(
        f"{quoted(name)} := TRY_CAST(nullif(c{place}, '') AS {kind})"
        for place, (name, kind) in enumerate(typed.items(), start=1)
    )
    with connect(ordered=True) as connection:
        connection.register("cells", cells)
        connection.execute(f"""
            COPY (
                SELECT {"c0" if settings.id else "row_number() OVER ()::VARCHAR"} AS row_id,
                       CAST(c{len(typed) + 1} = 'Yes' AS TINYINT) AS label,
                       {f"c{split}" if split else "NULL::VARCHAR"} AS split,
                       {f"c{group}" if group else "NULL::VARCHAR"} AS group_id,
                       struct_pack({fields}) AS typed
                FROM cells
            ) TO {literal(folder / "valid.parquet")} (FORMAT parquet)
        """)
    path = folder / "table.parquet"
    return build_from_table(folder / "valid.parquet", path, settings, seed), path


def split_of(path: Path) -> dict[str, str]:
    return {
        str(name): split for split in SPLITS for name in read_rows(path, (split,), ()).customer_id
    }


def checked(folder: Path, rows: list, columns: dict | None = None, **how) -> LeakReport:
    """The leak check of the table that these rows make."""
    changes = {} if columns is None else {"columns": columns}
    _, path = built(folder, rows, **how, **changes)
    return check_table_leaks(path, schema(table(**changes)), 0.85)


# --- codes ---------------------------------------------------------------------------------------


@given(categories=CATEGORIES, text=TEXT)
def test_a_text_becomes_its_code_and_the_code_the_text(categories, text):
    feature = {"name": "plan", "categories": categories}
    encode = encoder(feature)
    for place, name in enumerate(categories):
        assert encode(f" {name} ") == place and decode(place, feature) == name
    if text in categories:
        assert encode(text) == categories.index(text)
    other = decode(len(categories), feature)
    assert other == other_name(categories) and encode(other) == len(categories)


# Each letter in its case and in both ways of writing it, numbers with and without a fraction: what
# different spellings of one thing are made of.
SPELLED = st.text("aAéÉßſσςKk1.0 \u0301", min_size=1, max_size=4).map(
    lambda text: text.strip(BLANKS) or "1.0"
)


@pytest.mark.slow
@settings(max_examples=12)
@given(
    categories=CATEGORIES | st.lists(SPELLED, min_size=1, max_size=4, unique=True).map(tuple),
    texts=st.lists(TEXT | SPELLED, min_size=1, max_size=9),
)
def test_the_table_and_the_service_give_the_same_code(categories, texts):
    texts = [text for text in [*texts, *categories] if "\0" not in text]  # no literal of DuckDB
    spellings, size = recognised(texts, categories), len(categories)
    with connect(ordered=True) as connection:
        found = connection.execute(
            f"SELECT {code_sql('text', spellings, size)}, {code_sql('NULL::VARCHAR', {}, size)}"
            " FROM (SELECT unnest($texts::VARCHAR[]) AS text)",
            {"texts": texts},
        ).fetchall()
    encode = encoder({"categories": categories})
    assert found == [(encode(text), None) for text in texts]


@pytest.mark.parametrize(
    ("categories", "codes"),
    [
        (
            ("1.0", "2.50", "Month", "S\u00e3o Paulo", "Stra\u00dfe"),
            {
                **{"1": 0, "1.0": 0, "1.": 0, "1.000": 0, "01": 5, "1.01": 5, "10": 5},
                **{"2.5": 1, "2.50": 1, "month": 2, " MONTH ": 2, "Months": 5, "STRASSE": 4},
                **{"Sa\u0303o Paulo": 3, "S\u00e3o\u00a0 PAULO": 3, "S\u00e3o\u202fPaulo\u2009": 3},
                **{"Sao Paulo": 5, "": np.nan, "  ": np.nan, None: np.nan},
            },
        ),
        (  # a spelling that two known texts share is neither
            ("ab", "AB", "1", "1.0", "Other"),
            {"ab": 0, "AB": 1, "Ab": 5, "1": 2, "1.0": 3, "1.00": 5},
        ),
    ],
)
def test_other_spellings_of_a_known_text_are_that_text(categories, codes):
    encode = encoder({"categories": categories})
    np.testing.assert_equal({text: encode(text) for text in codes}, codes)


def test_a_code_is_read_as_its_text_and_nothing_else_is():
    feature = {"name": "plan", "categories": ["a", "Other"]}
    assert [decode(code, feature) for code in (0.0, 2.0, float("nan"))] == ["a", "(other)", None]
    for code in (-1.0, 3.0, 0.5):
        with pytest.raises(ValueError, match="not a code of plan"):
            decode(code, feature)


@given(number=st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(number=84.30000305175781)
def test_a_number_stays_the_same_float32_and_is_written_as_short_as_it_was(number):
    feature = {"name": "age"}
    assert np.float32(decode(encoder(feature)(number), feature)) == np.float32(number)
    assert number != 84.30000305175781 or decode(number, feature) == 84.3


def test_the_schema_is_that_of_the_settings():
    age, visits, plan = schema(table())
    assert (age.low, age.high, bool(age.missing)) == (0, 120, True)
    assert (visits.high, visits.missing, visits.categories) == (None, "", ())
    assert asdict(plan)["categories"] == ("basic", "plus") and plan.high == 2


def test_the_table_holds_codes_and_numbers(tmp_path):
    rows = made_rows()
    _, path = built(tmp_path, rows)
    read = read_rows(path, SPLITS, ("age", "visits", "plan"))
    codes = {"basic": 0, "plus": 1, "trial": 2}
    nan = float("nan")
    want = {m: (float(a or nan), v, codes.get(p, nan), y == "Yes") for m, a, v, p, y in rows}
    for name, x, label in zip(read.customer_id, read.x, read.y, strict=True):
        np.testing.assert_equal((*x, label), want[str(name)])
    assert np.isnat(read.as_of).all() and read.x.dtype == np.float32


# --- splits --------------------------------------------------------------------------------------


def test_the_split_has_the_shares_of_the_settings_and_depends_on_the_seed_and_not_on_the_order(
    tmp_path,
):
    rows, shares = made_rows(1000), {"valid_share": 0.1, "test_share": 0.3}
    facts, path = built(tmp_path, rows, **shares)
    assert facts.rows == pytest.approx({"train": 600, "valid": 100, "test": 300}, abs=2)
    assert max(facts.positive_rate.values()) - min(facts.positive_rate.values()) < 0.02
    first, content = split_of(path), path.read_bytes()
    assert len(first) == 1000 and facts.as_of == {"train": [], "valid": [], "test": []}
    random.Random(0).shuffle(rows)
    assert built(tmp_path, rows, **shares)[1].read_bytes() == content
    assert split_of(built(tmp_path, rows, seed=8, **shares)[1]) != first
    # few rows change sides when some are added
    more = [[f"n{number}", 30, 3, "plus", "No"] for number in range(50)]
    now = split_of(built(tmp_path, rows + more, **shares)[1])
    assert sum(now[name] != first[name] for name in first) < 60


@pytest.mark.parametrize("named", [True, False])
def test_rows_that_are_equal_in_every_feature_are_never_on_both_sides(tmp_path, named):
    """With an identifier and without one, whatever their labels; and in any order of the rows.
    `trial` and `gold` are both other: to a model they are equal."""
    rows = made_rows(300) * 3
    rows = [[f"m{number}", *row[1:]] for number, row in enumerate(rows)]
    for row in rows[:200]:
        row[3] = row[3].replace("trial", "gold")
        row[4] = "Yes" if row[4] == "No" else "No"
    splits = []
    for _ in range(2):
        random.Random(1).shuffle(rows)
        facts, path = built(tmp_path, rows, **({} if named else {"id": None}))
        found: dict[tuple, set] = {}
        for split in SPLITS:
            read = read_rows(path, (split,), ("age", "visits", "plan"))
            for x in np.nan_to_num(read.x, nan=-1):
                found.setdefault(tuple(x.tolist()), set()).add(split)
        assert all(len(sides) == 1 for sides in found.values())
        assert facts.rows == pytest.approx({"train": 540, "valid": 180, "test": 180}, abs=9)
        splits.append(found)
    assert splits[0] == splits[1]


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_common_combinations_are_drawn_one_by_one(tmp_path, named):
    """Four combinations in a thousand rows are no copies: each is in every split, in any order."""
    rows = [[f"m{n}", 30, n % 2, "plus" if n % 4 < 2 else "basic", "No"] for n in range(1000)]
    for row in rows[::3]:
        row[4] = "Yes"
    counted = []
    for _ in range(2):
        facts, path = built(tmp_path, rows, **({} if named else {"id": None}))
        assert facts.rows == pytest.approx({"train": 600, "valid": 200, "test": 200}, abs=2)
        assert max(facts.positive_rate.values()) - min(facts.positive_rate.values()) < 0.01
        read = [read_rows(path, (split,), ("visits", "plan")) for split in SPLITS]
        assert all(len(np.unique(part.x, axis=0)) == 4 for part in read)
        counted.append([np.unique(p.x, axis=0, return_counts=True)[1].tolist() for p in read])
        random.Random(1).shuffle(rows)
    assert counted[0] == counted[1]


def test_a_column_says_the_split(tmp_path):
    rows = [[*row, SPLITS[n % 3]] for n, row in enumerate(made_rows(90))]
    facts, path = built(tmp_path, rows, split=5)
    assert split_of(path) == {row[0]: row[5] for row in rows} and facts.groups == {}


@pytest.mark.parametrize("count", [10, 30])
def test_too_few_rows_are_refused_with_the_least_number(tmp_path, count):
    with pytest.raises(UserError, match=f"too small: {count} valid rows") as caught:
        built(tmp_path, made_rows(count))
    assert "at least 5 rows of each class" in caught.value.what
    assert "at least 25 rows of each class" in caught.value.next_step


def test_a_constant_and_an_empty_column_are_kept_and_named(tmp_path):
    rows = [[m, "", 4, p, y] for m, _, _, p, y in made_rows()]
    facts, path = built(tmp_path, rows)
    assert facts.useless == {
        "age": "no training row has a value",
        "visits": "all training rows have the same value",
    }
    x = read_rows(path, ("train",), ("age", "visits")).x
    assert np.isnan(x[:, 0]).all() and (x[:, 1] == 4).all()


# --- groups --------------------------------------------------------------------------------------


def households(sizes: list[int], kinds: int, seed: int) -> list[list]:
    """Rows of households of these sizes, most of one label each. Features are one of `kinds`
    combinations: the fewer, the more rows are equal across households."""
    draw, rows = random.Random(seed), []
    for house, size in enumerate(sizes):
        mostly = draw.random() < 0.4
        for _ in range(size):
            kind, other = draw.randrange(kinds), draw.random() < 0.1
            label = "Yes" if mostly != other else "No"
            rows.append([f"m{len(rows)}", kind % 90, kind // 90, "plus", label, f"h{house}"])
    draw.shuffle(rows)
    return rows


def sides_of(path: Path) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Household -> its splits; split -> rows."""
    read = {split: read_rows(path, (split,), ()) for split in SPLITS}
    sides: dict[str, set[str]] = {}
    for split, rows in read.items():
        for house in rows.unit:
            sides.setdefault(house, set()).add(split)
    return sides, {split: len(rows) for split, rows in read.items()}


@pytest.mark.slow
@settings(max_examples=5)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=80, max_size=120),
    kinds=st.sampled_from([1, 30, 300, 3000, 10**6]),
    seed=st.integers(0, 9),
    named=st.booleans(),
)
def test_no_group_is_on_two_sides_whatever_rows_are_equal(
    tmp_path_factory, sizes, kinds, seed, named
):
    rows, folder = households(sizes, kinds, seed), tmp_path_factory.mktemp("groups")
    how = {"seed": seed, "group": 5} | ({} if named else {"id": None})
    facts, path = built(folder, rows, **how)
    sides, counts = sides_of(path)
    assert len(sides) == len(sizes) and all(len(found) == 1 for found in sides.values())
    assert facts.groups_torn == 0 and sum(facts.groups.values()) == len(sizes)
    share = {split: count / len(rows) for split, count in counts.items()}
    assert share == pytest.approx({"train": 0.6, "valid": 0.2, "test": 0.2}, abs=0.04)
    rates = facts.positive_rate.values()
    assert max(rates) - min(rates) < 0.1
    content = path.read_bytes()
    random.Random(1).shuffle(rows)
    if named:
        assert built(folder, rows, **how)[1].read_bytes() == content
    else:
        assert sides_of(built(folder, rows, **how)[1])[0] == sides


def test_copies_across_groups_are_on_one_side_with_their_groups(tmp_path):
    """A household that is in the file under two names is still learnt from or tested on."""
    rows = households([3] * 120, 10**6, 1)
    twins = [[f"t{n}", *row[1:5], f"twin of {row[5]}"] for n, row in enumerate(rows)]
    _, path = built(tmp_path, rows + twins[::2], group=5)
    sides, _ = sides_of(path)
    for row in rows[::2]:
        assert sides[row[5]] == sides[f"twin of {row[5]}"]


def test_one_group_of_most_rows_is_learnt_from(tmp_path):
    """And of the others there is still enough on every side."""
    facts, path = built(tmp_path, households([600] + [3] * 100, 10**6, 2), group=5)
    assert sides_of(path)[0]["h0"] == {"train"}
    assert facts.groups == pytest.approx({"train": 61, "valid": 20, "test": 20}, abs=2)


def test_a_column_that_says_the_split_tears_groups_apart_and_that_is_counted(tmp_path):
    rows = [[*row, SPLITS[int(row[5][1:]) % 3]] for row in households([4] * 90, 10**6, 3)]
    torn = [row for row in rows if row[5] in ("h0", "h3", "h4")]
    for row in rows:
        row[6] = "test" if row in torn[::2] else row[6]
    facts, path = built(tmp_path, rows, split=6, group=5)
    sides, _ = sides_of(path)
    apart = {house for house, found in sides.items() if len(found) > 1}
    test = read_rows(path, ("test",), ()).unit
    assert 1 <= facts.groups_torn == len(apart)
    assert facts.test_rows_torn == sum(house in apart for house in test)


def test_few_groups_are_refused_however_many_rows_they_have(tmp_path):
    with pytest.raises(UserError, match="900 valid rows of 9 groups") as caught:
        built(tmp_path, households([100] * 9, 10**6, 4), group=5)
    assert "source.table.group" in caught.value.where
    assert "leave out source.table.group" in caught.value.next_step


# --- leaks ---------------------------------------------------------------------------------------


LETTERS = {"plan": {"type": "category", "values": ["a", "b", "c", "d"]}}
LEAVERS = {"reason": {"type": "category", "values": ["price", "moved"], "missing": True}}
RANKS = {"rank": {"type": "number", "missing": True}}


def test_a_column_that_tells_the_answer_stops_the_run(tmp_path):
    rows = [[m, a, 20 if y == "Yes" else 3, p, y] for m, a, _, p, y in made_rows()]
    report = checked(tmp_path, rows)
    assert [leak.name for leak in report.leaks] == ["visits"]
    assert report.strongest == report.strong[0] == ("visits", 1.0) and len(report.strong) == 3
    assert report.rows_rebuilt == 0
    with pytest.raises(UserError, match="suspiciously good by itself: visits"):
        stop_on_leaks(report.leaks)


def test_categories_that_tell_the_answer_are_found_whatever_their_order(tmp_path):
    draw = random.Random(3)
    plans = [draw.choice("abcd") for _ in range(400)]
    rows = [[f"m{n}", p, "Yes" if p in "ad" else "No"] for n, p in enumerate(plans)]
    assert [leak.name for leak in checked(tmp_path, rows, LETTERS).leaks] == ["plan"]


@pytest.mark.parametrize(("columns", "value"), [(LEAVERS, ["price", "moved"]), (RANKS, [1, 2, 3])])
@pytest.mark.parametrize("missing", [True, False])
def test_a_column_that_only_one_label_has_or_lacks_stops_the_run(tmp_path, columns, value, missing):
    """A third of those who left gave a reason, and nobody else did: its ROC AUC is a mere .67, but
    whoever has one left. The same where only they have none."""
    draw, rows = random.Random(2), []
    for n in range(900):
        label = draw.choice(["Yes", "No"])
        marked = label == "Yes" and draw.random() < 0.33
        rows.append([f"m{n}", draw.choice(value) if marked != missing else "", label])
    report = checked(tmp_path, rows, columns)
    assert [(leak.name, leak.kind) for leak in report.leaks] == [(next(iter(columns)), "presence")]
    assert report.strongest[1] < 0.75
    with pytest.raises(UserError, match="whether a feature has a value tells the label") as caught:
        stop_on_leaks(report.leaks, rebuilt=False)
    assert "future" not in caught.value.what  # nothing was made again without it
    assert "--features.max_feature_roc_auc 1" in caught.value.next_step
    features = schema(table(columns=columns))
    assert check_table_leaks(tmp_path / "table.parquet", features, 1).leaks == ()


def test_missing_values_that_are_only_more_frequent_with_one_label_are_not_a_leak(tmp_path):
    draw, rows = random.Random(2), []
    for n in range(900):
        label = draw.choice(["Yes", "No"])
        there = draw.random() < (0.6 if label == "Yes" else 0.1)
        rows.append([f"m{n}", draw.choice([1, 2]) if there else "", label])
    assert checked(tmp_path, rows, RANKS).leaks == ()


def test_a_column_that_only_recognises_persons_is_not_strong_where_they_are_groups(tmp_path):
    """The area of each household says nothing about another household."""
    columns = {"area": {"type": "category", "values": [f"h{n}" for n in range(150)]}}
    rows = [[row[0], row[5], row[4], row[5]] for row in households([8] * 150, 10, 6)]
    grouped = checked(tmp_path, rows, columns, group=3)
    assert not grouped.leaks and grouped.strongest[1] < 0.6
    assert checked(tmp_path, rows, columns).strongest[1] > 0.75


def test_many_rare_categories_that_tell_nothing_are_not_flattered(tmp_path):
    names = [f"v{n}" for n in range(150)]
    draw = random.Random(5)
    rows = [[f"m{n}", draw.choice(names), draw.choice(["Yes", "No"])] for n in range(600)]
    report = checked(tmp_path, rows, {"plan": {"type": "category", "values": names}})
    assert not report.leaks and report.strongest[1] < 0.62
