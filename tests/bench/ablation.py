"""`make bench-ablation`: what each group of features adds on the real file, for docs/ablation.md.

XGBoost with fixed parameters, on the validation date and on the months before it, by the project's
own splits. The test split is not built at all: nothing here may be chosen by it. Groups that were
tried and left out are `tests/bench/candidates/*.sql`.
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

from configs.duck import connect, parquet
from configs.load import load
from configs.settings import Settings
from features.catalogue import CATALOGUE, GROUPS, NAMES
from features.engine import build_features, read_log, run
from features.splits import as_of_dates
from features.table import Rows
from ingestion.files import read_file
from ingestion.validate import TRANSACTIONS, validate_batch
from training.families import logistic, xgboost
from training.metrics import paired_difference, point

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "online_retail_ii.parquet"
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
    """One set of features. roc_auc: per validation date, the latest first, mean over the seeds.
    p: probabilities at the latest, mean over the seeds.  linear: logistic regression's ROC AUC,
    mean over the dates."""

    roc_auc: list[float]
    p: np.ndarray
    linear: float


def main() -> int:
    if not REAL.exists():
        print(f"{REAL} is absent: nothing is measured")
        return 1
    begun = time.perf_counter()
    settings = load("online_retail", ["--source.path", str(REAL)])
    splits, columns = build(settings)
    full = judge(splits, list(NAMES))
    own = [row_of(splits, full, name, members_of(name)) for name in GROUPS]
    tried = [tried_row(splits, full, name, columns[name]) for name in CANDIDATES]
    PAGE.write_text(page(splits, full, own, tried), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} in {time.perf_counter() - begun:.0f} s")
    return 0


def build(settings: Settings) -> tuple[list[Split], dict[str, list[str]]]:
    """The splits, with every feature and candidate; and the columns of each candidate."""
    with tempfile.TemporaryDirectory() as name, connect(Path(name)) as connection:
        folder = Path(name)
        read_file(settings.source, REAL, folder / "rows.parquet", settings.compute, label="real")
        rows = [folder / "rows.parquet"]
        validate_batch(rows, folder, settings.contract, now=datetime.now())
        connection.execute(f"CREATE VIEW transactions AS FROM {parquet(folder / TRANSACTIONS)}")
        read_log(connection, settings.features)
        plans = [split_dates(connection, settings, back) for back in MONTHS_BACK]
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        for day in sorted({day for train, valid in plans for day in (*train, *valid)}):
            connection.execute("INSERT INTO as_of_dates VALUES (?)", [day])
        run(connection, "spine")
        build_features(connection)
        run(connection, "label")
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
    scores, latest = [], None
    for split in splits:
        train, valid = rows(split.train, names), rows(split.valid, names)
        drawn = [
            xgboost.predict(xgboost.fit(PARAMS, train, None, seed=seed, threads=2), valid.x)
            for seed in SEEDS
        ]
        scores.append(float(np.mean([point(valid.y, p)["roc_auc"] for p in drawn])))
        latest = np.mean(drawn, axis=0) if latest is None else latest
    return Judged(scores, latest, linear(splits, names))


def linear(splits: list[Split], names: list[str]) -> float:
    """Mean ROC AUC of logistic regression over the validation dates."""
    scores = []
    for split in splits:
        train, valid = rows(split.train, names), rows(split.valid, names)
        model = logistic.fit(logistic.BASELINE, train, None, seed=1, threads=2)
        scores.append(point(valid.y, logistic.predict(model, valid.x))["roc_auc"])
    return float(np.mean(scores))


def rows(frame: pd.DataFrame, names: list[str]) -> Rows:
    return Rows(
        x=frame[names].to_numpy(np.float32, na_value=np.nan),
        y=frame["label"].to_numpy(np.int8),
        customer_id=frame["customer_id"].to_numpy(),
        as_of=frame["as_of"].to_numpy(),
    )


def members_of(group: str) -> list[str]:
    return [feature.name for feature in GROUPS[group]]


def row_of(splits: list[Split], full: Judged, name: str, members: list[str]) -> str:
    """Alone; and what is lost without the group."""
    rest = [feature for feature in NAMES if feature not in members]
    alone, without = judge(splits, members), judge(splits, rest)
    print(name, flush=True)
    cells = [
        f"`{name}`",
        str(len(members)),
        f"{alone.roc_auc[0]:.3f}",
        *gain(splits, full, without),
    ]
    return "| " + " | ".join(cells) + " |"


def tried_row(splits: list[Split], full: Judged, name: str, columns: list[str]) -> str:
    """What is gained with the candidate."""
    more = [*NAMES, *columns]
    print("tried:", name, flush=True)
    about = CANDIDATES[name].split("\n")[0].removeprefix("-- ").rstrip(".")
    cells = [f"`{name}`: {about[0].lower()}{about[1:]}", str(len(columns))]
    cells += gain(splits, judge(splits, more), full)
    return "| " + " | ".join(cells) + " |"


def gain(splits: list[Split], larger: Judged, smaller: Judged) -> list[str]:
    """ROC AUC of the larger set less that of the smaller: at the validation date with the interval,
    the mean over all dates, and logistic regression's."""
    y = splits[0].valid["label"].to_numpy()
    paired = paired_difference(y, larger.p, smaller.p, bootstrap=BOOTSTRAP, seed=1)["roc_auc"]
    mean = np.mean(larger.roc_auc) - np.mean(smaller.roc_auc)
    return [
        f"{paired['difference']:+.4f} [{paired['low']:+.4f}, {paired['high']:+.4f}]",
        f"{mean:+.4f}",
        f"{larger.linear - smaller.linear:+.4f}",
    ]


def page(splits: list[Split], full: Judged, own: list[str], tried: list[str]) -> str:
    newest = splits[0]
    dates = ", ".join(str(split.valid_date) for split in splits)
    scores = ", ".join(f"{score:.4f}" for score in full.roc_auc)
    params = ", ".join(f"{key} {value:g}" for key, value in PARAMS.items())
    trained = newest.train["as_of"]
    return "\n".join(
        [
            "<!-- Written by `make bench-ablation`. Do not edit. -->",
            "# What each group of features adds",
            "",
            f"Online Retail II, {len(CATALOGUE)} features in {len(GROUPS)} groups (each a file of"
            " `features/sql/`).",
            f"Validation: {len(newest.valid):,} customers as of {newest.valid_date}, trained on"
            f" {len(newest.train):,} rows as of {trained.min()} to {trained.max()}.",
            f"Rolling: the same with validation dates {dates}.",
            f"XGBoost, the same for all: {params}; mean of seeds {', '.join(map(str, SEEDS))}.",
            f"Intervals: 95 %, paired, {BOOTSTRAP:,} resamples of the validation customers."
            " The test split takes no part.",
            "",
            f"All features: ROC AUC {scores} at these dates;"
            f" logistic regression {full.linear:.4f} in the mean.",
            "",
            "| group | features | alone | lost without it [95 %] | lost, rolling mean | lost by"
            " logistic regression |",
            "|---|---|---|---|---|---|",
            *own,
            "",
            "Groups say much of the same thing, so none is missed much when the others stay: read"
            " `alone` for how much a",
            "group knows, and `lost` for what only it knows.",
            "",
            "## Tried and left out",
            "",
            "What the set would gain, had these been added (`tests/bench/candidates/`):",
            "",
            "| candidate | features | gained [95 %] | gained, rolling mean | gained by logistic"
            " regression |",
            "|---|---|---|---|---|",
            *tried,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
