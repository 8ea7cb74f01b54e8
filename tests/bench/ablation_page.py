"""docs/ablation.md from its figures: the rule by which a group is in, and its verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from features.catalogue import CATALOGUE, GROUPS
from tests.bench.ablation_gain import Gain

GAINS = 0.001  # ROC AUC that one of the two models must gain in the rolling mean
COSTS = 0.0005  # ROC AUC that neither may lose

# Groups say much of the same thing, so few pass the rule while the others stay. Why those that do
# not pass are there all the same: a person who reads an explanation of a score looks for them.
MEANING = {
    "recency": "the R of RFM: the first thing a person asks about a customer",
    "windows": "the F and M of RFM, and the baseline that every model must beat",
    "gaps": "the customer's own rhythm: `late` means nothing without it",
    "alive": "the textbook model of who is still a customer, as one number",
    "variety": "how broad the customer's needs are",
    "baskets": "tells wholesale from retail",
    "cancellations": "trouble with orders, the one sign of it in the log",
    "country": "a split that every business asks for; costs one column",
    "season": "the same weeks of last year: what recency cannot know",
}
NO_MEANING = "not said yet: `MEANING` of tests/bench/ablation_page.py"
LEFT_OUT = {  # candidates that pass the rule, and why they are out
    "last_year": "XGBoost, the better model, gains nothing from it, and its columns look back more"
    " than a year, where few logs reach",
}


@dataclass(frozen=True)
class Row:
    """A group of the set (what is lost without it) or a candidate (what is gained with it).

    alone: ROC AUC of XGBoost with these features only, the mean over the dates; None for a
    candidate.
    """

    name: str
    features: int
    xgboost: Gain
    logistic: Gain
    alone: float | None = None
    about: str = ""


def passes(xgboost: float, logistic: float) -> bool:
    """The rule. Figures are judged as they are printed, so that a reader can check it."""
    gains = [round(xgboost, 4), round(logistic, 4)]
    return max(gains) >= GAINS and min(gains) >= -COSTS


def why(xgboost: float, logistic: float) -> str:
    """What the rule makes of the two gains, in words."""
    gains = {"XGBoost": round(xgboost, 4), "logistic regression": round(logistic, 4)}
    gaining = [model for model, gain in gains.items() if gain >= GAINS]
    losing = [f"{model} {-gain:.4f}" for model, gain in gains.items() if gain < -COSTS]
    if losing:
        cost = f"costs {' and '.join(losing)}"
        return f"{gaining[0]} gains, but it {cost}" if gaining else cost
    return "both gain" if len(gaining) == 2 else f"{(gaining or ['neither'])[0]} gains"


def verdict_of_group(row: Row) -> str:
    gains = row.xgboost.mean, row.logistic.mean
    if passes(*gains):
        return f"**in** by the rule: {why(*gains)}"
    return f"**in** for its meaning ({why(*gains)}): {MEANING.get(row.name, NO_MEANING)}"


def verdict_of_candidate(row: Row) -> str:
    gains = row.xgboost.mean, row.logistic.mean
    if passes(*gains):
        return f"**out** against the rule ({why(*gains)}): {LEFT_OUT[row.name]}"
    return f"**out** by the rule: {why(*gains)}"


def page(about: Sequence[str], groups: Sequence[Row], tried: Sequence[Row]) -> str:
    """about: lines on the data, the dates, the models and the intervals."""
    count = 2 * (len(groups) + len(tried))
    own = [
        f"| `{row.name}` | {row.features} | {row.alone:.3f} | {row.xgboost} | {row.logistic}"
        f" | {verdict_of_group(row)} |"
        for row in groups
    ]
    more = [
        f"| `{row.name}`: {row.about} | {row.features} | {row.xgboost} | {row.logistic}"
        f" | {verdict_of_candidate(row)} |"
        for row in tried
    ]
    lines = [
        "<!-- Written by `make bench-ablation`. Do not edit. -->",
        "# What each group of features adds",
        "",
        "**The rule.** A group is in if the rolling mean of ROC AUC gains at least"
        f" {GAINS} for one of the two models and",
        f"costs neither more than {COSTS}; or it is kept for its meaning, and then the verdict"
        " says so. The rule was",
        "written down after the set was chosen: it explains these groups, and decides about the"
        " next ones.",
        "",
        f"Online Retail II, {len(CATALOGUE)} features in {len(GROUPS)} groups (each a file of"
        " `features/sql/`).",
        *about,
        f"The {count} intervals are not corrected for their number: were all true gains 0, about"
        f" {max(1, round(count * 0.05))} of them would still",
        "lie apart from 0. They show how sure a figure is; the rule reads the figure.",
        "",
        "| group | features | alone | lost without it: XGBoost [95 %] | logistic regression [95 %]"
        " | verdict |",
        "|---|---|---|---|---|---|",
        *own,
        "",
        "Groups say much of the same thing, so none is missed much when the others stay: read"
        " `alone` for how much a",
        "group knows, and `lost` for what only it knows. Two groups that pass for each other both"
        " fail the rule, and the set",
        "would be poorer without both: that is why a group may also be kept for its meaning.",
        "",
        "## Tried and left out",
        "",
        "What the set would gain, had these been added (`tests/bench/candidates/`):",
        "",
        "| candidate | features | gained: XGBoost [95 %] | logistic regression [95 %] | verdict |",
        "|---|---|---|---|---|",
        *more,
        "",
    ]
    return "\n".join(lines)
