"""Only what answers the same question, and has not seen the outcomes, is a fair comparison."""

from __future__ import annotations

import pytest

from configs.load import load
from registry.compare import question, why_not_comparable

AS_OF = {"train": ["2025-01-24", "2025-03-24"], "valid": ["2025-06-24"], "test": ["2025-09-24"]}


def settings(*arguments: str):
    return load("smoke", arguments, env={})


def champion(*arguments: str):
    return {"question": question(settings(*arguments)), "as_of": AS_OF}


def test_the_same_question_on_later_rows_is_comparable():
    assert why_not_comparable(champion(), question(settings()), ["2025-09-24"]) == ""
    assert why_not_comparable(champion(), question(settings()), ["2025-10-24"]) == ""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--features.horizon_days", "30"), "horizon_days is 30"),
        (("--features.active_days", "180"), "active_days is 180"),
        (("--features.home_country", "France"), "home_country is 'France'"),
        (("--seed", "8"), "seed is 8"),
        (("--source.simulation.season", "0.1"), "season is 0.1"),
        (("--source.kind", "files", "--source.path", "x.csv"), "'files'"),
    ],
)
def test_another_question_or_another_world_is_not(change, named):
    reason = why_not_comparable(champion(*change), question(settings()), ["2025-09-24"])
    assert "another question" in reason and named in reason


def test_a_longer_log_of_the_same_shop_is_the_same_question():
    longer = question(settings("--source.simulation.days", "760"))
    assert why_not_comparable(champion(), longer, ["2025-10-24"]) == ""


def test_a_champion_that_learnt_from_the_outcomes_asked_about_is_not():
    # It learnt from outcomes until 2025-06-24 + 90 days = 2025-09-22.
    today = question(settings())
    assert why_not_comparable(champion(), today, ["2025-09-22"]) == ""
    reason = why_not_comparable(champion(), today, ["2025-09-21"])
    assert "2025-09-22" in reason and "2025-09-21" in reason


def test_a_bundle_that_does_not_say_what_it_answers_is_not():
    assert why_not_comparable({"as_of": AS_OF}, question(settings()), ["2025-09-24"]) != ""
