"""A whole simulated shop-year: a sound champion is never worse, a broken one is from the start."""

from __future__ import annotations

import pytest

from monitoring.performance import GAIN, ROC_AUC
from tests.bench.monitoring_champions import measure, settings_of, simulated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    settings, folder = settings_of("undrifted"), tmp_path_factory.mktemp("shop")
    return measure(simulated(settings, 1, folder), settings, 1, folder)


def test_a_champion_in_a_shop_without_drift_is_not_worse(year):
    intact = year["worse"]["intact"]
    assert intact["alarms"] == [] and set(intact["lowest"]) == {GAIN, ROC_AUC}
    assert intact["first"] == "2026-07"  # scored on the 1st of May, and 90 days later


def test_a_champion_whose_scores_are_mixed_up_for_a_third_of_the_customers_is_found_at_once(year):
    broken = year["worse"]["third mixed up"]
    assert broken["alarms"][0] == broken["first"]


def test_every_month_but_the_first_has_an_early_label_and_none_alarms(year):
    assert len(year["early"]) == 11
    assert {one["state"] for one in year["early"]} <= {"ok", "pending"}


def test_the_estimate_is_near_the_truth_without_labels(year):
    for roc_auc, low, high, truth in year["estimates"]:
        assert low < roc_auc < high and abs(roc_auc - truth) < 0.05
