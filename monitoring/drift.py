"""Compare features and scores with those of the same month of the year before.

Features drift all the time: customers grow older, the season changes. So a drift of features
explains an alarm and never is one: in undrifted simulated years the usual rules alarm in up to
100 % of the months. The largest drift explains little either: the log grows, so everybody's tenure
is always far from last year's. What explains an alarm is what moved lately: the same comparison as
of an earlier day, before the alarm, shows how much of a drift was there already.

PSI: Siddiqi 2006, Credit Risk Scorecards, chapter 10. The shift between two samples is the
probability that a value of one is above one of the other (Mann & Whitney 1947).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.duck import connect, parquet
from common.statistics import ks, rank
from configs.settings import Compute, Features
from features.catalogue import CATALOGUE, NAMES
from features.engine import build_features, make, read_log
from monitoring.facts import Drift, add_months, first_day, month_of, year_before
from monitoring.labels import read_scores

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEWEST = 100  # customers on each side
BINS = 10
SCORE = "probability"
UNITS = {feature.name: feature.unit for feature in CATALOGUE}


def feature_drift(
    transactions: Path | list[Path],
    as_of: date,
    features: Sequence[str],
    settings: Features,
    *,
    since: date | None = None,
    compute: Compute | None = None,
    folder: Path | None = None,
) -> list[Drift]:
    """Compare features at an as-of date with those of a year earlier; what moved most lately first.

    transactions: valid rows in canonical columns; rows from `as_of` on change nothing.  features:
    names, such as those of the champion; one that the catalogue does not have is left out.
    since: the as-of date of before the alarm that is to be explained; none: a month before.
    folder: where DuckDB may spill.

    All dates have the customers that training selects (`active_days`), and are computed in one
    pass. Where the log does not reach back a year before `since`, the largest PSI comes first.
    """
    since = since or first_day(add_months(month_of(as_of), -1))
    dates = [as_of, year_before(as_of), since, year_before(since)]
    selected = [CATALOGUE[NAMES.index(name)] for name in features if name in NAMES]
    if not selected:
        return []
    drifts = []
    with connect(folder, compute) as connection:
        connection.execute(
            f"CREATE VIEW transactions AS FROM {parquet(transactions)}"
            f" WHERE invoiced_at < '{as_of}'"
        )
        read_log(connection, settings)
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        connection.executemany(
            "INSERT INTO as_of_dates VALUES (?)", [[day] for day in sorted(set(dates))]
        )
        make(connection, "spine")
        build_features(connection, selected)
        for one in selected:
            now, before, *earlier = _columns(connection, one.name, dates)
            months = _month(as_of), _month(dates[1])
            drifts.append(compare(one.name, now, before, *months, Earlier(since, *earlier)))
    return sorted(drifts, key=lambda one: one.explains, reverse=True)


def score_drift(
    scores: Path, *, last_year: Path | None = None, previous: Path | None = None
) -> Drift | None:
    """Compare the scores of an as-of date with those of the same day a year before, or, where there
    are none by the same version, with the previous ones.

    All three: Parquet with as_of, version and probability. None where there is nothing to compare
    with: the scores of another version differ whatever the customers do.
    """
    as_of, version, now = read_scores(scores)
    for other in (last_year, previous):
        if other is None:
            continue
        day, theirs, before = read_scores(other)
        if theirs == version:
            return compare(SCORE, now, before, _month(as_of), _month(day))
    return None


@dataclass(frozen=True)
class Earlier:
    """The same column, (k,) and (l,), as of an earlier day and a year before that."""

    since: date
    now: np.ndarray
    before: np.ndarray


def compare(
    name: str,
    now: np.ndarray,
    before: np.ndarray,
    month: str,
    beside: str,
    earlier: Earlier | None = None,
) -> Drift:
    """Compute the drift of one column: float (n,) and (m,), NaN where a value is missing."""
    enough = min(len(now), len(before)) >= FEWEST
    if earlier and (not enough or min(len(earlier.now), len(earlier.before)) < FEWEST):
        earlier = None
    known_now, known_before = _known(now), _known(before)
    drift = Drift(
        month=month,
        feature=name,
        beside=beside,
        psi=psi(now, before) if enough else None,
        ks=ks(known_now, known_before)
        if enough and min(len(known_now), len(known_before)) >= FEWEST
        else None,
        mean=_mean(now),
        mean_before=_mean(before),
        missing=_missing(now),
        missing_before=_missing(before),
        moved=_moved(now, before, earlier) if earlier else None,
    )
    return replace(drift, text=in_words(drift, len(now), len(before), earlier))


def psi(now: np.ndarray, before: np.ndarray) -> float:
    """Compute the population stability index, over the deciles of `before` and a bin of missing
    values.

    A value that fills several deciles is one bin; half a row is added to each bin, so that an empty
    one does not make the index infinite.
    """
    edges = _edges(_known(before))
    counts = np.stack([_count(values, edges) for values in (now, before)]) + 0.5
    counts = counts[:, counts.sum(axis=0) > 1]  # without bins that are empty in both
    a, b = counts / counts.sum(axis=1, keepdims=True)
    return float(np.sum((a - b) * np.log(a / b)))


def in_words(drift: Drift, rows: int, rows_before: int, earlier: Earlier | None = None) -> str:
    """Describe a drift: `orders_30d (invoices): mean 1.9, a year before 2.6; as of 2026-07-01 2.5
    and 2.6; PSI …`."""
    years = int(drift.month[:4]) - int(drift.beside[:4])
    same = drift.month[5:] == drift.beside[5:] and years == 1
    when = "a year before" if same else f"in {drift.beside}"
    if not rows_before:
        return f"{drift.feature}: there are no customers {when} to compare with."
    if min(rows, rows_before) < FEWEST:
        few = f"{rows:,} customers, {when} {rows_before:,}; {FEWEST} of each are needed"
        return f"{drift.feature}: too few to compare: {few}."
    unit = UNITS.get(drift.feature)
    parts = [f"{drift.feature} ({unit})" if unit else drift.feature]
    if drift.mean is None or drift.mean_before is None:
        parts[0] += ":"
    else:
        parts[0] += f": mean {_number(drift.mean)}, {when} {_number(drift.mean_before)}"
    rest = []
    then = [_mean(values) for values in (earlier.now, earlier.before)] if earlier else []
    if earlier and None not in then:
        rest.append(f"as of {earlier.since} {' and '.join(_number(m or 0.0) for m in then)}")
    if abs(drift.missing - drift.missing_before) >= 0.005:
        rest.append(f"missing for {drift.missing:.1%}, {when} for {drift.missing_before:.1%}")
    elif drift.mean is None and drift.mean_before is None:
        rest.append("missing for all customers in both")
    if drift.psi is not None:
        rest.append(f"PSI {drift.psi:.2f}")
    joined = "; ".join(rest)
    glue = " " if parts[0].endswith(":") else "; "
    return f"{parts[0]}{glue}{joined}."


def _edges(values: np.ndarray) -> np.ndarray:
    """The upper ends of all bins but the last; a bin includes its upper end."""
    if not len(values):
        return np.empty(0)
    if values.min() == values.max():  # below it, the value, and above it
        return np.array([np.nextafter(values[0], -np.inf), values[0]])
    shares = np.arange(1, BINS) / BINS
    return np.unique(np.quantile(values, shares, method="inverted_cdf"))


def _count(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count the rows in each bin, and last those without a value."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return np.append(counts, missing.sum()).astype(np.float64)


def _columns(
    connection: DuckDBPyConnection, name: str, dates: Sequence[date]
) -> Iterator[np.ndarray]:
    """A feature at each of the dates, NaN where missing. One feature at a time: all of them would
    be hundreds of megabytes of a million customers."""
    columns = connection.execute(
        f"SELECT as_of, {name} AS value FROM features"
        " ORDER BY row_id"  # so that a mean has the same last digit every time
    ).fetchnumpy()
    as_of = columns["as_of"].astype("datetime64[D]")
    value = np.ma.filled(columns["value"].astype(np.float64), np.nan)
    for day in dates:
        yield value[as_of == np.datetime64(day)]


def _moved(now: np.ndarray, before: np.ndarray, earlier: Earlier) -> float:
    """Compute by how much the shift against the year before, or the share without a value, differs
    from that at the earlier day."""
    pairs = (now, before), (earlier.now, earlier.before)
    gap, gap_then = (_missing(a) - _missing(b) for a, b in pairs)
    shift, shift_then = _shift(now, before), _shift(earlier.now, earlier.before)
    moved = abs(gap - gap_then)
    if shift is None or shift_then is None:
        return moved
    return max(moved, abs(shift - shift_then))


def _shift(now: np.ndarray, before: np.ndarray) -> float | None:
    """Compute the probability that a value of `now` is above one of `before`; ties count half."""
    known_now, known_before = _known(now), _known(before)
    is_now = np.r_[np.ones(len(known_now)), np.zeros(len(known_before))]
    ranked = rank(np.concatenate([known_now, known_before]), is_now)
    return None if ranked is None else ranked.roc_auc


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _mean(values: np.ndarray) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None


def _missing(values: np.ndarray) -> float:
    return float(np.isnan(values).mean()) if len(values) else 0.0


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _month(as_of: date) -> str:
    """The month that ends before an as-of date."""
    return month_of(as_of - timedelta(days=1))
