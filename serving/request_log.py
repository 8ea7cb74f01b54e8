"""What was asked and answered, kept in Parquet for the monitoring to read (`serving.log_requests`).

    var/serving/log/date=2026-11-23/101502-4711-000003.parquet      one row per customer answered

A customer's identifier is kept as a keyed hash (BLAKE2b): the same customer has the same hash, so
that what they did later can be joined by who has the key, `var/serving/log.key`; without it even a
short number cannot be found by trying. The feature values are those that the model saw: of a
category its code.

Rows are written by the worker every few seconds, aside and then renamed; a worker that is killed
loses what it had not written. What cannot be written is counted and let go: answering comes first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections import deque
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from serving.asked import Scored
from serving.messages import Model

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger("golden_path.serving")
MOST_HELD = 200_000  # rows, between two writings
HASH_BYTES = 16


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
        import pyarrow.parquet as pq

        first = rows[0][0]
        folder = self.folder / f"date={first:%Y-%m-%d}"
        folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        target = folder / f"{first:%H%M%S}-{os.getpid()}-{self._number:06}.parquet"
        aside = target.with_name(f".{target.name}.unfinished")
        try:
            pq.write_table(self._table(rows), aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

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
        return pa.table(
            {
                "asked_at": pa.array(
                    [at for (at, _), count in zip(rows, counts) for _ in range(count)],
                    pa.timestamp("us", "UTC"),
                ),
                "model": pa.array([model.name] * n, pa.string()),
                "version": pa.array([model.version] * n, pa.int32()),
                "bundle_sha256": pa.array([model.bundle_sha256] * n, pa.string()),
                "customer": pa.array([hashed(self._key, one) for one in ids], pa.string()),
                "as_of": pa.array(
                    [
                        scored.as_of
                        for (_, scored), count in zip(rows, counts)
                        for _ in range(count)
                    ],
                    pa.date32(),
                ),
                "features": pa.StructArray.from_arrays(values, names),
                "probability": pa.array(probability, pa.float64()),
                "decision": pa.nulls(n, pa.bool_())
                if model.threshold is None
                else pa.array(probability >= model.threshold, pa.bool_()),
            }
        )


def hashed(key: bytes, customer_id: str | None) -> str | None:
    """What stands for a customer in the log: 32 hexadecimal digits."""
    if customer_id is None:
        return None
    return hashlib.blake2b(customer_id.encode(), key=key, digest_size=HASH_BYTES).hexdigest()


def read_key(file: Path) -> bytes:
    """The key of the hashes; made when there is none, readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(32))
        os.link(made, file)  # the first worker's counts
    except FileExistsError:
        pass
    finally:
        made.unlink(missing_ok=True)
    return file.read_bytes()
