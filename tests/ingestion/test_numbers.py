"""Numbers and identifiers: which texts are read, in which notation, and that the draft reads as
validation does."""

from __future__ import annotations

import re

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from configs.source import Text
from ingestion.canonical import read_code, read_number
from ingestion.labelled.draft import draft
from ingestion.labelled.notation import CURRENCIES
from ingestion.text import is_symbol

MARKS = [(".", ","), (",", "."), (",", " "), (".", "'"), (".", "_"), (".", ""), (",", "")]
BLANKS = (" ", "\u00a0", "\u2007", "\u2009", "\u202f")
SIGNS = ("-{}", "\u2212{}", "\u2013{}", "- {}", "({})", "{}-", "{}\u2212")
SYMBOLS = ("$", "Rs.", "EUR", "%", "kg", "m²", "per month")


def read(values: list[str], text: Text | None) -> list[float | None]:
    number = read_number("value", "VARCHAR", text)
    query = f"SELECT {number} FROM (SELECT unnest($1::VARCHAR[]) AS value)"
    with duckdb.connect() as connection:
        return [value for (value,) in connection.execute(query, [values]).fetchall()]


# Decimal mark, thousands mark -> texts and the numbers that they are; None: never guessed.
WRITTEN = {
    (".", ""): {"1234.5": 1234.5, "1,234.5": None, "1_234": None, "$5": None},
    (".", ","): {
        **{"1,234.5": 1234.5, "-1,234,567": -1234567.0, "1234.5": 1234.5, "1.5e3": 1500.0},
        **dict.fromkeys(("1,00", "1,2345", ",123", "0,125", "1,234e999")),
    },
    (",", "."): {"1.234,50": 1234.5, "1,234.5": None, "12.34": None},
    (",", ""): {"0,5": 0.5, ",5": 0.5, "2.55": None},
    (",", " "): {"1 234,5": 1234.5, "1\u00a0234\u202f567,5": 1234567.5, "12 34": None},
    (".", "'"): {"1'234.5": 1234.5, "1’234.5": 1234.5},
}


@pytest.mark.parametrize("marks", WRITTEN)
def test_numbers_are_read_in_the_notation_of_the_settings_and_no_other(marks):
    cases = WRITTEN[marks]
    text = Text(decimal=marks[0], thousands=marks[1])
    assert [value if value is None or abs(value) < 1e300 else None
            for value in read([*cases], text)] == [*cases.values()]  # fmt: skip


def test_symbols_beside_a_number_are_read_where_the_settings_name_them():
    cases = {
        **{"$29.85": 29.85, "-$29.85": -29.85, "$-29.85": -29.85, "29.85 US$": 29.85},
        **{"1,250.00\u00a0%": 1250.0, "12": 12.0},
        **dict.fromkeys(("€5", "$", "1 2", "2$5")),
    }
    assert read([*cases], Text(thousands=",", symbols=("$", "US$", "%"))) == [*cases.values()]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("DOUBLE", "17850", "17850"),
        ("FLOAT", "17850", "17850"),
        ("DOUBLE", "9007199254740991", "9007199254740991"),
        ("BIGINT", "9007199254740993", "9007199254740993"),
        ("DECIMAL(30, 2)", "12345678901234567890", "12345678901234567890"),
        ("VARCHAR", "12345678901234567890", "12345678901234567890"),
        ("VARCHAR", "00017850", "00017850"),
        ("VARCHAR", "1E+A", "1E+A"),
        ("VARCHAR", "12E5", "12E5"),
        ("DOUBLE", "NaN", None),
        ("DOUBLE", "1.5", "1.5"),
        ("DECIMAL(9, 2)", "17850", "17850"),
        ("UUID", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("VARCHAR", ".0", ".0"),
    ],
)
def test_an_identifier_of_any_type_is_read_as_text(kind, value, code):
    query = f"SELECT {read_code('value', kind)} FROM (SELECT CAST($1 AS {kind}) AS value)"
    with duckdb.connect() as connection:
        assert connection.execute(query, [value]).fetchall() == [(code,)]


def grouped(whole: int, indian: bool) -> str:
    text = f"{whole:,}"
    if indian and whole > 999:
        front = f"{whole // 1000}"
        front = ",".join(front[max(end - 2, 0) : end] for end in range(len(front), 0, -2)[::-1])
        text = f"{front},{whole % 1000:03}"
    return text


@st.composite
def ways(draw: st.DrawFn) -> tuple[Text, str, str, bool]:
    """The settings, the form of a number and of a negative one, and whether groups are Indian."""
    decimal, thousands = draw(st.sampled_from(MARKS))
    symbol = draw(st.sampled_from(("", *SYMBOLS)))
    blank = draw(st.sampled_from(("", *BLANKS)))
    form = draw(st.sampled_from((f"{symbol}{blank}{{}}", f"{{}}{blank}{symbol}")))
    form = form if symbol else "{}"
    sign = draw(st.sampled_from(SIGNS))
    negative = sign.format(form) if draw(st.booleans()) else form.format(sign)
    if sign.endswith(("-", "\u2212")):
        negative = sign.format(form)
    text = Text(decimal=decimal, thousands=thousands, symbols=(symbol,) if symbol else ())
    return text, form, negative, thousands == "," and draw(st.booleans())


def write(cents: int, way: tuple[Text, str, str, bool], apart: str) -> str:
    text, form, negative, indian = way
    separator = apart if text.thousands == " " else text.thousands
    whole = grouped(abs(cents) // 100, indian).replace(",", separator)
    number = f"{whole}{text.decimal}{abs(cents) % 100:02}" if cents % 100 else whole
    return (negative if cents < 0 else form).format(number)


CENTS = st.integers(-(10**9), 10**9)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(cents=CENTS, way=ways(), apart=st.sampled_from(BLANKS))
def test_a_number_comes_back_from_however_it_was_written(cents, way, apart):
    assert read([write(cents, way, apart)], way[0]) == [cents / 100]


def by_hand(value: str, text: Text) -> float | None:
    """The number of a text without symbols, one character after the other."""
    value = value.replace("\u2212", "-").replace("\u2013", "-")
    sign = -1 if value.startswith("-") else 1
    rest = value[1:] if value[:1] in ("+", "-") else value
    if rest == value and (value[:1] + value[-1:] == "()" or value.endswith("-")):
        sign, rest = -1, value[1:-1] if value.endswith(")") else value[:-1]
    rest = rest[1:] if rest[:1] == " " and rest != value and value[0] != "(" else rest
    rest, e, power = rest.partition("e" if "e" in rest else "E")
    if e and not re.fullmatch(r"[+-]?[0-9]+", power):
        return None
    whole, _, part = rest.partition(text.decimal)
    first, *groups = whole.split(text.thousands) if text.thousands else [whole]
    sizes = [len(group) for group in groups]
    indian = text.thousands == "," and sizes[:-1] and set(sizes[:-1]) == {2} and len(first) < 3
    if groups and not (sizes[-1] == 3 and (indian or set(sizes) == {3})):
        return None
    if groups and not (1 <= len(first) <= 3 and first[0] in "123456789"):
        return None
    digits = "".join([first, *groups])
    if not (digits + part) or not all(c in "0123456789" for c in digits + part):
        return None
    return sign * float(f"{digits or 0}.{part or 0}{'e' * bool(e)}{power}")


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@example(values=["4e\u22126", "-4E-6"], marks=(",", "."))
@given(
    values=st.lists(st.text("0123456789.,' -+()eE_\u2212", max_size=9).map(str.strip), max_size=60),
    marks=st.sampled_from([(".", ""), *MARKS]),
)
def test_what_is_read_is_wholly_written_in_that_way(values, marks):
    text = Text(decimal=marks[0], thousands=marks[1])
    expected = [by_hand(value, text) if value else None for value in values]
    assert read(values, text) == expected
    if text.plain:
        assert read(values, None) == expected


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(
    cents=st.lists(CENTS, min_size=2, max_size=8, unique=True),
    way=ways(),
    apart=st.sampled_from(BLANKS),
)
def test_a_column_of_numbers_is_drafted_as_they_were_meant_or_asked_about(
    tmp_path_factory, cents, way, apart
):
    glued = way[1].removesuffix("{}")
    assume(not glued.isalpha() or glued in CURRENCIES)  # kg5 is as much a code as V27 is
    path = tmp_path_factory.mktemp("numbers") / "t.csv"
    values = [write(one, way, apart) for one in cents]
    lines = [f"{values[n % len(values)]};{'yn'[n % 3 == 0]};{n % 7}" for n in range(90)]
    path.write_text("\n".join(["amount;left;other", *lines]), encoding="utf-8")
    found = draft(path, "left", Text())
    (guess,) = (guess for guess in found.guesses if guess.name == "amount")
    meant = guess.kind == "number" and read(values, found.text) == [one / 100 for one in cents]
    assert meant or guess.check or found.checks


@settings(max_examples=50)
@given(st.text(max_size=4))
def test_a_symbol_is_nothing_that_a_number_is_written_with(text):
    plain = not any(c.isdecimal() or c in ",'’+-()\u2212\u2013" for c in text)
    assert is_symbol(text) == (plain and text.strip(" .") not in ("", "e", "E"))
