"""A small model comparison, really fitted: one table, three families that see one feature each."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.table import Rows, read_rows
from training.families import logistic

NAMES = ("a", "b", "c")


@pytest.fixture(scope="session")
def made_table(tmp_path_factory):
    """Three training, two validation dates and a test date; a and b matter, c does not."""
    rng = np.random.default_rng(5)
    n = 1800
    x = rng.normal(size=(n, 3))
    y = rng.random(n) < 1 / (1 + np.exp(-1.5 * x[:, 0] - 1.5 * x[:, 1]))
    day = np.repeat(np.arange(6), n // 6)
    made = {
        "customer_id": [f"c{i}" for i in range(n)],
        "as_of": (np.datetime64("2024-01-01") + 120 * day).astype("datetime64[D]"),
        "split": np.array(["train", "train", "train", "valid", "valid", "test"])[day],
        **{name: x[:, i] for i, name in enumerate(NAMES)},
        "label": y.astype(np.int8),
    }
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    pq.write_table(pa.table(made), path)
    return path


@pytest.fixture(scope="session")
def made_families(made_table, tmp_path_factory):
    """Two families that each see one of the features, and one that sees noise."""
    train, valid = (read_rows(made_table, (split,), NAMES) for split in ("train", "valid"))
    test = read_rows(made_table, ("test",), NAMES, label=False)
    folders = {}
    for i, name in enumerate(("sees_a", "sees_b", "sees_noise")):
        blind = train.x.copy()
        blind[:, [j for j in range(3) if j != i]] = 0
        model = logistic.fit(
            {"C": 1.0, "log": False},
            Rows(blind, train.y, train.customer_id, train.as_of),
            None,
            seed=1,
            threads=1,
        )
        folder = tmp_path_factory.mktemp(name)
        (folder / "model.onnx").write_bytes(logistic.to_onnx(model, 3).SerializeToString())
        for split, rows in (("valid", valid), ("test", test)):
            np.save(folder / f"{split}_native.npy", logistic.predict(model, rows.x))
            np.save(folder / f"{split}_raw.npy", logistic.predict(model, rows.x))
        result = {"rows": {"train": 900}, "versions": {}, "valid_metrics": {}}
        (folder / "result.json").write_text(json.dumps(result))
        folders[name] = folder
    return folders
