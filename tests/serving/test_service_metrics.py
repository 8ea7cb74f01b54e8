"""The service's `/metrics` with what monitoring wrote, whatever becomes of the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest
from real_service import started

from configs.load import load
from ingestion.batches import dataset_of
from monitoring.facts import Reading
from monitoring.prometheus import Standing, write_textfile
from serving.served import METRICS

pytestmark = pytest.mark.slow
NAME = "golden_path_sensor_z"


def test_several_workers_answer_what_monitoring_wrote_once(tmp_path: Path) -> None:
    settings = load("smoke", [])
    file = tmp_path / "var" / "monitoring" / dataset_of(settings) / METRICS
    with started(tmp_path, "--serving.workers", "2") as running:

        def scrape() -> list[str]:
            # A connection of its own each time, so that either worker is asked.
            answered = httpx.get(f"{running.url}/metrics", trust_env=False, timeout=60)
            assert answered.status_code == 200
            assert int(answered.headers["content-length"]) == len(answered.content)
            lines = answered.text.splitlines()
            # Whatever the file is, the service's own are there, and none is there twice.
            assert any(line.startswith("golden_path_model_info{") for line in lines)
            twice = [
                name for name, n in Counter(x.rpartition(" ")[0] for x in lines).items() if n > 1
            ]
            assert twice == []
            return lines

        def state() -> set[str]:
            head = "golden_path_monitoring_file{"
            return {line for line in scrape() if line.startswith(head) and line.endswith(" 1.0")}

        assert state() == {'golden_path_monitoring_file{state="missing"} 1.0'}
        for z in (1.5, -2.5):
            reading = Reading("price", "2026-07", "ok", 1.0, 9, 1.0, 0.1, z, 6.0)
            write_textfile(file, Standing(dataset_of(settings), readings=[reading]))
            for _ in range(6):
                (line,) = [line for line in scrape() if line.startswith(NAME + "{")]
                assert line == f'{NAME}{{dataset="{dataset_of(settings)}",sensor="price"}} {z}'
        assert state() == {'golden_path_monitoring_file{state="passed on"} 1.0'}
        whole = file.read_bytes()
        for damaged in (whole[:-20], whole.replace(b"-2.5", b"-2.6"), b"x" * 1_000_000):
            file.write_bytes(damaged)
            for _ in range(3):
                assert state() == {'golden_path_monitoring_file{state="refused"} 1.0'}
                assert not any(line.startswith(NAME) for line in scrape())
        head = httpx.head(f"{running.url}/metrics", trust_env=False, timeout=60)
        assert head.status_code == 200 and head.content == b""
    said = running.log.read_text()
    assert "was altered or is half-written" in said and "Traceback" not in said
    assert said.count("is larger than") <= 2, "once per worker, not at every scrape"
