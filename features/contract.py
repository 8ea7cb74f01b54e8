"""The second, smaller contract: what the training table must look like before anyone trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from features.catalogue import CATALOGUE
from features.table import SPLITS


def table_checks() -> list[dict[str, Any]]:
    """Great Expectations checks (see `ingestion/expectations.py`), every one of which stops the run."""
    checks = [
        _check("one_row_each", "ExpectCompoundColumnsToBeUnique", "one row per customer and as-of date", column_list=["customer_id", "as_of"]),
        # One column that says both: a split with one class only lacks one of its two values.
        _check("both_classes", "ExpectColumnDistinctValuesToEqualSet", "a split with one class can neither teach nor test", column="split_label", value_set=[f"{split} {label}" for split in SPLITS for label in (0, 1)]),
    ]  # fmt: skip
    for feature in CATALOGUE:
        if not feature.missing:
            checks.append(
                _check(
                    f"{feature.name}_present",
                    "ExpectColumnValuesToNotBeNull",
                    "this feature is never missing",
                    column=feature.name,
                )
            )
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


def read_frame(table: Path):
    """The table as the checks see it: with `split_label`."""
    import duckdb

    query = f"SELECT *, split || ' ' || CAST(label AS VARCHAR) AS split_label FROM read_parquet('{table}')"
    return duckdb.sql(query).to_arrow_table().to_pandas()


def _check(code: str, kind: str, why: str, **arguments: Any) -> dict[str, Any]:
    return {"type": kind, "severity": "critical", "meta": {"code": code, "why": why}, **arguments}
