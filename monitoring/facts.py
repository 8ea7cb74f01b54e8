"""Define the values that monitoring measures and passes on: one frozen dataclass for each.

A *month* is written `2026-04` and has the rows of its calendar days. It is judged when it is over,
as of the first day of the next one. All fields are plain JSON values.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

# ok, alarm: judged.  pending: beyond three quarters of the limit, an alarm if the next month is
# too, on the same side.  learning: the baseline or last year does not exist yet.  too_few: not
# enough rows.  baseline: a month that the baseline is made of.  skipped: no such column.
State = Literal["ok", "pending", "alarm", "learning", "too_few", "baseline", "skipped"]
VerdictName = Literal["broken data", "changed demand", "worse", "calendar"]


@dataclass(frozen=True)
class Reading:
    """A sensor's value in a month, compared with its baseline. value, expected, sd: in the sensor's
    own unit (`measure.py`); n: the rows or events it is made of; z: (value - expected) / sd; limit:
    of |z|; until: the month from which it can judge, where it is learning; text: one sentence for
    people."""

    sensor: str
    month: str
    state: State
    value: float | None = None
    n: int = 0
    expected: float | None = None
    sd: float | None = None
    z: float | None = None
    limit: float | None = None
    until: str | None = None
    text: str = ""


@dataclass(frozen=True)
class Performance:
    """A champion's scores of one as-of date, or of several together, against what the customers did
    in the horizon after each.

    as_of: the dates.  rows: scores whose outcome is known; positives: of those who bought;
    customers: different ones.  roc_auc, log_loss: None where nobody or everybody bought; over
    several dates the ROC AUC is the mean of the dates'.  recalibrated_log_loss: the log loss after
    intercept recalibration.  observed, predicted: shares of buyers; gap: observed less
    predicted.  baseline: the champion's best single feature, baseline_roc_auc: of it on the same
    customers, and gain: how much the champion is above it, where it is known.  Intervals, *_low and
    *_high: 95 %; error, gain_error: standard errors of roc_auc and gain; all are clustered by
    customer, who may be in several dates.  text: a sentence.
    """

    version: int
    as_of: tuple[str, ...]
    rows: int
    positives: int
    observed: float
    predicted: float
    customers: int | None = None  # None: written by an earlier version of the project
    roc_auc: float | None = None
    roc_auc_low: float | None = None
    roc_auc_high: float | None = None
    error: float | None = None
    log_loss: float | None = None
    log_loss_low: float | None = None
    log_loss_high: float | None = None
    recalibrated_log_loss: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    baseline: str | None = None
    baseline_roc_auc: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    gain_error: float | None = None
    text: str = ""

    @property
    def day(self) -> str:
        """The as-of date; of several the last."""
        return self.as_of[-1]


@dataclass(frozen=True)
class Estimate:
    """The ROC AUC that an as-of date's scores would have if their probabilities were right (CBPE),
    before any label is known. low, high: where it would then be found in 95 % of all cases.
    expected_buyers: the sum of the probabilities.  text: a sentence with the assumption. Never an
    alarm."""

    as_of: str
    version: int
    rows: int
    roc_auc: float | None
    low: float | None
    high: float | None
    expected_buyers: float
    text: str = ""


@dataclass(frozen=True)
class Drift:
    """How far a feature's distribution, or the score's (`probability`), is from that of the same
    month of the year before. An explanation beside an alarm, never an alarm itself.

    psi, ks: None where there are too few customers.  missing, missing_before: shares without a
    value; the means are those of the others.  moved: how much the comparison has changed since an
    earlier day, 0 to 1 (`monitoring/drift.py`); None where that is not known.  text: a sentence."""

    month: str
    feature: str
    beside: str  # the month it is compared with
    psi: float | None
    ks: float | None
    mean: float | None
    mean_before: float | None
    missing: float = 0.0
    missing_before: float = 0.0
    moved: float | None = None
    text: str = ""

    @property
    def explains(self) -> tuple[float, float]:
        """What explains an alarm best has the highest: what moved most lately, and where that is
        not known, the largest PSI."""
        moved, psi = (-1.0 if value is None else value for value in (self.moved, self.psi))
        return moved, psi


@dataclass(frozen=True)
class Verdict:
    """The verdict of a month, and what to do. since: the first month of the same verdict in a row;
    evidence: sentences; retrain_due: when a retraining can learn from the change; explained: the
    features that moved most, as sentences; learning: what cannot be judged yet, and until when."""

    month: str
    verdict: VerdictName
    action: str
    since: str
    evidence: tuple[str, ...]
    champion: int | None
    retrain_due: str | None = None
    explained: tuple[str, ...] = ()
    learning: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quality:
    """What the contract found in a month's rows. rows: valid and quarantined together; reasons:
    quarantined rows by reason, the most first, as sentences; status: of the batch that brought
    them, which the contract accepted, held or refused, or a person released; why: of one that is
    held or refused, a sentence without its end."""

    month: str
    rows: int
    quarantined: int
    status: Literal["accepted", "held", "refused", "released"]
    reasons: tuple[str, ...] = ()
    why: str = ""

    @property
    def stopped(self) -> bool:
        """Whether nothing is scored or trained from these rows."""
        return self.status in ("held", "refused")


@dataclass(frozen=True)
class FeatureShares:
    """Of one feature, the share of the rows for which it is missing; and, of a category, the share
    whose value the model has not learnt from. *_before: of the period before; None where it has too
    few rows with that feature."""

    feature: str
    missing: float | None
    unseen: float | None = None
    missing_before: float | None = None
    unseen_before: float | None = None

    @property
    def moved(self) -> float:
        """The larger of the two changes; 0 where there is nothing to compare with."""
        pairs = (self.missing, self.missing_before), (self.unseen, self.unseen_before)
        changes = (abs(a - b) for a, b in pairs if a is not None and b is not None)
        return max(changes, default=0.0)


@dataclass(frozen=True)
class Requests:
    """The requests to the service in the days from `since` to before `until`, from its log.

    requests: None where the log does not number them; rows: answers, one a customer; customers:
    different ones among those that were named; versions: rows by the version that answered.
    beside: what its scores are compared with, batch scores or another period.  deciles: of
    `version`, which answered most, the share of its scores in each decile of those of `beside`;
    psi: how far the two are from each other (None, and no deciles, where there is nothing to
    compare with, or too little).  left_out: files that could not be read, and why.  text: a
    sentence."""

    since: str
    until: str
    state: Literal["ok", "too_few", "none"]
    requests: int | None = None
    rows: int = 0
    days: int = 0
    customers: int = 0
    versions: tuple[tuple[int, int], ...] = ()
    version: int | None = None
    mean: float | None = None
    beside: str = ""
    mean_beside: float | None = None
    deciles: tuple[float, ...] = ()
    psi: float | None = None
    features: tuple[FeatureShares, ...] = ()
    left_out: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class ShadowComparison:
    """A challenger in shadow beside the champion, on the same rows.

    rows: that both answered; no_answer: that the champion alone did.  days: calendar days (UTC)
    with such rows, the first and the last.  agreement: share of rows with the same decision, None
    without decisions.  rank_correlation: Spearman's.  mean_*: of the probability, and shift, the
    challenger's minus the champion's.  *_ms: milliseconds of one row on its core, over timed_calls
    calls of as many rows for both.  labelled: rows whose outcome is known (each customer and as-of
    date once), positives of them; roc_auc, log_loss: the challenger's minus the champion's on them,
    with 95 % intervals that are clustered by customer.  left_out: files that could not be read, and
    why.  text: sentences."""

    model: str
    champion: int
    challenger: int
    state: Literal["ok", "too_few", "none"]
    days: int = 0
    first: str | None = None
    last: str | None = None
    rows: int = 0
    customers: int = 0
    no_answer: int = 0
    agreement: float | None = None
    rank_correlation: float | None = None
    mean_champion: float | None = None
    mean_challenger: float | None = None
    shift: float | None = None
    timed_calls: int = 0
    champion_median_ms: float | None = None
    champion_p99_ms: float | None = None
    challenger_median_ms: float | None = None
    challenger_p99_ms: float | None = None
    labelled: int = 0
    positives: int = 0
    roc_auc: float | None = None
    roc_auc_low: float | None = None
    roc_auc_high: float | None = None
    log_loss: float | None = None
    log_loss_low: float | None = None
    log_loss_high: float | None = None
    left_out: tuple[str, ...] = ()
    text: str = ""


def month_of(day: date) -> str:
    """The month that a day lies in."""
    return f"{day:%Y-%m}"


def first_day(month: str) -> date:
    """The first day of a month."""
    return date.fromisoformat(f"{month}-01")


def month_number(month: str) -> int:
    """Count the months from the year 0 to this one."""
    year, number = map(int, month.split("-"))
    return 12 * year + number - 1


def add_months(month: str, count: int) -> str:
    """The month `count` months later (earlier, where it is negative)."""
    number = month_number(month) + count
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def months_between(first: str, last: str) -> list[str]:
    """The months from the first to the last, both included; none where the last is earlier."""
    months = []
    while first <= last:
        months.append(first)
        first = add_months(first, 1)
    return months


def end_of(month: str) -> date:
    """The first day after the month: the as-of date at which it is judged."""
    return first_day(add_months(month, 1))


def year_before(day: date) -> date:
    """The same day of the year before; of the 29th of February the 28th."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)
