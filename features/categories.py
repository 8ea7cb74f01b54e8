"""Categories as numbers: what stands in the training table and in the model's input.

A feature with `categories` is held as a code: the index of the value in that list, or
`len(categories)` for a value that is not in it ("other"); NaN where there is none. Which spellings
are the same category is said in `common/spelling.py`. The service turns text into codes with what
is here, and examples turn codes back into text. No library is needed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import pack
from typing import Any

from common.duck import literal
from common.spelling import BLANKS, matcher

OTHER, MISSING = "other", "missing"
NAN = float("nan")
Value = float | str | None


def encoder(
    feature: Mapping[str, Any], missing_values: Sequence[str] = ()
) -> Callable[[Value], float]:
    """What turns a value of this feature into the number that the model takes.

    feature: a dict of the schema (`asdict(Feature)`).  missing_values: texts that stand for a
    missing category, as blanks do.
    """
    categories = feature.get("categories") or ()
    if not categories:
        return lambda value: NAN if value is None else float(value)
    find, other = matcher(categories), float(len(categories))
    absent = {"", *missing_values}

    def encode(value: Value) -> float:
        text = "" if value is None else str(value).strip(BLANKS)
        if text in absent:
            return NAN
        code = find(text)
        return other if code is None else float(code)

    return encode


def decode(value: float, feature: Mapping[str, Any]) -> Value:
    """A number of the training table as a person, and the service, would write it: None where it is
    missing, text for a category, else the shortest number that is the same float32.

    Raises ValueError for a number that is not a code of the feature.
    """
    if value != value:  # NaN
        return None
    categories = feature.get("categories") or ()
    if not categories:
        return _shortest(float(value))
    code = int(value)
    if code != value or not 0 <= code <= len(categories):
        raise ValueError(f"{value} is not a code of {feature['name']}, which has {len(categories)}")
    return other_name(categories) if code == len(categories) else categories[code]


def _shortest(value: float) -> float:
    """84.3 for the float32 84.30000305175781."""
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if pack("f", short) == pack("f", value):
            return short
    return value


def other_name(categories: tuple[str, ...] | list[str]) -> str:
    """A text that is none of the categories, to stand for all others."""
    return _free_name(OTHER, categories)


def missing_name(categories: tuple[str, ...] | list[str]) -> str:
    """A text that is none of the categories, for pages: no value at all."""
    return _free_name(MISSING, categories)


def _free_name(name: str, categories: tuple[str, ...] | list[str]) -> str:
    taken = {category.casefold() for category in categories}
    while name in taken:
        name = f"({name})"
    return name


def code_sql(value: str, spellings: Mapping[str, int], size: int) -> str:
    """SQL of the code of a text, which is NULL where the text is.

    spellings: those texts of the column that are known, with their codes
    (`common/spelling.py:recognised`).  size: how many categories there are.
    """
    cases = " ".join(f"WHEN {literal(text)} THEN {code}" for text, code in spellings.items())
    code = f"CASE {value} {cases} ELSE {size} END" if cases else str(size)
    return f"CASE WHEN {value} IS NOT NULL THEN {code} END"
