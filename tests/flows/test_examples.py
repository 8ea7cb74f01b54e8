"""What a bundle keeps of the data: true to the data, spread over it, without names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from common.duck import connect, parquet
from configs.load import load
from configs.settings import Features
from features.build import build_table
from features.catalogue import ALL, NAMES, Feature, select
from features.engine import build_features, read_log
from features.facts import TableFacts
from features.table import Rows, read_rows
from flows.examples import (
    MOST_LINES,
    fitting,
    log_samples,
    make_examples,
    reference_rows,
    spread,
    table_samples,
)
from flows.stage import Stage
from registry.bundle import EXAMPLES, LARGEST

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("invoice_id", "product_id", "description")),
        ("quantity", pa.int64()),
        ("unit_price", pa.float64()),
        ("invoiced_at", pa.timestamp("us")),
        *((name, pa.string()) for name in ("customer_id", "country")),
    ]
)
SETTINGS = Features(horizon_days=30, min_history_days=120, train_dates=2, valid_dates=2)
LARGE = "wholesaler"  # one with more lines than a sample may have


@dataclass(frozen=True)
class Made:
    """A log of 70 customers, its training table, and made-up probabilities for the test rows."""

    log: Path
    table: Path
    as_of: date
    test: Rows
    probability: np.ndarray


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("examples")
    rng, lines = np.random.default_rng(1), []
    for number in range(1500):
        who = LARGE if number % 10 == 0 else f"customer {rng.integers(70)}"
        for _ in range(5 if who == LARGE else rng.integers(1, 4)):
            lines.append(
                {
                    "invoice_id": f"i{number}",
                    "product_id": f"p{rng.integers(40)}",
                    "description": None if rng.random() < 0.1 else 'MUG "7" É',
                    "quantity": int(rng.integers(1, 30)) * (-1 if rng.random() < 0.05 else 1),
                    "unit_price": round(float(rng.gamma(2, 2)) + 0.01, 2),
                    "invoiced_at": datetime(2024, 1, 1) + timedelta(hours=8 * number),
                    "customer_id": who,
                    "country": [None, "France", "United Kingdom"][rng.integers(3)],
                }
            )
    pq.write_table(pa.Table.from_pylist(lines, schema=SCHEMA), folder / "transactions.parquet")
    facts = build_table(folder / "transactions.parquet", folder / "table.parquet", SETTINGS)
    test = read_rows(folder / "table.parquet", ("test",), NAMES)
    return Made(
        log=folder / "transactions.parquet",
        table=folder / "table.parquet",
        as_of=date.fromisoformat(max(facts.as_of["test"])),
        test=test,
        probability=rng.random(len(test)),
    )


def samples_of(made: Made, count: int, declared: frozenset[str] = ALL) -> list[dict[str, Any]]:
    with connect() as connection:
        connection.execute(f"CREATE VIEW log AS FROM {parquet(made.log)}")
        return log_samples(connection, made.test, made.probability, declared, count)


@pytest.mark.slow
def test_the_lines_of_a_sample_make_the_features_that_the_model_was_tested_on(made):
    samples = samples_of(made, 6)
    assert [one["name"] for one in samples] == [f"sample {n}" for n in range(1, 7)]
    assert {one["as_of"] for one in samples} == {made.as_of.isoformat()}
    rows = [dict(line, customer_id=one["name"]) for one in samples for line in one["lines"]]
    for row in rows:
        row["invoiced_at"] = datetime.fromisoformat(row["invoiced_at"])
    with connect() as connection:
        connection.register("transactions", pa.Table.from_pylist(rows, schema=SCHEMA))
        read_log(connection, SETTINGS, date(2024, 1, 1))
        connection.execute(
            "CREATE TEMP TABLE spine AS"
            f" SELECT DISTINCT customer_id, DATE '{made.as_of}' AS as_of FROM transactions"
        )
        build_features(connection)
        found = connection.execute(f"SELECT {', '.join(NAMES)} FROM features ORDER BY row_id")
        again = np.array(found.fetchall(), dtype=np.float32)
    known = {row.tobytes(): p for row, p in zip(made.test.x, made.probability, strict=True)}
    probability = [known[row.tobytes()] for row in again]
    assert probability == sorted(probability), "the least likely first"
    assert probability[0] < 0.2 and probability[-1] > 0.8


def test_a_sample_names_nobody_has_few_lines_and_none_from_the_as_of_date_on(made):
    samples = samples_of(made, 1000)
    assert LARGE in set(made.test.customer_id)
    assert len(samples) == len(made.test) - 1, "everyone but the one with too many lines"
    assert "customer" not in json.dumps(samples) and LARGE not in json.dumps(samples)
    for one in samples:
        times = [line["invoiced_at"] for line in one["lines"]]
        assert times == sorted(times) and max(times) < one["as_of"]
        assert 1 <= len(times) <= MOST_LINES


def test_a_sample_has_the_columns_that_the_source_has(made):
    (one,) = samples_of(made, 1)
    assert set(one["lines"][0]) == ALL - {"customer_id"}
    few = frozenset({"customer_id", "invoiced_at", "amount"})
    (other,) = samples_of(made, 1, few)
    assert set(other["lines"][0]) == {"invoiced_at", "amount"}

    def values(sample, value):
        return sorted((line["invoiced_at"], value(line)) for line in sample["lines"])

    wanted = values(one, lambda line: round(line["quantity"] * line["unit_price"], 2))
    assert values(other, lambda line: line["amount"]) == wanted


def test_the_same_run_makes_the_same_examples(made, tmp_path):
    facts = TableFacts(len(NAMES), tuple(NAMES), select(ALL), {}, {}, {})
    table = Stage(made.table.parent, facts, {}, reused=False)
    evaluation = SimpleNamespace(
        test=made.test, winner="best", probabilities={"best": made.probability}
    )

    def make(samples: int) -> dict[str, Any]:
        settings = load("smoke", ["--training.samples", str(samples)], env={})
        context = SimpleNamespace(settings=settings, run=SimpleNamespace(folder=tmp_path))
        return make_examples(context, table, table, evaluation)

    first = make(3)
    assert json.dumps(first, allow_nan=False) == json.dumps(make(3), allow_nan=False)
    assert sorted(first) == ["reference", "samples"] and len(first["samples"]) == 3
    assert make(0)["samples"] == [] and list(tmp_path.iterdir()) == []
    valid = read_rows(made.table, ("valid",), NAMES, label=False)
    reference = np.array(first["reference"], dtype=np.float32)
    assert reference.shape == (64, len(NAMES))
    np.testing.assert_array_equal(reference[[0, -1]], valid.x[[0, -1]])


def test_reference_rows_are_spread_over_the_split_to_the_last_bit_and_written_short():
    x = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32) * 1e3
    x[::7, 1] = np.nan
    rows = reference_rows(x)
    assert len(rows) == 64 and rows[0][1] is None and len(reference_rows(x[:5])) == 5
    wanted = x[np.linspace(0, 999, 64).astype(int)]
    assert np.array(rows, dtype=np.float32).tobytes() == wanted.tobytes()
    assert json.dumps(reference_rows(np.float32([[84.3]]))) == "[[84.3]]"


def test_a_table_of_very_many_columns_keeps_within_its_room():
    rows = reference_rows(np.full((100, 4000), -1.2345678e-30, np.float32))
    assert 1 < len(rows) < 64 and len(json.dumps(rows)) < LARGEST[EXAMPLES] / 2
    large = [{"name": f"sample {n}", "lines": ["É" * 100_000]} for n in range(50)]
    assert len(fitting(large)) == 12 and fitting(large) == large[:12]
    assert fitting(large[:2]) == large[:2] and fitting([]) == []


def test_samples_of_a_table_are_written_as_a_request_is():
    schema = [
        asdict(Feature("age", "years", "?", missing="unknown")),
        asdict(Feature("plan", "category", "?", 0.0, 2.0, categories=("basic", "plus"))),
    ]
    x = np.array([[84.3, 0], [np.nan, 1], [3, 2]], np.float32)
    names = np.array(["m1", "m2", "m3"], dtype=object)
    test = Rows(x, None, names, np.full(3, np.datetime64("NaT"), "datetime64[D]"))
    assert table_samples(test, np.array([0.9, 0.1, 0.5]), schema, 5) == [
        {"name": "sample 1", "values": {"age": None, "plan": "plus"}},
        {"name": "sample 2", "values": {"age": 3.0, "plan": "other"}},
        {"name": "sample 3", "values": {"age": 84.3, "plan": "basic"}},
    ]
    assert table_samples(test, np.array([0.9, 0.1, 0.5]), schema, 0) == []


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10, 30])
def test_samples_are_spread_over_the_probability(count):
    rows, probability = np.arange(5, 15), np.linspace(1, 0, 20)
    found = spread(rows, probability, count)
    assert len(set(found)) == len(found) == min(count, 10)
    assert (np.diff(probability[found]) > 0).all()
    assert len(spread(np.array([], dtype=int), probability, count)) == 0
