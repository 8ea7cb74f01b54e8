"""`make serve`, `make predict`, `make score` after `make train`: each gives the bundle's answer."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.load import load
from features.catalogue import NAMES
from features.table import read_rows
from registry.bundle import load_bundle
from registry.champion import champion_now
from serving.client import Client

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(smoke, service):
    with service(smoke.var) as url:
        yield url


@dataclass(frozen=True)
class Batch:
    """The test split, and what batch scoring says of it."""

    customers: list[str]
    as_of: date
    x: np.ndarray
    probability: np.ndarray
    version: int


@pytest.fixture(scope="module")
def batch(smoke) -> Batch:
    settings = load("smoke", ["--var", str(smoke.var)], env={})
    version = champion_now(settings)
    bundle = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    (table,) = (smoke.var / "stages").glob("features-*/table.parquet")
    test = read_rows(table, ("test",), NAMES)
    (as_of,) = set(test.as_of.tolist())
    assert np.isnan(test.x).any(), "missing values are among them"
    return Batch(
        [str(one) for one in test.customer_id],
        as_of,
        test.x,
        bundle.predict(test.x),
        version.version,
    )


@pytest.fixture(scope="module")
def asker(url):
    with Client(url) as client:
        yield client


def make_score(cli, smoke, *arguments: str) -> pa.Table:
    """The scores that the command makes."""
    done = cli(smoke.var, "--config", "smoke", *arguments, module="flows.score")
    assert done.code == 0, done.err
    (line,) = (line for line in done.out.split("\n") if line.startswith("Programs"))
    return pq.read_table(line.removeprefix("Programs").strip())


def test_make_score_of_a_test_date_equals_the_training_table_and_its_model(cli, smoke, batch):
    found = make_score(cli, smoke, "--as-of", str(batch.as_of))
    order = np.argsort(batch.customers)
    assert found["customer_id"].to_pylist() == [batch.customers[at] for at in order]
    np.testing.assert_allclose(found["probability"], batch.probability[order], rtol=0, atol=1e-6)
    assert set(found["version"].to_pylist()) == {batch.version}


def test_make_score_equals_the_service_for_every_customer(cli, smoke, batch, asker: Client):
    """As of the day after the log, which no training has seen: from the raw lines, and from the
    features."""
    scores = make_score(cli, smoke)
    customers, as_of = scores["customer_id"].to_pylist(), scores["as_of"][0].as_py()
    assert as_of > batch.as_of and len(customers) > 500
    (raw,) = (smoke.var / "stages").glob("ingest-*/rows.parquet")
    lines = lines_of(raw, replace(batch, customers=customers, as_of=as_of))
    from_lines, from_features, decisions = [], [], []
    for start in range(0, len(customers), 100):
        asked = [
            {"customer_id": one, "lines": lines[one]} for one in customers[start : start + 100]
        ]
        answer = asker.predict_transactions(as_of, asked, features=True)
        from_lines += [one.probability for one in answer.predictions]
        decisions += [one.decision for one in answer.predictions]
        again = asker.predict([one.features for one in answer.predictions])
        from_features += [one.probability for one in again.predictions]
    np.testing.assert_allclose(from_lines, scores["probability"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(from_features, scores["probability"], rtol=0, atol=1e-6)
    assert decisions == scores["decision"].to_pylist()


def test_every_test_row_gets_what_batch_scoring_says(batch: Batch, asker: Client):
    customers = [
        {name: None if np.isnan(value) else float(value) for name, value in zip(NAMES, row)}
        for row in batch.x
    ]
    served = []
    for start in range(0, len(customers), 500):
        answer = asker.predict(customers[start : start + 500])
        served += [one.probability for one in answer.predictions]
    np.testing.assert_allclose(served, batch.probability, rtol=0, atol=1e-6)
    assert answer.model.version == batch.version


def test_every_customers_invoice_lines_get_the_same(smoke, batch: Batch, asker: Client):
    """From the raw lines as the source gave them, bad rows included: the service keeps them out as
    the contract did, and builds the features anew."""
    (raw,) = (smoke.var / "stages").glob("ingest-*/rows.parquet")
    lines = lines_of(raw, batch)
    served, values, left_out = [], [], 0
    for start in range(0, len(batch.customers), 100):
        asked = [
            {"customer_id": one, "lines": lines[one]}
            for one in batch.customers[start : start + 100]
        ]
        answer = asker.predict_transactions(batch.as_of, asked, features=True)
        served += [one.probability for one in answer.predictions]
        values += [list(one.features.values()) for one in answer.predictions]
        left_out += len(answer.left_out)
    np.testing.assert_array_equal(np.array(values, dtype=np.float32), batch.x)
    np.testing.assert_allclose(served, batch.probability, rtol=0, atol=1e-6)
    assert left_out > 0, "the simulated log has dirt"


def lines_of(raw: Path, batch: Batch) -> dict[str, list[dict[str, Any]]]:
    """By customer, what a shop's system would send: every line before the as-of date."""
    columns = ("invoice_id", "product_id", "description", "quantity", "unit_price", "country")
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"""
            SELECT customer_id, CAST(invoiced_at AS VARCHAR), {", ".join(columns)}
            FROM read_parquet(?) WHERE invoiced_at < ? AND len(unreadable) = 0
            ORDER BY source_row
            """,
            [str(raw), batch.as_of],
        ).fetchall()
    found: dict[str, list[dict[str, Any]]] = {one: [] for one in batch.customers}
    for customer, invoiced_at, *values in rows:
        if customer in found:
            found[customer].append(dict(zip(columns, values)) | {"invoiced_at": invoiced_at})
    return found


def test_the_samples_of_the_page_are_customers_of_the_test_split(batch: Batch, asker: Client):
    samples = asker.samples()
    assert len(samples) == 5
    for sample in samples:
        customer = {"customer_id": sample.name, "lines": sample.lines}
        answer = asker.predict_transactions(sample.as_of, [customer])
        assert np.isclose(batch.probability, answer.predictions[0].probability, atol=1e-6).any()
        assert answer.left_out == []


def test_make_predict_prints_the_answer(smoke, url, cli):
    port = url.rpartition(":")[2]
    done = cli(smoke.var, "--config", "smoke", "--serving.port", port, module="serving.predict")
    assert done.code == 0, done.err
    example = json.loads((smoke.var / "runs" / "latest" / "example.json").read_text())
    for customer in example["customers"]:
        assert customer["customer_id"] in done.out
    assert "golden-path-smoke" in done.out


def test_a_wrong_value_is_the_clients_error(url):
    answer = httpx.post(
        f"{url}/predict", json={"customers": [{"recency_days": "x"}]}, trust_env=False, timeout=60
    )
    assert 400 <= answer.status_code < 500
    assert "recency_days" in answer.text


def test_predict_without_a_service_says_so(smoke, cli):
    done = cli(smoke.var, "--config", "smoke", "--serving.port", "1", module="serving.predict")
    assert done.code == 1
    assert "make serve" in done.err and "Traceback" not in done.err


def test_a_port_in_use_at_serve(cli, smoke):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli(smoke.var, "--config", "smoke", "--serving.port", str(port), module="serving")
    assert done.code == 1
    assert str(port) in done.err and "next:" in done.err
    assert "Traceback" not in done.err + done.out
