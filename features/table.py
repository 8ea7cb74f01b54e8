"""The training table as arrays: what `features` makes and `training` reads.

One row is one customer at one as-of date, or one row of a labelled table. The file is Parquet with
the columns `customer_id, as_of, split, <features>, label`; every feature is a number, a missing one
is null, and a category is a code (`features/categories.py`). A labelled table whose settings name a
group has it as the column `split_group`. The file's metadata has the meaning and the unit of every
feature, and the SHA-256 of the valid rows that it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

SPLITS = ("train", "valid", "test")
GROUP = "split_group"


@dataclass(frozen=True)
class Rows:
    """Rows of one or more splits, in the order of the file.

    x: float32 (n, f), NaN where missing.  y: int8 (n,) of 0 and 1, or None when it was not read.
    customer_id: str (n,), the row's identifier in a labelled table.  as_of: datetime64[D] (n,), NaT
    there.  group: str (n,), whose row it is; None where no setting names it, and in a log.
    """

    x: np.ndarray
    y: np.ndarray | None
    customer_id: np.ndarray
    as_of: np.ndarray
    group: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def unit(self) -> np.ndarray:
        """Whose row it is (n,): rows of one unit are alike, so they are drawn and resampled
        together. The group, or else the customer."""
        return self.customer_id if self.group is None else self.group


def read_rows(
    path: Path, splits: tuple[str, ...], features: tuple[str, ...], *, label: bool = True
) -> Rows:
    """Rows of these splits. With `label=False` the label column is not even read from the file."""
    grouped = GROUP in pq.read_schema(path).names
    columns = ["customer_id", "as_of", *features, *(["label"] if label else [])]
    columns += [GROUP] if grouped else []
    table = pq.read_table(path, columns=columns, filters=[("split", "in", list(splits))])
    x = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for i, name in enumerate(features):
        x[:, i] = table[name].to_numpy()  # null -> NaN
    return Rows(
        x=x,
        y=table["label"].to_numpy().astype(np.int8) if label else None,
        customer_id=table["customer_id"].to_numpy(),
        as_of=table["as_of"].to_numpy().astype("datetime64[D]"),
        group=table[GROUP].to_numpy() if grouped else None,
    )


def read_column(path: Path, name: str) -> np.ndarray:
    """One column of the whole table, in the order of the file."""
    return pq.read_table(path, columns=[name])[name].to_numpy()
