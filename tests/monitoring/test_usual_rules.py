"""The usual rules for drift that the bench shows beside the sensors, and its intervals."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.facts import Reading
from tests.bench.monitoring import share
from tests.bench.monitoring_rules import evidently, tell_apart
from tests.bench.monitoring_shops import months_to_alarm

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(1)


def test_evidently_measures_a_distance_on_many_rows_and_tests_few():
    wide = RNG.normal(size=5000)
    assert not evidently(wide, RNG.normal(size=5000))
    assert evidently(wide + 0.15, RNG.normal(size=5000))
    assert not evidently(wide[:400] + 0.01, wide[:400])
    assert evidently(wide[:400] + 0.4, wide[:400])


def test_evidently_compares_the_shares_of_a_column_with_few_values():
    assert not evidently(RNG.binomial(1, 0.5, 5000), RNG.binomial(1, 0.5, 5000))
    assert evidently(RNG.binomial(1, 0.7, 5000), RNG.binomial(1, 0.5, 5000))
    assert evidently(RNG.binomial(1, 0.7, 400), RNG.binomial(1, 0.5, 400))
    assert not evidently(np.ones(400), np.ones(400))


def test_the_classifier_tells_apart_what_differs_and_does_not_know_customers():
    ids = np.array([f"{n}" for n in range(1000)])
    x = RNG.normal(size=(1000, 3))
    assert tell_apart((ids, x), (ids, x)) == pytest.approx(0.5, abs=0.05)
    assert tell_apart((ids, x + 1), (ids, x)) > 0.8


def test_a_share_has_the_interval_of_clopper_and_pearson():
    assert share(0, 200) == pytest.approx(
        {"hits": 0, "of": 200, "share": 0, "low": 0, "high": 0.01827534}
    )
    found = share(48, 50)
    assert (found["low"], found["high"]) == pytest.approx((0.8629, 0.9951), abs=1e-4)
    assert share(0, 0)["share"] is None


def test_months_are_counted_from_the_drift_on():
    def alarm(month: str) -> Reading:
        return Reading("price", month, "alarm")

    assert months_to_alarm([alarm("2026-07")], "price") == 1
    assert months_to_alarm([alarm("2026-05"), alarm("2027-02")], "price") == 8
    assert months_to_alarm([alarm("2026-05")], "price") is None
    assert months_to_alarm([alarm("2026-07")], "unit") is None
