"""Each rule of the gate with a challenger that is worse, tied, stale, broken, and truly better."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.settings import Gate
from registry.evidence import (
    ChampionEvidence,
    Difference,
    Evidence,
    ShadowEvidence,
    SliceEvidence,
    judged_slices,
    schema_changes,
)
from registry.gate import decide

BETTER = Difference(0.02, 0.01, 0.03)
TIED = Difference(0.0, 0.0, 0.0)
UNSURE = Difference(0.004, -0.003, 0.010)
WORSE = Difference(-0.02, -0.03, -0.01)
BROKEN = Difference(math.nan, math.nan, math.nan)
NO_RISE = Difference(-0.001, -0.004, 0.002)
SURELY_LOWER = Difference(-0.004, -0.006, -0.001)
NEAR_BASELINE = Difference(-0.03, -0.04, -0.02)
FAR_FROM_BASELINE = Difference(-0.03, -0.04, -0.02 - 1e-9)
TODAY = date(2026, 3, 31)
NOT_NUMBERS = [math.nan, math.inf, -math.inf]

SCHEMA = (
    {"name": "recency", "unit": "days", "meaning": "since", "low": 1.0, "high": None},
    {"name": "orders", "unit": "invoices", "meaning": "so far", "low": 0.0, "high": None},
)
CHAMPION = ChampionEvidence(
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
    """A challenger that is better in every respect, but for these changes of its own evidence or of
    that beside the champion."""
    beside = {name: changes.pop(name) for name in list(changes) if hasattr(CHAMPION, name)}
    ours = {name: beside.pop(name) for name in ("learnt_until", "schema") if name in beside}
    return replace(SOUND, champion=replace(CHAMPION, **beside), **ours, **changes)


def decided(challenger: Evidence, limits: dict[str, Any] | None = None) -> list[str]:
    """The names of the broken rules; the action and the reasons say the same."""
    decision = decide(challenger, Gate(**(limits or {})))
    names = [rule["rule"] for rule in decision.rules if not rule["held"]]
    assert decision.action == ("reject" if names else "promote")
    assert len([line for line in decision.reasons if line.startswith("broken: ")]) == len(names)
    return names


def rule(name: str, challenger: Evidence, **limits: Any) -> dict[str, Any]:
    (only,) = (rule for rule in decide(challenger, Gate(**limits)).rules if rule["rule"] == name)
    return only


def near(low: float, high: float) -> dict[str, Any]:
    """As good as the champion, within low; its log loss lower, by high at least."""
    log_loss = Difference(-0.004, -0.006, high)
    return {"roc_auc": Difference(0.0, low, 0.002), "log_loss": log_loss}


def fall(by: float) -> dict[str, Any]:
    parts = SliceEvidence("home", 900, BETTER), SliceEvidence("new", 250, TIED)
    abroad = SliceEvidence("abroad", 300, Difference(by, by - 1, by + 1))
    return {"slices": (parts[0], abroad, parts[1])}


def changed(place: int, **change: Any) -> tuple[dict[str, Any], ...]:
    return tuple({**f, **change} if i == place else f for i, f in enumerate(SCHEMA))


FIRST = replace(SOUND, champion=None)
LOST = replace(
    SOUND,
    champion=ChampionEvidence(schema=SCHEMA),
    champion_problem="its files were altered",
)
UNDATED = replace(SOUND, champion=replace(CHAMPION, learnt_until=None), learnt_until=None)
AGE = {"max_data_age_days": 30}
GAIN = {"min_baseline_gain": 0.01}
REPLACE = {"replace_unscorable": True}
SHADOW = {"shadow_days": 14, "shadow_rows": 1000}
NO_INTERVALS = [replace(BETTER, difference=math.nan), replace(BETTER, high=math.inf), BROKEN]
NOT_BETTER = [TIED, UNSURE, WORSE, *NO_INTERVALS]

# What is changed of the sound challenger, or another one; the limits; the rules that break.
CASES: list[tuple[Any, dict[str, Any], list[str]]] = [
    ({}, {}, []),
    *(({"chance_roc_auc": d}, {}, ["chance"]) for d in (*NOT_BETTER, Difference(0.01, 0.0, 0.02))),
    *((replace(FIRST, chance_roc_auc=d), {}, ["chance"]) for d in NOT_BETTER),
    # A model may be as good as its best feature, unless a gain is required.
    *(({"baseline_roc_auc": d}, {}, []) for d in (TIED, UNSURE, WORSE, NEAR_BASELINE)),
    *(({"baseline_roc_auc": d}, {"min_baseline_gain": 0}, ["baseline"]) for d in NOT_BETTER),
    *(({"baseline_roc_auc": d}, {}, ["baseline"]) for d in (*NO_INTERVALS, FAR_FROM_BASELINE)),
    (replace(FIRST, baseline_roc_auc=FAR_FROM_BASELINE), {}, ["baseline"]),
    ({"baseline_roc_auc": NEAR_BASELINE}, {"baseline_margin": 0.019}, ["baseline"]),
    ({"baseline_roc_auc": Difference(0.02, 0.01 + 1e-9, 0.03)}, GAIN, []),
    ({"baseline_roc_auc": BETTER}, GAIN, ["baseline"]),
    ({"newest_row": date(2026, 3, 1)}, AGE, []),
    ({"newest_row": date(2026, 2, 28)}, AGE, ["freshness"]),
    ({"newest_row": date(2020, 1, 1)}, {}, []),
    ({"newest_row": None}, AGE, ["freshness"]),
    # Significantly better than the champion, or as good with significantly better probabilities.
    *(({"roc_auc": d}, {}, ["better"]) for d in (*NOT_BETTER, None)),
    ({}, {"min_gain": 0.0099}, []),
    ({}, {"min_gain": 0.01}, ["better"]),
    (near(-0.0019, -0.001), {"margin": 0.002}, []),
    (near(-0.002, -0.001), {"margin": 0.002}, ["better"]),
    (near(-0.0019, 0.0), {"margin": 0.002}, ["better"]),
    (near(-0.0019, -1e-12), {"margin": 0.002}, []),
    (
        {"roc_auc": TIED, "log_loss": replace(SURELY_LOWER, low=-math.inf)},
        {},
        ["better", "log_loss"],
    ),
    ({"log_loss": Difference(0.01, -1, 1)}, {"max_log_loss_rise": 0.01}, []),
    ({"log_loss": Difference(-0.5, -1, 1)}, {"max_log_loss_rise": 0.01}, []),
    ({"log_loss": Difference(0.010001, -1, 1)}, {"max_log_loss_rise": 0.01}, ["log_loss"]),
    *(({"log_loss": nothing}, {}, ["log_loss"]) for nothing in (BROKEN, None)),
    *((fall(by), {"max_slice_drop": 0.05}, []) for by in (0.1, -0.05)),
    (fall(-0.050001), {"max_slice_drop": 0.05}, ["slices"]),
    *(
        (fall(0.1) | {"slices": (SliceEvidence("a", 9, d),)}, {}, ["slices"])
        for d in (BROKEN, None)
    ),
    ({"slices": ()}, {}, []),
    ({"learnt_until": date(2025, 12, 30)}, {}, ["stale"]),
    ({"learnt_until": date(2026, 1, 31)}, {}, []),
    ({"learnt_until": None}, {}, ["stale"]),
    (UNDATED, {}, []),
    (replace(UNDATED, learnt_until=TODAY), {}, []),
    # A champion that cannot be scored; nothing else is overlooked because of it.
    (LOST, {}, ["unscorable"]),
    (replace(LOST, champion=ChampionEvidence()), {}, ["unscorable"]),
    (replace(LOST, champion=None), {}, ["unscorable"]),
    (LOST, REPLACE, []),
    (replace(LOST, calibration_error=0.5), REPLACE, ["calibration"]),
    (replace(LOST, schema=SCHEMA[:1]), REPLACE, ["schema"]),
    # Days and rows in shadow, without harm.
    ({"shadow": None}, {}, []),
    (FIRST, SHADOW, []),
    ({"shadow": ShadowEvidence(14, 1000)}, SHADOW, []),
    ({"shadow": ShadowEvidence(15, 1001)}, SHADOW, []),
    ({"shadow": ShadowEvidence(13, 1000)}, SHADOW, ["shadow"]),
    ({"shadow": ShadowEvidence(14, 999)}, SHADOW, ["shadow"]),
    ({"shadow": ShadowEvidence(14, 1000, harm=("it is slow",))}, SHADOW, ["shadow"]),
    ({"shadow": None}, SHADOW, ["shadow"]),
    (
        {"roc_auc": WORSE, "baseline_roc_auc": FAR_FROM_BASELINE, "export_max_difference": 1.0},
        {},
        ["export", "baseline", "better"],
    ),
]


@pytest.mark.parametrize(("challenger", "limits", "broken"), CASES)
def test_a_challenger_is_promoted_if_no_rule_is_broken(challenger, limits, broken):
    challenger = challenger if isinstance(challenger, Evidence) else evidence(**challenger)
    assert decided(challenger, limits) == broken


@pytest.mark.parametrize(
    ("name", "figure", "limit", "value"),
    [
        ("export", "export_max_difference", "max_export_difference", 1e-5),
        ("calibration", "calibration_error", "max_calibration_error", 0.1),
        ("latency", "latency_p99_ms", "max_latency_ms", 5.0),
    ],
)
def test_a_figure_may_be_as_large_as_its_limit_and_must_be_a_number(name, figure, limit, value):
    for held in (0.0, value / 2, value):
        assert decided(evidence(**{figure: held}), {limit: value}) == []
        assert rule(name, evidence(**{figure: held}), **{limit: value})["figure"] == held
    for worse in (math.nextafter(value, math.inf), value * 2, -value):
        assert decided(evidence(**{figure: worse}), {limit: value}) == [name]
    for nothing in NOT_NUMBERS:
        assert decided(evidence(**{figure: nothing})) == [name]
        assert rule(name, evidence(**{figure: nothing}))["figure"] is None


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
def test_features_that_differ_from_the_champions_must_be_allowed(ours, said):
    assert decided(evidence(schema=ours)) == ["schema"]
    assert decided(evidence(schema=ours), {"change_features": True}) == []
    for allowed in (False, True):
        assert said in rule("schema", evidence(schema=ours), change_features=allowed)["found"]
    # Of a bundle from before there were categories, and of one that is read from JSON:
    assert schema_changes(SCHEMA, changed(0, categories=())) == []
    assert schema_changes(changed(0, categories=["a"]), changed(0, categories=("a",))) == []


# --- what a decision says -----------------------------------------------------------------------


def test_every_rule_is_reported_and_for_a_first_model_those_that_need_no_champion():
    decision = decide(SOUND, Gate())
    assert [rule["rule"] for rule in decision.rules] == [
        *("export", "chance", "baseline", "better", "log_loss", "slices", "stale"),
        *("calibration", "latency", "schema"),
    ]
    assert len(decision.reasons) == len(decision.rules)
    assert all(reason.startswith("held: ") for reason in decision.reasons)
    first = decide(FIRST, Gate(**AGE))
    assert [rule["rule"] for rule in first.rules] == [
        *("export", "chance", "baseline", "calibration", "latency", "freshness"),
    ]
    assert first.reasons[-1] == (
        "there is no champion yet: only the rules that need none were applied"
    )
    assert len(decide(replace(LOST, champion=None), Gate()).reasons) == 1, "there is a champion"


TWO_ALIKE = (SliceEvidence("a", 9, TIED), SliceEvidence("b", 9, TIED))
THREE = (
    SliceEvidence("home", 900, BETTER),
    SliceEvidence("abroad", 1300, WORSE),
    SliceEvidence("new", 250, Difference(-0.01, -0.3, -0.1)),
)
NO_SLICE = (SliceEvidence("b", 9, None),)
SEEN = ShadowEvidence(3, 2500, next_step="make serve, then make shadow")
HARM = ShadowEvidence(3, 2500, ("slow", "wrong"), "wait")
DAYS = "at least 14 days and 1,000 rows"


@pytest.mark.parametrize(
    ("name", "challenger", "limits", "found", "limit", "figure"),
    [
        ("export", {}, {}, "at most 1.0e-07", "1e-05", 1e-7),
        ("chance", {}, {}, "+0.0200 [+0.0100, +0.0300]", "above 0", 0.01),
        ("baseline", {}, {}, "+0.0200 [+0.0100, +0.0300]", "-0.02", 0.03),
        ("baseline", {}, GAIN, "+0.0200 [", "above 0.01", 0.01),
        ("better", {}, {}, "+0.0200 [+0.0100, +0.0300]", "-0.002", 0.01),
        ("better", {"roc_auc": None}, {}, "None", "above 0", None),
        ("log_loss", {}, {}, "-0.0010 [-0.0040, +0.0020]", "0.005", -0.001),
        ("log_loss", {"log_loss": None}, {}, "None", "0.005", None),
        ("slices", {"slices": THREE}, {}, "of 3 slices, abroad (1,300 rows)", "0.05", -0.02),
        ("slices", {"slices": TWO_ALIKE}, {}, "a (9 rows) is the worst", "0.05", 0.0),
        ("slices", {"slices": NO_SLICE}, {}, "ROC AUC of b", "may fall", None),
        ("slices", {"slices": ()}, {}, "no slice has enough rows", "may fall", None),
        ("stale", {}, {}, "until 2025-12-31", "not from older outcomes", None),
        ("calibration", {}, {}, "0.0300", "0.1", 0.03),
        ("latency", {}, {}, "0.40 ms", "5 ms", 0.4),
        ("freshness", {}, AGE, "2026-03-30, 1 days old", "30 days", 1),
        ("freshness", {"newest_row": None}, AGE, "no dates", "30", None),
        ("schema", {}, {}, "the features are the champion's", "names, order, units, ranges", None),
        ("schema", {"schema": SCHEMA[:1]}, {}, "orders is gone", "change_features true", None),
        ("shadow", {}, SHADOW, "on 0 days, 0 rows", DAYS, 0),
        ("shadow", {"shadow": SEEN}, SHADOW, "3 days, 2,500 rows", f"{DAYS}: make serve", 3),
        ("shadow", {"shadow": ShadowEvidence(14, 2500)}, SHADOW, "on 14 days", DAYS, 14),
        ("shadow", {"shadow": HARM}, SHADOW, "2,500 rows: slow; wrong", DAYS, 3),
    ],
)
def test_a_rule_reports_its_value_its_limit_and_its_figure(
    name, challenger, limits, found, limit, figure
):
    said = rule(name, evidence(**challenger), **limits)
    assert found in said["found"] and limit in said["limit"] and said["figure"] == figure
    assert said["why"] and "more" not in said["found"]
    assert "wait" not in said["limit"], "waiting longer does not help a challenger that does harm"
    if not said["held"]:
        reasons = decide(evidence(**challenger), Gate(**limits)).reasons
        assert f"broken: {said['found']} ({said['limit']})" in reasons


# What is changed of the sound challenger; the rule; its value, its limit and the reason for it.
TEXTS = [
    (
        *({}, "export", "the ONNX export differs from the original by at most 1.0e-07"),
        *("limit 1e-05", "the served model must be the tested one"),
    ),
    (
        *({}, "chance", "ROC AUC against chance, 0.5: +0.0200 [+0.0100, +0.0300]"),
        "low end must be above 0",
        "a model that may be no better than chance must not serve, champion or not",
    ),
    (
        {},
        "baseline",
        "ROC AUC against the baseline, one feature alone: +0.0200 [+0.0100, +0.0300]",
        "high end must not be below -0.02",
        "a model that ranks worse than one of its own features has not learnt from them",
    ),
    (
        {},
        "better",
        "ROC AUC against the champion on the same test rows: +0.0200 [+0.0100, +0.0300]",
        "low end must be above 0, or above -0.002 with a log loss that is significantly lower",
        "a difference that may be chance does not justify another model",
    ),
    (
        *({}, "log_loss", "log loss against the champion: -0.0010 [-0.0040, +0.0020]"),
        *("may rise by 0.005", "a better ranking must not cost the probabilities"),
    ),
    (
        *({"slices": ()}, "slices", "no slice has enough rows to be judged"),
        *("may fall by 0.05", "the mean must not improve at the cost of one group"),
    ),
    (
        *({"slices": NO_SLICE}, "slices", "ROC AUC of b against the champion: None"),
        *("may fall by 0.05", "the mean must not improve at the cost of one group"),
    ),
    (
        {},
        "stale",
        "the challenger learnt from outcomes until 2025-12-31, the champion until 2025-12-31",
        "not from older outcomes",
        "a model of older outcomes must not replace one of newer outcomes",
    ),
    (
        *({}, "calibration", "calibration error on the test split: 0.0300"),
        *("at most 0.1", "decisions by a probability need one that is calibrated"),
    ),
    (
        *({}, "latency", "one row through the exported model, 99th percentile: 0.40 ms"),
        *("at most 5 ms", "clients of the service wait for it"),
    ),
    (
        *({"newest_row": None}, "freshness", "the rows have no dates, so their age is not known"),
        *("at most 30 days", "a model of old rows may be outdated"),
    ),
    (
        *({}, "schema", "the features are the champion's", "names, order, units, ranges"),
        "clients of the service send the features of the champion",
    ),
    (
        {"schema": changed(0, unit="weeks")},
        "schema",
        "the features are not the champion's: unit of recency is 'weeks', was 'days'",
        "clients of the champion would be refused; if that is meant: --gate.change_features true",
        "clients of the service send the features of the champion",
    ),
    (
        {"shadow": ShadowEvidence(14, 1000, next_step="is not needed any more")},
        "shadow",
        "in shadow of the champion on 14 days, 1,000 rows",
        "at least 14 days and 1,000 rows",
        "real requests may hold what no test split holds",
    ),
    (
        {"champion_problem": "its files were altered"},
        "unscorable",
        "the champion cannot be scored on these test rows: its files were altered",
        "--gate.replace_unscorable true replaces it",
        "a challenger cannot be shown to be better than a model without scores",
    ),
]


@pytest.mark.parametrize(("challenger", "name", "found", "limit", "why"), TEXTS)
def test_what_a_rule_says_in_full(challenger, name, found, limit, why):
    reported = rule(name, evidence(**challenger), **AGE, **SHADOW)
    assert (reported["found"], reported["limit"], reported["why"]) == (found, limit, why)
    broken = name in ("freshness", "unscorable") or "not the" in found or "None" in found
    assert reported["held"] is not broken


def test_a_champion_that_cannot_be_scored_is_replaced_only_when_that_is_allowed():
    assert rule("unscorable", LOST)["figure"] is None
    assert rule("unscorable", LOST, **REPLACE)["held"]


def test_only_judged_slices_are_evidence():
    versus = {"difference": 0.1, "low": 0.0, "high": 0.2}
    parts = [
        {"slice": "home", "rows": 900, "judged": True, "against_champion": versus},
        {"slice": "tiny", "rows": 9, "judged": False, "against_champion": None},
        {"slice": "odd", "rows": 300, "judged": True, "against_champion": None},
        {"slice": "odder", "rows": 300, "judged": True, "against_champion": versus | {"low": None}},
    ]
    assert judged_slices(parts) == (
        SliceEvidence("home", 900, Difference(0.1, 0.0, 0.2)),
        SliceEvidence("odd", 300, None),
        SliceEvidence("odder", 300, None),
    )


# --- for all evidence -------------------------------------------------------------------------

NUMBER = st.floats(-0.1, 0.1) | st.sampled_from([*NOT_NUMBERS, 0.0, 1e-5, 0.005, -0.002, 0.05])
DIFFERENCE = st.builds(Difference, NUMBER, NUMBER, NUMBER) | st.sampled_from([TIED, SURELY_LOWER])
DAY = st.none() | st.dates(date(2025, 12, 1), TODAY)
SLICE = st.builds(SliceEvidence, st.just("home"), st.just(300), DIFFERENCE)
HARMS = st.sampled_from([(), (), ("slow",)])
SEEN = st.builds(ShadowEvidence, st.integers(0, 30), st.integers(0, 3000), HARMS)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("export_max_difference", "calibration_error", "latency_p99_ms"), NUMBER),
        **dict.fromkeys(("chance_roc_auc", "baseline_roc_auc"), DIFFERENCE),
        **dict.fromkeys(("roc_auc", "log_loss"), st.none() | DIFFERENCE),
        **dict.fromkeys(("newest_row", "learnt_until"), DAY),
        "schema": st.just(SCHEMA[:1]),
        "slices": st.lists(SLICE, max_size=2).map(tuple),
        "champion_problem": st.just("altered"),
        "shadow": SEEN,
    },
)
EVIDENCE = st.builds(
    lambda changes, first: replace(evidence(**changes), **({"champion": None} if first else {})),
    CHANGES,
    st.booleans(),
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


def lower(difference: Difference | None, by: float) -> Difference | None:
    return difference and Difference(*(value - by for value in astuple(difference)))


@pytest.mark.slow
@given(EVIDENCE, LIMITS, st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_challenger_that_gets_worse_is_not_promoted_if_it_was_rejected(challenger, limits, by):
    decision = decide(challenger, limits)
    assert (decision.action == "promote") == all(rule["held"] for rule in decision.rules)
    assume(decision.action == "reject")
    figures = ("export_max_difference", "calibration_error", "latency_p99_ms")
    before = {name: getattr(challenger, name) for name in figures}
    worse = [{name: value + by if value >= 0 else value} for name, value in before.items()]
    sides = ("chance_roc_auc", "baseline_roc_auc")
    worse += [{name: lower(getattr(challenger, name), by)} for name in sides]
    worse.append({"newest_row": None})
    if (seen := challenger.shadow) is not None:
        worse += [{"shadow": replace(seen, days=seen.days - 1)}]
        worse += [{"shadow": replace(seen, harm=("slow",))}]
    if (side := challenger.champion) is not None:
        fallen = SliceEvidence("new", 300, lower(TIED, by))
        worse += [
            {"champion": replace(side, **change)}
            for change in (
                *({"roc_auc": value} for value in (lower(side.roc_auc, by), None)),
                *({"log_loss": value} for value in (lower(side.log_loss, -by), None)),
                {"slices": (*side.slices, fallen)},
            )
        ]
    assert all(decide(replace(challenger, **change), limits).action == "reject" for change in worse)
