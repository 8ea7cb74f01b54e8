"""What the page shows of a month whose rows are held or refused, and of the log of requests; and
when a command counts as ended well."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from shop import Shop

from common.files import write_record
from flows.finish import SUCCEEDED, read_successes
from flows.score import make_scores
from flows.watch import PAGE
from monitoring.facts import Quality
from monitoring.state import read_facts
from registry.champion import model_name
from serving.served import METRICS
from tests.monitoring.made_logs import write_requests
from tests.monitoring.receive import free_port

pytestmark = pytest.mark.slow

DOUBLED = "SELECT * REPLACE (unit_price * 2 AS unit_price) FROM {file}"
UNREADABLE = "SELECT * REPLACE (unit_price::VARCHAR || ' pounds' AS unit_price) FROM {file}"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def quality_of(shop: Shop, month: str) -> Quality:
    (found,) = read_facts(shop.kept, "quality", Quality, [month])
    return found


def section(shop: Shop) -> str:
    page = (shop.kept / PAGE).read_text(encoding="utf-8")
    return page[page.index('<section id="quality"') :].partition("</section>")[0]


def test_a_held_month_is_on_the_page_with_its_rows_and_why(operated, run, refused):
    shop = operated
    shop.deliver("2026-06")
    shop.rewrite("2026-06", DOUBLED)
    error = refused(shop, "monitor", "2026-07-01")
    held = quality_of(shop, "2026-06")
    assert (held.status, held.why) == ("held", error.what)
    assert held.rows == pq.read_metadata(shop.incoming / "2026-06.parquet").num_rows
    assert 0 < held.quarantined < held.rows / 2 and held.reasons
    said = section(shop)
    assert "June 2026 is held." in said and "price_change is" in said
    assert said.count('style="fill: var(--bad)') >= 2, "a red bar in each chart"
    before = shop.hashes()
    refused(shop, "monitor", "2026-07-02")
    assert shop.hashes() == before

    shop.accept(error)
    assert run(shop, "monitor", "2026-07-03").code == 0
    found = quality_of(shop, "2026-06")
    assert (found.status, found.why, found.rows) == ("released", "", held.rows)
    assert "is held" not in section(shop) and "accepted by a person" in section(shop)


def test_a_month_that_the_contract_refuses_is_there_too_with_the_rows_that_came(operated, refused):
    shop = operated
    shop.deliver("2026-06")
    shop.rewrite("2026-06", UNREADABLE)
    error = refused(shop, "operate", "2026-07-01")
    found = quality_of(shop, "2026-06")
    assert (found.status, found.why) == ("refused", error.what)
    rows = pq.read_metadata(shop.incoming / "2026-06.parquet").num_rows
    assert found.rows == found.quarantined == rows, "no price of the month can be read"
    assert "June 2026 is refused." in section(shop)


def test_a_month_that_was_judged_and_is_held_since_shows_no_figures_of_before(
    operated, run, refused
):
    shop = operated
    shop.deliver("2026-06")
    assert run(shop, "monitor", "2026-07-01").code == 0
    shop.rewrite("2026-06", DOUBLED)
    refused(shop, "operate", "2026-07-01")
    assert quality_of(shop, "2026-06").status == "held"
    page = (shop.kept / PAGE).read_text(encoding="utf-8")
    sensors = page[page.index('<section id="sensors"') :].partition("</section>")[0]
    assert "May 2026" in sensors and "Jun 2026" not in sensors


def test_the_log_of_requests_is_read_with_the_champions_features_and_the_month_before(
    operated, run
):
    shop = operated
    log, name = shop.var / "serving" / "log", model_name(shop.settings())
    usual = {"recency_days": [1.0] * 200, "gap_days_mean": [1.0] * 200}
    missing = usual | {"gap_days_mean": [None] * 50 + [1.0] * 150}
    how = {"version": 1, "model": name}
    write_requests(log, date(2026, 4, 9), [0.2, 0.4] * 100, features=usual, **how)
    write_requests(log, date(2026, 5, 9), [0.3, 0.5] * 100, features=missing, **how)
    assert run(shop, "monitor", "2026-06-02").code == 0
    page = (shop.kept / PAGE).read_text(encoding="utf-8")
    said = page[page.index('<section id="requests"') :].partition("</section>")[0]
    assert "in May 2026" in said and "<dd>0.400<small>batch scores:" in said
    assert re.search(r"gap_days_mean</code>.*25\.0 %<small>0\.0 %</small>", said)
    assert "recency_days" not in said and 'aria-label="Share of the service' in said


def successes(shop: Shop) -> dict[str, float]:
    families = text_string_to_metric_families((shop.kept / METRICS).read_text())
    return {
        sample.labels["command"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "golden_path_last_success_timestamp_seconds"
    }


def age(shop: Shop) -> None:
    """As if every command had ended well long ago."""
    for command in read_successes(shop.kept):
        content = {"command": command, "ended": LONG_AGO.isoformat()}
        write_record(shop.kept / SUCCEEDED / f"{command}.json", content)


def test_a_command_that_finds_its_work_done_has_ended_well_too(operated, run):
    shop = operated
    for command in ("operate", "monitor"):
        assert run(shop, command, "2026-06-02").code == 0
        age(shop)
        assert run(shop, command, "2026-06-02").code == 0
        ended = read_successes(shop.kept)[command]
        assert datetime.now(UTC) - ended < timedelta(minutes=5)
        assert successes(shop)[command] == ended.timestamp()
    assert successes(shop)["operate"] == LONG_AGO.timestamp(), "it was monitor that ran"
    before = shop.hashes(["scores"])
    for _ in range(2):
        age(shop)
        make_scores(shop.settings("2026-06-02"), "2026-06-01")
        assert successes(shop)["score"] > LONG_AGO.timestamp()
        assert successes(shop)["monitor"] == LONG_AGO.timestamp()
    assert shop.hashes(["scores"]) == before


def test_scores_of_another_day_that_were_altered_do_not_make_score_fail(operated):
    shop = operated
    (altered,) = (shop.var / "scores").glob("*/as_of=2026-05-01/part.parquet")
    altered.write_bytes(b"altered")
    _, _, warnings = make_scores(shop.settings("2026-06-02"), "2026-06-01")
    assert any("the metrics were not written" in one for one in warnings)
    assert "score" in read_successes(shop.kept)


def test_a_command_that_stops_or_cannot_deliver_an_alert_has_not(
    operated, run, refused, monkeypatch
):
    shop = operated
    assert run(shop, "operate", "2026-06-02").code == 0
    age(shop)
    refused(shop, "operate", "2026-07-01")  # June's rows are missing
    assert read_successes(shop.kept) == {"operate": LONG_AGO}
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"http://127.0.0.1:{free_port()}/hook")
    refused(shop, "operate", "2026-07-08")  # and late by now, which is an alert
    done = run(shop, "monitor", "2026-06-02", "--alerts.webhook", "json")
    assert done.code == 1 and "queued" in done.err
    assert read_successes(shop.kept) == {"operate": LONG_AGO}
    assert set(successes(shop)) == {"operate"}


def test_a_record_that_was_altered_is_left_out_of_the_metrics(operated, run):
    shop = operated
    assert run(shop, "operate", "2026-06-02").code == 0
    file = shop.kept / SUCCEEDED / "operate.json"
    file.write_text(file.read_text().replace("20", "21", 1))
    assert run(shop, "monitor", "2026-06-02").code == 0
    assert set(successes(shop)) == {"monitor"}
