"""The log of requests: what was answered, by whom, for customers that the log does not name."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from real_service import AS_OF, ROW, bought, customers, line, started

from common.customer_hash import hashed, read_key
from features.catalogue import NAMES
from serving import request_log
from serving.champion import Champion, Scored
from serving.request_log import RequestLog
from serving.responses import Model

pytestmark = pytest.mark.slow


def read(folder: Path) -> list[dict[str, Any]]:
    return ds.dataset(folder, partitioning="hive").to_table().to_pylist()


def test_the_log_holds_every_answer_and_no_customer_id(tmp_path):
    sent = [
        ROW | {"customer_id": f"1785{n}", "recency_days": n + 1.0, "gap_days_mean": None}
        for n in range(5)
    ]
    names = ("17850", " 17850 ", "17850.0")  # the same customer, however the lines name them
    lines = [line("1", 30), line("2", 9)]
    with started(tmp_path, "--serving.log_requests", "true") as running:
        predictions = running.post("/predict", customers(*sent)).json()["predictions"]
        assert running.post("/predict", {}).status_code == 400
        for name in names:
            buyer = {"customer_id": name, "lines": lines}
            answer = running.post("/predict_transactions", bought(buyer)).json()
            assert answer["predictions"][0]["customer_id"] == name, "as it was sent"
            predictions += answer["predictions"]
    # Ended: what was held is written.
    folder = running.var / "serving" / "log"
    rows, key = read(folder), read_key(folder.with_suffix(".key"))
    assert [row["probability"] for row in rows] == [one["probability"] for one in predictions]
    assert [row["decision"] for row in rows] == [one["decision"] for one in predictions]
    ids = [*(one["customer_id"] for one in sent), *["17850"] * 3]
    assert [row["customer"] for row in rows] == [hashed(key, one) for one in ids]
    assert [row["as_of"] for row in rows] == [*[None] * 5, *[AS_OF] * 3]
    assert list(rows[0]["features"]) == list(NAMES)
    for row in rows:
        assert (row["model"], row["version"]) == ("golden-path-default", 3)
        assert row["bundle_sha256"] == running.bundle.sha256
        assert abs((row["asked_at"] - datetime.now(UTC)).total_seconds()) < 120
    for row, one in zip(rows, sent):
        assert row["features"]["recency_days"] == one["recency_days"]
        assert row["features"]["gap_days_mean"] is None
    everything = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"1785" not in everything
    assert stat.S_IMODE(folder.with_suffix(".key").stat().st_mode) == 0o600


def test_nothing_is_logged_by_default(client, running):
    client.post("/predict", json=customers(ROW)).raise_for_status()
    assert not (running.var / "serving" / "log").exists()


@pytest.fixture
def scored(running):
    model = Model("m", 1, "a" * 64, 0.5)
    x = np.ones((2, len(NAMES)), dtype=np.float32)
    champion = Champion(model, running.bundle, None, None, np.empty(0), [])
    return Scored(champion, ["1", None], x, np.array([0.2, 0.7]), date(2011, 9, 10))


def test_a_day_and_a_version_have_files_of_their_own(tmp_path, scored, monkeypatch):
    model = msgspec.structs.replace(scored.champion.model, version=2)  # of the same bundle
    other = replace(scored, champion=replace(scored.champion, model=model))
    log = RequestLog(tmp_path / "log")
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    for minutes, one in ((-1, scored), (1, scored), (1, other)):
        at = midnight + timedelta(minutes=minutes)
        monkeypatch.setattr(request_log, "datetime", Mock(now=lambda zone, at=at: at))
        log.add(one)
    assert log.write() == 0
    assert sorted((row["date"], row["version"]) for row in read(tmp_path / "log")) == [
        *[("2026-02-28", 1)] * 2,
        *[("2026-03-01", 1)] * 2,
        *[("2026-03-01", 2)] * 2,
    ]


def test_rows_from_many_threads_are_all_there_once(tmp_path, scored):
    log = RequestLog(tmp_path / "log")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log.add, [scored] * 500))
        list(pool.map(lambda _: log.write(), range(4)))
    rows = ds.dataset(tmp_path / "log").to_table()
    assert rows.num_rows == 1000
    assert rows["as_of"].to_pylist() == [date(2011, 9, 10)] * 1000
    assert rows["customer"].null_count == 500


def test_rows_that_cannot_be_held_or_written_are_counted_and_the_next_are_written(
    tmp_path, scored, monkeypatch
):
    monkeypatch.setattr(request_log, "MOST_HELD", 3)
    log = RequestLog(tmp_path / "log")
    for _ in range(3):
        log.add(scored)
    assert [log.write(), log.write()] == [4, 0]
    log.add(scored)
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", Mock(side_effect=pa.ArrowMemoryError("no memory")))
        assert log.write() == 2
    log.add(scored)
    assert log.write() == 0
    assert ds.dataset(tmp_path / "log").to_table().num_rows == 4
