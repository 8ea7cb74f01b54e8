"""The same work in pandas and in Polars, as a practitioner would write it for this log.

    python -m tests.bench.peers pandas|polars LOG FOLDER [TIMES]

Reads the raw log, brings it into canonical form, judges every row by the rules of the contract,
and writes valid rows and quarantine with reasons. Neither has Great Expectations beside it, a page,
or a limit of memory. Prints one JSON object; `tests/bench/pipeline.py` sees that the counts agree.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = {
    "Invoice": "invoice_id",
    "StockCode": "product_id",
    "Description": "description",
    "Quantity": "quantity",
    "Price": "unit_price",
    "InvoiceDate": "invoiced_at",
    "Customer ID": "customer_id",
    "Country": "country",
}
TEXT = ("invoice_id", "product_id", "description", "customer_id", "country")
LATEST = "2026-01-01"


def with_pandas(log: Path, folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    import numpy as np
    import pandas as pd

    began = time.perf_counter()
    frame = pd.read_parquet(log).rename(columns=NAMES)
    for name in TEXT:
        column = frame[name]
        if not pd.api.types.is_string_dtype(column):  # 13085.0, because some are missing
            column = column.astype("Int64").astype("string")
        stripped = column.astype("str").str.strip()
        frame[name] = stripped.where(stripped != "")
    frame["product_id"] = frame["product_id"].str.upper()
    frame["quantity"] = frame["quantity"].astype("int64")
    frame.to_parquet(folder / "rows.parquet")
    ingested = time.perf_counter()

    frame = pd.read_parquet(folder / "rows.parquet")
    cancelled = frame["invoice_id"].str.startswith("C", na=False)
    sold = np.where(cancelled, -frame["quantity"], frame["quantity"])
    price, product = frame["unit_price"], frame["product_id"]
    broken = {
        "missing_time": frame["invoiced_at"].isna(),
        "future_time": frame["invoiced_at"] >= LATEST,
        "missing_invoice": frame["invoice_id"].isna(),
        "impossible_quantity": (sold < 1) | (sold > 50_000),
        "missing_price": price.isna(),
        "zero_price": price == 0,
        "negative_price": price < 0,
        "impossible_price": price > 5_000,
        "missing_product": product.isna(),
        "no_product_code": product.notna() & ~product.str.fullmatch(r"[0-9]{5}[A-Z]{0,2}", na=True),
        "missing_customer": frame["customer_id"].isna(),
        "duplicate": frame.duplicated(),
    }
    flags = pd.DataFrame(broken)
    out = flags.any(axis=1)
    frame[~out].to_parquet(folder / "transactions.parquet")
    quarantine = frame[out].assign(source_row=np.flatnonzero(out) + 1)
    held = flags[out].to_numpy()
    names = np.array(list(broken), dtype=object)
    quarantine["reasons"] = [list(names[row]) for row in held]
    quarantine.to_parquet(folder / "quarantine.parquet")
    counts = {name: int(flag.sum()) for name, flag in broken.items()}
    validated = time.perf_counter()
    return {"ingest": ingested - began, "validate": validated - ingested}, counts


def with_polars(log: Path, folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    import polars as pl

    began = time.perf_counter()
    raw = pl.scan_parquet(log)
    schema = raw.collect_schema()
    raw = raw.rename({name: new for name, new in NAMES.items() if name in schema})
    texts = [
        (
            pl.col(name)
            if schema.get(next((o for o, n in NAMES.items() if n == name and o in schema), name))
            == pl.String
            else pl.col(name).cast(pl.Int64).cast(pl.String)
        )
        .str.strip_chars()
        .replace("", None)
        for name in TEXT
    ]
    canonical = raw.with_columns(texts).with_columns(
        pl.col("product_id").str.to_uppercase(), pl.col("quantity").cast(pl.Int64)
    )
    canonical.with_row_index("source_row", 1).sink_parquet(folder / "rows.parquet")
    ingested = time.perf_counter()

    rows = pl.scan_parquet(folder / "rows.parquet")
    cancelled = pl.col("invoice_id").str.starts_with("C").fill_null(False)
    sold = pl.when(cancelled).then(-pl.col("quantity")).otherwise(pl.col("quantity"))
    price, product = pl.col("unit_price"), pl.col("product_id")
    same = pl.struct(pl.all().exclude("source_row"))
    broken = {
        "missing_time": pl.col("invoiced_at").is_null(),
        "future_time": pl.col("invoiced_at") >= pl.lit(LATEST).str.to_datetime(),
        "missing_invoice": pl.col("invoice_id").is_null(),
        "impossible_quantity": (sold < 1) | (sold > 50_000),
        "missing_price": price.is_null(),
        "zero_price": price == 0,
        "negative_price": price < 0,
        "impossible_price": price > 5_000,
        "missing_product": product.is_null(),
        "no_product_code": ~product.str.contains(r"^[0-9]{5}[A-Z]{0,2}$"),
        "missing_customer": pl.col("customer_id").is_null(),
        "duplicate": ~same.is_first_distinct(),
    }
    flags = [rule.fill_null(False).alias(f"broken_{name}") for name, rule in broken.items()]
    judged = rows.with_columns(flags).collect(engine="streaming")
    out = pl.any_horizontal(pl.col("^broken_.*$"))
    reasons = pl.concat_list(
        [pl.when(pl.col(f"broken_{name}")).then(pl.lit(name)).otherwise(None) for name in broken]
    ).list.drop_nulls()
    judged.filter(~out).select(pl.exclude("^broken_.*$")).write_parquet(
        folder / "transactions.parquet"
    )
    judged.filter(out).with_columns(reasons.alias("reasons")).select(
        pl.exclude("^broken_.*$")
    ).write_parquet(folder / "quarantine.parquet")
    counts = judged.select(pl.col("^broken_.*$").sum()).row(0, named=True)
    validated = time.perf_counter()
    seconds = {"ingest": ingested - began, "validate": validated - ingested}
    return seconds, {name.removeprefix("broken_"): count for name, count in counts.items()}


def main(peer: str, log: str, folder: str, times: str = "1") -> None:
    work = {"pandas": with_pandas, "polars": with_polars}[peer]
    best: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for _ in range(int(times) + (int(times) > 1)):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            seconds, counts = work(Path(log), Path(name))
        best = {stage: min(best.get(stage, 1e9), took) for stage, took in seconds.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {name: count for name, count in counts.items() if count}
    print(json.dumps({**best, "reasons": found, "peak_memory_mb": round(peak)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
