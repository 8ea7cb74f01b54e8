"""`make train` on the smoke preset: what it prints, what it leaves, what it repeats."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FAMILIES = {"tabm", "xgboost", "logistic"}


def figures(summary: dict[str, Any]) -> dict[str, Any]:
    """What must repeat of the families that both runs have, and of the data."""
    families = {
        name: {key: summary["families"][name][key] for key in ("trials", "params", "valid", "test")}
        for name in ("xgboost", "logistic")
    }
    same = ("data_sha256", "table_sha256", "rows", "table", "baseline", "oracle")
    return families | {key: summary[key] for key in same}


def test_the_summary_keeps_its_schema(smoke):
    schema = json.loads((ROOT / "docs" / "summary.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(smoke.summary, schema)


def test_no_row_is_lost(smoke):
    rows = smoke.summary["rows"]
    assert rows["raw"] == rows["valid"] + rows["quarantined"]
    assert rows["raw"] > rows["valid"] > 0
    assert sum(rows["reasons"].values()) >= rows["quarantined"]


def test_every_family_is_tuned_and_scored(smoke):
    families = smoke.summary["families"]
    assert set(families) == FAMILIES | {"ensemble"}
    for name, family in families.items():
        assert family["trials"] == (0 if name == "ensemble" else 2)
        assert family["ended_by"] == "trials"
        test = family["test"]
        assert test["roc_auc_low"] < test["roc_auc"] < test["roc_auc_high"]


def test_the_winner_is_the_best_on_validation(smoke):
    families = smoke.summary["families"]
    best = min(families, key=lambda name: families[name]["valid"]["recalibrated_log_loss"])
    assert smoke.summary["winner"] == best


def test_no_model_is_far_above_the_best_possible_one(smoke):
    oracle = smoke.summary["oracle"]["roc_auc"]
    for family in smoke.summary["families"].values():
        assert 0.6 < family["test"]["roc_auc"] < oracle + 0.02


def test_the_first_model_becomes_champion_beside_chance_and_its_best_feature(smoke):
    assert smoke.summary["decision"]["action"] == "promote"
    assert {"chance", "baseline"} <= {r["rule"] for r in smoke.summary["decision"]["rules"]}
    assert smoke.summary["baseline"]["feature"] == "buy_probability"
    assert smoke.summary["model"]["export_max_difference"] <= 1e-5


def test_the_terminal_shows_the_stages_and_the_table(smoke):
    for word in (
        "validate:",
        "trial 2/2",
        "in quarantine",
        "baseline",
        "oracle",
        "Decision",
        "Next",
    ):
        assert word in smoke.out, word
    assert smoke.out.isascii()  # as the encoding of its output demands
    assert smoke.err == ""
    assert "Traceback" not in smoke.out


def test_the_full_log_and_the_pages_lie_with_the_run(smoke):
    folder = smoke.var / "runs" / "latest"
    for name in (
        "run.log",
        "settings.yaml",
        "contract.html",
        "data_report.html",
        "report.html",
        "model_card.md",
        "data.json",
        "example.json",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert "trial" in (folder / "run.log").read_text()


def test_mlflow_holds_a_parent_its_families_and_their_trials(smoke):
    runs = _mlflow_runs(smoke.var)
    parent = smoke.summary["mlflow"]["run_id"]
    families = {run: row for run, row in runs.items() if row["parent"] == parent}
    assert {row["name"] for row in families.values()} == FAMILIES
    for family in families:
        trials = [row for row in runs.values() if row["parent"] == family]
        assert sorted(row["name"] for row in trials) == ["trial 0", "trial 1"]
        assert {row["status"] for row in trials} == {"FINISHED"}
    assert {runs[run]["status"] for run in [parent, *families]} == {"FINISHED"}


def test_mlflow_knows_settings_data_and_revision(smoke):
    with sqlite3.connect(smoke.var / "mlflow" / "mlflow.db") as database:
        run = smoke.summary["mlflow"]["run_id"]
        tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run]))
        params = dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", [run]))
        metrics = dict(
            database.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", [run])
        )
        aliases = database.execute("SELECT alias, version FROM registered_model_aliases").fetchall()
    assert len(tags["data_sha256"]) == 64
    assert tags["test_split_opened"] == "1"
    assert params["tuning.trials"] == "2" and params["seed"] == "7"
    winner = smoke.summary["families"][smoke.summary["winner"]]
    assert metrics["test_roc_auc"] == winner["test"]["roc_auc"]
    assert sorted(aliases) == [("challenger", 1), ("champion", 1)]
    assert smoke.summary["decision"]["record"]["sequence"] == 1
    artifacts = {path.name for path in (smoke.var / "mlflow" / "artifacts").rglob("*")}
    assert {"model.onnx", "manifest.json", "report.html", "model_card.md"} <= artifacts


def test_the_state_is_for_its_owner_alone(smoke):
    assert smoke.var.stat().st_mode & 0o777 == 0o700


def test_nothing_is_pickled(smoke):
    for path in smoke.var.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                assert file.read(2) not in (b"\x80\x04", b"\x80\x05"), path


def test_nothing_half_written_is_left(smoke):
    left = [p for p in smoke.var.rglob("*") if ".partial" in p.name or p.name.startswith(".")]
    project = smoke.var / "great_expectations"  # whose own files begin with a dot
    assert [path for path in left if not path.is_relative_to(project)] == []


def test_the_same_settings_give_the_same_figures_after_two_runs_that_were_ended(smoke, again):
    assert figures(again.summary) == figures(smoke.summary)


def test_a_second_run_reuses_what_has_not_changed_and_a_tie_is_not_promoted(second):
    done, aliases = second
    assert "reused, nothing it depends on has changed" in done.out
    assert all(family["reused"] for family in done.summary["families"].values())
    assert done.summary["decision"]["action"] == "reject"
    assert any("champion" in reason for reason in done.summary["decision"]["reasons"])
    # The run before set the champion alias: the second must leave it alone.
    assert aliases == {"champion": 1, "challenger": 2}


def test_a_champion_of_another_question_is_not_replaced(other_question):
    other = other_question
    assert other.summary["decision"]["action"] == "reject"
    assert "horizon_days is 90 there and 60 in this run" in other.summary["decision"]["reasons"][0]
    # One worker: the second family starts when the first has ended.
    with sqlite3.connect(other.var / "mlflow" / "mlflow.db") as database:
        spans = database.execute(
            "SELECT start_time, end_time FROM runs JOIN tags USING (run_uuid)"
            " WHERE key = 'mlflow.parentRunId' AND value = ? ORDER BY start_time",
            [other.summary["mlflow"]["run_id"]],
        ).fetchall()
    assert len(spans) == 2 and spans[0][1] <= spans[1][0]


def test_a_refused_batch_leaves_the_champion_where_it_was(smoke, forked_cli):
    from configs.load import load
    from registry.champion import champion_now

    settings = load("smoke", ["--var", str(smoke.var)], env={})
    before = champion_now(settings)
    latest = (smoke.var / "runs" / "latest").readlink()
    rule = ("--contract.rules.duplicate_share.high", "0.0001")
    done = forked_cli(smoke.var, "--config", "smoke", *rule)
    assert done.code == 1 and "duplicate_share" in done.err
    assert champion_now(settings) == before
    assert (smoke.var / "runs" / "latest").readlink() == latest


def test_state_that_was_moved(forked_cli, smoke, tmp_path):
    shutil.copytree(smoke.var, tmp_path / "copy", symlinks=True)
    done = forked_cli(tmp_path / "copy", "--config", "smoke")
    assert done.code == 1
    assert f"made at {smoke.var}" in done.err and "Traceback" not in done.err


def test_no_process_tried_to_leave_the_machine(smoke, again, offline_log):
    attempts = offline_log.read_text() if offline_log.exists() else ""
    assert attempts == ""


def test_nothing_is_written_outside_var(smoke, again, home):
    # ONNX Runtime keeps its usage data in ~/.cache until it may send it: there must be none.
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_the_ban_on_connections_works(environment, offline_log, tmp_path):
    import sys

    log = tmp_path / "attempts.log"
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"OFFLINE_LOG": str(log)},
        capture_output=True,
        text=True,
    )
    assert "ConnectionRefusedError: offline" in done.stderr
    assert "192.0.2.1" in log.read_text()


def _mlflow_runs(var: Path) -> dict[str, dict[str, Any]]:
    with sqlite3.connect(var / "mlflow" / "mlflow.db") as database:
        rows = database.execute("""
            SELECT runs.run_uuid, runs.name, runs.status, tags.value
            FROM runs LEFT JOIN tags
              ON tags.run_uuid = runs.run_uuid AND tags.key = 'mlflow.parentRunId'
        """).fetchall()
    return {
        run: {"name": name, "status": status, "parent": parent}
        for run, name, status, parent in rows
    }
