"""The gate: decide whether the challenger may take the champion's place. It moves nothing.

Figures are computed by the caller on the same test rows for both sides; a champion is never judged
by the figures it once had. A rule holds only when its figure is a number within the limit: what
could not be computed breaks it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeGuard

from configs.settings import Gate
from registry.evidence import (
    ChampionEvidence,
    Difference,
    Evidence,
    ShadowEvidence,
    SliceEvidence,
    schema_changes,
)


@dataclass(frozen=True)
class Rule:
    """One rule and its result. figure: the number that the limit is about; None where there is
    none."""

    rule: str
    held: bool
    found: str
    limit: str
    why: str
    figure: float | None = None

    def __str__(self) -> str:
        return f"{'held' if self.held else 'broken'}: {self.found} ({self.limit})"


@dataclass(frozen=True)
class Decision:
    """reasons: one line per rule for people, only the broken ones when any is broken.
    rules: every rule that was applied, as dicts of rule, held, found, limit, why, figure."""

    action: Literal["promote", "reject"]
    reasons: tuple[str, ...]
    rules: tuple[dict[str, Any], ...] = ()


def decide(evidence: Evidence, limits: Gate) -> Decision:
    """Promote only if every rule holds."""
    rules = [
        _export(evidence, limits),
        _chance(evidence.chance_roc_auc),
        _baseline(evidence.baseline_roc_auc, limits),
    ]
    if evidence.champion_problem:
        rules.append(_unscorable(evidence.champion_problem, limits))
    elif evidence.champion is not None:
        rules += _against(evidence.champion, evidence, limits)
    rules += [
        _calibration(evidence, limits),
        _latency(evidence, limits),
    ]
    if limits.max_data_age_days is not None:
        rules.append(_freshness(evidence, limits.max_data_age_days))
    if evidence.champion is not None and evidence.champion.schema is not None:
        rules.append(_schema(evidence.champion.schema, evidence, limits))
    if evidence.champion is not None and limits.shadow_days is not None:
        rules.append(shadow_rule(evidence.shadow, limits.shadow_days, limits))
    notes = []
    if evidence.champion is None and not evidence.champion_problem:
        notes.append("there is no champion yet: only the rules that need none were applied")
    broken = [rule for rule in rules if not rule.held]
    return Decision(
        "reject" if broken else "promote",
        (*map(str, broken or rules), *notes),
        tuple(map(asdict, rules)),
    )


# --- the challenger by itself ---------------------------------------------------------------------


def _export(evidence: Evidence, limits: Gate) -> Rule:
    figure, limit = evidence.export_max_difference, limits.max_export_difference
    return Rule(
        "export",
        0 <= figure <= limit,
        f"the ONNX export differs from the original by at most {figure:.1e}",
        f"limit {limit:g}",
        "the served model must be the tested one",
        _number(figure),
    )


def _chance(difference: Difference) -> Rule:
    return Rule(
        "chance",
        difference.finite and difference.low > 0,
        f"ROC AUC against chance, 0.5: {difference}",
        "low end must be above 0",
        "a model that may be no better than chance must not serve, champion or not",
        _number(difference.low),
    )


def _baseline(difference: Difference, limits: Gate) -> Rule:
    least, margin = limits.min_baseline_gain, limits.baseline_margin
    held, limit = difference.high >= -margin, f"high end must not be below {-margin:g}"
    if least is not None:
        held, limit = held and difference.low > least, f"{limit}, low end must be above {least:g}"
    return Rule(
        "baseline",
        difference.finite and held,
        f"ROC AUC against the baseline, one feature alone: {difference}",
        limit,
        "a model that ranks worse than one of its own features has not learnt from them",
        _number(difference.high if least is None else difference.low),
    )


def _calibration(evidence: Evidence, limits: Gate) -> Rule:
    figure, limit = evidence.calibration_error, limits.max_calibration_error
    return Rule(
        "calibration",
        0 <= figure <= limit,
        f"calibration error on the test split: {figure:.4f}",
        f"at most {limit:g}",
        "decisions by a probability need one that is calibrated",
        _number(figure),
    )


def _latency(evidence: Evidence, limits: Gate) -> Rule:
    figure, limit = evidence.latency_p99_ms, limits.max_latency_ms
    return Rule(
        "latency",
        0 <= figure <= limit,
        f"one row through the exported model, 99th percentile: {figure:.2f} ms",
        f"at most {limit:g} ms",
        "clients of the service wait for it",
        _number(figure),
    )


def _freshness(evidence: Evidence, limit: int) -> Rule:
    newest = evidence.newest_row
    age = None if newest is None else (evidence.today - newest).days
    return Rule(
        "freshness",
        age is not None and age <= limit,
        f"the newest row is of {newest}, {age} days old"
        if age is not None
        else "the rows have no dates, so their age is not known",
        f"at most {limit} days",
        "a model of old rows may be outdated",
        age,
    )


# --- beside the champion ----------------------------------------------------------------------


def _against(champion: ChampionEvidence, evidence: Evidence, limits: Gate) -> list[Rule]:
    return [
        _better(champion.roc_auc, champion.log_loss, limits),
        _log_loss(champion.log_loss, limits),
        _slices(champion.slices, limits),
        _stale(champion, evidence),
    ]


def _better(roc_auc: Difference | None, log_loss: Difference | None, limits: Gate) -> Rule:
    significantly_better = _finite(roc_auc) and roc_auc.low > limits.min_gain
    not_worse = _finite(roc_auc) and roc_auc.low > -limits.margin
    better_log_loss = _finite(log_loss) and log_loss.high < 0
    return Rule(
        "better",
        significantly_better or (not_worse and better_log_loss),
        f"ROC AUC against the champion on the same test rows: {roc_auc}",
        f"low end must be above {limits.min_gain:g}, or above {-limits.margin:g} with a log loss"
        " that is significantly lower",
        "a difference that may be chance does not justify another model",
        _number(roc_auc.low if roc_auc else None),
    )


def _log_loss(log_loss: Difference | None, limits: Gate) -> Rule:
    return Rule(
        "log_loss",
        _finite(log_loss) and log_loss.difference <= limits.max_log_loss_rise,
        f"log loss against the champion: {log_loss}",
        f"may rise by {limits.max_log_loss_rise:g}",
        "a better ranking must not cost the probabilities",
        _number(log_loss.difference if log_loss else None),
    )


def _slices(slices: tuple[SliceEvidence, ...], limits: Gate) -> Rule:
    limit, why = limits.max_slice_drop, "the mean must not improve at the cost of one group"
    allowed = f"may fall by {limit:g}"
    unknown = [part for part in slices if not _finite(part.roc_auc)]
    if unknown:
        result = f"ROC AUC of {unknown[0].name} against the champion: {unknown[0].roc_auc}"
        return Rule("slices", False, result, allowed, why)
    if not slices:
        result = "no slice has enough rows to be judged"
        return Rule("slices", True, result, allowed, why)
    fall, worst = min(
        ((part.roc_auc.difference, part) for part in slices if _finite(part.roc_auc)),
        key=lambda pair: pair[0],
    )
    result = (
        f"of {len(slices)} slices, {worst.name} ({worst.rows:,} rows) is the worst:"
        f" ROC AUC against the champion {worst.roc_auc}"
    )
    return Rule("slices", fall >= -limit, result, allowed, why, fall)


def _stale(champion: ChampionEvidence, evidence: Evidence) -> Rule:
    ours, theirs = evidence.learnt_until, champion.learnt_until
    return Rule(
        "stale",
        theirs is None or (ours is not None and ours >= theirs),
        f"the challenger learnt from outcomes until {ours}, the champion until {theirs}",
        "not from older outcomes",
        "a model of older outcomes must not replace one of newer outcomes",
    )


def _unscorable(problem: str, limits: Gate) -> Rule:
    return Rule(
        "unscorable",
        limits.replace_unscorable,
        f"the champion cannot be scored on these test rows: {problem}",
        "--gate.replace_unscorable true replaces it",
        "a challenger cannot be shown to be better than a model without scores",
    )


def _schema(champion: tuple[Any, ...], evidence: Evidence, limits: Gate) -> Rule:
    changes = schema_changes(champion, evidence.schema)
    result = "the features are the champion's"
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        result = f"the features are not the champion's: {changes[0]}{more}"
    return Rule(
        "schema",
        not changes or limits.change_features,
        result,
        "clients of the champion would be refused; if that is meant: --gate.change_features true"
        if changes
        else "names, order, units, ranges",
        "clients of the service send the features of the champion",
    )


def shadow_rule(shadow: ShadowEvidence | None, days: int, limits: Gate) -> Rule:
    """Whether a challenger has been in shadow for so many days and rows, without harm. It is judged
    again when the days have passed (`flows/shadow.py`)."""
    seen = shadow or ShadowEvidence(0, 0)
    enough = seen.days >= days and seen.rows >= limits.shadow_rows
    result = f"in shadow of the champion on {seen.days} days, {seen.rows:,} rows"
    limit = f"at least {days} days and {limits.shadow_rows:,} rows"
    if seen.harm:
        result = f"{result}: {'; '.join(seen.harm)}"
    elif not enough and seen.next_step:
        limit = f"{limit}: {seen.next_step}"
    return Rule(
        "shadow",
        enough and not seen.harm,
        result,
        limit,
        "real requests may hold what no test split holds",
        seen.days,
    )


def _finite(difference: Difference | None) -> TypeGuard[Difference]:
    """Whether it was computed, and all its numbers are finite."""
    return difference is not None and difference.finite


def _number(value: float | None) -> float | None:
    """As JSON can hold it: None for what is not a finite number."""
    return None if value is None or not math.isfinite(value) else value
