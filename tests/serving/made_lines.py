"""Requests of invoice lines, a champion that answers them, and what training makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from real_service import make_bundle

from common.duck import connect
from configs.load import load
from configs.rules import Contract
from configs.settings import Compute, Features
from configs.source import Form, Source
from features.catalogue import ALL, select
from features.engine import VARIABLES, build_features, make, read_log
from ingestion.canonical import MAPPED
from ingestion.files import read_file
from ingestion.judge import judge
from registry.bundle import load_bundle
from serving.champion import Champion, Request
from serving.endpoints import encode, predict_transactions
from serving.limits import Limits, Stop
from serving.opening import reference_rows
from serving.requests import FeatureReader
from serving.responses import Model
from serving.transactions import Transactions

RETAIL = load("default", [], {}).contract

QUESTION, START = Features(), date(2023, 1, 1)
LIMITS = Limits(max_rows=50, max_lines=5_000, max_explained=20)
TYPES = {"quantity": pa.int64(), "unit_price": pa.float64(), "amount": pa.float64()}
LINE: dict[str, Any] = {
    "invoice_id": "536365",
    "product_id": "85123A",
    "description": "WHITE HANGING HEART",
    "quantity": 6,
    "unit_price": 2.55,
    "invoiced_at": "2024-02-01T08:26:00",
    "country": "United Kingdom",
}
Lines = list[dict[str, Any]]


def line(**changes: Any) -> dict[str, Any]:
    return LINE | changes


def section(
    declared: frozenset[str] = ALL,
    contract: Contract | None = None,
    settings: Features = QUESTION,
) -> dict[str, Any]:
    """`bundle.json["transactions"]`, as JSON gives it back."""
    content = {
        "declared": sorted(declared),
        "contract": (contract or RETAIL).model_dump(mode="json"),
        "features": settings.model_dump(mode="json", include=set(VARIABLES)),
        "log_start": START.isoformat(),
    }
    return json.loads(json.dumps(content))


def opened(
    declared: frozenset[str] = ALL,
    contract: Contract | None = None,
    settings: Features = QUESTION,
    form: Form | None = None,
) -> Transactions:
    features = [asdict(feature) for feature in select(declared)]
    return Transactions(section(declared, contract, settings), features, 1_000_000, form)


def made_champion(folder: Path, transactions: Transactions | None) -> Champion:
    sha256 = make_bundle(folder / "bundle")
    bundle = load_bundle(folder / "bundle")
    model = Model("golden-path-default", 3, sha256, bundle.threshold)
    return Champion(
        model, bundle, FeatureReader(bundle.features), transactions, reference_rows(bundle), []
    )


def body(customers: Any, as_of: Any = "2024-03-01") -> bytes:
    """customers: as a request has them, or lines by customer id."""
    if isinstance(customers, dict):
        customers = [{"customer_id": name, "lines": lines} for name, lines in customers.items()]
    return json.dumps({"as_of": as_of, "customers": customers}).encode()


def ask(champion: Champion, sent: bytes, limits: Limits = LIMITS, **query: str) -> dict[str, Any]:
    return json.loads(encode(predict_transactions(Request(sent, query, champion, limits))))


def rows_of(transactions: Transactions, sent: bytes, limits: Limits = LIMITS) -> list[Any]:
    """What came of each customer, before any model is asked."""
    return transactions.rows(transactions.reader.read(sent, limits, False), Stop())


def as_trained(
    log: dict[str, Lines],
    days: list[date],
    folder: Path,
    declared: frozenset[str] = ALL,
    contract: Contract | None = None,
    settings: Features = QUESTION,
) -> tuple[dict[tuple[str, date], tuple[float | None, ...]], dict[tuple[str, int], list[str]]]:
    """Features by customer and as-of date, and reasons by customer and line, as a training run
    has them: the lines as rows of a Parquet file, read, judged and built from by its modules."""
    columns = [name for name in MAPPED if name in declared]
    rows = [{**each, "customer_id": customer} for customer, lines in log.items() for each in lines]
    places = [(customer, at) for customer, lines in log.items() for at in range(len(lines))]
    schema = pa.schema({name: TYPES.get(name, pa.string()) for name in columns})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "raw.parquet")
    source = Source(
        kind="files",
        path=(str(folder / "raw.parquet"),),
        columns={} if declared == ALL else {name: name for name in columns},
    )
    compute = Compute(threads=1)
    read_file(source, folder / "raw.parquet", folder / "rows.parquet", compute)
    latest = datetime(9999, 1, 1)  # nothing is in the future: as-of dates cut it off
    with judge(
        [folder / "rows.parquet"], folder, contract or RETAIL, declared, latest, compute
    ) as judged:
        found = judged.connection.execute(
            f"SELECT source_row, {judged.reasons()} FROM judged ORDER BY key"
        ).fetchall()
        judged.connection.execute(
            "COPY (SELECT * FROM judged WHERE broken"
            f" & {judged.quarantine} = 0) TO '{folder}/valid.parquet'"
        )
    features = select(declared)
    with connect(compute=compute) as connection:
        connection.execute(f"CREATE VIEW transactions AS FROM '{folder}/valid.parquet'")
        read_log(connection, settings, START)
        connection.execute("CREATE TABLE as_of_dates (as_of DATE)")
        connection.executemany("INSERT INTO as_of_dates VALUES (?)", [[day] for day in days])
        make(connection, "spine")
        build_features(connection, features)
        values = connection.execute("SELECT * EXCLUDE row_id FROM features").fetchall()
    reasons = {place: why for place, (_, why) in zip(places, found, strict=True) if why}
    return {row[:2]: row[2:] for row in values}, reasons
