"""The training table as arrays: what `features` makes and `training` reads.

One row is one customer at one as-of date, or one row of a labelled table. The file is Parquet with
the columns `customer_id, as_of, split, <features>, label`; every feature is a number, a missing one
is null, and a category is a code (`features/categories.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from features.categories import decode

__all__ = ["SPLITS", "Rows", "decode", "read_column", "read_rows"]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Rows:
    """Rows of one or more splits, in the order of the file.

    x: float32 (n, f), NaN where missing.  y: int8 (n,) of 0 and 1, or None when not asked for.
    customer_id: str (n,), the row's identifier in a labelled table.  as_of: datetime64[D] (n,), NaT
    there.
    """

    x: np.ndarray
    y: np.ndarray | None
    customer_id: np.ndarray
    as_of: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def read_rows(
    path: Path, splits: tuple[str, ...], features: tuple[str, ...], *, label: bool = True
) -> Rows:
    """Rows of these splits. With `label=False` the label column is not even read from the file."""
    columns = ["customer_id", "as_of", *features, *(["label"] if label else [])]
    table = pq.read_table(path, columns=columns, filters=[("split", "in", list(splits))])
    x = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for i, name in enumerate(features):
        x[:, i] = table[name].to_numpy()  # null -> NaN
    return Rows(
        x=x,
        y=table["label"].to_numpy().astype(np.int8) if label else None,
        customer_id=table["customer_id"].to_numpy(),
        as_of=table["as_of"].to_numpy().astype("datetime64[D]"),
    )


def read_column(path: Path, name: str) -> np.ndarray:
    """One column of the whole table, in the order of the file."""
    return pq.read_table(path, columns=[name])[name].to_numpy()
