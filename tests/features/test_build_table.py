"""The training table: who is in it, in what order, with which columns, and how it is read back."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_logs import Line, at, shop_log, write

from common.errors import UserError
from configs.settings import Features
from features.build import TableFacts, build_table
from features.catalogue import NAMES
from features.table import SPLITS, read_column, read_rows

QUESTION = Features(horizon_days=60, active_days=120, min_history_days=90, train_dates=4)
LOG = shop_log(60, 260)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, TableFacts]:
    folder = tmp_path_factory.mktemp("the analyst's table")  # a quote in the path
    target = folder / "table.parquet"
    log = write(LOG, folder / "log.parquet")
    return target, build_table(log, target, QUESTION, source_sha256="5a" * 32)


def buyers_between(day: date, first: int, end: int) -> set[str]:
    """The customers with a sale from so many days after midnight of `day` on, until others."""
    midnight = datetime.combine(day, time())
    since, until = midnight + timedelta(days=first), midnight + timedelta(days=end)
    return {x.customer_id for x in LOG if x.quantity > 0 and since <= x.invoiced_at < until}


def test_the_columns_are_the_key_the_catalogue_in_its_order_and_the_label(built):
    schema = pq.read_schema(built[0])
    assert schema.names == ["customer_id", "as_of", "split", *NAMES, "label"]
    types = {name: str(schema.field(name).type) for name in schema.names}
    assert {types[name] for name in NAMES} == {"double"}
    assert (types["as_of"], types["label"]) == ("date32[day]", "int8")


def test_the_rows_are_the_customers_of_the_active_days_sorted_by_date_and_customer(built):
    path, facts = built
    keys = list(zip(read_column(path, "as_of"), read_column(path, "customer_id")))
    assert keys == sorted(set(keys))
    for split in SPLITS:
        rows = read_rows(path, (split,), NAMES)
        assert sorted({str(day) for day in rows.as_of}) == facts.as_of[split]
        for day in np.unique(rows.as_of):
            customers = set(rows.customer_id[rows.as_of == day])
            assert customers == buyers_between(day.astype(date), -120, 0)
            assert customers != {line.customer_id for line in LOG}  # the window leaves some out


def test_the_label_is_who_buys_within_the_horizon(built):
    rows = read_rows(built[0], SPLITS, NAMES)
    assert rows.y is not None and set(rows.y) == {0, 1}
    for customer, day, label in zip(rows.customer_id, rows.as_of, rows.y):
        assert label == (customer in buyers_between(day.astype(date), 0, 60))


def test_the_facts_are_those_of_the_file(built):
    path, facts = built
    rows = {split: read_rows(path, (split,), NAMES) for split in SPLITS}
    assert facts.features == len(NAMES)
    assert facts.rows == {split: len(rows[split]) for split in SPLITS}
    assert facts.positive_rate == pytest.approx({split: rows[split].y.mean() for split in SPLITS})
    assert [len(facts.as_of[split]) for split in SPLITS] == [4, 3, 1]


def test_other_tools_show_what_the_columns_mean_and_what_the_table_was_made_of(built):
    path, _ = built
    attributes = pd.read_parquet(path).attrs
    assert attributes["source_sha256"] == "5a" * 32
    recency = {"meaning": "from the last purchase to the as-of date", "unit": "days"}
    assert attributes["features"]["recency_days"] == recency
    assert list(attributes["features"]) == list(NAMES)
    expected = {"source_sha256": "5a" * 32, "features": json.dumps(attributes["features"])}
    by_arrow = {
        name.decode(): text.decode() for name, text in pq.read_schema(path).metadata.items()
    }
    by_polars = pl.read_parquet_metadata(path)
    pairs = duckdb.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]).fetchall()
    by_duckdb = {name.decode(): text.decode() for name, text in pairs}
    for shown in (by_arrow, by_polars, by_duckdb):
        assert {name: shown[name] for name in expected} == expected


def test_a_log_without_a_sale_is_refused(tmp_path):
    log = write([Line(at("2025-01-01"), quantity=-1)], tmp_path / "log.parquet")
    with pytest.raises(UserError, match="no sale is left"):
        build_table(log, tmp_path / "table.parquet", QUESTION)
    assert not (tmp_path / "table.parquet").exists()


def test_rows_are_read_in_the_order_of_the_file_and_of_the_features_asked_for(built):
    path, _ = built
    rows = read_rows(path, ("test", "train"), ("tenure_days", "gap_days_mean"))
    kept = np.isin(read_column(path, "split"), ["test", "train"])
    expected = [read_column(path, name)[kept] for name in ("tenure_days", "gap_days_mean")]
    assert rows.x.dtype == np.float32 and np.isnan(rows.x[:, 1]).any()  # missing is NaN
    assert np.array_equal(rows.x, np.column_stack(expected).astype(np.float32), equal_nan=True)
    assert np.array_equal(rows.customer_id, read_column(path, "customer_id")[kept])
    assert np.array_equal(rows.y, read_column(path, "label")[kept])


def test_without_the_label_its_bytes_are_not_read(built, tmp_path):
    path, _ = built
    chunk = pq.read_metadata(path).row_group(0).column(len(NAMES) + 3)
    assert chunk.path_in_schema == "label"
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(content)

    rows = read_rows(broken, ("test",), NAMES, label=False)
    assert rows.y is None
    assert np.array_equal(rows.x, read_rows(path, ("test",), NAMES).x, equal_nan=True)
    with pytest.raises((OSError, pa.ArrowException)):
        read_rows(broken, ("test",), NAMES)


def test_a_split_without_customers_has_no_rows_and_no_rate(tmp_path):
    log = [Line(at("2023-01-01")), Line(at("2024-12-31"), "bruno")]
    question = Features(horizon_days=30, active_days=30, min_history_days=1, train_dates=120)
    path = tmp_path / "table.parquet"
    facts = build_table(write(log, tmp_path / "log.parquet"), path, question)
    assert (facts.rows["test"], facts.positive_rate["test"]) == (0, 0.0)
    assert len(read_rows(path, ("test",), NAMES)) == 0
