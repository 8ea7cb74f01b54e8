"""What can be wrong with the months, the champion or the command: one clear message with the next
step, an exit code, and nothing lost of what was there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from shop import FIRST, Shop

from common.locks import folder_lock
from features.catalogue import CATALOGUE
from monitoring.alerts import alerts_of, events_of
from monitoring.facts import Drift, Performance, Reading
from monitoring.state import read_facts
from tests.flows.full_disk import files_of_at_most

pytestmark = pytest.mark.slow


def readings(shop: Shop, month: str) -> dict[str, Reading]:
    return {one.sensor: one for one in read_facts(shop.kept, "readings", Reading, [month])}


def open_alerts(shop: Shop) -> list[str]:
    return [one.sensor for one in alerts_of(shop.kept) if one.over is None]


# --- the champion -----------------------------------------------------------------------------


def test_without_a_champion_nothing_is_scored_and_monitoring_goes_on(
    months, run, refused, tmp_path
):
    shop = Shop(tmp_path, months)
    shop.open()
    shop.deliver(before=FIRST)
    shop.deliver("2026-04")
    for command, options in (("operate", {}), ("backfill", {"from_": "2026-04"})):
        error = refused(shop, command, "2026-05-01", **options)
        assert error.what == "there is no champion yet"
        assert error.next_step.startswith("train one: make train CONFIG=")
    assert not (shop.var / "scores").exists()
    done = run(shop, "monitor", "2026-05-01")
    assert done.code == 0 and "no scores as of 2026-05-01" in done.out
    assert readings(shop, "2026-04")["price"].state == "ok"


def test_a_refused_bundle_scores_nothing_and_old_scores_stay(operated, run, refused):
    shop = operated
    shop.deliver("2026-06")
    before = shop.hashes()
    (model,) = shop.var.glob("mlflow/artifacts/**/model.onnx")
    kept = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(kept[:-1] + b"x")
    error = refused(shop, "operate", "2026-07-01")
    assert error.what.startswith("the model bundle is refused: model.onnx is not the file")
    assert error.where.endswith("bundle") and "train again" in error.next_step
    assert shop.hashes() == before
    assert open_alerts(shop) == ["operate"]

    model.write_bytes(kept)
    assert run(shop, "operate", "2026-07-01").code == 0
    assert open_alerts(shop) == []
    assert before.items() <= shop.hashes().items()


def test_a_champion_of_other_features_starts_a_new_series_and_the_sensors_go_on(own_shop, run):
    shop = own_shop
    shop.deliver("2026-04", "2026-05", "2026-06", "2026-07", "2026-08")
    run(shop, "operate", "2026-08-01")
    (pool,) = read_facts(shop.kept, "pooled", Performance, ["2026-07"])
    assert (pool.version, pool.as_of) == (1, ("2026-05-01",))
    assert readings(shop, "2026-07")["champion_roc_auc"].state == "ok"

    shop.champion(seed=1, features=CATALOGUE[:7], clock="2026-08-01")
    before = shop.hashes(["scores", "facts", "verdicts", "operated"])
    (shop.kept / "operated" / "month=2026-07.json").unlink()  # as if killed when it had promoted
    assert run(shop, "operate", "2026-08-01").code == 0
    assert shop.hashes(["scores", "facts", "verdicts", "operated"]) == before
    assert run(shop, "operate", "2026-09-01").code == 0
    found = readings(shop, "2026-08")
    assert found["price"].state == found["invoices"].state == "ok"
    # Of the new one no label is known; the old one's figures are shown, and decide nothing.
    assert (found["champion_roc_auc"].state, found["champion_roc_auc"].until) == (
        "learning",
        "2026-11",
    )
    (pool,) = read_facts(shop.kept, "pooled", Performance, ["2026-08"])
    assert pool.version == 1
    drifts = {one.feature for one in read_facts(shop.kept, "drift", Drift, ["2026-08"])}
    assert drifts == {feature.name for feature in CATALOGUE[:7]}  # nor is its score compared
    assert shop.verdict("2026-08")["champion"] == 2


# --- the months -------------------------------------------------------------------------------


def test_a_month_that_is_missing_stops_in_its_place_and_comes_late(shop, run, refused):
    shop.deliver("2026-04")
    error = refused(shop, "operate", "2026-06-07")
    assert error.what == "the rows of 2026-05 are missing: the log ends on 2026-04-30"
    assert open_alerts(shop) == [], "it is expected to come within a week"
    shop.deliver("2026-06")
    error = refused(shop, "operate", "2026-07-01")
    assert error.what == "the rows of 2026-05 are missing: the log ends on 2026-04-30"
    assert error.where == "source" and "goes on from 2026-05" in error.next_step
    assert shop.verdict("2026-04")["verdict"] == "calendar"
    assert not list(shop.var.glob("scores/log/as_of=2026-0[67]*"))
    assert open_alerts(shop) == ["operate"]
    refused(shop, "operate", "2026-07-02")  # the next day it is missing still
    assert [event.state for event in events_of(shop.kept)] == ["firing"]

    shop.deliver("2026-05")
    assert run(shop, "operate", "2026-07-03").code == 0
    assert shop.verdict("2026-06")["month"] == "2026-06"
    assert [event.state for event in events_of(shop.kept)] == ["firing", "resolved"]


def test_a_month_that_is_not_whole_waits_for_its_end(shop, run, refused):
    shop.deliver("2026-04")
    shop.rewrite("2026-04", "SELECT * FROM {file} WHERE invoiced_at < DATE '2026-04-16'")
    error = refused(shop, "operate", "2026-05-01")
    assert error.what == "the rows of 2026-04 are not whole: the log ends on 2026-04-15"
    assert "operations.late_days" in error.next_step
    assert run(shop, "operate", "2026-05-01", "--operations.late_days", "20").code == 1  # scoring's
    late = ("--operations.late_days", "20", "--scoring.max_gap_days", "20")
    assert run(shop, "operate", "2026-05-01", *late).code == 0


def test_a_month_without_its_last_days_waits_until_later_rows_are_there(shop, run, refused):
    """A source may be some days late; what it lacks then would look like a change of demand."""
    shop.deliver("2026-04")
    shop.rewrite("2026-04", "SELECT * FROM {file} WHERE invoiced_at < DATE '2026-04-30'")
    error = refused(shop, "operate", "2026-05-01")
    assert error.what == "the rows of 2026-04 are not whole: the log ends on 2026-04-29"
    shop.deliver("2026-05")
    done = run(shop, "operate", "2026-05-02")
    assert done.code == 0, done.err


def test_a_month_that_is_sent_twice_changes_nothing(operated, run, refused):
    shop, before = operated, operated.hashes()
    shutil.copy(shop.incoming / "2026-04.parquet", shop.incoming / "april again.parquet")
    assert run(shop, "monitor", "2026-06-01").code == 0
    assert "No month is due" in run(shop, "operate", "2026-06-02").out
    assert shop.hashes() == before
    # In another form it is a log of more rows, which a person has to look at; its copies are not
    # valid, so the months are the same.
    shop.rewrite("2026-05", "SELECT * FROM {file} UNION ALL SELECT * FROM {file}")
    error = refused(shop, "monitor", "2026-06-01")
    assert "is held: history_change is 0.03" in error.what and "accept-batch" in error.next_step
    assert shop.verdict("2026-05")["verdict"] == "calendar", "it was judged before"
    assert shop.hashes() == before
    shop.accept(error)
    assert run(shop, "monitor", "2026-06-01").code == 0
    assert shop.hashes() == before


RAISE = "SELECT * REPLACE (unit_price * 1.15 AS unit_price) FROM {file}"


def test_a_month_that_is_changed_later_is_refused_until_it_is_taken_over(operated, run, refused):
    shop = operated
    before = shop.hashes()
    shop.rewrite("2026-04", RAISE)
    shop.deliver("2026-06")
    for command, day in (("operate", "2026-07-01"), ("monitor", "2026-06-01")):
        error = refused(shop, command, day)
        assert error.what == "the rows of 2026-04 were changed after they were judged by"
        assert "RESTATE=2026-04" in error.next_step
    assert shop.hashes() == before, "nothing is scored by rows that nobody has taken over"

    done = run(shop, "operate", "2026-07-01", restate="2026-04")
    assert done.code == 0
    assert "2026-04: broken data, judged anew" in done.out
    assert "2026-05: " in done.out and "2026-06: " in done.out
    assert readings(shop, "2026-04")["price"].state == "alarm"
    after = shop.hashes()
    kept = {name for name in before if name.startswith("scores/")}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert run(shop, "monitor", "2026-07-01").code == 0
    assert shop.hashes() == after


def test_several_changed_months_are_taken_over_from_the_first_on(operated, run, refused):
    shop = operated
    shop.rewrite("2025-03", RAISE)  # of before the first month that was judged
    shop.rewrite("2026-05", RAISE)
    error = refused(shop, "monitor", "2026-06-01")
    assert "2025-03 were changed" in error.what and "2026-05" in error.what
    error = refused(shop, "monitor", "2026-06-01", restate="2026-05")
    assert "the rows of 2025-03 were changed" in error.what
    done = run(shop, "monitor", "2026-06-01", restate="2025-03")
    assert done.code == 0 and "2026-05: broken data" in done.out


def test_a_month_that_was_cut_short_is_not_taken_over(operated, run, refused):
    shop, before = operated, operated.hashes()
    shop.rewrite("2026-05", "SELECT * FROM {file} WHERE invoiced_at < DATE '2026-05-30'")
    for command in ("monitor", "operate"):
        error = refused(shop, command, "2026-06-02", restate="2026-05")
        assert error.what == "the rows of 2026-05 are not whole: the log ends on 2026-05-29"
    assert shop.hashes() == before


def test_a_month_that_no_verdict_rests_on_is_not_restated(shop, run, refused):
    shop.deliver("2026-04")
    error = refused(shop, "monitor", "2026-05-01", restate="2026-04")
    assert error.next_step == "nothing was judged yet"
    run(shop, "operate", "2026-05-01")
    error = refused(shop, "operate", "2026-05-01", restate="2026-05")
    assert error.what.startswith("2026-05 was not judged") and error.where == "RESTATE"
    assert error.next_step == "judged are 2026-04 to 2026-04, by the rows from 2024-01 on"
    assert "'May' is not a day" in refused(shop, "operate", "2026-05-01", restate="May").what


def test_fewer_than_twelve_months_are_learning_and_say_until_when(shop, run):
    shop.withdraw(*(f"2024-{month:02d}" for month in range(1, 13)))
    shop.withdraw(*(f"2025-{month:02d}" for month in range(1, 6)))
    assert run(shop, "monitor", "2026-01-01").code == 0  # June to December
    found = readings(shop, "2025-12")
    assert {one.state for one in found.values()} == {"learning"}
    assert {one.until for one in found.values()} == {"2026-06"}
    assert shop.verdict("2025-12")["verdict"] == "calendar"
    assert "12 months before 2026-06" in shop.verdict("2025-12")["learning"][0]


def test_the_seasonal_sensor_without_last_year_is_learning_and_says_what_to_do_then(shop, run):
    shop.withdraw(*(f"2024-{month:02d}" for month in range(1, 13)))
    shop.withdraw("2025-01", "2025-02")  # the log begins in March
    shop.deliver("2026-04", "2026-05", "2026-06", "2026-07", "2026-08", "2026-09")
    done = run(shop, "monitor", "2026-05-01")
    found = readings(shop, "2026-04")
    assert found["price"].state == "ok"
    assert (found["invoices"].state, found["invoices"].until) == ("learning", "2027-03")
    assert "rebaseline" not in done.out


# --- what was altered -------------------------------------------------------------------------


def test_altered_facts_and_verdicts_are_named_and_made_again(operated, run):
    shop = operated
    before = shop.hashes()
    facts = shop.kept / "facts" / "readings" / "month=2026-05.parquet"
    facts.write_bytes(facts.read_bytes() + b"x")
    verdicts = shop.kept / "verdicts"
    first = verdicts / "month=2026-04.json"
    first.write_text(first.read_text().replace("calendar", "worse"))
    shutil.copy(verdicts / "month=2026-05.json", verdicts / "month=2026-09.json")
    for command in ("operate", "monitor", "backfill"):
        done = run(
            shop, command, "2026-06-01", **({"from_": "2026-05"} if command[0] == "b" else {})
        )
        assert done.code == 0, done.err
        said = " ".join(done.out.split())
        if command == "operate":
            assert "month=2026-04.json was altered: its content does not have the hash" in said
            assert "month=2026-05.parquet is not what the verdict of 2026-05 was made from" in said
            assert "2026-05 was judged anew: calendar" in said
            assert "it is the verdict of 2026-05; nothing of it is used" in said
            (verdicts / "month=2026-09.json.altered").unlink()
        else:
            assert "altered" not in said
        assert shop.hashes() == before


def test_an_altered_baseline_is_refused_as_it_cannot_be_made_again(operated, run, refused):
    shop = operated
    shop.deliver("2026-06")
    file = shop.kept / "baseline" / "v1.json"
    file.write_text(file.read_text().replace('"mean"', '"means"', 1))
    for command in ("operate", "monitor", "rebaseline"):
        options = {"reason": "why"} if command == "rebaseline" else {}
        error = refused(shop, command, "2026-07-01", **options)
        assert error.what.startswith("a frozen baseline was altered") and "v1.json" in error.what
        assert "make rebaseline" in error.next_step
    file.unlink()
    assert run(shop, "rebaseline", "2026-07-01", reason="it was altered").code == 0


def test_altered_scores_are_named_and_not_judged_by(operated, run, refused):
    shop = operated
    shop.deliver("2026-06")
    (part,) = shop.var.glob("scores/log/as_of=2026-05-01/part.parquet")
    kept = part.read_bytes()
    part.write_bytes(kept + b"x")
    error = refused(shop, "operate", "2026-07-01")
    assert error.what.startswith("the scores as of 2026-05-01 were altered")
    assert "make score" in error.next_step and "AS_OF=2026-05-01" in error.next_step
    part.write_bytes(kept)
    assert run(shop, "operate", "2026-07-01").code == 0


# --- the machine and the command --------------------------------------------------------------


def test_a_full_disk_ends_it_in_plain_words_and_the_same_command_goes_on(operated, run):
    shop = operated
    shop.deliver("2026-06")
    before = shop.hashes()
    for size in (0, 5_000, 60_000):
        with files_of_at_most(size):
            done = run(shop, "operate", "2026-07-01")
        assert done.code == 1
        assert "the disk is full, or a limit on the size of files" in done.err
        assert "make room" in done.err
        assert before.items() <= shop.hashes().items()
    assert run(shop, "operate", "2026-07-01").code == 0
    assert shop.verdict("2026-06")["verdict"] == "calendar"


def test_a_clock_that_went_back_is_refused(operated, run, refused):
    shop = operated
    before = shop.hashes()
    error = refused(shop, "operate", "2026-05-20")
    assert error.what.startswith("the clock went back: 2026-05 was processed already")
    assert (error.where, error.next_step) == ("operations.today", "correct the clock")
    assert shop.hashes() == before


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "no first month is named"),
        ({"from_": "2026-05", "to": "2026-04"}, "FROM is 2026-05, after TO, 2026-04"),
        ({"from_": "2026-04", "to": "2026-06"}, "2026-06 is not over: today is 2026-06-10"),
        ({"from_": "2023-12", "to": "2024-01"}, "no row of the source lies before 2024-01-01"),
        ({"from_": "2026-04", "to": "2026-05"}, "the rows of 2026-04 are missing"),
    ],
)
def test_a_backfill_of_other_months_than_there_are_is_refused(shop, refused, options, what):
    error = refused(shop, "backfill", "2026-06-10", **options)
    assert what in error.what and error.where and error.next_step
    assert not (shop.var / "scores").exists()


def test_two_commands_at_once_are_refused_by_name(shop, refused):
    shop.deliver("2026-04")
    with folder_lock(shop.var, "operate"):
        for command, options in (
            ("operate", {}),
            ("monitor", {}),
            ("backfill", {"from_": "2026-04"}),
            ("rebaseline", {"reason": "why"}),
        ):
            error = refused(shop, command, "2026-05-01", **options)
            assert error.what.startswith("another command works in this folder: operate, process")


def test_a_labelled_table_has_no_months(shop, refused, tmp_path: Path):
    (tmp_path / "table.csv").write_text("age,left\n1,Yes\n2,No\n")
    table = {"target": "left", "positive": "Yes", "columns": {"age": {"type": "number"}}}
    source = {"kind": "table", "path": str(tmp_path / "table.csv"), "table": table}
    shop.preset.write_text(json.dumps({"source": source}))
    for command in ("operate", "monitor", "backfill", "rebaseline"):
        error = refused(shop, command, "2026-05-01")
        assert "a labelled table, which has no months to judge" in error.what
