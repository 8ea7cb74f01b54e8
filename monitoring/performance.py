"""Measure how good a champion's scores were, once its labels are known, and judge if it is *worse*.

Two questions decide, each over several as-of dates together and with the error of the champion's
own test figure included:

    champion_gain      Is the champion still as far above its best single feature as in its test?
                       Both rank the same customers, so a season or a year that is harder to predict
                       affects both. Finds a champion that is broken or out of date.
    champion_roc_auc   Is its ROC AUC far below that of its test? Seasons move it by some hundredths
                       without any fault, so only a large fall counts. Finds what breaks both.

The limits were measured (`tests/bench/monitoring_labels.py`, docs/monitoring.md). Whether the
probabilities have the right level is shown but decides nothing: the level drifts with the season.

Before the labels are known, `estimate` gives the ROC AUC that the scores have if their
probabilities are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from common.statistics import (
    NORMAL_95,
    clustered_error,
    components,
    log_losses,
    rank,
    recalibrated_log_loss,
)
from monitoring.facts import Estimate, Performance, Reading
from monitoring.labels import Outcomes, read_scores

POWER_80 = 0.841621  # the quantile of the normal distribution at .8
FEWEST = 50  # rows of each outcome, known or expected: with fewer nothing is judged or estimated
LIMIT = 3.0  # standard errors
GAIN, ROC_AUC = "champion_gain", "champion_roc_auc"
# A fall that does not call for a training: the two figures move so far from season to season. In
# Online Retail II the gain lies between -.01 and +.01, the ROC AUC between .77 and .80.
ALLOWED = {GAIN: 0.01, ROC_AUC: 0.03}


@dataclass(frozen=True)
class Reference:
    """The figures of a champion's own test, from its `bundle.json`. Errors: standard errors."""

    roc_auc: float
    error: float
    baseline: str | None = None
    gain: float | None = None
    gain_error: float | None = None


def reference(description: Mapping[str, Any]) -> Reference | None:
    """Read the content of `bundle.json`: `test` with roc_auc, roc_auc_low and roc_auc_high;
    `baseline` with feature, roc_auc and, of the difference between the two, low and high.

    Without low and high the error of the difference is taken to be that of the ROC AUC, which is
    larger. None where the test has no ROC AUC with an interval.
    """
    test, single = description.get("test") or {}, description.get("baseline") or {}
    if not _numbers(test, "roc_auc", "roc_auc_low", "roc_auc_high"):
        return None
    roc_auc, error = test["roc_auc"], _error(test["roc_auc_low"], test["roc_auc_high"])
    if "feature" not in single or not _numbers(single, "roc_auc"):
        return Reference(roc_auc, error)
    known = _numbers(single, "low", "high")
    return Reference(
        roc_auc,
        error,
        baseline=str(single["feature"]),
        gain=roc_auc - single["roc_auc"],
        gain_error=_error(single["low"], single["high"]) if known else error,
    )


def performance_of(outcomes: Outcomes) -> Performance:
    """Compute the figures of one as-of date, which has rows."""
    figures = pooled([outcomes])
    assert figures is not None
    return figures


def pooled(dates: Sequence[Outcomes]) -> Performance | None:
    """Compute the figures of several as-of dates of one version, read together (`read_outcomes`).

    ROC AUC: the mean of the dates', as a month with more buyers does not make a customer better.
    Log loss and shares: over all rows. A date on which nobody or everybody bought has no ROC AUC
    and no log loss after recalibration, and takes no part in theirs. Errors are clustered by
    customer (`common/statistics.py`). None without rows. Raises ValueError for several versions.
    """
    dates = [outcomes for outcomes in dates if len(outcomes)]
    if not dates:
        return None
    if len(versions := {outcomes.version for outcomes in dates}) > 1:
        raise ValueError(f"versions {sorted(versions)} are not judged together")
    customer = np.concatenate([outcomes.customer for outcomes in dates])
    bought = np.concatenate([outcomes.bought for outcomes in dates]).astype(np.float64)
    p = np.concatenate([outcomes.probability for outcomes in dates])
    gap, gap_error = clustered_mean(bought - p, customer)
    loss, loss_error = clustered_mean(log_losses(bought, p), customer)
    ranking, single, recalibrated = [], [], []
    for outcomes in dates:
        if (ranked := rank(outcomes.probability, outcomes.bought)) is None:
            continue
        ranking.append((outcomes.customer, ranked.roc_auc, components(ranked, outcomes.bought)))
        recalibrated.append(
            (recalibrated_log_loss(outcomes.bought, outcomes.probability), len(outcomes))
        )
        if outcomes.baseline is not None:
            alone = rank(outcomes.baseline, outcomes.bought)
            assert alone is not None
            single.append((outcomes.customer, alone.roc_auc, components(alone, outcomes.bought)))
    computed: dict[str, Any] = {**low_high("gap", gap, gap_error)}
    if ranking:
        roc_auc, error = _mean_over_dates(ranking)
        computed |= {"roc_auc": roc_auc, "error": error, "log_loss": loss}
        computed |= low_high("roc_auc", roc_auc, error) | low_high("log_loss", loss, loss_error)
        values, rows = zip(*recalibrated)
        computed["recalibrated_log_loss"] = float(np.average(values, weights=rows))
    if ranking and len(single) == len(ranking):
        pairs = [(who, a - b, x - y) for (who, a, x), (_, b, y) in zip(ranking, single)]
        gain, gain_error = _mean_over_dates(pairs)
        computed |= {"gain": gain, "gain_error": gain_error, **low_high("gain", gain, gain_error)}
        computed |= {"baseline": dates[0].baseline_name, "baseline_roc_auc": roc_auc - gain}
    figures = Performance(
        version=dates[0].version,
        as_of=tuple(outcomes.as_of.isoformat() for outcomes in dates),
        rows=len(p),
        positives=int(bought.sum()),
        observed=float(bought.mean()),
        predicted=float(p.mean()),
        customers=len(np.unique(customer)),
        **computed,
    )
    return replace(figures, text=in_words(figures))


def judge_performance(
    known: Performance | None,
    test: Reference | None,
    month: str,
    *,
    until: str | None = None,
    allowed: Mapping[str, float] = ALLOWED,
    limit: float = LIMIT,
) -> list[Reading]:
    """Judge whether a champion is *worse* than in its test: two readings, `champion_gain` and
    `champion_roc_auc`; an alarm of either is the evidence.

    known: of the last dates of the champion whose labels are known; None: none are.  test: see
    `reference`.  month: the one that is judged.  until: the month in which its first label is
    known.  allowed: falls that do not call for a training.  limit: in standard errors.

    In a reading, value is the gain or ROC AUC, expected that of the test less the fall that is
    allowed, sd the error of both. One-sided: better than its test is never an alarm.
    """
    readings = []
    for sensor in (GAIN, ROC_AUC):
        blank = Reading(sensor, month, "learning", limit=limit, until=until)
        if test is None:
            readings.append(
                replace(blank, state="skipped", text="The bundle has no figures of its test.")
            )
            continue
        if known is None:
            when = f" before {until}" if until else ""
            text = f"No label of this champion's scores is known{when}."
            readings.append(replace(blank, text=text))
            continue
        blank = replace(blank, until=None, n=known.rows)
        negatives = known.rows - known.positives
        if min(known.positives, negatives) < FEWEST or known.roc_auc is None:
            text = (
                f"Too few to judge: {known.positives} rows bought and {negatives} did not;"
                f" {FEWEST} of each are needed."
            )
            readings.append(replace(blank, state="too_few", text=text))
            continue
        if sensor == GAIN:
            readings.append(_judge_gain(blank, known, test, allowed[GAIN], limit))
        else:
            readings.append(_judge_roc_auc(blank, known, test, allowed[ROC_AUC], limit))
    return readings


def clustered_mean(values: np.ndarray, customer: np.ndarray) -> tuple[float, float]:
    """Compute the mean over rows (n,) and its standard error, clustered by customer (n,)."""
    mean = float(values.mean())
    return mean, clustered_error((values - mean) / len(values), customer)


def low_high(name: str, value: float, error: float) -> dict[str, float]:
    """Name the ends of the 95 % interval of a value with this standard error."""
    return {
        f"{name}_low": value - NORMAL_95 * error,
        f"{name}_high": value + NORMAL_95 * error,
    }


def detectable(error: float, allowed: float, limit: float) -> float:
    """Compute the true fall that is found with probability .8: the one that is allowed, plus the
    limit and .84 standard errors."""
    return allowed + (limit + POWER_80) * error


def in_words(pool: Performance) -> str:
    """Describe pooled figures, or those of one date, in a sentence."""
    when = pool.as_of[0]
    if len(pool.as_of) > 1:
        when = f"{pool.as_of[0]} to {pool.as_of[-1]} ({len(pool.as_of)} dates)"
    shares = f"{pool.observed:.1%} bought, {pool.predicted:.1%} were predicted"
    who = f"Version {pool.version} as of {when}, {pool.rows:,} rows"
    if pool.customers is not None and pool.customers != pool.rows:
        who += f" of {pool.customers:,} customers"
    if pool.roc_auc is None or pool.roc_auc_low is None or pool.roc_auc_high is None:
        return f"{who}: {shares}; no ROC AUC, as nobody or everybody bought."
    text = f"{who}: ROC AUC {pool.roc_auc:.3f} [{pool.roc_auc_low:.3f}, {pool.roc_auc_high:.3f}]"
    if pool.gain is not None and pool.gain_low is not None and pool.gain_high is not None:
        text += (
            f", {pool.gain:+.3f} [{pool.gain_low:+.3f}, {pool.gain_high:+.3f}] against"
            f" {pool.baseline} alone"
        )
    return f"{text}; {shares}."


def _judge_gain(
    blank: Reading, known: Performance, test: Reference, allowed: float, limit: float
) -> Reading:
    """Both gains are of the same feature, or they could not be compared."""
    if (
        known.gain is None
        or known.gain_error is None
        or test.gain is None
        or test.gain_error is None
        or known.baseline != test.baseline
    ):
        text = "The bundle does not name a single feature of the catalogue to compare with."
        return replace(blank, state="skipped", text=text)
    error = float(np.hypot(known.gain_error, test.gain_error))
    what = f"The ROC AUC of version {known.version} less that of {known.baseline} alone"
    comparison = f"{what} is {known.gain:+.3f}, in its test it was {test.gain:+.3f}"
    return _judged(blank, known.gain, test.gain, error, allowed, limit, comparison)


def _judge_roc_auc(
    blank: Reading, known: Performance, test: Reference, allowed: float, limit: float
) -> Reading:
    assert known.roc_auc is not None and known.error is not None
    error = float(np.hypot(known.error, test.error))
    what = f"The ROC AUC of version {known.version}"
    comparison = f"{what} is {known.roc_auc:.3f}, in its test it was {test.roc_auc:.3f}"
    return _judged(blank, known.roc_auc, test.roc_auc, error, allowed, limit, comparison)


def _judged(
    blank: Reading,
    value: float,
    of_test: float,
    error: float,
    allowed: float,
    limit: float,
    comparison: str,
) -> Reading:
    expected, error = of_test - allowed, max(error, 1e-9)  # two identical rankings have no error
    z = (value - expected) / error
    significant = z < -limit
    fall = f": a significant fall of more than {allowed:g}" if significant else ""
    power = f"With {blank.n:,} rows a fall of {detectable(error, allowed, limit):.3f} is found four"
    return replace(
        blank,
        state="alarm" if significant else "ok",
        value=value,
        expected=expected,
        sd=error,
        z=z,
        text=f"{comparison}{fall}. {power} times out of five.",
    )


def _numbers(values: Mapping[str, Any], *names: str) -> bool:
    """Check that all of these are finite numbers: with NaN nothing would ever be worse."""
    chosen = [values.get(name) for name in names]
    return all(isinstance(value, int | float) and isfinite(value) for value in chosen)


def _error(low: float, high: float) -> float:
    return (high - low) / (2 * NORMAL_95)


def _mean_over_dates(parts: Sequence[tuple[np.ndarray, float, np.ndarray]]) -> tuple[float, float]:
    """Average the dates' figures, with the standard error. parts: of each date the customers, the
    figure and what each row adds to its error."""
    who = np.concatenate([customer for customer, _, _ in parts])
    adds = np.concatenate([rows for _, _, rows in parts]) / len(parts)
    return float(np.mean([figure for _, figure, _ in parts])), clustered_error(adds, who)


# --- before labels are known ----------------------------------------------------------------------


def estimate(scores: Path) -> Estimate:
    """Estimate the ROC AUC of scores whose labels are not known yet, if their probabilities are
    right: confidence-based performance estimation (CBPE), as NannyML does it.

    Each row counts as a buyer with its probability and as a non-buyer with the rest. A champion
    that is wrong is wrong about this too, so the estimate is shown with its assumption and never
    decides anything. scores: Parquet with as_of, version and probability, of one date and version.
    Raises ValueError where it has no row.
    """
    as_of, version, probability = read_scores(scores)
    return estimate_from(as_of.isoformat(), version, probability)


def estimate_from(as_of: str, version: int, probability: np.ndarray) -> Estimate:
    """Estimate the ROC AUC of probabilities (n,) in [0, 1].

    The interval is where the ROC AUC would lie in 95 % of all cases if every row bought or not by
    its probability, independently of the others: the spread of its labels, by the delta method.
    """
    p = np.asarray(probability, dtype=np.float64)
    buyers = float(p.sum())
    fewest = min(buyers, len(p) - buyers)
    ranked = rank(p, p)
    if ranked is None or fewest < FEWEST:
        text = (
            f"Version {version} as of {as_of}: too few to estimate: {buyers:.0f} of {len(p):,}"
            f" customers are expected to buy; {FEWEST} who do and who do not are needed."
        )
        return Estimate(as_of, version, len(p), None, None, None, buyers, text)
    # What one more buyer in place of one who does not buy changes, by row.
    change = (ranked.below - ranked.roc_auc) / ranked.positives
    change -= (ranked.above - ranked.roc_auc) / ranked.negatives
    half = NORMAL_95 * float(np.sqrt(np.sum(p * (1 - p) * change**2)))
    low, high = max(ranked.roc_auc - half, 0.0), min(ranked.roc_auc + half, 1.0)
    text = (
        f"Version {version} as of {as_of}: if its probabilities are right, its ROC AUC will be"
        f" {ranked.roc_auc:.3f} [{low:.3f}, {high:.3f}] and {buyers:,.0f} of {len(p):,} customers"
        " will buy. That they are right is an assumption, which no label has confirmed yet."
    )
    return Estimate(as_of, version, len(p), ranked.roc_auc, low, high, buyers, text)
