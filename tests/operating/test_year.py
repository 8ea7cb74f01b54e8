"""A shortened simulated year, end to end: pipeline, gate, service and client are the real ones."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from shop import SIMULATED, SMALL

from common.files import read_record
from configs.load import load
from flows.commands.simulate_year import finished_year
from monitoring import state
from tests.bench.year import facts

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


def monitoring_metrics(said: str) -> str:
    """What the service says on /metrics of the months, if it is ready."""
    with suppress(httpx.HTTPError):
        url = re.search(r"see (http://127\.0\.0\.1:\d+)", said)[1]
        answer = httpx.get(f"{url}/metrics", trust_env=False, timeout=30)
        if answer.is_success:
            return "\n".join(line for line in answer.text.splitlines() if "golden_path_" in line)
    return ""


@pytest.fixture(scope="module")
def year(preset, forked_cli, tmp_path_factory):
    """Three months with prices raised in the second. The command is killed while the service works
    and is asked, and typed again: what it then said, and the metrics of before."""
    var = tmp_path_factory.mktemp("year") / "var"
    words = ["--config", str(preset), "--drift", "price", "--training.bootstrap", "120"]
    metrics: list[str] = []

    def month_is_served(_: psutil.Process, said: str) -> bool:
        if "\n2026-04 " in said:
            metrics.append(monitoring_metrics(said))
        return bool(metrics and metrics[-1])

    token = {"SERVING_TOKEN": "of a service of the reader's own"}  # this one must not ask for it
    killed = forked_cli(
        var, *words, module=MODULE, end_at=month_is_served, end_by=signal.SIGKILL, **token
    )
    assert killed.code == -signal.SIGKILL
    for process in psutil.process_iter(["cmdline"]):
        if any(str(var) in word for word in process.info["cmdline"] or []):
            psutil.wait_procs([process], timeout=20)
    assert left(var) == [], "the service ends with the command"
    done = forked_cli(var, *words, module=MODULE, **token)
    assert done.code == 0, done.err
    assert left(var) == []
    return done, metrics[-1]


def test_a_year_that_was_killed_goes_on_and_tells_what_was_found(year):
    done, _ = year
    lines = done.out.splitlines()
    assert "goes on after" in lines[0]
    table = {line[:7]: line for line in lines if line[:4] == "2026"}
    assert list(table) == ["2026-04", "2026-05", "2026-06"]
    assert max(map(len, table.values())) < 80
    assert "price +" in table["2026-05"] and "broken data" in table["2026-05"]
    story = "\n".join(lines[lines.index(table["2026-06"]) :])
    assert "On 2026-05-01 every price was raised by a tenth." in story
    assert "The sensor price alarmed in 2026-05, the first month of the change" in story
    assert "The verdict was broken data in 2026-05 to 2026-06." in story
    assert "2026-05 to 2026-06 were not scored" in story
    assert " held " in table["2026-05"] and " held " in table["2026-06"]
    assert "In 2026-06 a training by the calendar was held back" in story
    assert "At the end version 1, the first champion, was served." in story
    assert story.count("lost none") == 1
    tally = read_record(done.var / "finished.json")
    assert tally["lost"] == 0 and tally["versions"]["1"] > 0
    page = done.var / "monitoring" / "year-price" / "page.html"
    assert "broken data" in page.read_text(encoding="utf-8")
    judged = state.read_judged(page.parent)[0][-1].verdict
    assert judged.month == "2026-06" and judged.explained
    features = [one for one in judged.explained if not one.startswith("probability")]
    assert features and all("as of 2026-05-01" in one for one in features), "before the alarm"


def test_the_service_shows_the_metrics_of_the_months_while_the_year_goes_on(year):
    _, metrics = year
    assert re.search(r"^golden_path_sensor_z\{.*price", metrics, re.MULTILINE), metrics
    verdicts = re.findall(r'^golden_path_verdict\{.*verdict="(.*?)".*\} 1', metrics, re.MULTILINE)
    assert verdicts in (["calendar"], ["broken data"]), metrics


def test_what_it_wrote_down_is_what_it_printed(year):
    done, _ = year
    settings = load(str(done.var / "year-price.yaml"))
    found = facts(settings, finished_year(settings))
    assert "\n".join(found["table"]) in done.out
    assert "\n\n".join(found["told"]) in done.out
    assert found["alarmed"] is None and {one["sensor"] for one in found["alarms"]} == {"price"}
    assert found["lost"] == 0 < found["answered"] and found["by_drift"] == 0


def test_the_printed_commands_act_on_the_shop_of_the_year(year, forked_cli):
    done, _ = year
    settings = load(str(done.var / "year-price.yaml"))
    assert settings.var == done.var and settings.training.bootstrap == 120
    page = (done.var / "monitoring" / "year-price" / "page.html").read_text(encoding="utf-8")
    assert "CONFIG=" + str(settings.file) in page
    printed = re.findall(r"make (\w+) (CONFIG=.*)", done.out)
    assert {"models", "serve", "operate"} == {target for target, _ in printed}
    given = {target: shlex.split(words) for target, words in printed}
    (config,) = given["models"]
    preset = config.removeprefix("CONFIG=")
    said = {
        target: forked_cli(done.var, "--config", preset, module=module)
        for target, module in (
            ("models", "flows.commands.models"),
            ("monitor", "flows.monitor"),
            ("operate", "flows.operate"),
        )
    }
    assert all(one.code == 0 for one in said.values()), [one.err for one in said.values()]
    assert "golden-path-year-price" in said["models"].out
    assert "2026-06: broken data" in said["monitor"].out
    assert "No month is due: 2026-06 was the last" in said["operate"].out
    assert [one.name for one in (done.var / "monitoring").iterdir()] == ["year-price"]


@pytest.mark.parametrize(
    ("words", "what", "next_step"),
    [
        (["--drift", "prices"], "no drift is called 'prices'", "rate, price, unit, missing, mix"),
        (["--config", "online_retail"], "a year is simulated of a simulated shop", "simulate-year"),
    ],
)
def test_what_cannot_be_simulated_is_refused(forked_cli, tmp_path, words, what, next_step):
    done = forked_cli(tmp_path / "var", *words, module="flows.commands.simulate_year")
    assert done.code == 1 and what in done.err and next_step in done.err
    assert json.dumps(done.err).count("Traceback") == 0
