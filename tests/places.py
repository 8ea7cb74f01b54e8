"""Where tests and benches find data files that are not part of the project.

They look in the folder that the environment variable TEST_DATA names, then in those that
`tests/data_places` lists. What is not found is skipped, with a message that says how to get it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LISTED = Path(__file__).with_name("data_places")
# The published file of Online Retail II, or the same rows as Parquet.
REAL_LOG = ("online_retail_ii.parquet", "online_retail_II.xlsx")
HOW_TO_GET_IT = (
    "Online Retail II is not here: `make data` fetches it into data/; a copy elsewhere is found"
    " when tests/data_places or the environment variable TEST_DATA names its folder"
)


def find(*names: str) -> Path | None:
    """The first file of one of these names, or None."""
    lines = LISTED.read_text(encoding="utf-8").splitlines()
    folders = [line for line in lines if line.strip() and not line.startswith("#")]
    if own := os.environ.get("TEST_DATA"):
        folders.insert(0, own)
    found = (ROOT / Path(folder).expanduser() / name for name in names for folder in folders)
    return next((path.resolve() for path in found if path.is_file()), None)


def real_log() -> Path | None:
    """Online Retail II, as XLSX or as Parquet, or None."""
    return find(*REAL_LOG)


def real_log_or_skip() -> Path:
    """The same for a test, which is skipped without it."""
    path = real_log()
    if path is None:
        pytest.skip(HOW_TO_GET_IT)
    return path


def real_log_as_parquet(folder: Path) -> Path | None:
    """The same as Parquet, which a peer of a bench reads too; XLSX is converted into `folder`."""
    path = real_log()
    if path is None or path.suffix == ".parquet":
        return path
    import pandas as pd

    sheets = pd.read_excel(path, sheet_name=None, engine="calamine", dtype={"Invoice": str})
    target = folder / REAL_LOG[0]
    log = pd.concat(sheets.values(), ignore_index=True)
    text = ["Invoice", "StockCode", "Description", "Country"]
    log[text] = log[text].astype("string")
    log.to_parquet(target, index=False)
    return target
