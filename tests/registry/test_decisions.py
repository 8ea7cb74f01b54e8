"""The ledger and the moves of the champion, in a real MLflow store."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from onnx import TensorProto, helper

from common.errors import UserError
from configs.load import load
from registry import decisions, ledger, tracking
from registry.bundle import BundleRefused, write_bundle
from registry.chain import NOTHING, Record, hash_of, hashed, left_by, problems_of, stack
from registry.champion import find_champion, find_version, register
from registry.champion import promote as point
from registry.decisions import ChampionChanged, conclude, pending, reconcile, release, roll_back
from registry.gate import Decision
from registry.ledger import LedgerBroken, history, read
from registry.tracking import open_store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RULE = {"rule": "export", "held": True, "found": "", "limit": "", "why": "", "figure": float("nan")}
YES = Decision("promote", ("held: it is better",), (RULE,))
NO = Decision("reject", ("broken: it is worse",), ())
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
    return load("smoke", ["--var", str(var)], env={}).model_copy(
        update={"name": f"shop-{next(names)}"}
    )


def graph() -> bytes:
    node = helper.make_node("Sigmoid", ["features"], ["probability"])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"])
        for name in ("features", "probability")
    ]
    made: onnx.ModelProto = helper.make_model(
        helper.make_graph([node], "tiny", *map(list, [ends[:1], ends[1:]]))
    )
    return made.SerializeToString()


def new_version(client, settings):
    folder = settings.var / f"bundle{next(names)}"
    description = {"test": {"roc_auc": 0.7}, "data_sha256": "d", "run_id": "r", "n": next(names)}
    sha = write_bundle(folder, graph(), description)
    run = tracking.open_run(client, "run")
    return register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha, tags={})


def decided(client, settings, version, decision=YES, expected=None):
    return conclude(
        client,
        settings,
        version=version,
        decision=decision,
        expected_champion=expected,
        figures={"roc_auc": 0.7, "against_champion": {"roc_auc": {"low": float("inf")}}},
        data_sha256="data",
        code_revision="code",
        run_id="run",
    )


def champion(client, settings) -> int | None:
    found = find_champion(client, settings)
    return found.version if found else None


def champions(client, settings, number: int) -> None:
    """As many versions, each promoted by the gate in turn."""
    for _ in range(number):
        decided(client, settings, new_version(client, settings), YES, champion(client, settings))


def actions(client, settings) -> list[tuple]:
    return [(e.action, e.from_version, e.to_version) for e in history(client, settings)]


# --- a run that ended before its decision ---


@pytest.mark.parametrize("end", ["failed", "killed"])
def test_a_version_whose_run_ended_before_the_decision_is_rejected(store, settings, end):
    decided(store, settings, new_version(store, settings), YES)
    left, going_on = new_version(store, settings), new_version(store, settings)
    assert reconcile(store, settings) == [], "both runs go on: each decides about its own version"
    if end == "failed":
        tracking.close_run(store, left.run_id, "FAILED")
    else:
        store.set_tag(left.run_id, tracking.PROCESS, "999999999")
    assert "version 2 has no decision on record" in pending(store, settings)[0]
    (said,) = reconcile(store, settings)
    assert "version 2 has no decision on record, and its run is over: written down" in said
    assert actions(store, settings) == [("promote", None, 1), ("reject", 1, 2)]
    assert history(store, settings)[-1].run_id == "run", "the project's id, and not MLflow's"
    assert reconcile(store, settings) == pending(store, settings) == []
    decided(store, settings, going_on, YES, expected=1)
    assert champion(store, settings) == going_on.version
    release(store, settings, left.version)  # a person may still take it


# --- what is written --------------------------------------------------------------------------


def test_each_decision_of_the_gate_is_a_record_with_its_figures(store, settings):
    one, two = new_version(store, settings), new_version(store, settings)
    decided(store, settings, one)
    decided(store, settings, two, NO, expected=1)
    assert champion(store, settings) == 1
    first, second = history(store, settings)
    assert (first.action, first.from_version, first.to_version) == ("promote", None, 1)
    assert (second.action, second.from_version, second.to_version) == ("reject", 1, 2)
    assert first.by == "gate" and first.reason == "held: it is better"
    assert first.figures["roc_auc"] == 0.7 and first.bundle_sha256 == one.bundle_sha256
    assert (first.data_sha256, first.code_revision, first.run_id) == ("data", "code", "run")
    assert first.rules == [{**RULE, "figure": None}], "JSON has no NaN"
    assert second.previous_sha256 == first.sha256
    assert not first.open and not second.open
    assert read(store)[1] == [] and pending(store, settings) == []


def test_mlflows_page_shows_it_too(store, settings):
    entry = decided(store, settings, new_version(store, settings))
    run = store.get_run(entry.mlflow_run_id)
    assert run.info.run_name == f"{entry.sequence} promote golden-path-{settings.name} – → 1"
    assert run.info.status == "FINISHED"
    assert run.data.tags["action"] == "promote" and run.data.tags["by"] == "gate"
    assert run.data.metrics == {"roc_auc": 0.7}
    assert ledger.record_file(run).stat().st_mode & 0o222 == 0, "not to be written again"


def test_a_release_by_hand_says_by_whom_and_why(store, settings, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    new_version(store, settings)
    entry = release(store, settings, 1, reason="for the holidays")
    assert (entry.action, entry.by, entry.reason) == ("release", "ada", "for the holidays")
    assert entry.figures == {"roc_auc": 0.7} and entry.data_sha256 == "d"
    assert champion(store, settings) == 1


# --- going back -------------------------------------------------------------------------------


def test_each_rollback_goes_one_further_back(store, settings):
    champions(store, settings, 3)
    assert roll_back(store, settings, reason="complaints").to_version == 2
    assert roll_back(store, settings).to_version == 1
    with pytest.raises(UserError, match="version 1 is the first"):
        roll_back(store, settings)
    assert champion(store, settings) == 1
    assert actions(store, settings)[3:] == [("rollback", 3, 2), ("rollback", 2, 1)]


def test_what_was_rolled_back_from_is_not_returned_to(store, settings):
    champions(store, settings, 2)
    roll_back(store, settings)
    decided(store, settings, new_version(store, settings), YES, expected=1)
    assert roll_back(store, settings).to_version == 1, "not 2"


def test_a_rollback_may_name_any_version_that_was_champion(store, settings):
    champions(store, settings, 3)
    decided(store, settings, new_version(store, settings), NO, expected=3)
    assert roll_back(store, settings, 1).to_version == 1
    assert roll_back(store, settings, 3).to_version == 3
    assert roll_back(store, settings).to_version == 1
    with pytest.raises(UserError, match="version 4 has never been champion"):
        roll_back(store, settings, 4)


def test_there_is_nothing_to_go_back_to_before_the_first_promotion(store, settings):
    new_version(store, settings)
    with pytest.raises(UserError, match="nothing has been promoted yet"):
        roll_back(store, settings)


@given(st.lists(st.integers(1, 4), max_size=12), st.data())
@hypothesis(max_examples=60, deadline=None)
def test_the_stack_of_champions_ends_with_the_present_one_and_holds_none_twice(moves, data):
    past: list[Record] = []
    for number in moves:
        action = data.draw(st.sampled_from(["promote", "release", "rollback", "found", "reject"]))
        past.append(record(len(past) + 1, action=action, to_version=number))
    found = stack(past)
    moved = [entry.to_version for entry in past if entry.action != "reject"]
    assert len(found) == len(set(found)) and set(found) <= set(moved)
    assert found[-1:] == moved[-1:]


# --- what is refused, and leaves the champion alone -------------------------------------------


def spoil(version, how: str) -> None:
    if how == "missing":
        (version.bundle / "model.onnx").unlink()
    elif how == "altered":
        (version.bundle / "bundle.json").write_text("{}")
    else:  # whole in itself, but not what was registered
        write_bundle(version.bundle, graph(), {"threshold": 0.01})


@pytest.mark.parametrize("how", ["missing", "altered", "exchanged"])
def test_a_version_whose_bundle_is_not_whole_is_refused(store, settings, how):
    champions(store, settings, 2)
    spoil(find_version(store, settings, 1), how)
    for refused in (
        lambda: roll_back(store, settings),
        lambda: roll_back(store, settings, 1),
        lambda: release(store, settings, 1),
    ):
        with pytest.raises(BundleRefused):
            refused()
    assert champion(store, settings) == 2
    assert len(history(store, settings)) == 2


def test_a_bundle_exchanged_together_with_its_registered_hash_is_refused(store, settings):
    champions(store, settings, 2)
    version = find_version(store, settings, 1)
    sha = write_bundle(version.bundle, graph(), {"threshold": 0.01})
    store.set_model_version_tag(version.name, "1", "bundle_sha256", sha)
    with pytest.raises(BundleRefused, match="another hash than record"):
        roll_back(store, settings)
    assert champion(store, settings) == 2


def test_a_version_that_is_not_there_and_the_champion_itself_are_refused(store, settings):
    champions(store, settings, 1)
    with pytest.raises(UserError, match=r"no version 7\n.*\n.*the versions are 1"):
        _told(lambda: release(store, settings, 7))
    with pytest.raises(UserError, match="champion already"):
        release(store, settings, 1)
    assert len(history(store, settings)) == 1


def _told(call):
    """With the whole message as the error's text."""
    try:
        call()
    except UserError as error:
        raise UserError(str(error)) from None


def test_a_challenger_compared_with_another_champion_is_not_promoted(store, settings):
    champions(store, settings, 1)
    late = new_version(store, settings)
    champions(store, settings, 1)
    with pytest.raises(ChampionChanged, match="compared with version 1, now it is 3"):
        decided(store, settings, late, YES, expected=1)
    assert champion(store, settings) == 3
    assert actions(store, settings)[-1] == ("reject", 3, 2)
    decided(store, settings, late, NO, expected=1)  # a rejection needs no comparison


PROMOTE = """
import sys
from configs.load import load
from registry.decisions import conclude
from registry.gate import Decision
from registry.champion import find_version
from registry.tracking import open_store
settings = load("smoke", ["--var", sys.argv[1]], env={}).model_copy(update={"name": sys.argv[2]})
client = open_store(settings)
version = find_version(client, settings, int(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
conclude(client, settings, version=version, decision=Decision("promote", ("held",)),
         expected_champion=1, figures={}, data_sha256="", code_revision="", run_id="")
"""


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(store, settings):
    champions(store, settings, 1)
    ours, theirs = new_version(store, settings), new_version(store, settings)
    other = subprocess.Popen(
        [sys.executable, "-c", PROMOTE, str(settings.var), settings.name, str(theirs.version)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("\n")
    other.stdin.flush()
    try:
        decided(store, settings, ours, YES, expected=1)
        told = ""
    except ChampionChanged as error:
        told = "ChampionChanged" + str(error)
    _, err = other.communicate(timeout=60)
    assert ("ChampionChanged" in told) != ("ChampionChanged" in err)
    winner = ours.version if not told else theirs.version
    assert other.returncode == (1 if not told else 0)
    assert champion(store, settings) == winner
    assert sorted(action for action, *_ in actions(store, settings)) == [
        *("promote", "promote", "reject")
    ]
    assert read(store)[1] == [] and pending(store, settings) == []


def test_two_promotions_by_hand_at_once_are_both_recorded_and_the_last_is_champion(store, settings):
    champions(store, settings, 1)
    for _ in range(2):
        new_version(store, settings)
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda number: release(store, settings, number), (2, 3)))
    first, second = history(store, settings)[1:]
    assert first.to_version == second.from_version != second.to_version
    assert champion(store, settings) == second.to_version and read(store)[1] == []


# --- killed in between ------------------------------------------------------------------------


class Killed(BaseException):
    pass


def kill(*_, **__):
    raise Killed


@pytest.fixture
def killed_before_the_alias(store, settings, monkeypatch):
    champions(store, settings, 1)
    version = new_version(store, settings)
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "promote", kill)
        with pytest.raises(Killed):
            decided(store, settings, version, YES, expected=1)
    assert champion(store, settings) == 1
    return version


def test_a_promotion_killed_before_the_alias_is_named_then_carried_out(
    store, settings, killed_before_the_alias
):
    (said,) = pending(store, settings)
    assert "promote version 2" in said and "not carried out" in said
    assert champion(store, settings) == 1, "looking changes nothing"
    (done,) = reconcile(store, settings)
    assert "carried out now" in done
    assert champion(store, settings) == 2
    assert reconcile(store, settings) == [] == pending(store, settings)


def test_it_is_dropped_when_its_bundle_was_altered_meanwhile(
    store, settings, killed_before_the_alias
):
    spoil(killed_before_the_alias, "altered")
    (said,) = reconcile(store, settings)
    assert "dropped" in said and "refused" in said
    assert champion(store, settings) == 1
    assert actions(store, settings)[1:] == [("promote", 1, 2), ("drop", 2, 1)]
    assert reconcile(store, settings) == [] == pending(store, settings)
    assert stack(history(store, settings)) == [1]


def test_a_promotion_killed_after_the_alias_is_only_closed(store, settings, monkeypatch):
    version = new_version(store, settings)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "close", kill)
        with pytest.raises(Killed):
            decided(store, settings, version)
    assert champion(store, settings) == 1
    (said,) = reconcile(store, settings)
    assert "all of it had been done" in said
    assert champion(store, settings) == 1 and pending(store, settings) == []


def test_one_killed_before_its_record_was_whole_has_decided_nothing(store, settings, monkeypatch):
    version = new_version(store, settings)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "log_batch", kill)
        with pytest.raises(Killed):
            decided(store, settings, version)
    assert history(store, settings) == [] and read(store)[1] == []
    assert reconcile(store, settings) == [] and champion(store, settings) is None
    experiment = store.get_experiment_by_name("golden-path-decisions").experiment_id
    states = [run.info.status for run in store.search_runs([experiment])]
    assert states[0] == "KILLED" and "RUNNING" not in states
    decided(store, settings, version)
    assert champion(store, settings) == 1 and read(store)[1] == []


def test_an_alias_that_was_moved_in_mlflow_is_named_then_written_down(store, settings):
    champions(store, settings, 2)
    point(store, find_version(store, settings, 1))
    (said,) = pending(store, settings)
    assert "version 1 is champion, the ledger says 2" in said
    reconcile(store, settings)
    entry = history(store, settings)[-1]
    assert (entry.action, entry.from_version, entry.to_version) == ("found", 2, 1)
    assert entry.by == "unknown" and champion(store, settings) == 1
    assert pending(store, settings) == []
    store.delete_registered_model_alias(find_version(store, settings, 1).name, "champion")
    assert len(reconcile(store, settings)) == 1 and pending(store, settings) == []
    assert roll_back(store, settings).to_version == 1, "the last champion there was"


# --- the chain --------------------------------------------------------------------------------


def record(sequence: int, previous: str = NOTHING, **content) -> Record:
    fields = {
        "time": "2026-01-01T00:00:00+00:00",
        "action": "promote",
        "model": "shop",
        "from_version": sequence - 1 or None,
        "to_version": sequence,
        "by": "gate",
        "reason": "",
        "figures": {"roc_auc": 0.7},
        "rules": [],
        "bundle_sha256": "",
        "data_sha256": "",
        "code_revision": "",
        "run_id": "",
    }
    made = Record(sequence=sequence, previous_sha256=previous, sha256="", **(fields | content))
    return replace(made, sha256=hash_of(hashed(made)))


def chain(length: int) -> list[Record]:
    made: list[Record] = []
    for sequence in range(1, length + 1):
        made.append(record(sequence, made[-1].sha256 if made else NOTHING))
    return made


def verify(records: list[Record]) -> list[str]:
    return [problem.text for problem in problems_of(records)]


def test_a_chain_that_nobody_touched_is_whole():
    assert verify([]) == verify(chain(1)) == verify(chain(5)) == []


CONTENT = [name for name in Record.__dataclass_fields__ if name not in ("open", "mlflow_run_id")]


@pytest.mark.parametrize("name", CONTENT)
def test_whatever_is_altered_in_a_record_is_seen(name):
    made = chain(4)
    before = getattr(made[1], name)
    after = {str: "x", int: 9, type(None): 9, dict: {"a": 1}, list: [1]}[type(before)]
    made[1] = replace(made[1], **{name: after})
    said = verify(sorted(made, key=lambda entry: entry.sequence))
    assert any("record 2" in text or "record 9" in text for text in said)


def test_a_record_rewritten_with_its_hash_breaks_the_next_one():
    made = chain(3)
    made[1] = record(2, made[0].sha256, reason="nicer")
    assert verify(made) == ["record 3 does not follow the one before it"]


def test_a_missing_record_is_named():
    made = chain(5)
    assert verify(made[1:]) == ["record 1 is missing"]
    assert verify([made[0], made[2], made[3]]) == ["record 2 is missing"]
    assert verify([made[0], made[4]]) == ["record 2 to 4 is missing"]
    assert verify([made[0], made[0], made[1]]) == ["record 1 is there twice"]


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
    """A store of its own: what was broken in it is brought back from the copy."""
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


def file_of(client, entry: Record) -> Path:
    file = ledger.record_file(client.get_run(entry.mlflow_run_id))
    file.chmod(0o644)
    return file


def alter(client, entry: Record, **content) -> Path:
    file = file_of(client, entry)
    file.write_text(json.dumps(json.loads(file.read_text()) | content))
    return file


def is_refused(client, settings, action) -> bool:
    """With the champion where it was."""
    before = champion(client, settings)
    with pytest.raises(LedgerBroken, match="the ledger is not whole, so no champion is moved"):
        action()
    return champion(client, settings) == before


def test_what_is_altered_in_the_store_is_named_and_nothing_is_decided_by_it(own):
    client, settings = own
    late = new_version(client, settings)
    file = alter(client, history(client, settings)[1], by="nobody")
    assert read(client)[1] == [f"record 2 was altered: {file}"]
    assert [entry.sequence for entry in history(client, settings)] == [1, 3]
    point(client, find_version(client, settings, 1))  # no `found` is made of it either
    for refused in (
        lambda: reconcile(client, settings),
        lambda: roll_back(client, settings),
        lambda: roll_back(client, settings, 1),
        lambda: release(client, settings, 2),
        lambda: decided(client, settings, late, YES, expected=1),
    ):
        with pytest.raises(LedgerBroken, match="no champion is moved: record 2 was altered") as no:
            refused()
        assert "--despite-ledger" in no.value.next_step and "make models" in no.value.next_step
    assert champion(client, settings) == 1 and len(read(client)[0]) == 2
    (said,) = pending(client, settings)
    assert "no command moves the champion" in said

    # A person says who is champion: from there on decisions are taken again.
    entry = release(client, settings, 1, reason="as it serves", despite_ledger=True)
    assert (entry.action, entry.from_version, entry.to_version) == ("restart", 1, 1)
    assert entry.rules[0]["found"] == f"record 2 was altered: {file}"
    assert read(client)[1] == [f"record 2 was altered: {file}"], "it is named for ever"
    assert pending(client, settings) == []
    with pytest.raises(UserError, match="version 1 is the first"):
        roll_back(client, settings)
    decided(client, settings, late, YES, expected=1)
    assert champion(client, settings) == 4 and roll_back(client, settings).to_version == 1

    # Taken out at the end, with its run: the next record leaves the place empty.
    client.delete_run(history(client, settings)[-1].mlflow_run_id)
    assert "record 6, the last, is missing" in read(client)[1]
    with pytest.raises(LedgerBroken, match="record 6, the last, is missing"):
        reconcile(client, settings)
    assert release(client, settings, 4, despite_ledger=True).sequence == 7
    assert "record 6 is missing" in read(client)[1] and reconcile(client, settings) == []
    entry = release(client, settings, 1, despite_ledger=True)
    assert entry.action == "release", "nothing is wrong with what it rests on"


@pytest.mark.parametrize("killed", [False, True])
def test_who_is_or_was_champion_is_never_rejected_though_its_record_is_lost(
    own, monkeypatch, killed
):
    client, settings = own
    for number in (1, 2, 3):
        tracking.close_run(client, find_version(client, settings, number).run_id)
    file_of(client, history(client, settings)[2]).write_text("{}")
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr(decisions, "promote", kill)
            with pytest.raises(Killed):
                release(client, settings, 1, despite_ledger=True)
        assert champion(client, settings) == 3
        assert decisions.undecided(client, settings) == []
        reconcile(client, settings)
    else:
        release(client, settings, 1, despite_ledger=True)
    assert champion(client, settings) == 1
    assert reconcile(client, settings) == pending(client, settings) == []
    assert {action for action, *_ in actions(client, settings)} == {"promote", "restart"}


DAMAGES = {
    "a sequence that is text": {"sequence": "2"},
    "a time that is none": {"time": 5},
    "no reason": {"reason": None},
    "figures that are a list": {"figures": []},
    "rules that are text": {"rules": ["x"]},
    "a version that is text": {"to_version": "2"},
    "a truth for a number": {"from_version": True},
    "another action": {"action": "steal"},
    "not a number": {"figures": {"roc_auc": float("nan")}},
    "infinity": {"figures": {"roc_auc": float("inf")}},
    "one field more": {"open": False},
}


def test_a_damaged_record_is_named_and_never_read(own):
    client, settings = own
    second = history(client, settings)[1]
    file = file_of(client, second)
    whole = file.read_text()
    texts = [json.dumps(json.loads(whole) | change) for change in DAMAGES.values()]
    texts += ["", "[]", "null", '"x"', "[" * 100_000, whole.replace("0.7", "1e999"), whole[:-20]]
    for text in texts:
        file.write_text(text)
        records, problems = read(client)
        assert problems == [f"record 2 was altered: {file}"], text[:200]
        assert second.sequence not in [entry.sequence for entry in records]
    for change in DAMAGES.values():  # with a hash that fits, where there is one
        content = {k: v for k, v in (json.loads(whole) | change).items() if k != "sha256"}
        try:
            content["sha256"] = hash_of(content)
        except ValueError:
            continue
        file.write_text(json.dumps(content))
        client.set_tag(second.mlflow_run_id, "sha256", content["sha256"])
        assert read(client)[1] == [f"record 2 was altered: {file}"], change
    client.set_tag(second.mlflow_run_id, "sha256", second.sha256)
    file.write_text(whole)
    assert read(client)[1] == []
    file.unlink()
    assert read(client)[1] == [f"record 2 is lost: {file}"]


def test_what_mlflows_page_says_otherwise_is_named_and_decides_nothing(own):
    client, settings = own
    first, second, _ = history(client, settings)
    client.set_tag(first.mlflow_run_id, "by", "ada")
    client.set_tag(first.mlflow_run_id, "mlflow.note.content", "a good year")
    client.log_metric(second.mlflow_run_id, "roc_auc", 0.99)
    said = read(client)[1]
    assert said == [
        "record 1 is shown otherwise on MLflow's page: by, mlflow.note.content",
        "record 2 is shown otherwise on MLflow's page: metrics",
    ]
    assert roll_back(client, settings).to_version == 2


def test_a_settled_record_that_was_opened_again_is_named_and_not_carried_out(own):
    client, settings = own
    first, _, third = history(client, settings)
    client.update_run(third.mlflow_run_id, status="RUNNING")
    point(client, find_version(client, settings, 1))
    said = read(client)[1]
    assert said == ["record 3 was carried out, and MLflow says that it is running"]
    for refused in (
        lambda: reconcile(client, settings),
        lambda: roll_back(client, settings, 2),
    ):
        assert is_refused(client, settings, refused)
    assert champion(client, settings) == 1
    ledger.close(client, third)
    client.update_run(first.mlflow_run_id, status="KILLED")  # no decision rests on that
    assert read(client)[1] == ["record 1 is shown otherwise on MLflow's page: status"]
    assert len(reconcile(client, settings)) == 1, "the alias was moved in MLflow"
    assert actions(client, settings)[-1] == ("found", 3, 1)


def test_an_altered_open_record_is_not_carried_out(own, monkeypatch):
    client, settings = own
    version = new_version(client, settings)
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "promote", kill)
        with pytest.raises(Killed):
            release(client, settings, version.version)
    entry = history(client, settings)[-1]
    file = alter(client, entry, to_version=1)
    with pytest.raises(LedgerBroken, match="record 4 was altered"):
        reconcile(client, settings)
    assert champion(client, settings) == 3

    # Rewritten with its hash wherever that stands: one that names no bundle promotes none.
    content = {**json.loads(file.read_text()), "bundle_sha256": "", "to_version": 4}
    del content["sha256"]
    sha = hash_of(content)
    file.write_text(json.dumps({**content, "sha256": sha}))
    client.set_tag(entry.mlflow_run_id, "sha256", sha)
    experiment = client.get_experiment_by_name(ledger.EXPERIMENT).experiment_id
    client.set_experiment_tag(experiment, ledger.HEAD, f"4 {sha}")
    (said,) = reconcile(client, settings)
    assert "it is dropped" in said and "another hash than record 4" in said
    assert champion(client, settings) == 3


def test_two_restarts_and_one_that_was_killed(own, monkeypatch):
    client, settings = own
    file_of(client, history(client, settings)[0]).write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(decisions, "promote", kill)
        with pytest.raises(Killed):
            release(client, settings, 2, despite_ledger=True)
    assert "carried out now" in reconcile(client, settings)[0]
    assert champion(client, settings) == 2
    alter(client, history(client, settings)[-1], by="nobody")
    with pytest.raises(LedgerBroken):
        reconcile(client, settings)
    assert release(client, settings, 2, despite_ledger=True).sequence == 5
    assert reconcile(client, settings) == []


def test_no_guess_is_made_beyond_a_gap():
    made = chain(4)
    assert verify([made[0], made[3]]) == ["record 2 to 3 is missing"]
    assert left_by(made) == 4 and left_by(made[:2]) == 2


@pytest.mark.parametrize("head", ["", "x", "9" * 30, "2 abc", "3 abc"])
def test_a_head_that_was_altered_is_named(own, head):
    client, settings = own
    experiment = client.get_experiment_by_name(ledger.EXPERIMENT).experiment_id
    client.set_experiment_tag(experiment, ledger.HEAD, head)
    assert read(client)[1] == ["record 3, the last, is not the one that was written"]
    release(client, settings, 3, despite_ledger=True)
    assert reconcile(client, settings) == []
