"""Four weeks after the scores it is seen whether fewer bought than a year before, like for like."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest

from monitoring.facts import year_before
from monitoring.labels import EARLY_DAYS, early_label
from tests.monitoring.made_scores import drawn

NOW, BEFORE = date(2026, 7, 1), date(2025, 7, 1)


def both(share: float = 0.4, before: float = 0.4, n: int = 3000):
    """Of those who buy at all, the share who buy within four weeks."""
    return [
        drawn(n, seed=1, as_of=NOW, share=share),
        drawn(n, seed=2, as_of=BEFORE, share=before, first_customer=n // 3),
    ]


def test_the_same_as_a_year_before_is_ok():
    found = early_label(both(), "2026-07", as_of=NOW)
    assert (found.sensor, found.state, found.n) == ("early_label", "ok", 3000)
    assert abs(found.z) < 2.5
    assert found.z == pytest.approx((found.value - found.expected) / found.sd)
    assert "times what the scores imply" in found.text


@pytest.mark.parametrize(("share", "sign"), [(0.25, -1), (0.65, 1)])
def test_fewer_and_more_are_found(share, sign):
    found = early_label(both(share), "2026-07", as_of=NOW)
    assert found.state == "alarm" and np.sign(found.z) == sign


def test_two_months_running_beyond_three_quarters_of_the_limit_are_an_alarm():
    once = early_label(both(0.34), "2026-07", as_of=NOW)
    assert (once.state, once.z < 0) == ("pending", True)
    for z, state in ((-2.7, "alarm"), (2.7, "pending"), (-2.6, "pending"), (None, "pending")):
        again = early_label(both(0.34), "2026-07", as_of=NOW, previous=replace(once, z=z))
        assert again.state == state
    fine = early_label(both(), "2026-07", as_of=NOW, previous=replace(once, z=-3.4))
    assert fine.state == "ok"


def test_a_season_in_which_few_buy_at_once_is_no_alarm_if_the_year_before_was_so():
    assert early_label(both(0.2, 0.2), "2026-07", as_of=NOW).state == "ok"


def test_scores_that_are_too_high_in_both_years_are_no_alarm():
    high = [replace(one, probability=one.probability**0.5) for one in both()]
    assert early_label(high, "2026-07", as_of=NOW).state == "ok"


def test_without_scores_of_a_year_before_it_is_learning():
    found = early_label(both()[:1], "2026-07", as_of=NOW, until="2027-05")
    assert (found.state, found.until) == ("learning", "2027-05")
    assert "no scores as of 2025-07-01" in found.text
    assert early_label([], "2026-07", as_of=NOW).state == "learning"


def test_the_scores_of_another_version_are_not_compared():
    now, before = both()
    found = early_label([now, replace(before, version=2)], "2026-07", as_of=NOW)
    assert found.state == "learning"


def test_a_year_before_of_which_the_log_holds_a_part_of_the_customers_is_not_compared():
    """A log of ten months has only customers who bought lately, whatever the settings ask for."""
    young = [replace(one, whole_from=date(2025, 8, 5)) for one in both()]
    found = early_label(young, "2026-07", as_of=NOW)
    assert (found.state, found.until, found.z) == ("learning", "2026-09", None)
    just = [replace(one, whole_from=BEFORE) for one in both()]
    assert early_label(just, "2026-07", as_of=NOW).state == "ok"


def test_few_buyers_are_too_few():
    assert early_label(both(n=80), "2026-07", as_of=NOW).state == "too_few"
    nobody = [replace(one, bought=np.zeros_like(one.bought)) for one in both()]
    assert early_label(nobody, "2026-07", as_of=NOW).state == "too_few"


def test_four_weeks_are_over_before_the_next_first_of_a_month():
    firsts = [date(2026 + month // 12, month % 12 + 1, 1) for month in range(25)]
    assert min((b - a).days for a, b in pairwise(firsts)) >= EARLY_DAYS


def test_the_year_before_a_leap_day_ends_in_february():
    assert year_before(date(2028, 2, 29)) == date(2027, 2, 28)
    assert year_before(NOW) == BEFORE
