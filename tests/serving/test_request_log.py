"""The log of requests: what was answered, by whom, for customers that the log does not name."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from real_service import AS_OF, Running, line, started

from common.customer_hash import hashed, read_key
from features.catalogue import CATALOGUE, NAMES
from registry.bundle import load_bundle
from serving import request_log
from serving.champion import Champion, Scored
from serving.request_log import RequestLog
from serving.responses import Model

pytestmark = pytest.mark.slow


def customer(number: int) -> dict[str, Any]:
    return {f.name: max(f.low or 0, 1.0) for f in CATALOGUE} | {
        "customer_id": f"1785{number}",
        "recency_days": float(number + 1),
        "gap_days_mean": None,
    }


def test_what_was_answered_can_be_read_back(tmp_path: Path) -> None:
    with started(tmp_path, "--serving.log_requests", "true") as running:
        sent = [customer(number) for number in range(5)]
        body = json.dumps({"customers": sent})
        answer = httpx.post(
            f"{running.url}/predict", content=body, trust_env=False, timeout=60
        ).json()
        refused = httpx.post(f"{running.url}/predict", content="{}", trust_env=False, timeout=60)
        assert refused.status_code == 400
    # Ended: what was held is written.
    folder = running.var / "serving" / "log"
    rows = ds.dataset(folder, partitioning="hive").to_table().to_pylist()
    predictions = answer["predictions"]
    assert [row["probability"] for row in rows] == [one["probability"] for one in predictions]
    assert [row["decision"] for row in rows] == [one["decision"] for one in predictions]
    key = read_key(folder.with_suffix(".key"))
    assert [row["customer"] for row in rows] == [hashed(key, one["customer_id"]) for one in sent]
    assert list(rows[0]["features"]) == list(NAMES)
    for row, one in zip(rows, sent):
        assert row["features"]["recency_days"] == one["recency_days"]
        assert row["features"]["gap_days_mean"] is None
        assert (row["model"], row["version"]) == ("golden-path-default", 3)
        assert row["bundle_sha256"] == running.bundle.sha256
        assert abs((row["asked_at"] - datetime.now(UTC)).total_seconds()) < 120
    everything = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"1785" not in everything
    assert stat.S_IMODE(folder.with_suffix(".key").stat().st_mode) == 0o600


def test_a_customer_is_the_same_however_the_lines_name_them(tmp_path: Path) -> None:
    lines = [line("1", 30), line("2", 9)]
    with started(tmp_path, "--serving.log_requests", "true") as running:
        for name in ("17850", " 17850 ", "17850.0"):
            customers = [{"customer_id": name, "lines": lines}]
            body = json.dumps({"as_of": str(AS_OF), "customers": customers})
            url = f"{running.url}/predict_transactions"
            answer = httpx.post(url, content=body, trust_env=False, timeout=60).json()
            assert answer["predictions"][0]["customer_id"] == name, "as it was sent"
    folder = running.var / "serving" / "log"
    rows = ds.dataset(folder, partitioning="hive").to_table().to_pylist()
    key = read_key(folder.with_suffix(".key"))
    assert [row["customer"] for row in rows] == [hashed(key, "17850")] * 3
    assert {row["as_of"] for row in rows} == {AS_OF}


def test_a_day_and_a_version_have_files_of_their_own(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = msgspec.structs.replace(scored.champion.model, version=2)  # of the same bundle
    other = replace(scored, champion=replace(scored.champion, model=model))
    log = RequestLog(tmp_path / "log")
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    for minutes, one in ((-1, scored), (1, scored), (1, other)):
        at = midnight + timedelta(minutes=minutes)
        monkeypatch.setattr(request_log, "datetime", Mock(now=lambda zone, at=at: at))
        log.add(one)
    assert log.write() == 0
    rows = ds.dataset(tmp_path / "log", partitioning="hive").to_table().to_pylist()
    assert sorted((row["date"], row["version"]) for row in rows) == [
        *[("2026-02-28", 1)] * 2,
        *[("2026-03-01", 1)] * 2,
        *[("2026-03-01", 2)] * 2,
    ]


def test_what_cannot_be_written_is_counted_and_the_next_is_written(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RequestLog(tmp_path / "log")
    log.add(scored)
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", Mock(side_effect=pa.ArrowMemoryError("no room")))
        assert log.write() == 2
    log.add(scored)
    assert log.write() == 0
    assert ds.dataset(tmp_path / "log").to_table().num_rows == 2


def test_nothing_is_logged_unless_it_is_asked_for(client: httpx.Client, running: Running) -> None:
    client.post("/predict", content=json.dumps({"customers": [customer(1)]})).raise_for_status()
    assert not (running.var / "serving" / "log").exists()


@pytest.fixture
def scored(running: Running) -> Scored:
    bundle = load_bundle(running.bundle.folder)
    model = Model("m", 1, "a" * 64, 0.5)
    x = np.ones((2, len(NAMES)), dtype=np.float32)
    champion = Champion(model, bundle, None, None, np.empty(0), [])  # type: ignore[arg-type]
    return Scored(champion, ["1", None], x, np.array([0.2, 0.7]), date(2011, 9, 10))


def test_rows_from_many_threads_are_all_there_once(tmp_path: Path, scored: Scored) -> None:
    log = RequestLog(tmp_path / "log")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log.add, [scored] * 500))
        list(pool.map(lambda _: log.write(), range(4)))
    rows = ds.dataset(tmp_path / "log").to_table()
    assert rows.num_rows == 1000
    assert rows["as_of"].to_pylist() == [date(2011, 9, 10)] * 1000
    assert rows["customer"].null_count == 500


def test_what_there_is_no_room_for_is_counted(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "MOST_HELD", 3)
    log = RequestLog(tmp_path / "log")
    for _ in range(3):
        log.add(scored)
    assert log.write() == 4
    assert log.write() == 0
    log.add(scored)
    (tmp_path / "log").rename(tmp_path / "gone")
    (tmp_path / "log").write_text("no folder")
    assert log.write() == 2
    assert [pq.read_metadata(file).num_rows for file in (tmp_path / "gone").rglob("*.parquet")] == [
        2
    ]
