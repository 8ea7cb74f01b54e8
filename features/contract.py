"""The second, smaller contract: what the training table must be before anyone trains on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from common.duck import parquet
from features.catalogue import CATALOGUE, Feature
from features.table import SPLITS

if TYPE_CHECKING:
    import pandas as pd


def table_checks(
    features: Sequence[Feature] = CATALOGUE, *, dated: bool = True
) -> list[dict[str, Any]]:
    """Great Expectations checks of a table with these features. Each stops the run.

    They have the form that `ingestion/expectations.py` takes. dated: whether it has as-of dates.
    """
    key: dict[str, Any] = {
        "column_list": ["customer_id", "as_of"],
        "kind": "ExpectCompoundColumnsToBeUnique",
        "why": "one row per customer and as-of date",
    }
    both = "customers who bought again and customers who did not"
    if not dated:
        both = "rows of both classes"
        key = {
            "column": "customer_id",
            "kind": "ExpectColumnValuesToBeUnique",
            "why": "one row per identifier",
        }
    checks = [
        _check("one_row_each", **key),
        # One column says both: a split that is empty or has one class lacks one of its two values.
        *(
            _check(
                f"{split}_both_classes",
                "ExpectColumnDistinctValuesToContainSet",
                f"the {split} split needs {both}",
                column="split_label",
                value_set=[f"{split} 0", f"{split} 1"],
            )
            for split in SPLITS
        ),
    ]
    for feature in features:
        if not feature.missing:
            checks.append(
                _check(
                    f"{feature.name}_present",
                    "ExpectColumnValuesToNotBeNull",
                    "this feature is never missing",
                    column=feature.name,
                )
            )
        if feature.low is not None or feature.high is not None:
            checks.append(
                _check(
                    f"{feature.name}_range",
                    "ExpectColumnValuesToBeBetween",
                    f"{feature.meaning} ({feature.unit})",
                    column=feature.name,
                    min_value=feature.low,
                    max_value=feature.high,
                )
            )
    return checks


def read_frame(table: Path) -> pd.DataFrame:
    """The table as the checks see it: with `split_label`."""
    query = f"""
        SELECT *, split || ' ' || CAST(label AS VARCHAR) AS split_label
        FROM {parquet(table)}
    """
    with duckdb.connect() as connection:
        return connection.execute(query).df()


def _check(code: str, kind: str, why: str, **arguments: Any) -> dict[str, Any]:
    return {"type": kind, "severity": "critical", "meta": {"code": code, "why": why}, **arguments}
