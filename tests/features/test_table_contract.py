"""Each way in which a training table can be unfit is caught, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_logs import shop_log, write

from configs.settings import Features
from features.build import build_table
from features.catalogue import CATALOGUE
from features.contract import read_frame, table_checks
from ingestion.expectations import validate

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)


def wrong_values(frame: pd.DataFrame) -> pd.DataFrame:
    frame = pd.concat([frame, frame.tail(1)])
    frame.loc[5, "orders_total"] = None
    frame.loc[6, "recency_days"] = -1.0
    frame.loc[7, ["is_home", "year_sin"]] = 2.0, -1.1
    return frame


def wrong_splits(frame: pd.DataFrame) -> pd.DataFrame:
    """Of train only one class is left, of validation nothing."""
    of_train = (frame["split"] == "train") & (frame["label"] == 1)
    return frame[~of_train & (frame["split"] != "valid")]


CASES: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], set[str]]] = {
    "a good table": (lambda frame: frame, set()),
    "a row twice, a missing value, and values out of their range": (
        wrong_values,
        {
            *("one_row_each", "orders_total_present", "recency_days_range", "is_home_range"),
            "year_sin_range",
        },
    ),
    "a split of one class and an empty one": (
        wrong_splits,
        {"train_both_classes", "valid_both_classes"},
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> pd.DataFrame:
    folder: Path = tmp_path_factory.mktemp("table")
    log = write(shop_log(60, 260), folder / "log.parquet")
    build_table(log, folder / "table.parquet", QUESTION)
    return pd.read_parquet(folder / "table.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_checks_name_what_is_wrong_with_a_table(good, tmp_path, case):
    change, expected = CASES[case]
    change(good.copy()).to_parquet(tmp_path / "table.parquet")
    findings = validate(read_frame(tmp_path / "table.parquet"), table_checks())
    assert all(finding.severity == "critical" and finding.why for finding in findings)
    assert {finding.code for finding in findings if not finding.success} == expected


def test_every_feature_has_a_range_and_those_that_are_never_missing_are_checked_for_it():
    codes = [check["meta"]["code"] for check in table_checks()]
    assert len(codes) == len(set(codes))
    for feature in CATALOGUE:
        assert f"{feature.name}_range" in codes
        assert (f"{feature.name}_present" in codes) == (not feature.missing)
