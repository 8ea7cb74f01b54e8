"""`make bench-ablation`: what each group of features adds on the real file, for docs/ablation.md.

XGBoost and logistic regression with fixed parameters, on the validation date and on the months
before it, by the project's own splits. The test split is not built at all: nothing here may be
chosen by it. Groups that were tried and left out are `tests/bench/candidates/*.sql`. The rule that
reads the figures is in `ablation_page.py`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from common.duck import connect, parquet
from configs.load import load
from configs.settings import Settings
from features.catalogue import GROUPS, NAMES
from features.engine import build_features, make, read_log
from features.splits import as_of_dates
from features.table import Rows
from ingestion.files import read_file
from ingestion.outcome import TRANSACTIONS
from ingestion.sources import expand
from ingestion.validate import validate_batch
from tests.bench.ablation_gain import Gain, draw, roc_auc, rolling_gain
from tests.bench.ablation_page import Row, page
from tests.places import HOW_TO_GET_IT, real_log
from training.families import logistic, xgboost

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ablation.md"
CANDIDATES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "tests" / "bench" / "candidates").glob("*.sql"))
}
SEEDS = (1, 2, 3, 4, 5)
MONTHS_BACK = (0, 1, 2, 3)  # validation dates: the project's own, and the months before it
PARAMS = xgboost.BASELINE | {"rounds": 200}
BOOTSTRAP = 1000


@dataclass(frozen=True)
class Split:
    """Rows to learn from and to judge by, at one validation date."""

    valid_date: date
    train: pd.DataFrame
    valid: pd.DataFrame


@dataclass(frozen=True)
class Judged:
    """One set of features: probabilities of the validation rows per date, the latest date first.
    XGBoost's are the mean over the seeds."""

    xgboost: list[np.ndarray]
    logistic: list[np.ndarray]


def main() -> int:
    if real_log() is None:
        print(HOW_TO_GET_IT)
        return 1
    begun = time.perf_counter()
    PAGE.write_text(page(*measure()), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} in {time.perf_counter() - begun:.0f} s")
    return 0


def measure() -> tuple[list[str], list[Row], list[Row]]:
    """What is said about the measurement, a row per group, and a row per candidate."""
    splits, columns = build(load("online_retail", ["--source.path", str(real_log())]))
    resamples = draw([split.valid["customer_id"].to_numpy() for split in splits], BOOTSTRAP)
    full = judge(splits, list(NAMES))
    groups, tried = [], []
    for name, members in GROUPS.items():
        print(name, flush=True)
        own = [feature.name for feature in members]
        alone = judge(splits, own)
        without = judge(splits, [feature for feature in NAMES if feature not in own])
        gains = gain(splits, resamples, full, without)
        groups.append(Row(name, len(own), *gains, alone=mean_roc_auc(splits, alone.xgboost)))
    for name, sql in CANDIDATES.items():
        print("tried:", name, flush=True)
        more = judge(splits, [*NAMES, *columns[name]])
        about = sql.split("\n")[0].removeprefix("-- ").rstrip(".")
        about = about[0].lower() + about[1:]
        gains = gain(splits, resamples, more, full)
        tried.append(Row(name, len(columns[name]), *gains, about=about))
    return about_it(splits, full), groups, tried


def build(settings: Settings) -> tuple[list[Split], dict[str, list[str]]]:
    """The splits, with every feature and candidate; and the columns of each candidate."""
    with tempfile.TemporaryDirectory() as name, connect(Path(name)) as connection:
        folder = Path(name)
        (path,) = expand(settings.source)
        read_file(settings.source, path, folder / "rows.parquet", settings.compute, label="real")
        rows = [folder / "rows.parquet"]
        validate_batch(rows, folder, settings.contract, now=datetime.now())
        connection.execute(f"CREATE VIEW transactions AS FROM {parquet(folder / TRANSACTIONS)}")
        read_log(connection, settings.features)
        plans = [split_dates(connection, settings, back) for back in MONTHS_BACK]
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        for day in sorted({day for train, valid in plans for day in (*train, *valid)}):
            connection.execute("INSERT INTO as_of_dates VALUES (?)", [day])
        make(connection, "spine")
        build_features(connection)
        make(connection, "buyers")
        columns = {}
        for candidate, sql in CANDIDATES.items():
            connection.execute(f"CREATE TABLE candidate_{candidate} AS {sql}")
            columns[candidate] = connection.table(f"candidate_{candidate}").columns[1:]
        joins = " ".join(f"LEFT JOIN candidate_{name} USING (row_id)" for name in CANDIDATES)
        frame = connection.sql(f"""
            SELECT * EXCLUDE row_id, CAST(buyers.customer_id IS NOT NULL AS TINYINT) AS label
            FROM features {joins} LEFT JOIN buyers USING (customer_id, as_of)
            ORDER BY row_id
        """).df()
    frame["as_of"] = frame["as_of"].dt.date
    splits = [
        Split(valid[0], frame[frame["as_of"].isin(train)], frame[frame["as_of"].isin(valid)])
        for train, valid in plans
    ]
    return splits, columns


def split_dates(connection, settings: Settings, back: int) -> tuple[list[date], list[date]]:
    """Training and validation dates if the last test date were `back` months earlier."""
    first, last = connection.execute("SELECT min(day), max(day) FROM order_parts").fetchone()
    end = pd.Timestamp(settings.features.last_as_of) - pd.DateOffset(months=back)
    moved = settings.features.model_copy(update={"last_as_of": end.date()})
    dates = as_of_dates(first, last, moved)
    return dates["train"], dates["valid"]


def judge(splits: list[Split], names: list[str]) -> Judged:
    boosted, linear = [], []
    for split in splits:
        train, valid = rows(split.train, names), rows(split.valid, names)
        drawn = [
            xgboost.predict(xgboost.fit(PARAMS, train, None, seed=seed, threads=2), valid.x)
            for seed in SEEDS
        ]
        boosted.append(np.mean(drawn, axis=0))
        model = logistic.fit(logistic.BASELINE, train, None, seed=1, threads=2)
        linear.append(logistic.predict(model, valid.x))
    return Judged(boosted, linear)


def rows(frame: pd.DataFrame, names: list[str]) -> Rows:
    return Rows(
        x=frame[names].to_numpy(np.float32, na_value=np.nan),
        y=frame["label"].to_numpy(np.int8),
        customer_id=frame["customer_id"].to_numpy(),
        as_of=frame["as_of"].to_numpy(),
    )


def mean_roc_auc(splits: list[Split], p: list[np.ndarray]) -> float:
    return float(np.mean([score(split, of_date) for split, of_date in zip(splits, p, strict=True)]))


def score(split: Split, p: np.ndarray) -> float:
    return float(roc_auc(split.valid["label"].to_numpy(), p, np.ones((1, len(p))))[0])


def gain(
    splits: list[Split], resamples: list[np.ndarray], larger: Judged, smaller: Judged
) -> tuple[Gain, Gain]:
    """XGBoost's and logistic regression's."""
    labels = [split.valid["label"].to_numpy() for split in splits]
    return (
        rolling_gain(labels, larger.xgboost, smaller.xgboost, resamples),
        rolling_gain(labels, larger.logistic, smaller.logistic, resamples),
    )


def about_it(splits: list[Split], full: Judged) -> list[str]:
    newest = splits[0]
    dates = ", ".join(str(split.valid_date) for split in splits)
    scores = ", ".join(f"{score(s, p):.4f}" for s, p in zip(splits, full.xgboost, strict=True))
    params = ", ".join(f"{key} {value:g}" for key, value in PARAMS.items())
    trained = newest.train["as_of"]
    return [
        f"Rolling mean: over the validation dates {dates}; the first has {len(newest.valid):,}",
        f"customers and is learnt from {len(newest.train):,} rows as of {trained.min()} to"
        f" {trained.max()}. The test split takes no part.",
        f"XGBoost, the same for all: {params};",
        f"probabilities are the mean of seeds {', '.join(map(str, SEEDS))}."
        " Logistic regression: the family's starting parameters.",
        f"All features: ROC AUC {scores} at these dates;"
        f" logistic regression {mean_roc_auc(splits, full.logistic):.4f} in the mean.",
        "",
        f"Intervals: 95 %, paired; {BOOTSTRAP:,} resamples of the customers, each drawn for all"
        " dates at once. How the figures would",
        "vary with other training rows is not in them.",
    ]


if __name__ == "__main__":
    sys.exit(main())
