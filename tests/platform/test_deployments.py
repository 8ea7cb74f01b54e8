"""The deployments of `prefect.yaml` on a real Prefect server with a real worker, on PostgreSQL.

`make test-platform`; not part of `make test`. The tests run in their order: each goes on with what
those before it have left, as the months of a shop do.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import psutil
import pytest
from running import PRESET, START, Platform
from servers import kill, wait_for_server, wait_until

from common.locks import folder_lock
from flows.exclusive import one_host
from flows.finish import SUCCEEDED
from flows.janitor import drop_missed
from monitoring.facts import add_months, end_of, month_of
from registry import ledger
from registry.champion import versions
from registry.tracking import open_store

pytestmark = pytest.mark.platform

FLOWS = ("janitor", "monitor", "operate", "score", "train")


def test_deploying_makes_the_pool_and_says_what_starts_when(platform: Platform):
    done = platform.run("deploy")
    assert done.returncode == 0, done.stderr
    assert "work pool golden-path (made now)" in done.stdout
    for flow in FLOWS:
        assert f"{flow}/{PRESET.stem}" in done.stdout
    assert done.stdout.count("switched off") == 2  # score and train: operate does both
    assert "make worker" in done.stdout


def test_deploying_again_changes_nothing(platform: Platform):
    def known():
        with platform.api() as api:
            found = api.read_deployments()
            assert len(api.read_work_pools()) == 1
        return {
            one.id: (one.name, one.parameters, [s.schedule.cron for s in one.schedules])
            for one in found
        }

    before = known()
    assert len(before) == len(FLOWS)
    done = platform.run("deploy")
    assert done.returncode == 0, done.stderr
    assert "made now" not in done.stdout
    assert known() == before


def test_no_secret_is_sent_to_the_server(platform: Platform):
    import postgres
    from servers import LOGIN

    with platform.api() as api:
        sent = json.dumps([one.model_dump(mode="json") for one in api.read_deployments()])
    assert postgres.PASSWORD not in sent and LOGIN not in sent


def test_a_deployed_training_ends_with_a_champion(platform: Platform):
    platform.worker.start()
    state = platform.finish(platform.start("train", "2025-08-01"))
    assert (state.name, state.message[:17]) == ("Completed", "promote version 1"), state.message


def test_operate_works_off_all_due_months_in_their_order(platform: Platform):
    state = platform.finish(platform.start("operate", "2025-10-01"))
    assert state.name == "Completed", state.message
    assert platform.operated() == ["2025-08", "2025-09"]
    assert state.message.index("2025-08: ") < state.message.index("2025-09: ")


def test_a_second_start_finds_nothing_due(platform: Platform):
    before = contents(platform.var)
    state = platform.finish(platform.start("operate", "2025-10-01"))
    assert (state.name, state.message) == (
        "Completed",
        "No month is due: 2025-09 was the last, and today is 2025-10-01.",
    )
    assert contents(platform.var) == before


def test_score_and_monitor_find_what_operate_made(platform: Platform):
    scored = platform.start("score", "2025-10-01")
    state = platform.finish(scored)
    assert state.name == "Completed" and "reused" in state.message, state.message
    state = platform.finish(platform.start("monitor", "2025-10-01"))
    assert state.name == "Completed" and state.message.startswith("2025-09: "), state.message


def test_a_run_that_finds_the_lock_held_is_skipped_and_says_by_whom(platform: Platform):
    with folder_lock(platform.var, "replay"):
        state = platform.finish(platform.start("operate", "2025-11-01"))
    assert (state.type.value, state.name) == ("COMPLETED", "Skipped")
    assert "works in this folder: replay, process" in state.message


def test_and_so_is_one_that_finds_another_host_at_work(platform: Platform, monkeypatch):
    import postgres

    monkeypatch.setenv("OPTUNA_PASSWORD", postgres.PASSWORD)
    with one_host(platform.settings, "operate"):
        state = platform.finish(platform.start("operate", "2025-11-01"))
    assert state.name == "Skipped" and "same data set and folder: operate on" in state.message


def test_an_error_that_a_person_can_repair_is_a_message_and_no_traceback(platform: Platform):
    run = platform.start("operate", "2025-10-01", restate="2020-01")
    state = platform.finish(run)
    assert state.name == "Failed"
    assert state.message.startswith("2020-01 was not judged") and "next: " in state.message
    wait_until(lambda: "next:  judged are" in platform.log_of(run), "the log", platform.worker)
    assert "Traceback" not in platform.log_of(run)


# --- kills ------------------------------------------------------------------------------------


def test_a_flow_that_is_killed_with_its_worker_is_found_by_the_janitor(platform: Platform):
    run = platform.start("operate", "2025-11-01")
    process = platform.process_of(run)
    # In the middle of the training that is due: the flow run within this one is left as well.
    wait_until(lambda: len(platform.under_way()) > 2, "a training", platform.worker)
    everything = [process, *process.children(recursive=True)]
    platform.worker.kill()
    kill(everything)
    assert platform.state(run).name == "Running"
    done = platform.run("janitor")
    assert done.stdout.count("its process is gone") == 2, done.stdout + done.stderr
    assert platform.state(run).name == "Crashed"
    assert platform.under_way() == []


def test_starts_that_were_missed_without_a_worker_are_dropped(platform: Platform):
    from prefect.client.schemas.schedules import IntervalSchedule

    def waiting() -> list:
        return [run for run in api.read_flow_runs(limit=200) if is_late(run)]

    def is_late(run) -> bool:
        late = run.state.is_scheduled() and run.expected_start_time < datetime.now(UTC)
        return late and run.deployment_id == deployment.id and run.auto_scheduled

    with platform.api() as api:
        deployment = api.read_deployment_by_name(f"janitor/{PRESET.stem}")
        often = IntervalSchedule(interval=timedelta(seconds=1))
        made = api.create_deployment_schedules(deployment.id, [(often, True)])
        wait_until(lambda: len(waiting()) > 3, "late runs", platform.server)
        missed = {run.id for run in waiting()}
        by_hand = SimpleNamespace(deployment_id=deployment.id, name="x", auto_scheduled=False)
        assert drop_missed(api, by_hand) == []
        by_schedule = SimpleNamespace(**{**vars(by_hand), "auto_scheduled": True})
        assert "missed starts" in drop_missed(api, by_schedule)[0]
        states = [api.read_flow_run(run).state for run in missed]
        api.delete_deployment_schedule(deployment.id, made[0].id)
    assert {state.name for state in states} == {"Cancelled"}


def test_and_the_next_start_goes_on(platform: Platform):
    platform.worker.start()
    end_well(platform, "2025-11-01")


def test_a_killed_flow_is_crashed_and_the_next_goes_on(platform: Platform):
    run = platform.start("operate", "2025-12-01")
    process = platform.process_of(run)
    wait_until(lambda: platform.scored("2025-12-01"), "scores", platform.worker)
    kill([process, *process.children(recursive=True)])
    assert platform.finish(run).name == "Crashed"
    end_well(platform, "2025-12-01")


def test_a_run_that_lives_is_no_business_of_the_janitor(platform: Platform):
    run = platform.start("operate", "2026-01-01")
    process = platform.process_of(run)
    process.suspend()
    try:
        state = platform.finish(platform.start("janitor"))
        assert state.name == "Completed"
        assert platform.state(run).name == "Running"
    finally:
        process.resume()
    assert platform.finish(run).name == "Completed"
    end_well(platform, "2026-01-01")


def test_the_server_may_be_killed_under_a_flow(platform: Platform):
    run = platform.start("operate", "2026-02-01")
    process = platform.process_of(run)
    wait_until(lambda: "operate" in (platform.var / "lock").read_text(), "work", platform.worker)
    platform.server.kill()
    wait_until(
        lambda: platform.scored("2026-02-01") or not process.is_running(), "work", platform.worker
    )
    platform.server.start()
    wait_for_server(platform.server, platform.url)
    assert_ends(platform, run, process)
    end_well(platform, "2026-02-01")


def test_postgresql_may_be_killed_under_a_flow(platform: Platform):
    run = platform.start("operate", "2026-03-01")
    process = platform.process_of(run)
    wait_until(lambda: platform.scored("2026-03-01"), "scores", platform.worker)
    platform.database.stop(9)
    # At its end, which it cannot report, or because it cannot know whether it has its lock still.
    wait_until(lambda: not process.is_running(), "the end of the process", platform.worker)
    platform.database.start()
    assert_ends(platform, run, process)
    end_well(platform, "2026-03-01")


def test_nobody_left_the_machine(platform: Platform):
    assert not (platform.folder / "offline.log").exists()


def assert_ends(platform: Platform, run: UUID, process: psutil.Process) -> None:
    """A flow under which a server was killed ends by itself, or the janitor ends it."""
    wait_until(platform.answers, "the API works", platform.server)

    def ended() -> bool:
        if not platform.state(run).is_final() and not process.is_running():
            platform.run("janitor")
        return platform.state(run).is_final()

    wait_until(ended, "the end of a flow run", platform.worker, platform.server)


def end_well(platform: Platform, today: str) -> None:
    """The same again: all is done, nothing twice, and nothing seems to go on."""
    state = platform.finish(platform.start("operate", today))
    assert state.name == "Completed", state.message
    months = [add_months(month_of(date.fromisoformat(START)), n) for n in range(24)]
    assert platform.operated() == [month for month in months if end_of(month).isoformat() <= today]
    done = platform.run("janitor")
    assert done.returncode == 0, done.stderr
    assert platform.under_way() == []
    nothing_twice(platform)


def nothing_twice(platform: Platform) -> None:
    client = open_store(platform.settings)
    past, problems = ledger.read(client)
    assert problems == []
    days = [entry.figures.get("clock") for entry in past if entry.action in ("promote", "reject")]
    triggers = [entry.figures["month"] for entry in past if entry.action == "trigger"]
    assert len(triggers) == len(set(triggers)), triggers
    assert len([day for day in days if day]) == len({day for day in days if day}), days
    assert len(versions(client, platform.settings)) == len(days)
    assert not any(platform.var.glob("scores/*/as_of=*/beside"))


def contents(var) -> dict[str, bytes]:
    """What operating has made: scores, facts, verdicts; not when a command last ended well."""
    files = [*var.glob("scores/**/*"), *var.glob("monitoring/*/*/**/*")]
    made = [file for file in files if file.is_file() and file.parent.name != SUCCEEDED]
    return {str(file): file.read_bytes() for file in made}
