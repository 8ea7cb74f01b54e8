"""Join scores with their labels: the label of training, and the early label, known months before.

A label of 90 days is known 90 days after the as-of date. Before that only buyers are known, so a
date whose window is not over is never joined. The label and the single feature that a champion is
compared with come from the SQL of training (`features/engine.py`); the log may hold later rows,
which change nothing here.

The *early label* is who bought within four weeks of the as-of date. What share of the buyers of 90
days should have bought by then depends on the season and is not known, but it was seen a year ago:
so the ratio of early buyers to the sum of the probabilities is compared with the same ratio of the
same champion's scores of the same day a year before. It shows months before the labels whether
customers buy less, or more, than the scores imply. It never decides: a season moves it as much as a
worse champion does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.duck import connect, parquet
from common.statistics import clustered_error
from configs.settings import Compute, Features
from features.catalogue import CATALOGUE, Feature
from features.engine import build_features, make, read_log
from monitoring.facts import Reading, State, add_months, month_of, year_before

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

EARLY_LABEL = "early_label"
# Four weeks: known before the next as-of date even in February, and each weekday four times.
EARLY_DAYS = 28
EARLY_LIMIT = 3.5
PENDING = 0.75  # of that limit: two months in a row beyond it, on one side, are an alarm too
# Of the log ratio: what two years differ by without any drift, measured in undrifted shops
# (`tests/bench/monitoring_labels.py`).
BETWEEN_YEARS = 0.02
FEWEST_EARLY = 50  # early buyers on each day: with fewer nothing is compared


@dataclass(frozen=True)
class Outcomes:
    """The scores of one as-of date by one version, with their labels. Arrays (n,), by customer.

    customer: int64, the same number for the same customer in all that were read together.
    probability: float64.  bought: int8 of 0 and 1.  baseline: float64, the champion's best single
    feature as a ranking (more is more likely); None where none was named.  whole_from: from this
    as-of date on, the log holds all of the `active_days` before it; None where that is not known.
    """

    as_of: date
    version: int
    customer: np.ndarray
    probability: np.ndarray
    bought: np.ndarray
    baseline: np.ndarray | None = None
    baseline_name: str | None = None
    whole_from: date | None = None

    def __len__(self) -> int:
        return len(self.customer)


def ripe(as_of: date, days: int, known_until: date) -> bool:
    """Decide whether it is known who bought in the `days` from `as_of` on.

    known_until: the first day whose rows are not known, such as the first day after the last whole
    month of the log.
    """
    return as_of + timedelta(days=days) <= known_until


def read_scores(scores: Path) -> tuple[date, int, np.ndarray]:
    """Read the as-of date, version and probabilities (n,) of a Parquet file of one date and
    version. Raises ValueError where it has no row."""
    import pyarrow.parquet as pq

    table = pq.read_table(scores, columns=["as_of", "version", "probability"])
    if not table.num_rows:
        raise ValueError(f"{scores} has no scores")
    return table["as_of"][0].as_py(), table["version"][0].as_py(), table["probability"].to_numpy()


def read_outcomes(
    scores: Sequence[Path],
    transactions: Path | list[Path],
    settings: Features,
    *,
    known_until: date,
    days: int | None = None,
    baseline: Mapping[str, Any] | None = None,
    compute: Compute | None = None,
    folder: Path | None = None,
) -> list[Outcomes]:
    """Join scores with what was bought in the window after their as-of date, all in one pass.

    scores: Parquet files with customer_id, as_of, probability and version, each of one as-of date
    and version; the result is in their order by date and version.  transactions: valid rows in
    canonical columns.  days: length of the window; none: settings.horizon_days.  baseline: what
    `bundle.json` says of the single feature: feature, direction (1 or -1), missing (first or last);
    a feature that the catalogue does not have (any more) is left out.  folder: where DuckDB may
    spill.

    Raises ValueError for a date whose window is not over, and where a file does not hold one
    as-of date and version, or a customer twice.
    """
    days = settings.horizon_days if days is None else days
    feature = _single_feature(baseline)
    if not scores:
        return []
    with connect(folder, compute) as connection:
        connection.execute(f"""
            CREATE TABLE scored AS
            SELECT customer_id, as_of, CAST(version AS INTEGER) AS version, probability
            FROM {parquet(list(scores))}
        """)
        dates = _dates(connection, len(scores))
        if unripe := [day for day in dates if not ripe(day, days, known_until)]:
            raise ValueError(f"the window of {days} days after {unripe[0]} is not over")
        end = max(dates) + timedelta(days=days)
        connection.execute(
            f"CREATE VIEW transactions AS FROM {parquet(transactions)} WHERE invoiced_at < '{end}'"
        )
        read_log(connection, settings)
        connection.execute("CREATE TABLE spine AS SELECT DISTINCT customer_id, as_of FROM scored")
        value = "NULL"
        if feature:
            build_features(connection, (feature,))  # before the window is changed: some read it
            value = feature.name
        connection.execute(f"SET VARIABLE horizon_days = {days}")
        make(connection, "buyers")
        (log_start,) = connection.execute("SELECT first_day FROM log_start").fetchall()[0]
        rows = connection.execute(f"""
            SELECT as_of, version, dense_rank() OVER (ORDER BY customer_id) - 1 AS customer,
                   probability, CAST(buyers.customer_id IS NOT NULL AS TINYINT) AS bought,
                   CAST({value} AS DOUBLE) AS baseline
            FROM scored LEFT JOIN buyers USING (customer_id, as_of)
            {"LEFT JOIN features USING (customer_id, as_of)" if feature else ""}
            ORDER BY as_of, version, customer
        """).fetchnumpy()
    whole_from = log_start and log_start + timedelta(days=settings.active_days)
    outcomes = _split(rows, baseline if feature else None)
    return [replace(one, whole_from=whole_from) for one in outcomes]


def _single_feature(baseline: Mapping[str, Any] | None) -> Feature | None:
    named = [one for one in CATALOGUE if baseline and one.name == baseline.get("feature")]
    return named[0] if named and baseline and baseline.get("direction") in (1, -1) else None


def _dates(connection: DuckDBPyConnection, files: int) -> list[date]:
    """List the as-of dates. Raises ValueError where a file has several, or two files the same."""
    counts = connection.execute(
        "SELECT as_of, version, count(*), count(DISTINCT customer_id) FROM scored GROUP BY ALL"
    ).fetchall()
    if twice := [row for row in counts if row[2] != row[3]]:
        day, version, rows, customers = twice[0]
        raise ValueError(f"version {version} as of {day}: {rows} rows of {customers} customers")
    if len(counts) > files:
        raise ValueError(f"{files} files of scores hold {len(counts)} dates and versions")
    return [day for day, *_ in counts]


def _split(rows: dict[str, np.ndarray], baseline: Mapping[str, Any] | None) -> Iterator[Outcomes]:
    """Make one Outcomes per as-of date and version of sorted rows."""
    day, version = rows["as_of"].astype("datetime64[D]"), rows["version"]
    if not len(day):
        return
    ranking = None
    if baseline:
        value = np.ma.filled(rows["baseline"].astype(np.float64), np.nan)
        gap = np.inf if baseline.get("missing") == "first" else -np.inf
        ranking = np.where(np.isnan(value), gap, baseline["direction"] * value)
    change = (day[1:] != day[:-1]) | (version[1:] != version[:-1])
    edges = [0, *(np.flatnonzero(change) + 1), len(day)]
    for first, last in pairwise(edges):
        yield Outcomes(
            as_of=day[first].item(),
            version=int(version[first]),
            customer=rows["customer"][first:last],
            probability=np.asarray(rows["probability"][first:last], dtype=np.float64),
            bought=np.asarray(rows["bought"][first:last], dtype=np.int8),
            baseline=None if ranking is None else ranking[first:last],
            baseline_name=str(baseline["feature"]) if baseline else None,
        )


# --- the early label ------------------------------------------------------------------------------


def early_label(
    outcomes: Sequence[Outcomes],
    month: str,
    *,
    as_of: date,
    previous: Reading | None = None,
    until: str | None = None,
) -> Reading:
    """Compare the early label of the scores as of a day with that of the same version a year
    before.

    outcomes: of one version on both days, read together with `days=EARLY_DAYS` (`read_outcomes`).
    month: the one that is judged.  previous: the early label of the month before it.  until: the
    month from which there are scores of a year before.

    value: log of early buyers over the sum of the probabilities.  expected: the same a year before.
    sd: the error of their difference, clustered by customer, and what years differ by.
    """
    now = next((one for one in outcomes if one.as_of == as_of), None)
    key = now and (year_before(as_of), now.version)
    before = next((one for one in outcomes if (one.as_of, one.version) == key), None)
    blank = Reading(EARLY_LABEL, month, "learning", limit=EARLY_LIMIT, until=until)
    if now is None:
        return replace(blank, text=f"No scores as of {as_of} have four weeks behind them.")
    blank = replace(blank, n=len(now))
    if before is None:
        text = (
            f"{now.bought.sum():,} of {len(now):,} customers bought within four weeks of {as_of};"
            f" version {now.version} has no scores as of {year_before(as_of)} to compare with."
        )
        return replace(blank, text=text)
    if before.whole_from and before.as_of < before.whole_from:
        text = (
            f"The log does not hold all customers of {before.as_of}: scores from before"
            f" {before.whole_from} are not compared."
        )
        return replace(blank, text=text, until=_first_month(before.whole_from))
    if min(now.bought.sum(), before.bought.sum()) < FEWEST_EARLY:
        text = (
            f"Too few to judge: {now.bought.sum()} customers bought within four weeks of {as_of}"
            f" and {before.bought.sum()} a year before; {FEWEST_EARLY} are needed."
        )
        return replace(blank, state="too_few", text=text)
    value, expected = _log_ratio(now), _log_ratio(before)
    parts = np.concatenate([_parts(now), -_parts(before)])
    sampling = clustered_error(parts, np.concatenate([now.customer, before.customer]))
    sd = float(np.hypot(sampling, BETWEEN_YEARS))
    z = (value - expected) / sd
    ratio = np.exp(value - expected)
    return replace(
        blank,
        state=_state(z, previous),
        value=value,
        expected=expected,
        sd=sd,
        z=z,
        until=None,
        text=(
            f"{now.bought.mean():.1%} of {len(now):,} customers bought within four weeks of"
            f" {as_of}: {ratio:.2f} times what the scores imply by the ratio of a year before"
            f" ({np.exp(-EARLY_LIMIT * sd):.2f} to {np.exp(EARLY_LIMIT * sd):.2f} is usual)."
        ),
    )


def _first_month(whole_from: date) -> str:
    """The first month whose first day is a year or more after that."""
    month = add_months(month_of(whole_from), 12)
    return month if whole_from.day == 1 else add_months(month, 1)


def _state(z: float, previous: Reading | None) -> State:
    if abs(z) > EARLY_LIMIT:
        return "alarm"
    if abs(z) <= PENDING * EARLY_LIMIT:
        return "ok"
    before = previous.z if previous and previous.z is not None else 0.0
    return "alarm" if abs(before) > PENDING * EARLY_LIMIT and before * z > 0 else "pending"


def _log_ratio(outcomes: Outcomes) -> float:
    return float(np.log(outcomes.bought.sum() / outcomes.probability.sum()))


def _parts(outcomes: Outcomes) -> np.ndarray:
    """Compute what each row (n,) adds to the error of the log ratio (delta method)."""
    buyers = float(outcomes.bought.sum())
    return (outcomes.bought - outcomes.probability * buyers / outcomes.probability.sum()) / buyers
