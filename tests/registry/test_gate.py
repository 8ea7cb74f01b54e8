"""A gate that has been seen to say no."""

from __future__ import annotations

import pytest

from configs.settings import Gate
from registry.gate import Difference, Evidence, decide

BETTER = Difference(0.02, 0.01, 0.03)
TIED = Difference(0.0, 0.0, 0.0)
UNSURE = Difference(0.004, -0.002, 0.010)
WORSE = Difference(-0.02, -0.03, -0.01)
NO_RISE = Difference(-0.001, -0.004, 0.002)


def evidence(**changes) -> Evidence:
    """A challenger that is better in every respect, but for the changes."""
    sound = {
        "export_max_difference": 1e-7,
        "baseline_roc_auc": BETTER,
        "champion_roc_auc": BETTER,
        "champion_log_loss": NO_RISE,
    }
    return Evidence(**(sound | changes))


def test_a_challenger_that_is_better_everywhere_is_promoted():
    decision = decide(evidence(), Gate())
    assert decision.action == "promote"
    assert all(reason.startswith("held:") for reason in decision.reasons)


@pytest.mark.parametrize("difference", [TIED, UNSURE, WORSE])
def test_one_that_is_not_surely_better_than_the_champion_is_rejected(difference):
    decision = decide(evidence(champion_roc_auc=difference), Gate())
    assert decision.action == "reject"
    (reason,) = decision.reasons
    assert reason.startswith("broken: ROC AUC against the champion")
    assert f"{difference.low:+.4f}" in reason


def test_a_gain_that_costs_log_loss_is_rejected():
    decision = decide(evidence(champion_log_loss=Difference(0.02, 0.01, 0.03)), Gate())
    assert decision.action == "reject"
    assert "log loss" in decision.reasons[0]


def test_log_loss_may_rise_as_far_as_the_limit_and_no_further():
    def at(rise):
        return decide(
            evidence(champion_log_loss=Difference(rise, 0, 0.1)), Gate(max_log_loss_rise=0.01)
        )

    assert at(0.01).action == "promote"
    assert at(0.010001).action == "reject"


def test_an_export_that_differs_from_its_model_is_rejected():
    decision = decide(evidence(export_max_difference=1e-3), Gate())
    assert decision.action == "reject"
    assert "ONNX export" in decision.reasons[0]


def test_an_export_that_gives_no_number_is_rejected():
    assert decide(evidence(export_max_difference=float("inf")), Gate()).action == "reject"
    assert decide(evidence(export_max_difference=float("nan")), Gate()).action == "reject"


@pytest.mark.parametrize("difference", [TIED, UNSURE, WORSE])
def test_a_first_model_that_does_not_beat_the_baseline_is_rejected(difference):
    first = evidence(baseline_roc_auc=difference, champion_roc_auc=None, champion_log_loss=None)
    decision = decide(first, Gate())
    assert decision.action == "reject"
    assert any("no champion yet" in reason for reason in decision.reasons)


def test_a_first_model_that_beats_the_baseline_is_promoted():
    first = evidence(champion_roc_auc=None, champion_log_loss=None)
    assert decide(first, Gate()).action == "promote"


def test_every_broken_rule_is_named():
    decision = decide(
        evidence(champion_roc_auc=WORSE, baseline_roc_auc=WORSE, export_max_difference=1.0), Gate()
    )
    assert len([reason for reason in decision.reasons if reason.startswith("broken:")]) == 3


def test_a_required_gain_is_asked_of_the_low_end():
    assert decide(evidence(), Gate(min_gain=0.0099)).action == "promote"
    assert decide(evidence(), Gate(min_gain=0.01)).action == "reject"


def test_a_champion_that_cannot_be_scored_is_said_to_be_so():
    lost = evidence(
        champion_roc_auc=None, champion_log_loss=None, champion_problem="its files were altered"
    )
    decision = decide(lost, Gate())
    assert decision.action == "reject", "nobody is better than who was not asked"
    assert "its files were altered" in decision.reasons[0]
    assert decide(lost, Gate(replace_unscorable=True)).action == "promote"
