"""A gate that has been seen to say no: each rule with a challenger that is worse, tied, stale,
broken, and one that is truly better."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.settings import Gate
from registry.evidence import schema_changes
from registry.gate import (
    ChampionEvidence,
    Difference,
    Evidence,
    ShadowEvidence,
    SliceEvidence,
    decide,
    judged_slices,
)

BETTER = Difference(0.02, 0.01, 0.03)
TIED = Difference(0.0, 0.0, 0.0)
UNSURE = Difference(0.004, -0.003, 0.010)
WORSE = Difference(-0.02, -0.03, -0.01)
BROKEN = Difference(math.nan, math.nan, math.nan)
NO_RISE = Difference(-0.001, -0.004, 0.002)
SURELY_LOWER = Difference(-0.004, -0.006, -0.001)
TODAY = date(2026, 3, 31)
NOT_NUMBERS = [math.nan, math.inf, -math.inf]

SCHEMA = (
    {"name": "recency", "unit": "days", "meaning": "since", "low": 1.0, "high": None},
    {"name": "orders", "unit": "invoices", "meaning": "so far", "low": 0.0, "high": None},
)
CHAMPION = ChampionEvidence(
    version=3,
    schema=SCHEMA,
    learnt_until=date(2025, 12, 31),
    roc_auc=BETTER,
    log_loss=NO_RISE,
    slices=(SliceEvidence("home", 900, BETTER), SliceEvidence("abroad", 300, TIED)),
)
SOUND = Evidence(
    export_max_difference=1e-7,
    chance_roc_auc=BETTER,
    baseline_roc_auc=BETTER,
    calibration_error=0.03,
    latency_p99_ms=0.4,
    today=TODAY,
    schema=SCHEMA,
    newest_row=date(2026, 3, 30),
    learnt_until=date(2025, 12, 31),
    champion=CHAMPION,
)


def evidence(**changes: Any) -> Evidence:
    """A challenger that is better in every respect, but for the changes; those that are about the
    champion's side are told by their names."""
    beside = {name: changes.pop(name) for name in list(changes) if hasattr(CHAMPION, name)}
    ours = {name: beside.pop(name) for name in ("learnt_until", "schema") if name in beside}
    return replace(SOUND, champion=replace(CHAMPION, **beside), **ours, **changes)


def broken(found: Evidence, limits: Gate | None = None) -> list[str]:
    """The names of the broken rules; the action and the reasons say the same."""
    decision = decide(found, limits or Gate())
    names = [rule["rule"] for rule in decision.rules if not rule["held"]]
    assert decision.action == ("reject" if names else "promote")
    said = [reason for reason in decision.reasons if reason.startswith("broken: ")]
    assert len(said) == len(names)
    return names


def rule(name: str, found: Evidence, limits: Gate | None = None) -> dict[str, Any]:
    (only,) = (rule for rule in decide(found, limits or Gate()).rules if rule["rule"] == name)
    return only


# --- all rules together -----------------------------------------------------------------------


def test_a_challenger_that_is_better_everywhere_is_promoted():
    decision = decide(evidence(), Gate())
    assert decision.action == "promote"
    assert [rule["rule"] for rule in decision.rules] == [
        *("export", "chance", "baseline", "better", "log_loss", "slices", "stale"),
        *("calibration", "latency", "schema"),
    ]
    assert len(decision.reasons) == len(decision.rules)
    assert all(reason.startswith("held: ") for reason in decision.reasons)


def test_each_rule_is_told_with_its_figure_its_limit_and_why():
    assert rule("calibration", evidence(calibration_error=0.2)) == {
        "rule": "calibration",
        "held": False,
        "found": "calibration error on the test split: 0.2000",
        "limit": "at most 0.1",
        "why": "what is decided by a probability needs one that means what it says",
        "figure": 0.2,
    }
    assert decide(evidence(calibration_error=0.2), Gate()).reasons == (
        "broken: calibration error on the test split: 0.2000 (at most 0.1)",
    )


def test_every_broken_rule_is_named():
    far = Difference(-0.05, -0.06, -0.04)
    assert broken(evidence(roc_auc=WORSE, baseline_roc_auc=far, export_max_difference=1.0)) == [
        "export",
        "baseline",
        "better",
    ]


def test_the_first_model_is_asked_the_rules_that_need_no_champion():
    first = replace(SOUND, champion=None)
    decision = decide(first, Gate(max_data_age_days=30))
    assert decision.action == "promote"
    asked = [rule["rule"] for rule in decision.rules]
    assert asked == ["export", "chance", "baseline", "calibration", "latency", "freshness"]
    assert decision.reasons[-1].startswith("there is no champion yet")
    assert not any("no champion yet" in reason for reason in decide(SOUND, Gate()).reasons)


# --- the challenger alone ---------------------------------------------------------------------

ABSOLUTE = {
    "export": ("export_max_difference", "max_export_difference", 1e-5),
    "calibration": ("calibration_error", "max_calibration_error", 0.1),
    "latency": ("latency_p99_ms", "max_latency_ms", 5.0),
}


@pytest.mark.parametrize("name", ABSOLUTE)
def test_a_figure_may_go_as_far_as_its_limit_and_no_further(name):
    figure, limit, value = ABSOLUTE[name]
    limits = Gate(**{limit: value})
    for held in (0.0, value / 2, value):
        assert broken(evidence(**{figure: held}), limits) == []
        assert rule(name, evidence(**{figure: held}), limits)["figure"] == held
    for worse in (math.nextafter(value, math.inf), value * 2, -value):
        assert broken(evidence(**{figure: worse}), limits) == [name]


@pytest.mark.parametrize("name", ABSOLUTE)
@pytest.mark.parametrize("nothing", NOT_NUMBERS)
def test_a_figure_that_is_no_number_breaks_its_rule(name, nothing):
    assert broken(evidence(**{ABSOLUTE[name][0]: nothing})) == [name]
    assert rule(name, evidence(**{ABSOLUTE[name][0]: nothing}))["figure"] is None


@pytest.mark.parametrize("difference", [TIED, UNSURE, WORSE, BROKEN, Difference(0.01, 0.0, 0.02)])
def test_a_model_that_is_not_surely_better_than_chance_is_rejected_the_first_one_too(difference):
    assert broken(evidence(chance_roc_auc=difference)) == ["chance"]
    assert broken(replace(SOUND, champion=None, chance_roc_auc=difference)) == ["chance"]


@pytest.mark.parametrize("difference", [BROKEN, Difference(-0.03, -0.04, -0.02 - 1e-9)])
def test_a_model_that_is_surely_far_worse_than_its_best_feature_is_rejected(difference):
    assert broken(evidence(baseline_roc_auc=difference)) == ["baseline"]
    assert broken(replace(SOUND, champion=None, baseline_roc_auc=difference)) == ["baseline"]
    near = Difference(-0.03, -0.04, -0.02)
    assert broken(evidence(baseline_roc_auc=near)) == []
    assert broken(evidence(baseline_roc_auc=near), Gate(baseline_margin=0.019)) == ["baseline"]


@pytest.mark.parametrize("difference", [TIED, UNSURE, WORSE])
def test_a_model_may_be_as_good_as_its_best_feature_unless_a_gain_is_asked_for(difference):
    assert broken(evidence(baseline_roc_auc=difference)) == []
    assert broken(evidence(baseline_roc_auc=difference), Gate(min_baseline_gain=0)) == ["baseline"]
    assert rule("baseline", evidence())["figure"] == BETTER.high


def test_the_gain_over_the_best_feature_is_above_its_limit_or_it_is_not():
    limits = Gate(min_baseline_gain=0.01)
    assert broken(evidence(baseline_roc_auc=Difference(0.02, 0.01 + 1e-9, 0.03)), limits) == []
    assert broken(evidence(baseline_roc_auc=BETTER), limits) == ["baseline"]
    told = rule("baseline", evidence(), limits)
    limit = "high end must not be below -0.02, low end must be above 0.01"
    assert (told["figure"], told["limit"]) == (BETTER.low, limit)


def test_rows_may_be_as_old_as_the_limit_and_no_older():
    limits = Gate(max_data_age_days=30)
    assert broken(evidence(newest_row=date(2026, 3, 1)), limits) == []
    assert rule("freshness", evidence(newest_row=date(2026, 3, 1)), limits)["figure"] == 30
    assert broken(evidence(newest_row=date(2026, 2, 28)), limits) == ["freshness"]
    assert broken(evidence(newest_row=date(2020, 1, 1))) == [], "no limit is set"


def test_rows_of_unknown_age_are_not_fresh():
    limits = Gate(max_data_age_days=30)
    assert broken(evidence(newest_row=None), limits) == ["freshness"]
    assert "not known" in rule("freshness", evidence(newest_row=None), limits)["found"]


# --- beside the champion ----------------------------------------------------------------------


@pytest.mark.parametrize("difference", [TIED, UNSURE, WORSE, BROKEN, None])
def test_one_that_is_not_surely_better_than_the_champion_is_rejected(difference):
    assert broken(evidence(roc_auc=difference)) == ["better"]
    (reason,) = decide(evidence(roc_auc=difference), Gate()).reasons
    assert reason.startswith("broken: ROC AUC against the champion on the same test rows: ")
    assert str(difference) in reason


def test_a_required_gain_is_asked_of_the_low_end():
    assert broken(evidence(), Gate(min_gain=0.0099)) == []
    assert broken(evidence(), Gate(min_gain=0.01)) == ["better"]
    assert rule("better", evidence())["figure"] == BETTER.low


def test_one_that_ranks_as_well_and_has_surely_better_probabilities_is_promoted():
    def at(low: float, high: float) -> list[str]:
        return broken(
            evidence(
                roc_auc=Difference(0.0, low, 0.002), log_loss=Difference(-0.004, -0.006, high)
            ),
            Gate(margin=0.002),
        )

    assert at(-0.0019, -0.001) == []
    assert at(-0.002, -0.001) == ["better"], "it may be worse by the margin"
    assert at(-0.0019, 0.0) == ["better"], "its log loss may be no better"
    assert at(-0.0019, -1e-12) == []


def test_an_interval_with_a_hole_in_it_is_no_interval():
    for hole in (replace(BETTER, difference=math.nan), replace(BETTER, high=math.inf)):
        assert broken(evidence(roc_auc=hole)) == ["better"]
        assert broken(evidence(chance_roc_auc=hole)) == ["chance"]
        assert broken(evidence(baseline_roc_auc=hole)) == ["baseline"]
    hole = replace(SURELY_LOWER, low=-math.inf)
    assert broken(evidence(roc_auc=TIED, log_loss=hole)) == ["better", "log_loss"]


def test_log_loss_may_rise_as_far_as_the_limit_and_no_further():
    def at(rise: float) -> list[str]:
        return broken(evidence(log_loss=Difference(rise, -1, 1)), Gate(max_log_loss_rise=0.01))

    assert at(0.01) == [] and at(-0.5) == []
    assert at(0.010001) == ["log_loss"]
    assert rule("log_loss", evidence())["figure"] == NO_RISE.difference


@pytest.mark.parametrize("nothing", [BROKEN, None])
def test_a_log_loss_that_could_not_be_compared_breaks_its_rule(nothing):
    assert broken(evidence(log_loss=nothing)) == ["log_loss"]
    assert rule("log_loss", evidence(log_loss=nothing))["figure"] is None


def test_no_slice_may_fall_by_more_than_the_limit():
    def at(fall: float) -> list[str]:
        parts = (
            SliceEvidence("home", 900, BETTER),
            SliceEvidence("abroad", 300, Difference(fall, fall - 1, fall + 1)),
            SliceEvidence("new", 250, TIED),
        )
        return broken(evidence(slices=parts), Gate(max_slice_drop=0.05))

    assert at(0.1) == [] and at(-0.05) == []
    assert at(-0.050001) == ["slices"]


def test_the_slice_that_fares_worst_is_named_with_its_rows():
    parts = (
        SliceEvidence("home", 900, BETTER),
        SliceEvidence("abroad", 1300, Difference(-0.2, -0.3, -0.1)),
        SliceEvidence("new", 250, Difference(-0.1, -0.3, -0.1)),
    )
    found = rule("slices", evidence(slices=parts))
    assert found["figure"] == -0.2
    assert "of 3 slices, abroad (1,300 rows) fares worst" in found["found"]
    assert "-0.2000 [-0.3000, -0.1000]" in found["found"]


def test_of_slices_that_fall_alike_the_first_is_named():
    parts = (SliceEvidence("home", 900, TIED), SliceEvidence("abroad", 300, TIED))
    assert "home (900 rows)" in rule("slices", evidence(slices=parts))["found"]


@pytest.mark.parametrize("nothing", [BROKEN, None])
def test_a_slice_that_could_not_be_compared_breaks_the_rule(nothing):
    parts = (SliceEvidence("home", 900, BETTER), SliceEvidence("abroad", 300, nothing))
    assert broken(evidence(slices=parts)) == ["slices"]
    assert "abroad" in rule("slices", evidence(slices=parts))["found"]
    assert rule("slices", evidence(slices=parts))["figure"] is None


def test_without_a_slice_that_is_large_enough_none_is_judged():
    assert broken(evidence(slices=())) == []
    assert rule("slices", evidence(slices=()))["found"] == "no slice has rows enough to be judged"


def test_a_stale_challenger_is_rejected():
    assert broken(evidence(learnt_until=date(2025, 12, 30))) == ["stale"]
    assert broken(evidence(learnt_until=date(2025, 12, 31))) == []
    assert broken(evidence(learnt_until=date(2026, 1, 31))) == []
    assert broken(evidence(learnt_until=None)) == ["stale"], "of unknown age beside a known one"


def test_tables_without_dates_are_never_stale():
    undated = replace(SOUND, champion=replace(CHAMPION, learnt_until=None), learnt_until=None)
    assert broken(undated) == []
    assert broken(replace(undated, learnt_until=TODAY)) == []


# --- a champion that cannot be scored ---------------------------------------------------------

LOST = replace(
    SOUND,
    champion=ChampionEvidence(version=3, schema=SCHEMA),
    champion_problem="its files were altered",
)


def test_a_champion_that_cannot_be_scored_is_said_to_be_so():
    assert broken(LOST) == ["unscorable"], "nobody is better than who was not asked"
    assert "its files were altered" in decide(LOST, Gate()).reasons[0]
    assert broken(LOST, Gate(replace_unscorable=True)) == []
    unread = replace(LOST, champion=ChampionEvidence(version=3))
    assert broken(unread) == broken(replace(LOST, champion=None)) == ["unscorable"]
    assert len(decide(replace(LOST, champion=None), Gate()).reasons) == 1, "there is a champion"


def test_letting_it_go_lets_no_other_rule_go():
    limits = Gate(replace_unscorable=True)
    assert broken(replace(LOST, calibration_error=0.5), limits) == ["calibration"]
    assert broken(replace(LOST, schema=SCHEMA[:1]), limits) == ["schema"]


# --- the contract with the service ------------------------------------------------------------


def changed(place: int, **change: Any) -> tuple[dict[str, Any], ...]:
    return tuple({**f, **change} if i == place else f for i, f in enumerate(SCHEMA))


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (SCHEMA[:1], "orders is gone"),
        ((*SCHEMA, {"name": "new"}), "new is new"),
        (SCHEMA[::-1], "another order"),
        (changed(0, unit="weeks"), "unit of recency is 'weeks', was 'days'"),
        (changed(0, meaning="other"), "meaning of recency"),
        (changed(1, low=1.0), "low of orders is 1.0, was 0.0"),
        (changed(1, high=9.0), "high of orders is 9.0, was None"),
        (changed(1, missing="at times"), "missing of orders"),
        (changed(1, categories=("a", "b")), "categories of orders is ['a', 'b'], was []"),
        (changed(1, categories=("x" * 99,)), "..., was []"),
        (changed(0, unit="weeks", low=0.0), "and 1 more"),
    ],
)
def test_other_features_than_the_champions_need_a_word(ours, said):
    found = rule("schema", evidence(schema=ours))
    assert broken(evidence(schema=ours)) == ["schema"]
    assert said in found["found"]
    assert broken(evidence(schema=ours), Gate(change_features=True)) == []
    assert said in rule("schema", evidence(schema=ours), Gate(change_features=True))["found"]


def test_the_same_features_need_none():
    assert rule("schema", evidence())["found"] == "the features are the champion's"
    assert "and" not in rule("schema", evidence(schema=SCHEMA[:1]))["found"]
    assert schema_changes(SCHEMA, changed(0, categories=())) == [], (
        "a bundle from before categories"
    )
    assert schema_changes(changed(0, categories=["a"]), changed(0, categories=("a",))) == []


# --- what it is fed from ----------------------------------------------------------------------


def test_only_judged_slices_are_evidence():
    versus = {"difference": 0.1, "low": 0.0, "high": 0.2}
    parts = [
        {"slice": "home", "rows": 900, "judged": True, "against_champion": versus},
        {"slice": "tiny", "rows": 9, "judged": False, "against_champion": None},
        {"slice": "odd", "rows": 300, "judged": True, "against_champion": None},
        {
            "slice": "odder",
            "rows": 300,
            "judged": True,
            "against_champion": {**versus, "low": None},
        },
    ]
    assert judged_slices(parts) == (
        SliceEvidence("home", 900, Difference(0.1, 0.0, 0.2)),
        SliceEvidence("odd", 300, None),
        SliceEvidence("odder", 300, None),
    )


def test_what_each_rule_says_stands_here_word_for_word():
    """So that a change of the wording, which people and other programs read, is one on purpose."""
    parts = (SliceEvidence("abroad", 300, WORSE),)
    found = evidence(slices=parts, schema=SCHEMA[:1])
    said = decide(found, Gate(max_data_age_days=30))
    assert [(r["rule"], r["found"], r["limit"], r["why"], r["figure"]) for r in said.rules] == [
        (
            "export",
            "the ONNX export differs from the original by at most 1.0e-07",
            "limit 1e-05",
            "what is served must be what was tested",
            1e-7,
        ),
        (
            "chance",
            "ROC AUC against chance, 0.5: +0.0200 [+0.0100, +0.0300]",
            "low end must be above 0",
            "a model that may be no better than chance must not serve, champion or not",
            0.01,
        ),
        (
            "baseline",
            "ROC AUC against the baseline, one feature alone: +0.0200 [+0.0100, +0.0300]",
            "high end must not be below -0.02",
            "a model that ranks worse than one of its own features has not learnt what was there",
            0.03,
        ),
        (
            "better",
            "ROC AUC against the champion on the same test rows: +0.0200 [+0.0100, +0.0300]",
            "low end must be above 0, or above -0.002 with a log loss that is surely lower",
            "a change that may be chance is not worth the risk of a change",
            0.01,
        ),
        (
            "log_loss",
            "log loss against the champion: -0.0010 [-0.0040, +0.0020]",
            "may rise by 0.005",
            "a better ranking must not cost the probabilities",
            -0.001,
        ),
        (
            "slices",
            "of 1 slices, abroad (300 rows) fares worst: ROC AUC against the champion"
            " -0.0200 [-0.0300, -0.0100]",
            "may fall by 0.05",
            "a better mean must not be paid for by one group",
            -0.02,
        ),
        (
            "stale",
            "the challenger learnt from outcomes until 2025-12-31, the champion until 2025-12-31",
            "not from older ones",
            "an older month must not replace a newer one",
            None,
        ),
        (
            "calibration",
            "calibration error on the test split: 0.0300",
            "at most 0.1",
            "what is decided by a probability needs one that means what it says",
            0.03,
        ),
        (
            "latency",
            "one row through the exported model, 99th percentile: 0.40 ms",
            "at most 5 ms",
            "who asks the service waits for it",
            0.4,
        ),
        (
            "freshness",
            "the newest row is of 2026-03-30, 1 days old",
            "at most 30 days",
            "a model of the past may no longer hold",
            1,
        ),
        (
            "schema",
            "the features are not the champion's: orders is gone",
            "clients of the champion would be refused; if that is meant:"
            " --gate.change_features true",
            "who calls the service sends what the champion asks for",
            None,
        ),
    ]
    assert said.reasons == (
        "broken: the features are not the champion's: orders is gone"
        " (clients of the champion would be refused; if that is meant:"
        " --gate.change_features true)",
    )
    same = rule("schema", evidence())
    assert (same["found"], same["limit"]) == (
        "the features are the champion's",
        "names, order, units, ranges",
    )
    undated = rule("freshness", evidence(newest_row=None), Gate(max_data_age_days=30))
    assert undated["found"] == "the rows have no dates: how old they are is not known"
    lost = rule("unscorable", LOST)
    assert (lost["found"], lost["limit"], lost["why"]) == (
        "the champion cannot be scored on these test rows: its files were altered",
        "--gate.replace_unscorable true lets it go",
        "nobody is better than who was not asked",
    )
    for parts in ((), (SliceEvidence("odd", 300, None),)):
        told = rule("slices", evidence(slices=parts))
        assert (told["limit"], told["why"]) == (
            "may fall by 0.05",
            "a better mean must not be paid for by one group",
        )
        assert told["held"] is (parts == ())
    assert decide(replace(SOUND, champion=None), Gate()).reasons[-1] == (
        "there is no champion yet: only the rules that need none were asked"
    )


# --- days in shadow ---------------------------------------------------------------------------

ASKS = Gate(shadow_days=14, shadow_rows=1000)


@pytest.mark.parametrize(
    "shadow, held",
    [
        (ShadowEvidence(14, 1000), True),
        (ShadowEvidence(15, 1001), True),
        (ShadowEvidence(13, 1000), False),
        (ShadowEvidence(14, 999), False),
        (ShadowEvidence(14, 1000, harm=("it is slow",)), False),
        (None, False),
    ],
)
def test_a_gate_that_asks_for_days_in_shadow_gets_them_and_rows_and_no_harm(shadow, held):
    assert broken(evidence(shadow=shadow), ASKS) == ([] if held else ["shadow"])


def test_no_days_in_shadow_are_asked_for_unless_they_are_set_and_there_is_a_champion():
    assert broken(evidence(shadow=None)) == []
    assert broken(replace(SOUND, champion=None), ASKS) == []


def test_the_rule_says_what_was_seen_and_what_to_do():
    seen = ShadowEvidence(3, 2500, next_step="make serve, then make shadow")
    assert rule("shadow", evidence(shadow=seen), ASKS) == {
        "rule": "shadow",
        "held": False,
        "found": "in shadow of the champion on 3 days, 2,500 rows",
        "limit": "at least 14 days and 1,000 rows: make serve, then make shadow",
        "why": "what real requests bring is not in any test split",
        "figure": 3,
    }
    never = rule("shadow", evidence(shadow=None), ASKS)
    assert never["found"] == "in shadow of the champion on 0 days, 0 rows"
    assert (never["limit"], never["figure"]) == ("at least 14 days and 1,000 rows", 0)
    enough = replace(seen, days=14)
    assert rule("shadow", evidence(shadow=enough), ASKS)["limit"] == never["limit"]
    harmed = rule("shadow", evidence(shadow=replace(seen, harm=("slow", "wrong"))), ASKS)
    assert harmed["found"] == "in shadow of the champion on 3 days, 2,500 rows: slow; wrong"
    assert harmed["limit"] == never["limit"], "waiting longer is no way out"


# --- for all evidence -------------------------------------------------------------------------

NUMBER = st.one_of(
    st.floats(-0.1, 0.1), st.sampled_from([*NOT_NUMBERS, 0.0, 1e-5, 0.005, -0.002, 0.05, -0.05])
)
DIFFERENCE = st.builds(Difference, NUMBER, NUMBER, NUMBER)
DAY = st.dates(date(2025, 12, 1), TODAY)
EVIDENCE = st.builds(
    Evidence,
    export_max_difference=NUMBER,
    chance_roc_auc=st.one_of(DIFFERENCE, st.just(BETTER)),
    baseline_roc_auc=st.one_of(DIFFERENCE, st.just(BETTER)),
    calibration_error=NUMBER,
    latency_p99_ms=NUMBER,
    today=st.just(TODAY),
    schema=st.sampled_from([SCHEMA, SCHEMA[:1]]),
    newest_row=st.one_of(st.none(), DAY),
    learnt_until=st.one_of(st.none(), DAY),
    champion=st.one_of(
        st.none(),
        st.builds(
            ChampionEvidence,
            version=st.just(3),
            schema=st.sampled_from([None, SCHEMA]),
            learnt_until=st.one_of(st.none(), DAY),
            roc_auc=st.one_of(st.none(), DIFFERENCE, st.just(BETTER), st.just(TIED)),
            log_loss=st.one_of(st.none(), DIFFERENCE, st.just(SURELY_LOWER)),
            slices=st.lists(
                st.builds(SliceEvidence, st.just("home"), st.just(300), st.one_of(DIFFERENCE)),
                max_size=2,
            ).map(tuple),
        ),
    ),
    champion_problem=st.sampled_from(["", "", "altered"]),
    shadow=st.one_of(
        st.none(),
        st.builds(
            ShadowEvidence,
            st.integers(0, 30),
            st.integers(0, 3000),
            st.sampled_from([(), (), ("slow",)]),
        ),
    ),
)
LIMITS = st.builds(
    Gate,
    max_data_age_days=st.sampled_from([None, 30]),
    shadow_days=st.sampled_from([None, None, 14]),
    change_features=st.booleans(),
    replace_unscorable=st.booleans(),
    min_baseline_gain=st.sampled_from([None, 0.0, 0.01]),
    baseline_margin=st.sampled_from([0.0, 0.02]),
)


@pytest.mark.slow
@given(EVIDENCE, LIMITS)
@settings(max_examples=300, deadline=None)
def test_promoted_means_that_every_rule_held(found, limits):
    decision = decide(found, limits)
    assert (decision.action == "promote") == all(rule["held"] for rule in decision.rules)
    assert {"export", "chance", "baseline", "calibration", "latency"} <= {
        rule["rule"] for rule in decision.rules
    }


@pytest.mark.slow
@given(EVIDENCE, LIMITS, st.floats(0, 1), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_worse_is_never_promoted_in_its_place(found, limits, by, data):
    """Whatever of a rejected challenger is made worse: it stays rejected."""
    if decide(found, limits).action == "promote":
        return
    figure = data.draw(
        st.sampled_from(["export_max_difference", "calibration_error", "latency_p99_ms"])
    )
    before = getattr(found, figure)
    worse = [replace(found, **{figure: max(before, 0.0) + by if before >= 0 else before})]
    worse.append(replace(found, newest_row=None))
    if found.shadow is not None:
        worse.append(replace(found, shadow=replace(found.shadow, days=found.shadow.days - 1)))
        worse.append(replace(found, shadow=replace(found.shadow, harm=("slow",))))
    for side in ("chance_roc_auc", "baseline_roc_auc"):
        worse.append(replace(found, **{side: _lower(getattr(found, side), by)}))
    if found.champion is not None:
        side = found.champion
        worse += [
            replace(found, champion=replace(side, **change))
            for change in (
                {"roc_auc": side.roc_auc and _lower(side.roc_auc, by)},
                {"roc_auc": None},
                {"log_loss": side.log_loss and _lower(side.log_loss, -by)},
                {"log_loss": None},
                {"slices": (*side.slices, SliceEvidence("new", 300, _lower(TIED, by)))},
            )
        ]
    assert all(decide(one, limits).action == "reject" for one in worse)


def _lower(difference: Difference, by: float) -> Difference:
    return Difference(difference.difference - by, difference.low - by, difference.high - by)
