"""The log of requests and answers, in Parquet, which monitoring reads (`serving.log_requests`).

    var/serving/log/date=2026-11-23/101502-4711-000003.parquet      one row per customer answered

A customer's identifier is kept as a keyed hash (BLAKE2b): the same customer has the same hash, so
that what they did later can be joined with the key, `var/serving/log.key`; without the key even a
short number cannot be found by trying. The feature values are those that the model saw: of a
category its code. `request` and `row` name a row: the answer of a challenger in shadow has the
same two (`shadow.py`). `seconds` is what the model took for the row on its core: of
its call an equal part of each of its `call_rows` rows.

Rows are written by the worker every few seconds, into a temporary file that is then renamed; a
worker that is killed loses what it had not written. What cannot be written is counted and dropped:
answering comes first.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from common.customer_hash import hashed, read_key
from serving.champion import Scored
from serving.responses import Model

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("golden_path.serving")
T = TypeVar("T")
MOST_HELD = 200_000  # rows, between two writings


class RequestLog:
    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet  # noqa: F401  (its second is spent now, not at the first writing)

        self.folder, self.lost, self._number = folder, 0, 0
        self._key = read_key(folder.with_suffix(".key"))
        self._held: deque[tuple[datetime, Scored]] = deque()
        self._rows, self._lock = 0, Lock()

    def add(self, scored: Scored) -> None:
        """Remember; called for each answer, from several threads."""
        with self._lock:
            if self._rows + len(scored.ids) > MOST_HELD:
                self.lost += len(scored.ids)
                return
            self._rows += len(scored.ids)
            self._held.append((datetime.now(UTC), scored))

    def write(self) -> int:
        """Write what is held, and return how many rows were lost since the last time."""
        with self._lock:
            held, self._held, self._rows = list(self._held), deque(), 0
            lost, self.lost = self.lost, 0
        # Each day and each champion has files of its own.
        by_model: dict[tuple[Model, date], list[tuple[datetime, Scored]]] = {}
        for at, scored in held:
            by_model.setdefault((scored.champion.model, at.date()), []).append((at, scored))
        for rows in by_model.values():
            try:
                self._write(rows)
            except Exception as error:  # a full disk, no memory: answering goes on
                lost += sum(len(scored.ids) for _, scored in rows)
                log.error("the log of requests cannot be written: %s", error)
        return lost

    def _write(self, rows: list[tuple[datetime, Scored]]) -> None:
        self._number += 1
        write_table(self._table(rows), self.folder, rows[0][0], self._number)

    def _table(self, rows: list[tuple[datetime, Scored]]) -> pa.Table:
        """One row per customer. All are of one champion."""
        import pyarrow as pa

        champion = rows[0][1].champion
        model, counts = champion.model, [len(scored.ids) for _, scored in rows]
        n = sum(counts)
        x = np.concatenate([scored.x for _, scored in rows])
        probability = np.concatenate([scored.probability for _, scored in rows])
        ids = [one for _, scored in rows for one in scored.ids]
        names = [feature["name"] for feature in champion.features]
        values = [pa.array(x[:, place], from_pandas=True) for place in range(len(names))]
        seconds = [scored.seconds / max(scored.call_rows, 1) for _, scored in rows]
        return pa.table(
            {
                "asked_at": pa.array(
                    repeated([at for at, _ in rows], counts), pa.timestamp("us", "UTC")
                ),
                "request": pa.array(repeated([one.request for _, one in rows], counts), pa.int64()),
                "row": pa.array([row for count in counts for row in range(count)], pa.int32()),
                "model": pa.array([model.name] * n, pa.string()),
                "version": pa.array([model.version] * n, pa.int32()),
                "bundle_sha256": pa.array([model.bundle_sha256] * n, pa.string()),
                "customer": pa.array([hashed(self._key, one) for one in ids], pa.string()),
                "as_of": pa.array(repeated([one.as_of for _, one in rows], counts), pa.date32()),
                "features": pa.StructArray.from_arrays(values, names),
                "probability": pa.array(probability, pa.float64()),
                "decision": decisions(probability, model.threshold),
                "seconds": pa.array(repeated(seconds, counts), pa.float64()),
                "call_rows": pa.array(
                    repeated([one.call_rows for _, one in rows], counts), pa.int32()
                ),
            }
        )


def write_table(table: pa.Table, folder: Path, first: datetime, number: int) -> None:
    """Write rows under the day of the first. number: of this process; no name is used twice.

    Not by `atomic_path`, which looks through the folder for what killed processes left: it gets a
    file every few seconds.
    """
    import pyarrow.parquet as pq

    day = folder / f"date={first:%Y-%m-%d}"
    day.mkdir(parents=True, exist_ok=True)
    target = day / f"{first:%H%M%S}-{os.getpid()}-{number:06}.parquet"
    temporary = target.with_name(f".{target.name}.unfinished")
    try:
        pq.write_table(table, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def decisions(probability: np.ndarray, threshold: float | None) -> pa.Array:
    """Whether each of the probabilities (n,) reaches the threshold; null without one, and for NaN.

    As the answers have it (`score` in `serving/champion.py`)."""
    import pyarrow as pa

    if threshold is None:
        return pa.nulls(len(probability), pa.bool_())
    return pa.array(probability >= threshold, pa.bool_(), mask=np.isnan(probability))


def repeated(values: Sequence[T], counts: Sequence[int]) -> list[T]:
    """Each value of a request as often as it has rows."""
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
