"""deploy/: the rules, the dashboard and the configurations, tried by the programs they are for."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from made_year import MONTHS, standing
from real_service import AS_OF, Running, line, started
from receive import alertmanager, free_port, installed, program

from configs.load import load
from configs.settings import Alerts
from features.catalogue import CATALOGUE
from monitoring.alerts import raise_alert
from monitoring.delivery import deliver
from monitoring.prometheus import METRICS, write_textfile
from serving.served import METRICS as FILE

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
BOARD = json.loads((DEPLOY / "grafana" / "golden-path.json").read_text())
EXPRESSIONS = [
    (panel["title"], target["expr"])
    for panel in BOARD["panels"]
    for target in panel.get("targets", ())
]
CLIENT = httpx.Client(trust_env=False, timeout=60)  # one: each reads the certificates anew
NAME = re.compile(r"golden_path_\w+")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def output(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [installed(str(command[0])), *command[1:]], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_promtool_and_amtool_accept_what_is_deployed() -> None:
    folder = DEPLOY / "prometheus"
    assert "SUCCESS" in output("promtool", "check", "rules", "rules.yml", cwd=folder)
    assert "SUCCESS" in output("promtool", "check", "config", "prometheus.yml", cwd=folder)
    assert "SUCCESS" in output("amtool", "check-config", "alertmanager.yml", cwd=DEPLOY)


@pytest.mark.slow
def test_every_rule_fires_in_its_cases_alone() -> None:
    output("promtool", "test", "rules", "tests.yml", cwd=DEPLOY / "prometheus")
    cases = (DEPLOY / "prometheus" / "tests.yml").read_text()
    for rule in rules():
        tried = re.findall(rf"alertname: {rule['alert']}\b", cases)
        assert len(tried) >= 2, f"{rule['alert']} is tried where it fires and where it does not"


def test_every_rule_says_what_to_do_and_the_dashboard_shows_every_metric() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description", "action"}
    shown = {name for _, expr in EXPRESSIONS for name in NAME.findall(expr)}
    assert set(METRICS) - shown == {"golden_path_retrain_due_timestamp_seconds"}


def test_every_metric_in_an_expression_exists() -> None:
    """`or vector(0)` would hide it."""
    from prometheus_client.metrics import MetricWrapperBase

    from serving import metrics

    there = {*METRICS, metrics.STATE}
    for one in vars(metrics).values():
        if isinstance(one, MetricWrapperBase):
            (family,) = one.describe()
            ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            there |= {family.name + end for end in ends.get(family.type, [""])}
    used = {name for _, expr in EXPRESSIONS for name in NAME.findall(expr)}
    used |= {name for rule in rules() for name in NAME.findall(rule["expr"])}
    used |= set(NAME.findall((DEPLOY / "prometheus" / "tests.yml").read_text()))
    assert used <= there


# --- queried in a real Prometheus -----------------------------------------------------------------


def with_variables(expr: str, dataset: str) -> str:
    """As Grafana sends it."""
    values = {"$dataset": dataset, "$sensor": "invoices", "$__rate_interval": "1m"}
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr
    return expr


def result(url: str, query: str) -> list[float]:
    """The finite values of the query."""
    response = CLIENT.get(f"{url}/api/v1/query", params={"query": query}).json()
    assert response["status"] == "success", (query, response)
    values = [float(one["value"][1]) for one in response["data"]["result"]]
    return [value for value in values if math.isfinite(value)]


@contextmanager
def prometheus(folder: Path, config: Path) -> Iterator[str]:
    port = free_port()
    with program(
        installed("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        ready=f"http://127.0.0.1:{port}/-/ready",
        log=folder / "prometheus.log",
    ):
        yield f"http://127.0.0.1:{port}"


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    limit = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < limit:
        time.sleep(0.3)
    return value


def deployed(folder: Path, service: Running, receiver: str) -> Path:
    """prometheus.yml as it is deployed, on the ports of this test and with seconds for minutes."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for old, new in (
        ("127.0.0.1:3000", f"127.0.0.1:{service.port}"),
        ("127.0.0.1:9093", receiver.removeprefix("http://")),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "rules.yml").write_text(RULES.read_text())
    (folder / "prometheus.yml").write_text(text)
    return folder / "prometheus.yml"


def traffic(service: Running) -> None:
    """What a day brings: answers, a row that is refused, lines that the contract keeps out."""
    good = {f.name: max(f.low or 0, 1.0) for f in CATALOGUE}
    with httpx.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        for _ in range(5):
            for path in ("/predict", "/explain"):
                client.post(path, content=json.dumps({"customers": [good]})).raise_for_status()
        wrong = {"customers": [good, good | {"recency_days": "x"}]}
        client.post("/predict?on_error=skip", content=json.dumps(wrong)).raise_for_status()
        lines = [line("1", 30), line("2", 9), line("3", 8, price=-1.0)]
        body = {"as_of": str(AS_OF), "customers": [{"customer_id": "1", "lines": lines}]}
        client.post("/predict_transactions", content=json.dumps(body)).raise_for_status()


@pytest.mark.slow
def test_every_expression_of_the_dashboard_is_answered_and_every_rule_is_evaluated(
    tmp_path: Path,
) -> None:
    """The file of monitoring → the real service → a real Prometheus → Alertmanager as deployed."""
    dataset = load("smoke", []).dataset
    file = tmp_path / "var" / "monitoring" / dataset / FILE
    write_textfile(file, standing(MONTHS[9], dataset))
    with (
        started(tmp_path) as service,
        alertmanager(tmp_path / "alertmanager", DEPLOY / "alertmanager.yml") as receiver,
        prometheus(tmp_path, deployed(tmp_path, service, receiver)) as url,
    ):
        waiting = dict.fromkeys(with_variables(expr, dataset) for _, expr in EXPRESSIONS)

        def answered() -> bool:
            traffic(service)
            for query in list(waiting):
                if result(url, query):
                    del waiting[query]
            return not waiting

        until(answered)
        assert not waiting, "expressions without data"

        loaded = httpx.get(f"{url}/api/v1/rules", trust_env=False).json()["data"]["groups"]
        found = [rule for group in loaded for rule in group["rules"]]
        assert [rule["name"] for rule in found] == [rule["alert"] for rule in rules()]
        assert {rule["health"] for rule in found} == {"ok"}, found

        # Alertmanager hears of the month from the rule, until monitoring says itself what it is.
        def known() -> dict[str, str]:
            answered = httpx.get(f"{receiver}/api/v2/alerts", trust_env=False).json()
            return {one["labels"]["alertname"]: one["status"]["state"] for one in answered}

        assert until(lambda: known().get("GoldenPathChangedDemand") == "active")
        folder = tmp_path / "var" / "monitoring" / dataset
        action, verdict = "Retraining is due when labels ripen.", "changed demand"
        raise_alert(folder, MONTHS[9], "x", "text", action, verdict=verdict, severity="ticket")
        settings = Alerts(webhook="alertmanager")
        deliver(folder, settings, {"ALERTS_WEBHOOK_URL": receiver})
        assert known()["GoldenPath"] == "active"
        assert until(lambda: known()["GoldenPathChangedDemand"] == "suppressed")
