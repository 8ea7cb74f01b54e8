"""deploy/: the rules, the dashboard and the configurations, tried by the programs they are for."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from made_year import MONTHS, standing
from real_service import AS_OF, Running, line, started
from receive import free_port, installed, program

from configs.load import load
from configs.settings import Alerts
from features.catalogue import CATALOGUE
from ingestion.batches import dataset_of
from monitoring.alerts import raise_alert
from monitoring.delivery import deliver
from monitoring.facts import end_of
from monitoring.prometheus import METRICS, Standing, render, write_textfile
from serving.served import METRICS as FILE

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
BOARD = json.loads((DEPLOY / "grafana" / "golden-path.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
CLIENT = httpx.Client(trust_env=False, timeout=60)  # one: each reads the certificates anew
NAME = re.compile(r"golden_path_\w+")
# What one sample a month can answer: no rates.
OF_MONITORING = [
    (title, expr)
    for title, expr in EXPRESSIONS
    if NAME.findall(expr) and set(NAME.findall(expr)) <= set(METRICS)
]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def said(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [installed(str(command[0])), *command[1:]], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_promtool_and_amtool_accept_what_is_deployed() -> None:
    folder = DEPLOY / "prometheus"
    assert "SUCCESS" in said("promtool", "check", "rules", "rules.yml", cwd=folder)
    assert "SUCCESS" in said("promtool", "check", "config", "prometheus.yml", cwd=folder)
    assert "SUCCESS" in said("amtool", "check-config", "alertmanager.yml", cwd=DEPLOY)


@pytest.mark.slow
def test_every_rule_fires_when_it_should_and_only_then() -> None:
    said("promtool", "test", "rules", "tests.yml", cwd=DEPLOY / "prometheus")
    cases = (DEPLOY / "prometheus" / "tests.yml").read_text()
    for rule in rules():
        tried = re.findall(rf"alertname: {rule['alert']}\b", cases)
        assert len(tried) >= 2, f"{rule['alert']} is tried where it fires and where it does not"


def test_every_rule_says_what_to_do_and_whom_to_call() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description", "action"}


def test_the_dashboard_is_laid_out_without_gaps_or_overlaps() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids) and BOARD["uid"] == "golden-path"
    taken = set()
    for panel in BOARD["panels"]:
        x, y, w, h = (panel["gridPos"][name] for name in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert x + w <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len(taken) == 24 * (max(row for _, row in taken) + 1)
    for panel in PANELS:
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_dashboard_shows_every_metric_of_monitoring() -> None:
    shown = {name for _, expr in EXPRESSIONS for name in NAME.findall(expr)}
    assert set(METRICS) - shown == {"golden_path_retrain_due_timestamp_seconds"}


def test_no_expression_names_a_metric_that_there_is_not() -> None:
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


# --- asked of a real Prometheus -----------------------------------------------------------------


def with_variables(expr: str, dataset: str) -> str:
    """As Grafana sends it."""
    values = {"$dataset": dataset, "$sensor": "invoices", "$__rate_interval": "1m"}
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr
    return expr


def ask(url: str, query: str, at: float | None = None) -> list[float]:
    """The values that the query answers with now or at a time."""
    parameters = {"query": query} | ({} if at is None else {"time": str(at)})
    answered = CLIENT.get(f"{url}/api/v1/query", params=parameters).json()
    assert answered["status"] == "success", (query, answered)
    values = [float(one["value"][1]) for one in answered["data"]["result"]]
    return [value for value in values if math.isfinite(value)]


@contextmanager
def prometheus(folder: Path, config: Path) -> Iterator[str]:
    port = free_port()
    with program(
        installed("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=100y",
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


def open_metrics(year: list[tuple[datetime, Standing]]) -> str:
    """The metrics of several times in the format that promtool loads: OpenMetrics."""
    families: dict[str, list[str]] = {}
    for at, one in year:
        for text in render(one).splitlines():
            name = NAME.search(text)[0]
            lines = families.setdefault(name, [])
            if not text.startswith("#"):
                lines.append(f"{text} {at.timestamp()}")
            elif text not in lines:
                lines.append(text)
    return "\n".join([*(text for lines in families.values() for text in lines), "# EOF\n"])


@pytest.mark.slow
def test_a_year_that_is_over_can_be_loaded_and_looked_at(tmp_path: Path) -> None:
    ends = [datetime.combine(end_of(month), datetime.min.time(), UTC) for month in MONTHS]
    year = [(end, standing(month)) for end, month in zip(ends, MONTHS)]
    (tmp_path / "year.om").write_text(open_metrics(year))
    said("promtool", "tsdb", "create-blocks-from", "openmetrics", "year.om", "data", cwd=tmp_path)
    (tmp_path / "prometheus.yml").write_text("{}")
    with prometheus(tmp_path, tmp_path / "prometheus.yml") as url:
        for end, month in zip(ends, MONTHS):
            for title, expr in OF_MONITORING:
                query = with_variables(expr, "shop-1")
                assert ask(url, query, end.timestamp()), (title, month, query)
        holds = 'max by (dataset) (golden_path_verdict{verdict="changed demand"}) == 1'
        judged = [month for end, month in zip(ends, MONTHS) if ask(url, holds, end.timestamp())]
        assert judged == MONTHS[9:11]
        counts = [ask(url, "sum(golden_path_alerts_open)", end.timestamp())[0] for end in ends]
        assert counts == [0.0] * 9 + [1.0, 1.0, 0.0]


def deployed(folder: Path, service: Running, alertmanager: int) -> Path:
    """prometheus.yml as it is deployed, on the ports of this test and with seconds for minutes."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    for old, new in (
        ("127.0.0.1:3000", f"127.0.0.1:{service.port}"),
        ("127.0.0.1:9093", f"127.0.0.1:{alertmanager}"),
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
    dataset = dataset_of(load("smoke", []))
    file = tmp_path / "var" / "monitoring" / dataset / FILE
    write_textfile(file, standing(MONTHS[9], dataset))
    port = free_port()
    with (
        started(tmp_path) as service,
        program(
            installed("prometheus-alertmanager", "alertmanager"),
            f"--config.file={DEPLOY / 'alertmanager.yml'}",
            f"--storage.path={tmp_path / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            ready=f"http://127.0.0.1:{port}/-/ready",
            log=tmp_path / "alertmanager.log",
        ),
        prometheus(tmp_path, deployed(tmp_path, service, port)) as url,
    ):
        waiting = dict.fromkeys(with_variables(expr, dataset) for _, expr in EXPRESSIONS)

        def answered() -> bool:
            traffic(service)
            for query in list(waiting):
                if ask(url, query):
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
            answered = httpx.get(f"http://127.0.0.1:{port}/api/v2/alerts", trust_env=False).json()
            return {one["labels"]["alertname"]: one["status"]["state"] for one in answered}

        assert until(lambda: known().get("GoldenPathChangedDemand") == "active")
        folder = tmp_path / "var" / "monitoring" / dataset
        action, verdict = "Retraining is due when labels ripen.", "changed demand"
        raise_alert(folder, MONTHS[9], "x", "text", action, verdict=verdict, severity="ticket")
        settings = Alerts(webhook="alertmanager")
        deliver(folder, settings, {"ALERTS_WEBHOOK_URL": f"http://127.0.0.1:{port}"})
        assert known()["GoldenPath"] == "active"
        assert until(lambda: known()["GoldenPathChangedDemand"] == "suppressed")
