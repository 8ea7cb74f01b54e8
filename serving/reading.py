"""What the slow readers of requests share: JSON, lists, and fields that there are not.

A fast reader takes what is right, and refuses the rest without telling much. What it refuses is
read once more by a slow one (`values/problems.py`, `lines/problems.py`), for people.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from configs.table import LONGEST_TEXT
from serving.messages import Skipped
from serving.refusal import MANY, REQUEST, SHOWN, Place, Problem, Refused, invalid


class Findings:
    """The rows of a request with something wrong: all of them, but not all that is wrong."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self.problems = 0

    @property
    def guess(self) -> bool:
        """Whether there is time to think about what may have been meant."""
        return self.problems < SHOWN

    def add(self, row: int, sent: Any, problems: Iterable[Problem]) -> bool:
        """Whether there was one. Looks for no more than `MANY` in all, and one in each row: a
        few bytes may have thousands.

        sent: the customer, of whom only an id that is one is said again.
        """
        found = list(islice(problems, max(1, MANY - self.problems)))
        if not found:
            return False
        self.problems += len(found)
        customer_id = sent.get("customer_id") if isinstance(sent, dict) else None
        known = isinstance(customer_id, str) and len(customer_id) <= LONGEST_TEXT
        self.skipped.append(Skipped(row, customer_id if known else None, found))
        return True


def refuse_or_skip(
    skipped: Sequence[Skipped], others: bool, skip: bool, code: str = "invalid"
) -> list[Skipped]:
    """Those without an answer, by row. Raises Refused, but with `skip` when there are others."""
    if skipped and not (skip and others):
        raise Refused(code, "", *(problem for one in skipped for problem in one.detail))
    return sorted(skipped, key=lambda one: one.row)


def parse(body: bytes) -> Any:
    """JSON as Python reads it, NaN and Infinity included: they are named where they stand."""
    try:
        text = body.decode("utf-8")
        found = json.loads(text)
        if "\\ud" in text or "\\uD" in text:  # half a surrogate pair is no text
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as error:
        what = f"is no UTF-8 at byte {error.start}"
    except UnicodeEncodeError:
        what = "holds half of a surrogate pair, which is no text"
    except json.JSONDecodeError as error:
        what = f"is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError) as error:
        nested = isinstance(error, RecursionError)
        what = "is nested too deeply" if nested else "holds a number of thousands of digits"
    else:
        return found
    raise invalid(Problem(what=what, expected="JSON in UTF-8"))


def sized(found: Any, name: str, most: int, place: Place = REQUEST) -> list[Any]:
    """A list of 1 to `most`; raises Refused."""
    reason = what = ""
    if not isinstance(found, list):
        reason, what = "wrong_type", "must be a list"
    elif not found:
        reason, what = "required", "must not be empty"
    elif len(found) > most:
        reason, what = "too_long", f"must have at most {most}"
    if what:
        raise invalid(place.problem(reason, what, name, found, f"a list of 1 to {most}"))
    return found


def strangers(
    sent: dict[str, Any], names: Sequence[str], place: Place = REQUEST, *, guess: bool = True
) -> list[Problem]:
    """The fields that there are not: the first ones, and how many more; with `guess` the one that
    may have been meant. That is slow, and whoever sends ten thousand shall not get it for each."""
    known = set(names)
    unknown = [name for name in sent if name not in known]
    found = []
    for name in unknown[:SHOWN]:
        near = get_close_matches(name[:80], names, n=1) if guess else []
        what = "unknown field" + (f"; did you mean {near[0]}?" if near else "")
        expected = near[0] if near else None
        found.append(place.problem("unknown_field", what, name[:80], sent[name], expected))
    if len(unknown) > SHOWN:
        what = f"has {len(unknown) - SHOWN} more unknown fields"
        found.append(place.problem("unknown_field", what))
    return found


def required(sent: dict[str, Any], names: Sequence[str], place: Place = REQUEST) -> list[Problem]:
    """The fields that must be there and are not."""
    return [place.problem("required", "is required", name) for name in names if name not in sent]


def same_customer(place: Place, customer_id: str, first: int) -> Problem:
    what = f"is the same customer as customers[{first}]"
    return place.problem("repeated", what, "customer_id", customer_id, "each customer once")
