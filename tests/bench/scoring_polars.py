"""The list of scores as a practitioner makes it with Polars: the same features, the same graph.

    python -m tests.bench.scoring_polars TRANSACTIONS BUNDLE AS_OF TARGET

TRANSACTIONS are our valid rows: Polars judges none, names no rows by a digest and keeps no record.
Writes the same two files into TARGET, without what moved a score most.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl

from configs.settings import Features
from serving.batch import CSV, PARQUET
from tests.bench.polars_features import features


def main(transactions: str, bundle: str, as_of: str, target: str) -> None:
    folder, day = Path(target), date.fromisoformat(as_of)
    folder.mkdir(parents=True, exist_ok=True)
    description = json.loads((Path(bundle) / "bundle.json").read_text(encoding="utf-8"))
    names = [feature["name"] for feature in description["features"]]
    log = pl.scan_parquet(transactions).filter(
        pl.col("invoiced_at") < pl.lit(day).cast(pl.Datetime)
    )
    settings = Features.model_validate(description["transactions"]["features"])
    table = features(log, settings, [day])
    x = table.select(pl.col(names).cast(pl.Float32).fill_null(np.nan)).to_numpy()
    session = onnxruntime.InferenceSession(
        Path(bundle) / "model.onnx", providers=["CPUExecutionProvider"]
    )
    answers = [
        session.run(["probability"], {"features": np.ascontiguousarray(x[at : at + 8192])})[0]
        for at in range(0, len(x), 8192)
    ]
    scores = table.select("customer_id", "as_of").with_columns(
        probability=pl.Series(np.concatenate(answers)).cast(pl.Float64)
    )
    scores = scores.with_columns(
        decision=pl.col("probability") >= description["threshold"],
        decile=(pl.col("probability").rank("ordinal", descending=True) - 1) * 10 // pl.len() + 1,
    )
    scores.sort("customer_id").write_parquet(folder / PARQUET)
    scores.sort("probability", descending=True).write_csv(folder / CSV)


if __name__ == "__main__":
    main(*sys.argv[1:])
