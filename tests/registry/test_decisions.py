"""The ledger and the moves of the champion, in a real MLflow store."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from made_registry import GRAPH, PROMOTE, REJECT, champions, decided, new_version

from common.errors import UserError
from configs.load import load
from registry import carry_out, ledger, runs
from registry.bundle import BundleRefused, write_bundle
from registry.carry_out import pending, reconcile, undecided
from registry.chain import (
    NOTHING,
    Record,
    champion_by,
    content_of,
    hash_of,
    parse,
    problems_of,
    stack,
)
from registry.champion import champion_number, find_version, promote
from registry.decisions import ChampionChanged, promote_manually, roll_back
from registry.ledger import LedgerBroken, history, read
from registry.tracking import open_store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RULE = {"rule": "export", "held": True, "found": "", "limit": "", "why": "", "figure": float("nan")}
names = count()


@pytest.fixture(scope="module")
def var(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def store(var):
    """One store for the file; each test has a model of its own in it."""
    return open_store(load("smoke", ["--var", str(var)], env={}))


@pytest.fixture
def settings(var):
    shop = {"name": f"shop-{next(names)}"}
    return load("smoke", ["--var", str(var)], env={}).model_copy(update=shop)


def actions(client, settings) -> list[tuple]:
    return [(e.action, e.from_version, e.to_version) for e in history(client, settings)]


class Killed(BaseException):
    pass


@contextmanager
def killed_at(monkeypatch, place, name):
    """The command in this block is killed when it calls that function."""

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(place, name, kill)
        yield


# --- decisions of the gate and of people ---------------------------------------------------------


def test_each_decision_of_the_gate_is_a_record_with_its_figures(store, settings):
    one, two = new_version(store, settings), new_version(store, settings)
    decided(store, settings, one, replace(PROMOTE, rules=(RULE,)))
    decided(store, settings, two, REJECT, expected=1)
    assert champion_number(store, settings) == 1
    first, second = history(store, settings)
    assert actions(store, settings) == [("promote", None, 1), ("reject", 1, 2)]
    assert first.by == "gate" and first.reason == "held: it is better"
    assert first.figures["roc_auc"] == 0.7 and first.bundle_sha256 == one.bundle_sha256
    assert (first.data_sha256, first.code_revision, first.run_id) == ("data", "code", "run")
    assert first.rules == [{**RULE, "figure": None}], "JSON has no NaN"
    assert second.previous_sha256 == first.sha256
    assert not first.open and not second.open
    assert read(store)[1] == [] and pending(store, settings) == []

    run = store.get_run(first.mlflow_run_id)  # MLflow's page shows it too
    assert run.info.run_name == f"{first.sequence} promote golden-path-{settings.name} – → 1"
    assert run.info.status == "FINISHED"
    assert run.data.tags["action"] == "promote" and run.data.tags["by"] == "gate"
    assert run.data.metrics == {"roc_auc": 0.7}
    assert ledger.record_file(run).stat().st_mode & 0o222 == 0, "not to be written again"


def test_a_manual_promotion_says_by_whom_and_why(store, settings, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    new_version(store, settings)
    entry = promote_manually(store, settings, 1, reason="for the holidays")
    assert (entry.action, entry.by, entry.reason) == ("release", "ada", "for the holidays")
    assert entry.figures == {"roc_auc": 0.7} and entry.data_sha256 == "d"
    assert champion_number(store, settings) == 1


@pytest.mark.parametrize("end", ["failed", "killed"])
def test_a_version_whose_run_ended_before_the_decision_is_rejected(store, settings, end):
    champions(store, settings, 1)
    left, going_on = new_version(store, settings), new_version(store, settings)
    assert reconcile(store, settings) == [], "both runs go on: each decides about its own version"
    if end == "failed":
        runs.close_run(store, left.run_id, "FAILED")
    else:
        store.set_tag(left.run_id, runs.PROCESS, "999999999")
    text = "version 2 has no decision on record, and its run is over"
    assert text in pending(store, settings)[0]
    (done,) = reconcile(store, settings)
    assert f"{text}: written as record" in done
    assert actions(store, settings) == [("promote", None, 1), ("reject", 1, 2)]
    assert history(store, settings)[-1].run_id == "run", "the project's id, and not MLflow's"
    assert reconcile(store, settings) == pending(store, settings) == []
    decided(store, settings, going_on, PROMOTE, expected=1)
    assert champion_number(store, settings) == going_on.version
    promote_manually(store, settings, left.version)  # a person may still choose it


# --- going back -------------------------------------------------------------------------------


def test_rollback_goes_back_one_by_one_or_to_any_former_champion(store, settings):
    new_version(store, settings)
    with pytest.raises(UserError, match="nothing has been promoted yet"):
        roll_back(store, settings)
    decided(store, settings, find_version(store, settings, 1))
    champions(store, settings, 2)
    assert roll_back(store, settings, reason="complaints").to_version == 2
    assert roll_back(store, settings).to_version == 1
    with pytest.raises(UserError, match="version 1 is the first"):
        roll_back(store, settings)
    assert actions(store, settings)[3:] == [("rollback", 3, 2), ("rollback", 2, 1)]
    decided(store, settings, new_version(store, settings), PROMOTE, expected=1)
    assert roll_back(store, settings).to_version == 1, "not 2: it was rolled back from"
    assert roll_back(store, settings, 3).to_version == 3
    assert roll_back(store, settings).to_version == 1
    decided(store, settings, new_version(store, settings), REJECT, expected=1)
    with pytest.raises(UserError, match="version 5 has never been champion"):
        roll_back(store, settings, 5)


@given(st.lists(st.integers(1, 4), max_size=12), st.data())
@hypothesis(max_examples=60, deadline=None)
def test_the_stack_of_champions_ends_with_the_present_one_and_holds_none_twice(versions, data):
    past: list[Record] = []
    for version in versions:
        action = data.draw(st.sampled_from(["promote", "release", "rollback", "found", "reject"]))
        past.append(record(len(past) + 1, action=action, to_version=version))
    champions = stack(past)
    moved = [entry.to_version for entry in past if entry.action != "reject"]
    assert len(champions) == len(set(champions)) and set(champions) <= set(moved)
    assert champions[-1:] == moved[-1:]


# --- what is refused, and leaves the champion ----------------------------------------------------


def test_a_version_whose_bundle_is_not_the_one_that_was_decided_about_is_refused(store, settings):
    champions(store, settings, 2)
    version = find_version(store, settings, 1)

    def exchanged():
        return write_bundle(version.bundle, GRAPH, {"threshold": 0.01})

    def exchanged_with_its_registered_hash():
        store.set_model_version_tag(version.name, "1", "bundle_sha256", exchanged())

    for damage, reason in (
        (lambda: (version.bundle / "model.onnx").unlink(), "has no model.onnx"),
        (lambda: (version.bundle / "bundle.json").write_text("{}"), "bundle.json is not the file"),
        (exchanged, "registered was"),
        (exchanged_with_its_registered_hash, "another hash than record"),
    ):
        whole = shutil.copytree(version.bundle, settings.var / f"whole{next(names)}")
        damage()
        for refused in (
            lambda: roll_back(store, settings),
            lambda: roll_back(store, settings, 1),
            lambda: promote_manually(store, settings, 1),
        ):
            with pytest.raises(BundleRefused, match=reason):
                refused()
        shutil.rmtree(version.bundle)
        whole.rename(version.bundle)
    assert champion_number(store, settings) == 2
    assert len(history(store, settings)) == 2


def test_a_version_that_does_not_exist_and_the_champion_itself_are_refused(store, settings):
    champions(store, settings, 1)
    with pytest.raises(UserError, match="no version 7") as error:
        promote_manually(store, settings, 7)
    assert error.value.next_step == "the versions are 1"
    with pytest.raises(UserError, match="champion already"):
        promote_manually(store, settings, 1)
    assert len(history(store, settings)) == 1


def test_a_challenger_compared_with_another_champion_is_not_promoted(store, settings):
    champions(store, settings, 1)
    late = new_version(store, settings)
    champions(store, settings, 1)
    with pytest.raises(ChampionChanged, match="with version 1, and version 3 is champion now"):
        decided(store, settings, late, PROMOTE, expected=1)
    assert champion_number(store, settings) == 3
    assert actions(store, settings)[-1] == ("reject", 3, 2)
    decided(store, settings, late, REJECT, expected=1)  # a rejection needs no comparison


PROMOTE_IN_A_PROCESS = """
import sys
from configs.load import load
from made_registry import decided
from registry.champion import find_version
from registry.tracking import open_store
settings = load("smoke", ["--var", sys.argv[1]], env={}).model_copy(update={"name": sys.argv[2]})
client = open_store(settings)
version = find_version(client, settings, int(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
decided(client, settings, version, expected=1)
"""


def test_of_two_promotions_at_once_one_is_carried_out_and_the_other_refused(store, settings):
    champions(store, settings, 1)
    ours, theirs = new_version(store, settings), new_version(store, settings)
    arguments = str(settings.var), settings.name, str(theirs.version)
    other = subprocess.Popen(
        [sys.executable, "-c", PROMOTE_IN_A_PROCESS, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'registry'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "ready\n", other.stderr.read()
    other.stdin.write("\n")
    other.stdin.flush()
    refused = False
    try:
        decided(store, settings, ours, expected=1)
    except ChampionChanged:
        refused = True
    _, errors = other.communicate(timeout=60)
    assert refused != ("ChampionChanged" in errors)
    assert other.returncode == (0 if refused else 1)
    assert champion_number(store, settings) == (theirs if refused else ours).version
    assert sorted(action for action, *_ in actions(store, settings)) == [
        *("promote", "promote", "reject")
    ]
    assert read(store)[1] == [] and pending(store, settings) == []


def test_two_manual_promotions_at_once_are_both_recorded_and_the_last_is_champion(store, settings):
    champions(store, settings, 1)
    for _ in range(2):
        new_version(store, settings)
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda number: promote_manually(store, settings, number), (2, 3)))
    first, second = history(store, settings)[1:]
    assert first.to_version == second.from_version != second.to_version
    assert champion_number(store, settings) == second.to_version and read(store)[1] == []


# --- killed in between ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "name", "altered", "said", "expected"),
    [
        pytest.param(carry_out, "promote", False, "carried out now", 2, id="before the alias"),
        pytest.param(carry_out, "promote", True, "dropped, as", 1, id="and its bundle is altered"),
        pytest.param(ledger, "close", False, "it had been carried out", 2, id="after the alias"),
    ],
)
def test_a_killed_promotion_is_carried_out_by_the_next_command_or_dropped(
    store, settings, monkeypatch, place, name, altered, said, expected
):
    champions(store, settings, 1)
    version = new_version(store, settings)
    with killed_at(monkeypatch, place, name):
        decided(store, settings, version, PROMOTE, expected=1)
    if altered:
        (version.bundle / "bundle.json").write_text("{}")
    before = champion_number(store, settings)
    (text,) = pending(store, settings)
    assert "promote version 2" in text and "not carried out" in text
    assert champion_number(store, settings) == before, "looking changes nothing"
    (done,) = reconcile(store, settings)
    assert said in done and champion_number(store, settings) == expected
    dropped = [("drop", 2, 1)] if altered else []
    assert actions(store, settings)[1:] == [("promote", 1, 2), *dropped]
    assert stack(history(store, settings)) == ([1] if altered else [1, 2])
    assert reconcile(store, settings) == [] == pending(store, settings)


def test_a_command_killed_before_its_record_was_complete_has_decided_nothing(
    store, settings, monkeypatch
):
    version = new_version(store, settings)
    with killed_at(monkeypatch, type(store), "log_batch"):
        decided(store, settings, version)
    assert history(store, settings) == [] and read(store)[1] == []
    assert reconcile(store, settings) == [] and champion_number(store, settings) is None
    experiment = store.get_experiment_by_name(ledger.EXPERIMENT).experiment_id
    states = [run.info.status for run in store.search_runs([experiment])]
    assert states[0] == "KILLED" and "RUNNING" not in states
    decided(store, settings, version)
    assert champion_number(store, settings) == 1 and read(store)[1] == []


def test_an_alias_that_was_moved_in_mlflow_is_named_then_recorded(store, settings):
    champions(store, settings, 2)
    promote(store, find_version(store, settings, 1))
    (text,) = pending(store, settings)
    assert "version 1 is champion, but 2 by the ledger" in text
    reconcile(store, settings)
    entry = history(store, settings)[-1]
    assert (entry.action, entry.from_version, entry.to_version) == ("found", 2, 1)
    assert entry.by == "unknown" and champion_number(store, settings) == 1
    assert pending(store, settings) == []
    store.delete_registered_model_alias(find_version(store, settings, 1).name, "champion")
    assert len(reconcile(store, settings)) == 1 and pending(store, settings) == []
    assert roll_back(store, settings).to_version == 1, "the last champion there was"


# --- the chain --------------------------------------------------------------------------------


def record(sequence: int, previous: str = NOTHING, **content) -> Record:
    entry = Record(
        **{
            "action": "promote",
            "from_version": sequence - 1 or None,
            "to_version": sequence,
            "by": "gate",
            "reason": "",
            "figures": {"roc_auc": 0.7},
            "sequence": sequence,
            "time": "2026-01-01T00:00:00+00:00",
            "model": "shop",
            "previous_sha256": previous,
        }
        | content
    )
    return replace(entry, sha256=hash_of(content_of(entry)))


def chain(length: int) -> list[Record]:
    made: list[Record] = []
    for sequence in range(1, length + 1):
        made.append(record(sequence, made[-1].sha256 if made else NOTHING))
    return made


ONE, TWO, THREE, FOUR, FIVE = chain(5)


@pytest.mark.parametrize(
    ("records", "problems"),
    [
        ([], []),
        ([ONE, TWO, THREE, FOUR, FIVE], []),
        ([TWO, THREE], ["record 1 is missing"]),
        ([ONE, THREE, FOUR], ["record 2 is missing"]),
        ([ONE, FIVE], ["records 2 to 4 are missing"]),
        ([ONE, ONE, TWO], ["record 1 is duplicated"]),
        (
            [ONE, record(2, ONE.sha256, reason="nicer"), THREE],
            ["record 3 does not follow the one before it"],
        ),
    ],
)
def test_what_is_wrong_with_a_chain_is_named(records, problems):
    assert [problem.text for problem in problems_of(records)] == problems


def test_the_last_record_that_moves_the_alias_names_the_champion():
    assert champion_by([ONE, TWO]) == champion_by([ONE, TWO, record(3, action="reject")]) == 2


CONTENT = content_of(TWO)
WRONG_TYPES = {
    "a sequence that is text": {"sequence": "2"},
    "a sequence below 1": {"sequence": 0},
    "a time that is a number": {"time": 5},
    "no reason": {"reason": None},
    "figures that are a list": {"figures": []},
    "rules that are text": {"rules": ["x"]},
    "a version that is text": {"to_version": "2"},
    "a version that is a truth value": {"from_version": True},
    "an unknown action": {"action": "steal"},
    "a figure that is not a number": {"figures": {"roc_auc": float("nan")}},
    "a figure that is infinite": {"figures": {"roc_auc": float("inf")}},
    "one field more": {"open": False},
}
TEXTS = ["", "[]", "null", '"x"', "[" * 100_000, json.dumps(CONTENT)[:-20]]
TEXTS += [json.dumps(CONTENT).replace("0.7", "1e999"), json.dumps(CONTENT | {"sha256": "x"})]


def test_a_record_is_read_only_as_it_was_written():
    assert parse(json.dumps(CONTENT)) == TWO
    altered = {str: "x", int: 9, dict: {"a": 1}, list: [1], type(None): 9}
    changes = [{name: altered[type(value)]} for name, value in CONTENT.items()]
    texts = TEXTS + [json.dumps(CONTENT | change) for change in changes]
    for change in WRONG_TYPES.values():
        texts.append(json.dumps(CONTENT | change))
        try:  # with a hash that fits, where there is one
            texts.append(json.dumps(CONTENT | change | {"sha256": hash_of(CONTENT | change)}))
        except ValueError:
            continue
    for text in texts:
        with pytest.raises(ValueError):
            parse(text)


# --- a ledger that is not whole ------------------------------------------------------------------


@pytest.fixture(scope="module")
def breakable(tmp_path_factory):
    """A store with three champions, and a copy of it as it was."""
    var = tmp_path_factory.mktemp("own") / "var"
    settings = load("smoke", ["--var", str(var)], env={})
    client = open_store(settings)
    champions(client, settings, 3)
    shutil.copytree(var, var.with_name("copy"))
    return client, settings


@pytest.fixture
def own(breakable):
    """A store of its own: what was broken in it is restored from the copy."""
    client, settings = breakable
    copy = settings.var.with_name("copy") / "mlflow"
    shutil.rmtree(settings.var / "mlflow" / "artifacts")
    shutil.copytree(copy / "artifacts", settings.var / "mlflow" / "artifacts")
    with (
        closing(sqlite3.connect(copy / "mlflow.db")) as then,
        closing(sqlite3.connect(settings.var / "mlflow" / "mlflow.db")) as now,
    ):
        then.backup(now)
    return client, settings


def alter(client, entry: Record, **content) -> Path:
    """Change the record's file; {} for no content at all."""
    file = ledger.record_file(client.get_run(entry.mlflow_run_id))
    file.chmod(0o644)
    file.write_text(json.dumps(json.loads(file.read_text()) | content if content else {}))
    return file


def altered(client, entries) -> None:
    alter(client, entries[1], by="nobody")


def lost(client, entries) -> None:
    alter(client, entries[1]).unlink()


def reopened(client, entries) -> None:
    client.update_run(entries[2].mlflow_run_id, status="RUNNING")


def deleted_at_the_end(client, entries) -> None:
    client.delete_run(entries[-1].mlflow_run_id)


def set_head(head: str, client) -> None:
    experiment = client.get_experiment_by_name(ledger.EXPERIMENT).experiment_id
    client.set_experiment_tag(experiment, ledger.HEAD, head)


def head_altered(client, entries) -> None:
    set_head("2 abc", client)


def head_removed(client, entries) -> None:
    set_head("", client)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (altered, "record 2 was altered: "),
        (lost, "record 2 is lost: "),
        (reopened, "record 3 was carried out, but its status in MLflow is RUNNING"),
        (deleted_at_the_end, "record 3, the last, is missing"),
        (head_altered, "record 3, the last, is not the one that was written"),
        (head_removed, "record 3, the last, is not the one that was written"),
    ],
)
def test_a_damaged_ledger_is_named_and_moves_no_champion_until_a_person_restarts_it(
    own, damage, problem
):
    client, settings = own
    late = new_version(client, settings)
    damage(client, history(client, settings))
    (named,) = read(client)[1]
    assert named.startswith(problem)
    promote(client, find_version(client, settings, 1))  # an alias that was moved is not recorded
    before = len(read(client)[0])
    for refused in (
        lambda: reconcile(client, settings),
        lambda: roll_back(client, settings),
        lambda: roll_back(client, settings, 1),
        lambda: promote_manually(client, settings, 2),
        lambda: decided(client, settings, late, PROMOTE, expected=1),
    ):
        with pytest.raises(LedgerBroken, match="the champion stays: record") as error:
            refused()
        assert "--despite-ledger" in error.value.next_step and "models" in error.value.next_step
    assert champion_number(client, settings) == 1 and len(read(client)[0]) == before
    assert "no command moves the champion" in "".join(pending(client, settings))

    # A person says who is champion: from there on decisions are taken again.
    entry = promote_manually(client, settings, 1, reason="as it serves", despite_ledger=True)
    assert (entry.action, entry.to_version) == ("restart", 1)
    assert entry.rules[0]["found"] == named
    assert pending(client, settings) == []
    with pytest.raises(UserError, match="version 1 is the first"):
        roll_back(client, settings)
    decided(client, settings, late, PROMOTE, expected=1)
    assert champion_number(client, settings) == 4 and roll_back(client, settings).to_version == 1

    # The restart itself is damaged: it needs another one. Without damage, none is written.
    alter(client, entry, by="nobody")
    with pytest.raises(LedgerBroken):
        reconcile(client, settings)
    assert promote_manually(client, settings, 4, despite_ledger=True).action == "restart"
    assert reconcile(client, settings) == []
    assert promote_manually(client, settings, 1, despite_ledger=True).action == "release"


@pytest.mark.parametrize("killed", [False, True])
def test_a_past_or_present_champion_is_never_rejected_though_its_record_is_lost(
    own, monkeypatch, killed
):
    client, settings = own
    for number in (1, 2, 3):
        runs.close_run(client, find_version(client, settings, number).run_id)
    alter(client, history(client, settings)[2])
    if killed:
        with killed_at(monkeypatch, carry_out, "promote"):
            promote_manually(client, settings, 1, despite_ledger=True)
        assert champion_number(client, settings) == 3
        assert undecided(client, settings) == []
        assert "carried out now" in reconcile(client, settings)[0]
    else:
        promote_manually(client, settings, 1, despite_ledger=True)
    assert champion_number(client, settings) == 1
    assert reconcile(client, settings) == pending(client, settings) == []
    assert {action for action, *_ in actions(client, settings)} == {"promote", "restart"}


def test_where_mlflows_page_differs_it_is_named_and_decides_nothing(own):
    client, settings = own
    first, second, third = history(client, settings)
    client.set_tag(first.mlflow_run_id, "by", "ada")
    client.set_tag(first.mlflow_run_id, "mlflow.note.content", "a good year")
    client.log_metric(second.mlflow_run_id, "roc_auc", 0.99)
    client.update_run(third.mlflow_run_id, name="nicer", status="KILLED")
    assert read(client)[1] == [
        "MLflow's page differs from record 1: by, mlflow.note.content",
        "MLflow's page differs from record 2: metrics",
        "MLflow's page differs from record 3: name, status",
    ]
    assert roll_back(client, settings).to_version == 2


def test_an_altered_open_record_is_not_carried_out(own, monkeypatch):
    client, settings = own
    version = new_version(client, settings)
    with killed_at(monkeypatch, carry_out, "promote"):
        promote_manually(client, settings, version.version)
    entry = history(client, settings)[-1]
    file = alter(client, entry, to_version=1)
    with pytest.raises(LedgerBroken, match="record 4 was altered"):
        reconcile(client, settings)
    assert champion_number(client, settings) == 3

    # Rewritten with its hash wherever that stands: one that names no bundle promotes none.
    content = json.loads(file.read_text()) | {"bundle_sha256": "", "to_version": 4}
    sha256 = hash_of(content)
    file.write_text(json.dumps({**content, "sha256": sha256}))
    client.set_tag(entry.mlflow_run_id, "sha256", sha256)
    set_head(f"4 {sha256}", client)
    (done,) = reconcile(client, settings)
    assert "dropped" in done and "another hash than record 4" in done
    assert champion_number(client, settings) == 3
