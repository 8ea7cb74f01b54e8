"""Which texts are the same category, however a source spells them: one definition for the rows that
a model learns from, for those that are counted at validation, and for what the service receives.

A text is first looked for among the known ones as it stands. Then as the same text: in Unicode's
composed form (NFC), with single blanks, a number without trailing zeros (1.0 is 1). Then in any
letter case. A form that two known texts share does not tell them apart, so it is not used for them:
with `ab` and `AB` known, both are found as they stand, and `Ab` is neither.

SQL has no copy of this. DuckDB folds letters by other tables than Python does, so a query takes the
spellings that Python recognised among its distinct texts (`recognised`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

BLANKS = " \t\r\n\v\f\u00a0\u3000"  # around a value; nothing else is a missing value
_RUN = re.compile(r"\s+")  # of any blanks, narrow and fixed ones included
_DECIMAL = re.compile(r"([+-]?[0-9]+)(?:\.0*|(\.[0-9]*[1-9])0*)")


def matcher(known: Sequence[str]) -> Callable[[str], int | None]:
    """What finds the place of a text in `known`: None for one that is none of them."""
    forms = [_table(known, form) for form in (_as_is, same_text, _any_case)]

    def find(text: str) -> int | None:
        for form, table in forms:
            place = table.get(form(text))
            if place is not None:
                return place
        return None

    return find


def recognised(texts: Iterable[str], known: Sequence[str]) -> dict[str, int]:
    """Those of the texts that are known, with their places."""
    find = matcher(known)
    pairs = ((text, find(text)) for text in texts)
    return {text: place for text, place in pairs if place is not None}


def spellings(texts: Sequence[str]) -> list[list[str]]:
    """The texts in groups that are one in any letter case, in the order of their first ones."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(_any_case(text), []).append(text)
    return list(groups.values())


def same_text(text: str) -> str:
    """NFC, single blanks, and a decimal number without the zeros that say nothing."""
    text = _RUN.sub(" ", unicodedata.normalize("NFC", text)).strip()
    number = _DECIMAL.fullmatch(text)
    return (number[1] + (number[2] or "")) if number else text


def _as_is(text: str) -> str:
    return text.strip(BLANKS)


def _any_case(text: str) -> str:
    return unicodedata.normalize("NFC", same_text(text).casefold())


def _table(
    known: Sequence[str], form: Callable[[str], str]
) -> tuple[Callable[[str], str], dict[str, int]]:
    """Return the form, and form -> place of the known texts, without texts that share a form."""
    places: dict[str, list[int]] = {}
    for place, text in enumerate(known):
        places.setdefault(form(text), []).append(place)
    return form, {key: numbers[0] for key, numbers in places.items() if len(numbers) == 1}
