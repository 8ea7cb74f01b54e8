"""A labelled table becomes a training table: codes, splits whatever the order of rows, leaks."""

from __future__ import annotations

import csv
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_table import made_rows, table

from common.duck import connect, literal, quoted
from common.errors import UserError
from common.spelling import BLANKS, recognised
from features.categories import code_sql, decode, encoder, other_name
from features.from_table import build_from_table, schema
from features.leak_report import stop_on_leaks
from features.table import SPLITS, read_rows
from features.table_leaks import check_table_leaks

TEXT = st.text(min_size=1, max_size=8).filter(lambda text: text == text.strip(BLANKS))
CATEGORIES = st.lists(TEXT, min_size=1, max_size=6, unique=True).map(tuple)


def valid_rows(
    folder: Path, rows: list, asked, split: int | None = None, group: int | None = None
) -> Path:
    """`rows` (as `made_table` makes them) as valid rows of `ingestion/labelled/validate.py`; split
    and group: which of their values say those."""
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    typed = ", ".join(
        f"{quoted(name)} := TRY_CAST(c{place} AS {'DOUBLE' if c.type == 'number' else 'VARCHAR'})"
        for place, (name, c) in enumerate(asked.columns.items(), start=1)
    )
    width = max(map(len, rows))
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(width))
    target = folder / "valid.parquet"
    with connect(ordered=True) as connection:
        connection.execute(f"""
            COPY (
                SELECT {"c0" if asked.id else "row_number() OVER ()::VARCHAR"} AS row_id,
                       CAST(c{len(asked.columns) + 1} = 'Yes' AS TINYINT) AS label,
                       {f"c{split}" if split else "NULL::VARCHAR"} AS split,
                       {f"c{group}" if group else "NULL::VARCHAR"} AS group_id,
                       struct_pack({typed}) AS typed
                FROM read_csv({literal(folder / "rows.csv")}, auto_detect = false, header = false,
                              columns = {{{columns}}})
            ) TO {literal(target)} (FORMAT parquet)
        """)
    return target


def built(
    folder: Path,
    rows: list,
    seed: int = 7,
    split: int | None = None,
    group: int | None = None,
    **changes,
):
    named = {"split": "fold" if split else None, "group": "household" if group else None}
    asked = table(**changes, **named)
    facts = build_from_table(
        valid_rows(folder, rows, asked, split, group), folder / "table.parquet", asked, seed
    )
    return facts, folder / "table.parquet"


def split_of(path: Path) -> dict[str, str]:
    return {
        str(name): split for split in SPLITS for name in read_rows(path, (split,), ()).customer_id
    }


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
@settings(deadline=None, max_examples=40)
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
    ("text", "code"),
    [
        *(("1", 0), ("1.0", 0), ("1.", 0), ("1.000", 0), ("01", 5), ("1.01", 5), ("10", 5)),
        *(("2.5", 1), ("2.50", 1), ("month", 2), (" MONTH ", 2), ("Months", 5)),
        *(
            ("Sa\u0303o Paulo", 3),
            ("S\u00e3o\u00a0 PAULO", 3),
            ("S\u00e3o\u202fPaulo\u2009", 3),
            ("Sao Paulo", 5),
        ),
        *(("STRASSE", 4), ("", float("nan"))),
    ],
)
def test_other_spellings_of_a_known_text_are_that_text(text, code):
    categories = ("1.0", "2.50", "Month", "S\u00e3o Paulo", "Stra\u00dfe")
    np.testing.assert_equal(encoder({"categories": categories})(text), code)


def test_a_spelling_that_two_known_texts_share_is_neither():
    encode = encoder({"categories": ("ab", "AB", "1", "1.0", "Other")})
    assert [encode(text) for text in ("ab", "AB", "Ab", "1", "1.0", "1.00")] == [0, 1, 5, 2, 3, 5]
    assert decode(5.0, {"categories": ("ab", "AB", "1", "1.0", "Other")}) == "(other)"


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_no_text_is_missing_there_and_back(nothing):
    feature = {"name": "plan", "categories": ["a"]}
    assert np.isnan(encoder(feature)(nothing)) and decode(float("nan"), feature) is None


@pytest.mark.parametrize("code", [-1.0, 2.0, 0.5])
def test_a_number_that_is_no_code_is_not_read_as_one(code):
    with pytest.raises(ValueError, match="not a code of plan"):
        decode(code, {"name": "plan", "categories": ["a"]})


@given(number=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_stays_the_same_float32(number):
    feature = {"name": "age"}
    assert np.float32(decode(encoder(feature)(number), feature)) == np.float32(number)


def test_numbers_are_written_as_short_as_they_were():
    assert decode(float(np.float32(84.3)), {"name": "age"}) == 84.3


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


def test_shares_and_positive_rates_are_those_asked_for(tmp_path):
    facts, path = built(tmp_path, made_rows(1000), valid_share=0.1, test_share=0.3)
    assert facts.rows == pytest.approx({"train": 600, "valid": 100, "test": 300}, abs=2)
    assert max(facts.positive_rate.values()) - min(facts.positive_rate.values()) < 0.02
    assert len(split_of(path)) == 1000 and facts.as_of == {"train": [], "valid": [], "test": []}


def test_the_split_does_not_depend_on_the_order_of_the_rows_but_on_the_seed(tmp_path):
    rows = made_rows()
    _, path = built(tmp_path, rows)
    first, content = split_of(path), path.read_bytes()
    random.Random(0).shuffle(rows)
    _, path = built(tmp_path, rows)
    assert split_of(path) == first and path.read_bytes() == content
    _, path = built(tmp_path, rows, seed=8)
    assert split_of(path) != first


def test_few_rows_change_sides_when_some_are_added(tmp_path):
    rows = made_rows(1000)
    _, path = built(tmp_path, rows)
    first = split_of(path)
    more = [[f"n{number}", 30, 3, "plus", "No"] for number in range(50)]
    _, path = built(tmp_path, rows + more)
    now = split_of(path)
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
def test_too_few_rows_are_refused_and_the_least_is_said(tmp_path, count):
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
@settings(deadline=None, max_examples=8)
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
    assert "take source.table.group away" in caught.value.next_step


# --- leaks ---------------------------------------------------------------------------------------


def test_a_column_that_tells_the_answer_stops_the_run(tmp_path):
    rows = [[m, a, 20 if y == "Yes" else 3, p, y] for m, a, _, p, y in made_rows()]
    _, path = built(tmp_path, rows)
    found = check_table_leaks(path, schema(table()), 0.85)
    assert [leak.name for leak in found.leaks] == ["visits"] and found.strongest == ("visits", 1.0)
    assert found.rows_rebuilt == 0
    assert found.strong[0] == ("visits", 1.0) and len(found.strong) == 3
    with pytest.raises(UserError, match="suspiciously good by itself: visits"):
        stop_on_leaks(found.leaks)


def test_categories_that_tell_the_answer_are_found_whatever_their_order(tmp_path):
    names = ["a", "b", "c", "d"]
    columns = {"plan": {"type": "category", "values": names}}
    draw = random.Random(3)
    rows = [[f"m{n}", draw.choice(names), "No"] for n in range(400)]
    rows = [[m, p, "Yes" if p in "ad" else "No"] for m, p, _ in rows]
    _, path = built(tmp_path, rows, columns=columns)
    found = check_table_leaks(path, schema(table(columns=columns)), 0.85)
    assert [leak.name for leak in found.leaks] == ["plan"]


LEAVERS = {"reason": {"type": "category", "values": ["price", "moved"], "missing": True}}
RANKS = {"rank": {"type": "number", "missing": True}}


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "value"), [(LEAVERS, ["price", "moved"]), (RANKS, [1, 2, 3])])
@pytest.mark.parametrize("missing", [True, False])
def test_a_column_that_only_one_label_has_or_lacks_stops_the_run(tmp_path, columns, value, missing):
    """A third of those who left gave a reason, and nobody else did: its ROC AUC is a mere .67, but
    whoever has one left. The same where only they have none."""
    draw, rows = random.Random(2), []
    for n in range(900):
        label = draw.choice(["Yes", "No"])
        marked = label == "Yes" and draw.random() < 0.33
        there = marked != missing
        rows.append([f"m{n}", draw.choice(value) if there else "", label])
    _, path = built(tmp_path, rows, columns=columns)
    found = check_table_leaks(path, schema(table(columns=columns)), 0.85)
    assert [(leak.name, leak.kind) for leak in found.leaks] == [(next(iter(columns)), "presence")]
    assert found.strongest[1] < 0.75
    with pytest.raises(UserError, match="whether a feature has a value tells the label") as caught:
        stop_on_leaks(found.leaks, rebuilt=False)
    assert "future" not in caught.value.what  # nothing was made again without it
    assert "--features.max_feature_roc_auc 1" in caught.value.next_step
    assert check_table_leaks(path, schema(table(columns=columns)), 1).leaks == ()


def test_missing_values_that_are_only_more_frequent_with_one_label_are_no_leak(tmp_path):
    draw, rows = random.Random(2), []
    for n in range(900):
        label = draw.choice(["Yes", "No"])
        there = draw.random() < (0.6 if label == "Yes" else 0.1)
        rows.append([f"m{n}", draw.choice([1, 2]) if there else "", label])
    _, path = built(tmp_path, rows, columns=RANKS)
    assert check_table_leaks(path, schema(table(columns=RANKS)), 0.85).leaks == ()


def test_a_column_that_only_recognises_persons_is_not_strong_where_they_are_groups(tmp_path):
    """The area of each household says nothing about another household."""
    names = [f"h{n}" for n in range(150)]
    columns = {"area": {"type": "category", "values": names}}
    rows = [[row[0], row[5], row[4], row[5]] for row in households([8] * 150, 10, 6)]
    _, path = built(tmp_path, rows, group=3, columns=columns)
    found = check_table_leaks(path, schema(table(columns=columns)), 0.85)
    assert not found.leaks and found.strongest[1] < 0.6
    _, path = built(tmp_path, rows, columns=columns)
    assert check_table_leaks(path, schema(table(columns=columns)), 0.85).strongest[1] > 0.75


def test_many_rare_categories_that_tell_nothing_are_not_flattered(tmp_path):
    names = [f"v{n}" for n in range(150)]
    columns = {"plan": {"type": "category", "values": names}}
    draw = random.Random(5)
    rows = [[f"m{n}", draw.choice(names), draw.choice(["Yes", "No"])] for n in range(600)]
    _, path = built(tmp_path, rows, columns=columns)
    found = check_table_leaks(path, schema(table(columns=columns)), 0.85)
    assert not found.leaks and found.strongest[1] < 0.62
