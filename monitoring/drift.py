"""How features and scores are distributed, beside the same month of the year before.

A shop's features move all the time: customers grow older, the season changes. So a drift of
features explains an alarm and never is one: in undrifted simulated years the usual rules alarm in
up to 100 % of the months. PSI: Siddiqi 2006, Credit Risk Scorecards, chapter 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from configs.duck import connect, parquet
from configs.settings import Compute, Features
from features.catalogue import CATALOGUE, NAMES
from features.engine import build_features, read_log, run
from monitoring.facts import Drift, month_of, year_before

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
    compute: Compute | None = None,
    folder: Path | None = None,
) -> list[Drift]:
    """Compare features at an as-of date with those of a year earlier, the most drifted first.

    transactions: valid rows in canonical columns; rows from `as_of` on change nothing.  features:
    names, such as those of the champion; one that the catalogue does not have is left out.
    Both dates have the customers that training asks about (`active_days`), and both are computed in
    one pass. folder: where DuckDB may spill.
    """
    before = year_before(as_of)
    wanted = [CATALOGUE[NAMES.index(name)] for name in features if name in NAMES]
    if not wanted:
        return []
    with connect(folder, compute) as connection:
        connection.execute(
            f"CREATE VIEW transactions AS FROM {parquet(transactions)}"
            f" WHERE invoiced_at < '{as_of}'"
        )
        read_log(connection, settings)
        connection.execute(
            f"CREATE TABLE as_of_dates AS SELECT unnest([DATE '{as_of}', DATE '{before}']) AS as_of"
        )
        run(connection, "spine")
        build_features(connection, wanted)
        found = connection.execute("FROM features").fetchnumpy()
    is_now = found["as_of"].astype("datetime64[D]") == np.datetime64(as_of)
    columns = {one.name: _numbers(found[one.name]) for one in wanted}
    drifts = [
        compare(name, values[is_now], values[~is_now], _month(as_of), _month(before))
        for name, values in columns.items()
    ]
    return sorted(drifts, key=lambda drift: -1.0 if drift.psi is None else drift.psi, reverse=True)


def score_drift(
    scores: Path, *, last_year: Path | None = None, previous: Path | None = None
) -> Drift | None:
    """Compare the scores of an as-of date with those of the same day a year before, or, where there
    are none by the same version, with the previous ones.

    All three: Parquet with as_of, version and probability. None where there is nothing to compare
    with: the scores of another version differ whatever the customers do.
    """
    as_of, version, now = _read(scores)
    for other in (last_year, previous):
        if other is None:
            continue
        day, theirs, before = _read(other)
        if theirs == version:
            return compare(SCORE, now, before, _month(as_of), _month(day))
    return None


def compare(name: str, now: np.ndarray, before: np.ndarray, month: str, beside: str) -> Drift:
    """The drift of one column: float (n,) and (m,), NaN where a value is missing."""
    here, there = now[~np.isnan(now)], before[~np.isnan(before)]
    enough = min(len(now), len(before)) >= FEWEST
    drift = Drift(
        month=month,
        feature=name,
        beside=beside,
        psi=psi(now, before) if enough else None,
        ks=ks(here, there) if enough and min(len(here), len(there)) >= FEWEST else None,
        mean=float(here.mean()) if len(here) else None,
        mean_before=float(there.mean()) if len(there) else None,
        missing=1 - len(here) / len(now) if len(now) else 0.0,
        missing_before=1 - len(there) / len(before) if len(before) else 0.0,
    )
    return Drift(**{**vars(drift), "text": in_words(drift, len(now), len(before))})


def psi(now: np.ndarray, before: np.ndarray) -> float:
    """The population stability index, over the deciles of `before` and a bin for what is missing.

    A value that fills several deciles is one bin; half a row is added to each bin, so that an empty
    one is not infinitely far.
    """
    edges = _edges(before[~np.isnan(before)])
    counts = np.stack([_count(values, edges) for values in (now, before)]) + 0.5
    counts = counts[:, counts.sum(axis=0) > 1]  # bins that both leave empty say nothing
    a, b = counts / counts.sum(axis=1, keepdims=True)
    return float(np.sum((a - b) * np.log(a / b)))


def ks(now: np.ndarray, before: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of two samples without NaN: the largest difference of their
    cumulative shares."""
    values = np.concatenate([now, before])
    shares = [
        np.searchsorted(np.sort(sample), values, side="right") / len(sample)
        for sample in (now, before)
    ]
    return float(np.max(np.abs(shares[0] - shares[1])))


def in_words(drift: Drift, rows: int, rows_before: int) -> str:
    """`orders_30d (invoices): mean 1.9, a year before 2.6; PSI 0.31.`"""
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
    said = []
    if abs(drift.missing - drift.missing_before) >= 0.005:
        said.append(f"missing for {drift.missing:.1%}, {when} for {drift.missing_before:.1%}")
    elif drift.mean is None and drift.mean_before is None:
        said.append("missing for all customers in both")
    if drift.psi is not None:
        said.append(f"PSI {drift.psi:.2f}")
    joined = "; ".join(said)
    glue = " " if parts[0].endswith(":") else "; "
    return f"{parts[0]}{glue}{joined}."


def _edges(values: np.ndarray) -> np.ndarray:
    """Upper ends of all bins but the last; a bin holds its upper end."""
    if not len(values):
        return np.empty(0)
    if values.min() == values.max():  # below it, the value, and above it
        return np.array([np.nextafter(values[0], -np.inf), values[0]])
    shares = np.arange(1, BINS) / BINS
    return np.unique(np.quantile(values, shares, method="inverted_cdf"))


def _count(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Rows in each bin, and last those without a value."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return np.append(counts, missing.sum()).astype(np.float64)


def _numbers(column: np.ndarray) -> np.ndarray:
    return np.ma.filled(column.astype(np.float64), np.nan)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _read(scores: Path) -> tuple[date, int, np.ndarray]:
    """As-of date, version and probabilities of one file."""
    import pyarrow.parquet as pq

    table = pq.read_table(scores, columns=["as_of", "version", "probability"])
    if not table.num_rows:
        raise ValueError(f"{scores} holds no score")
    return table["as_of"][0].as_py(), table["version"][0].as_py(), table["probability"].to_numpy()


def _month(as_of: date) -> str:
    """The month that ends before an as-of date."""
    return month_of(as_of - timedelta(days=1))
