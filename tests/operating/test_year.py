"""A shortened simulated year, end to end: pipeline, gate, service and client are the real ones."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
import yaml
from shop import SIMULATED, SMALL

from configs.records import read_record
from monitoring import state

pytestmark = pytest.mark.slow

MODULE = "tests.operating.short_year"


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("preset") / "short.yaml"
    simulation = {**SIMULATED["source"]["simulation"], "days": 912}  # to 2026-06-30
    content = SMALL | {"source": {"kind": "simulated", "simulation": simulation}}
    file.write_text(yaml.safe_dump(content))
    return file


def left(var: Path) -> list[str]:
    """Processes that work for this state, by their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(var) in word for word in words):
            found.append(" ".join(words))
    return found


def test_three_months_with_prices_raised_in_the_second(preset, quick_walk, tmp_path):
    words = ["--config", str(preset), "--drift", "price"]
    # Killed in its second month, while the service works and is asked.
    killed = quick_walk(
        tmp_path / "var",
        *words,
        module=MODULE,
        end_at=lambda _, said: "\n2026-04 " in said,
        end_by=signal.SIGKILL,
    )
    assert killed.code == -signal.SIGKILL
    for process in psutil.process_iter(["cmdline"]):
        if any(str(tmp_path / "var") in word for word in process.info["cmdline"] or []):
            psutil.wait_procs([process], timeout=20)
    assert left(tmp_path / "var") == [], "the service ends with the command"

    done = quick_walk(tmp_path / "var", *words, module=MODULE)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "goes on after" in lines[0]
    table = {line[:7]: line for line in lines if line[:4] == "2026"}
    assert list(table) == ["2026-04", "2026-05", "2026-06"]
    assert max(map(len, table.values())) < 80
    assert "price +" in table["2026-05"] and "broken data" in table["2026-05"]
    story = next(line for line in lines if line.startswith("On 2026-05-01 every price was raised"))
    assert "The sensor price alarmed in 2026-05, the first month of the change" in story
    assert "The verdict was broken data in 2026-05 to 2026-06." in story
    assert "in one month in which the calendar asked for a training it was held back" in story
    assert "Version 1, the first champion, serves now." in story
    assert story.count("lost none") == 1
    tally = read_record(tmp_path / "var" / "finished.json")
    assert tally["lost"] == 0 and tally["versions"]["1"] > 0
    page = next((tmp_path / "var").glob("monitoring/*/page.html"))
    assert "broken data" in page.read_text(encoding="utf-8")
    judged = state.read_judged(page.parent)[0][-1].verdict
    assert judged.month == "2026-06" and judged.explained
    assert all("as of 2026-05-01" in one for one in judged.explained), "the day before the alarm"
    assert left(tmp_path / "var") == []


@pytest.mark.parametrize(
    ("words", "what", "next_step"),
    [
        (["--drift", "prices"], "no drift is called 'prices'", "rate, price, unit, missing, mix"),
        (["--config", "online_retail"], "a year is simulated of a simulated shop", "simulate-year"),
    ],
)
def test_what_cannot_be_simulated_is_refused(quick_walk, tmp_path, words, what, next_step):
    done = quick_walk(tmp_path / "var", *words, module="flows.simulate_year")
    assert done.code == 1 and what in done.err and next_step in done.err
    assert json.dumps(done.err).count("Traceback") == 0
