"""Each way in which a training table can be unfit is caught, and named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_logs import shop_log, write

from configs.settings import Features
from features.build import build_table
from features.catalogue import CATALOGUE
from features.contract import read_frame, table_checks
from ingestion.expectations import validate

pytestmark = pytest.mark.slow

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> pd.DataFrame:
    folder: Path = tmp_path_factory.mktemp("table")
    log = write(shop_log(60, 260), folder / "log.parquet")
    build_table(log, folder / "table.parquet", QUESTION)
    return read_frame(folder / "table.parquet")


def broken(frame: pd.DataFrame, tmp_path: Path) -> list[str]:
    """Codes of the checks that the table breaks, once it is a file again."""
    path = tmp_path / "table.parquet"
    frame.drop(columns="split_label").to_parquet(path)
    findings = validate(read_frame(path), table_checks())
    assert all(finding.severity == "critical" and finding.why for finding in findings)
    return [finding.code for finding in findings if not finding.success]


def test_a_good_table_breaks_nothing(good, tmp_path):
    assert broken(good, tmp_path) == []


def test_a_row_that_is_there_twice(good, tmp_path):
    assert broken(pd.concat([good, good.tail(1)]), tmp_path) == ["one_row_each"]


def test_a_missing_value_in_a_feature_that_is_never_missing(good, tmp_path):
    good = good.copy()
    good.loc[5, "orders_total"] = None
    assert broken(good, tmp_path) == ["orders_total_present"]


@pytest.mark.parametrize(
    ("feature", "value"),
    [("recency_days", -1.0), ("is_home", 2.0), ("active_months_365d", 14.0), ("year_sin", -1.1)],
)
def test_a_value_out_of_range(good, tmp_path, feature, value):
    good = good.copy()
    good.loc[5, feature] = value
    assert broken(good, tmp_path) == [f"{feature}_range"]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_with_one_class(good, tmp_path, split):
    one_class = good[~((good["split"] == split) & (good["label"] == 1))]
    assert broken(one_class, tmp_path) == [f"{split}_both_classes"]


def test_an_empty_split(good, tmp_path):
    assert broken(good[good["split"] != "valid"], tmp_path) == ["valid_both_classes"]


def test_every_feature_has_a_range_and_those_that_are_never_missing_are_checked_for_it():
    codes = [check["meta"]["code"] for check in table_checks()]
    assert len(codes) == len(set(codes))
    for feature in CATALOGUE:
        assert f"{feature.name}_range" in codes
        assert (f"{feature.name}_present" in codes) == (not feature.missing)
