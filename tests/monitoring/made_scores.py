"""Scores as batch scoring writes them, and outcomes made up for a test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.labels import Outcomes


def write_scores(
    path: Path,
    customers: Sequence[str],
    probability: Sequence[float] | np.ndarray,
    *,
    as_of: date,
    version: int = 1,
) -> Path:
    n = len(customers)
    columns = {
        "customer_id": pa.array(list(customers), pa.string()),
        "as_of": pa.array([as_of] * n, pa.date32()),
        "probability": pa.array(np.asarray(probability, dtype=np.float64)),
        "decision": pa.nulls(n, pa.bool_()),
        "decile": pa.array([1] * n, pa.int8()),
        "version": pa.array([version] * n, pa.int32()),
        "bundle_sha256": pa.array(["0" * 64] * n, pa.string()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def drawn(
    n: int = 2000,
    *,
    seed: int = 1,
    as_of: date = date(2026, 5, 1),
    version: int = 1,
    sharpness: float = 1.5,
    noise: float = 0.0,
    share: float = 1.0,
    first_customer: int = 0,
) -> Outcomes:
    """Customers who buy with the probability that the champion says, but for `noise` in its
    log-odds and the `share` of the buyers that stays. The single feature is another noisy view."""
    rng = np.random.default_rng(seed)
    z = sharpness * rng.normal(size=n)
    truth = 1 / (1 + np.exp(-z))
    said = 1 / (1 + np.exp(-(z + noise * rng.normal(size=n))))
    return Outcomes(
        as_of=as_of,
        version=version,
        customer=np.arange(first_customer, first_customer + n),
        probability=said,
        bought=(rng.random(n) < share * truth).astype(np.int8),
        baseline=np.round(z + 0.5 * rng.normal(size=n), 1),
        baseline_name="orders_365d",
    )
