"""The early label: who bought within four weeks of the as-of date, beside the same a year before.

A champion says who buys within 90 days. What share of those should have bought after 28 days
depends on the season and is not known; but it was seen a year ago. So the ratio of early buyers to
the sum of the probabilities is compared with the same ratio of the same champion's scores of the
same day a year before. It says months before the labels whether customers buy less, or more, than
the scores imply. It is shown and never decides: it is as much the season's whim as the champion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from common.statistics import clustered_error
from monitoring.facts import Reading, State, add_months, month_of, year_before
from monitoring.labels import Outcomes

EARLY_LABEL = "early_label"
# Four weeks: known before the next as-of date even in February, and each weekday four times.
EARLY_DAYS = 28
LIMIT = 3.5
PENDING = 0.75  # of the limit: two months running beyond it, on one side, are an alarm too
# Of the log ratio: what two years differ by without any drift, measured in undrifted shops
# (`tests/bench/monitoring_labels.py`).
BETWEEN_YEARS = 0.02
FEWEST = 50  # early buyers


def early_label(
    outcomes: Sequence[Outcomes],
    month: str,
    *,
    as_of: date,
    previous: Reading | None = None,
    until: str | None = None,
) -> Reading:
    """The early label of the scores as of a day, beside the same version's of a year before.

    outcomes: of one version on both days, read together with `days=EARLY_DAYS` (`read_outcomes`).
    month: the one that is judged.  previous: the early label of the month before it.  until: the
    month from which there are scores of a year before.

    value: log of early buyers over the sum of the probabilities.  expected: the same a year before.
    sd: the error of their difference, clustered by customer, and what years differ by.
    """
    now = next((one for one in outcomes if one.as_of == as_of), None)
    key = now and (year_before(as_of), now.version)
    before = next((one for one in outcomes if (one.as_of, one.version) == key), None)
    blank = Reading(EARLY_LABEL, month, "learning", limit=LIMIT, until=until)
    if now is None:
        return replace(blank, text=f"No scores as of {as_of} have four weeks behind them.")
    blank = replace(blank, n=len(now))
    if before is None:
        text = (
            f"{now.bought.sum():,} of {len(now):,} customers bought within four weeks of {as_of};"
            f" version {now.version} has no scores as of {year_before(as_of)} to compare with."
        )
        return replace(blank, text=text)
    if before.whole_from and before.as_of < before.whole_from:
        text = (
            f"The log does not hold all customers of {before.as_of}: it is too young to compare"
            f" with before {before.whole_from}."
        )
        return replace(blank, text=text, until=_first_month(before.whole_from))
    if min(now.bought.sum(), before.bought.sum()) < FEWEST:
        text = (
            f"Too few to judge: {now.bought.sum()} customers bought within four weeks of {as_of}"
            f" and {before.bought.sum()} a year before; {FEWEST} are needed."
        )
        return replace(blank, state="too_few", text=text)
    value, expected = _log_ratio(now), _log_ratio(before)
    parts = np.concatenate([_parts(now), -_parts(before)])
    sampling = clustered_error(parts, np.concatenate([now.customer, before.customer]))
    sd = float(np.hypot(sampling, BETWEEN_YEARS))
    z = (value - expected) / sd
    ratio = np.exp(value - expected)
    return replace(
        blank,
        state=_state(z, previous),
        value=value,
        expected=expected,
        sd=sd,
        z=z,
        until=None,
        text=(
            f"{now.bought.mean():.1%} of {len(now):,} customers bought within four weeks of"
            f" {as_of}: {ratio:.2f} times what the scores imply by the ratio of a year before"
            f" ({np.exp(-LIMIT * sd):.2f} to {np.exp(LIMIT * sd):.2f} is usual)."
        ),
    )


def _first_month(whole_from: date) -> str:
    """The first month whose first day is a year or more after that."""
    month = add_months(month_of(whole_from), 12)
    return month if whole_from.day == 1 else add_months(month, 1)


def _state(z: float, previous: Reading | None) -> State:
    if abs(z) > LIMIT:
        return "alarm"
    if abs(z) <= PENDING * LIMIT:
        return "ok"
    before = previous.z if previous and previous.z is not None else 0.0
    return "alarm" if abs(before) > PENDING * LIMIT and before * z > 0 else "pending"


def _log_ratio(one: Outcomes) -> float:
    return float(np.log(one.bought.sum() / one.probability.sum()))


def _parts(one: Outcomes) -> np.ndarray:
    """What each row (n,) adds to the error of the log ratio (delta method)."""
    buyers = float(one.bought.sum())
    return (one.bought - one.probability * buyers / one.probability.sum()) / buyers
