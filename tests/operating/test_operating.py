"""A month of operating, with what goes on around it: alerts, held batches, a training, an end in
the middle."""

from __future__ import annotations

import json
import signal

import pytest
from shop import Shop

from common.interrupt import CODE, MESSAGE
from monitoring.alerts import alerts_of, events_of
from monitoring.facts import Quality, Reading
from monitoring.state import read_facts
from registry import ledger
from registry.tracking import open_store
from tests.monitoring.receive import free_port, http_server, mail_server

pytestmark = pytest.mark.slow

DOUBLED = "SELECT * REPLACE (unit_price * 2 AS unit_price) FROM {file}"
DEARER = "SELECT * REPLACE (unit_price * 1.15 AS unit_price) FROM {file}"


def state_of(shop: Shop, month: str, sensor: str) -> str:
    readings = read_facts(shop.kept, "readings", Reading, [month])
    return next(one.state for one in readings if one.sensor == sensor)


# --- alerts -----------------------------------------------------------------------------------


def test_receivers_that_are_down_are_told_once_when_they_are_back(operated, run, monkeypatch):
    shop, web, smtp = operated, free_port(), free_port()
    shop.deliver("2026-06")
    shop.rewrite("2026-06", DEARER)
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"http://127.0.0.1:{web}/hook")
    words = ["--alerts.webhook", "json", "--alerts.smtp_host", "127.0.0.1"]
    words += ["--alerts.smtp_port", str(smtp), "--alerts.mail_to", "[ann@example.org]"]
    done = run(shop, "operate", "2026-07-01", *words)
    assert done.code == 1 and "2026-06: not scored: its data is broken" in done.out
    assert "1 alert is queued" in done.err and "127.0.0.1" in done.err
    assert shop.verdict("2026-06")["verdict"] == "broken data"
    assert (shop.kept / "page.html").exists(), "all is done before it says so"
    before = shop.hashes()
    done = run(shop, "monitor", "2026-07-01", *words)
    assert done.code == 1 and "2026-06: broken data" in done.out, "the verdict is shown first"

    with http_server(port=web) as received:
        done = run(shop, "operate", "2026-07-02", *words)
        assert done.code == 1, "the mail is queued still"
        assert len(received.ids) == 1
    with mail_server() as box, http_server(port=web) as received:
        words[5] = str(box.port)
        for _ in range(2):
            assert run(shop, "operate", "2026-07-03", *words).code == 0
        assert received.ids == [] and len(box.mails) == 1
    assert "price" in box.mails[0][1]["Subject"]
    assert shop.hashes() == before


def test_a_month_that_stops_and_a_receiver_that_is_down_are_both_said(shop, run, monkeypatch):
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", f"http://127.0.0.1:{free_port()}/hook")
    done = run(shop, "operate", "2026-05-08", "--alerts.webhook", "json")
    assert done.code == 1
    queued, stopped = done.err.split("Error: ")[1:]
    assert queued.startswith("1 alert is queued")
    assert stopped.startswith("the rows of 2026-04 are missing")


def test_a_receiver_without_its_variable_is_refused_before_anything_is_done(shop, refused):
    shop.deliver("2026-04")
    for command, options in (
        ("operate", {}),
        ("monitor", {}),
        ("backfill", {"from_": "2026-04"}),
    ):
        error = refused(shop, command, "2026-05-01", "--alerts.webhook", "json", **options)
        assert "ALERTS_WEBHOOK_URL" in error.what + error.where + error.next_step
    assert not (shop.var / "scores").exists()


# --- data that the contract holds, and a new normal -------------------------------------------


def test_a_held_batch_is_broken_data_alerts_once_and_goes_on_when_it_is_accepted(
    operated, run, refused
):
    shop = operated
    shop.deliver("2026-06", "2026-07")
    shop.rewrite("2026-06", DOUBLED)
    before = shop.hashes(["scores"])
    for day in ("2026-07-01", "2026-07-02"):
        error = refused(shop, "operate", day)
        assert "is held: price_change is 0.99" in error.what and "accept-batch" in error.next_step
    verdict = shop.verdict("2026-06")
    assert verdict["verdict"] == "broken data" and "is held" in verdict["evidence"][0]
    (alert,) = alerts_of(shop.kept)
    assert (alert.sensor, alert.first_month, alert.severity) == ("broken data", "2026-06", "page")
    assert [event.state for event in events_of(shop.kept)] == ["firing"]
    assert shop.hashes(["scores"]) == before

    shop.accept(error)
    done = run(shop, "operate", "2026-07-03")
    assert done.code == 0, done.err
    assert state_of(shop, "2026-06", "price") == "alarm", "it is judged by its rows now"
    (quality,) = read_facts(shop.kept, "quality", Quality, ["2026-06"])
    assert quality.status == "released"
    alerts = {one.sensor: one for one in alerts_of(shop.kept)}
    assert alerts["broken data"].over == "2026-06" and alerts["price"].over is None


def test_monitor_says_that_the_data_of_a_month_is_held_but_not_of_one_that_it_judged(
    operated, refused
):
    shop = operated
    before = shop.hashes()
    shop.deliver("2026-06")
    shop.rewrite("2026-06", DOUBLED)
    refused(shop, "monitor", "2026-06-20")  # of the month that is going on
    assert shop.hashes() == before and alerts_of(shop.kept) == []
    refused(shop, "monitor", "2026-07-01")
    assert shop.verdict("2026-06")["verdict"] == "broken data"
    assert [one.sensor for one in alerts_of(shop.kept)] == ["broken data"]


def test_a_new_baseline_makes_a_lasting_change_the_new_normal(operated, run, refused):
    shop = operated
    months = ("2026-06", "2026-07")
    shop.deliver(*months)
    for month in months:
        shop.rewrite(month, DEARER)
    shop.open(retrain_months=3)
    done = run(shop, "operate", "2026-07-01")
    assert done.code == 0, done.err
    assert "no retraining (the last training was on 2026-04-01): the data of 2026-06" in done.out
    assert "make rebaseline" in done.out

    assert "no reason is given" in refused(shop, "rebaseline", "2026-07-01").what
    before = shop.hashes()
    done = run(shop, "rebaseline", "2026-07-01", reason="prices were raised on purpose")
    assert "Baseline 2 is frozen on 2025-07 to 2026-06; it judges from 2026-07 on." in done.out
    held = done.out
    error = refused(shop, "rebaseline", "2026-07-01", reason="again")
    assert "no month was judged by it yet" in error.what
    assert run(shop, "monitor", "2026-07-01").code == 0
    assert shop.hashes() == before, "what was judged stays"
    record = json.loads((shop.kept / "baseline" / "v2.json").read_text())
    assert record["reason"] == "prices were raised on purpose" and record["since"] == "2026-07"

    # The list that was held is made when somebody asks for it.
    assert "Not scored while their data was broken, and accepted now; to score them:" in held
    assert held.count("  make backfill") == 1 and "FROM=2026-06 TO=2026-06" in held
    assert not (shop.var / "scores" / "log" / "as_of=2026-07-01").exists()
    assert run(shop, "backfill", "2026-07-01", from_="2026-06", to="2026-06").code == 0
    assert (shop.var / "scores" / "log" / "as_of=2026-07-01" / "part.parquet").exists()
    assert shop.verdict("2026-06")["verdict"] == "broken data", "and stays what it was judged"


def test_broken_data_is_scored_when_it_was_repaired(operated, run):
    shop, place = operated, operated.var / "scores" / "log"
    shop.deliver("2026-06")
    shop.rewrite("2026-06", DEARER)
    done = run(shop, "operate", "2026-07-01")
    assert done.code == 0 and "2026-06: not scored: its data is broken" in done.out
    assert shop.verdict("2026-06")["verdict"] == "broken data"
    assert not (place / "as_of=2026-07-01").exists()

    shop.withdraw("2026-06")
    shop.deliver("2026-06")  # as it should have been
    error = run(shop, "monitor", "2026-07-02").err
    assert "the rows of 2026-06 were changed" in error and "make operate" in error
    done = run(shop, "operate", "2026-07-02", restate="2026-06")
    assert done.code == 0, done.err
    assert "customers scored anew, official" in done.out
    assert "2026-06: calendar, judged anew" in done.out
    assert (place / "as_of=2026-07-01" / "part.parquet").exists()
    assert shop.verdict("2026-06")["champion"] == 1


def test_too_short_a_log_has_no_baseline(shop, refused):
    shop.withdraw(*(f"2024-{month:02d}" for month in range(1, 13)))
    shop.withdraw(*(f"2025-{month:02d}" for month in range(1, 6)))
    error = refused(shop, "rebaseline", "2026-04-01", reason="why")
    assert error.what == "the log has 10 whole months, and a baseline is made of 12"
    assert error.where == "operations.baseline_months"


# --- a training, and the end of a command -----------------------------------------------------


def test_a_training_that_is_due_waits_for_prefect_and_is_told_in_the_ledger_once(
    own_shop, forked_cli
):
    shop = own_shop
    shop.deliver("2026-04", "2026-05", "2026-06", "2026-07")
    shop.open(retrain_months=3)
    words = ["--config", str(shop.preset), "--operations.today", "2026-08-01"]
    words += ["--features.last_as_of", "2025-11-01"]  # of some training before
    nobody = {"GOLDEN_PATH_PREFECT__API_URL": f"http://127.0.0.1:{free_port()}/api"}
    done = forked_cli(shop.var, *words, module="flows.operate", **nobody)
    assert done.code == 1
    assert "2026-06: retraining: the last training was on 2026-04-01" in done.out
    assert "no Prefect API answers at" in done.err
    assert shop.verdict("2026-06")["verdict"] == "calendar", "it was scored and judged"
    assert [one.sensor for one in alerts_of(shop.kept) if one.over is None] == ["operate"]
    before = shop.hashes()

    done = forked_cli(shop.var, *words, module="flows.operate")
    assert done.code == 0, done.err
    assert "2026-06: version 2 is" in done.out and "2026-07: calendar" in done.out
    assert before.items() <= shop.hashes().items()
    past = ledger.history(open_store(shop.settings()), shop.settings())
    assert [one.action for one in past].count("trigger") == 1
    trained = past[-1]
    assert trained.run_id and trained.figures["clock"] == "2026-07-01"
    bundle = json.loads((shop.var / "runs" / "latest" / "bundle" / "bundle.json").read_text())
    assert bundle["as_of"]["test"] == ["2026-04-01"], "the latest whose labels are known"
    assert alerts_of(shop.kept)[0].over == "2026-06"
    assert forked_cli(shop.var, *words, module="flows.operate").out.startswith("No month is due")


def test_ctrl_c_in_the_middle_ends_it_in_one_line_and_the_same_command_goes_on(
    shop, run, forked_cli
):
    shop.deliver("2026-04", "2026-05")
    words = ["--config", str(shop.preset), "--operations.today", "2026-06-01"]
    done = forked_cli(
        shop.var,
        *words,
        module="flows.operate",
        end_at=lambda _, said: "2026-05: ingest" in said,
        end_by=signal.SIGINT,
    )
    assert (done.code, done.err) == (CODE, MESSAGE)
    assert shop.verdict("2026-04")["verdict"] == "calendar"
    before = shop.hashes()
    done = run(shop, "operate", "2026-06-01")
    assert done.code == 0 and done.out.startswith("2026-05: ingest")
    assert before.items() <= shop.hashes().items()
