"""The usual rules for drift, on features at month ends, for `make bench-monitoring`.

Each compares the customers as of the end of a month with those of the training year (all month ends
of the baseline together) and with those of the same month of the year before:

- `psi`: the PSI of any feature is above .2;
- `ks`: a Kolmogorov-Smirnov test of any feature says so at 5 %, by Bonferroni;
- `evidently`: what Evidently does by default, re-implemented, as it does not run on our pandas: at
  least half of the columns drift, by a rule for their type. More than 1,000 reference rows: a
  Wasserstein distance of at least .1 standard deviations for numbers, a Jensen-Shannon distance of
  at least .1 where there are five values at most. Fewer rows: a KS or chi-squared test at 5 %;
- `classifier`: XGBoost tells the two apart with a ROC AUC above .6, out of fold by customer.
"""

from __future__ import annotations

import tempfile
import zlib
from datetime import date
from pathlib import Path

import numpy as np

from common.duck import connect, parquet
from configs.settings import Compute, Settings
from features.catalogue import NAMES
from features.engine import build_features, make, read_log
from ingestion.outcome import TRANSACTIONS
from monitoring.drift import psi
from monitoring.facts import add_months, end_of
from tests.bench.monitoring_shops import BASELINE, OPERATED, keep, make_shop, read_kept

RULES = ("psi", "ks", "evidently", "classifier")
REFERENCES = ("training year", "last year")
LARGE = 1000  # rows of Evidently's reference, above which it measures distances
CATEGORIES = 5  # values of a column, up to which Evidently takes it for categorical
ROUNDS, DEPTH, FOLDS = 50, 4, 2
Alarms = dict[str, dict[str, list[bool]]]
Customers = dict[str, tuple[np.ndarray, np.ndarray]]  # month -> ids (n,), features (n, features)


def rules_alarms(seed: int) -> Alarms:
    """For each reference and rule, whether it alarms in each operated month of the undrifted shop
    of this seed; kept."""
    if (kept := kept_alarms(seed)) is not None:
        return kept
    with tempfile.TemporaryDirectory() as name:
        customers = month_ends(make_shop("undrifted", seed, Path(name)), Path(name))
    training = tuple(np.concatenate(part) for part in zip(*(customers[m] for m in BASELINE)))
    found: Alarms = {reference: {rule: [] for rule in RULES} for reference in REFERENCES}
    for month in OPERATED:
        others = (training, customers[add_months(month, -12)])
        for reference, other in zip(REFERENCES, others, strict=True):
            for rule, alarm in judge(customers[month], other).items():
                found[reference][rule].append(alarm)
    keep(f"rules-{seed}", found)
    return found


def kept_alarms(seed: int) -> Alarms | None:
    """The same, if it has been measured."""
    return read_kept(f"rules-{seed}")


def month_ends(settings: Settings, folder: Path) -> Customers:
    """Everybody who bought within `active_days`, as of the end of each month."""
    months = [*BASELINE, *OPERATED]
    with connect(folder, Compute(threads=1)) as connection:
        connection.execute(f"CREATE VIEW transactions AS FROM {parquet(folder / TRANSACTIONS)}")
        read_log(connection, settings.features)
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        connection.executemany("INSERT INTO as_of_dates VALUES (?)", [[end_of(m)] for m in months])
        make(connection, "spine")
        build_features(connection)
        found = connection.execute("FROM features ORDER BY row_id").fetchnumpy()
    x = np.column_stack([np.ma.filled(found[n].astype(np.float64), np.nan) for n in NAMES])
    ids, as_of = np.asarray(found["customer_id"], dtype=str), found["as_of"]
    return {month: (ids[at], x[at]) for month in months for at in [_as_of(as_of, end_of(month))]}


def judge(
    now: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> dict[str, bool]:
    """Whether each rule says that `now` is not distributed as `other`."""
    from scipy.stats import ks_2samp

    a, b = now[1], other[1]
    columns = [(a[:, n], b[:, n]) for n in range(a.shape[1])]
    known = [(here[~np.isnan(here)], there[~np.isnan(there)]) for here, there in columns]
    p = [ks_2samp(here, there, method="asymp").pvalue for here, there in known]
    drifted = [evidently(here, there) for here, there in known]
    return {
        "psi": max(psi(here, there) for here, there in columns) > 0.2,
        "ks": bool(min(p) < 0.05 / len(p)),
        "evidently": bool(np.mean(drifted) >= 0.5),
        "classifier": tell_apart(now, other) > 0.6,
    }


def evidently(now: np.ndarray, reference: np.ndarray) -> bool:
    """Whether a column drifts; missing values are left out."""
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

    values = np.unique(np.concatenate([now, reference]))
    counts = np.array([(side[:, None] == values).sum(axis=0) for side in (now, reference)]) if (
        len(values) <= CATEGORIES
    ) else None  # fmt: skip
    if len(reference) > LARGE:
        if counts is not None:
            shares = counts / counts.sum(axis=1, keepdims=True)
            return bool(jensenshannon(*shares) >= 0.1)
        scale = max(float(np.std(reference)), 0.001)
        return bool(wasserstein_distance(now, reference) / scale >= 0.1)
    if counts is not None:
        return bool(len(values) > 1 and chi2_contingency(counts).pvalue < 0.05)
    return bool(ks_2samp(now, reference).pvalue < 0.05)


def tell_apart(now: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """ROC AUC out of fold. As many of either side, and all rows of a customer in one fold, or the
    classifier would know the customers."""
    import xgboost
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    size = min(len(now[0]), len(other[0]))
    picked = [rng.choice(len(side[0]), size, replace=False) for side in (now, other)]
    x = np.concatenate([side[1][rows] for side, rows in zip((now, other), picked)])
    ids = np.concatenate([side[0][rows] for side, rows in zip((now, other), picked)])
    y = np.repeat([1, 0], size)
    fold = np.array([zlib.crc32(one.encode()) % FOLDS for one in ids])
    p = np.empty(len(y))
    settings = {"max_depth": DEPTH, "objective": "binary:logistic", "nthread": 1, "seed": 0}
    for number in range(FOLDS):
        train = xgboost.DMatrix(x[fold != number], y[fold != number])
        booster = xgboost.train(settings, train, ROUNDS)
        p[fold == number] = booster.predict(xgboost.DMatrix(x[fold == number]))
    return float(roc_auc_score(y, p))


def _as_of(column: np.ndarray, day: date) -> np.ndarray:
    return column.astype("datetime64[D]") == np.datetime64(day)
