"""The ledger and the moves of the champion, in a real MLflow store."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from onnx import TensorProto, helper

from configs.errors import UserError
from configs.load import load
from registry import ledger, promotion, tracking
from registry.bundle import BundleRefused, write_bundle
from registry.gate import Decision
from registry.ledger import history, read, verify
from registry.models import find_champion, find_version, register
from registry.models import promote as point
from registry.promotion import ChampionChanged, conclude, mend, release, roll_back, unsettled
from registry.store import open_store

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
    assert first.state == second.state == "done"
    assert read(store)[1] == [] and unsettled(store, settings) == []


def test_mlflows_page_shows_it_too(store, settings):
    entry = decided(store, settings, new_version(store, settings))
    run = store.get_run(entry.mlflow_run_id)
    assert run.info.run_name == f"{entry.sequence} promote golden-path-{settings.name} – → 1"
    assert run.info.status == "FINISHED"
    assert run.data.tags["action"] == "promote" and run.data.tags["by"] == "gate"
    assert run.data.metrics == {"roc_auc": 0.7}
    assert ledger._file(run).stat().st_mode & 0o222 == 0, "not to be written again"


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
    past: list[ledger.Record] = []
    for number in moves:
        action = data.draw(st.sampled_from(["promote", "release", "rollback", "found", "reject"]))
        past.append(record(len(past) + 1, action=action, to_version=number))
    found = promotion.stack(past)
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
from registry.promotion import conclude
from registry.gate import Decision
from registry.models import find_version
from registry.store import open_store
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
    assert read(store)[1] == [] and unsettled(store, settings) == []


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
        patch.setattr(promotion, "promote", kill)
        with pytest.raises(Killed):
            decided(store, settings, version, YES, expected=1)
    assert champion(store, settings) == 1
    return version


def test_a_promotion_killed_before_the_alias_is_named_then_carried_out(
    store, settings, killed_before_the_alias
):
    (said,) = unsettled(store, settings)
    assert "promote version 2" in said and "not carried out" in said
    assert champion(store, settings) == 1, "looking changes nothing"
    (done,) = mend(store, settings)
    assert "carried out now" in done
    assert champion(store, settings) == 2
    assert mend(store, settings) == [] == unsettled(store, settings)


def test_it_is_dropped_when_its_bundle_was_altered_meanwhile(
    store, settings, killed_before_the_alias
):
    spoil(killed_before_the_alias, "altered")
    (said,) = mend(store, settings)
    assert "dropped" in said and "refused" in said
    assert champion(store, settings) == 1
    assert history(store, settings)[-1].state == "void"
    assert mend(store, settings) == [] == unsettled(store, settings)
    assert promotion.stack(history(store, settings)) == [1]


def test_a_promotion_killed_after_the_alias_is_only_closed(store, settings, monkeypatch):
    version = new_version(store, settings)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "close", kill)
        with pytest.raises(Killed):
            decided(store, settings, version)
    assert champion(store, settings) == 1
    (said,) = mend(store, settings)
    assert "all of it had been done" in said
    assert champion(store, settings) == 1 and unsettled(store, settings) == []


def test_one_killed_before_its_record_was_whole_has_decided_nothing(store, settings, monkeypatch):
    version = new_version(store, settings)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "log_batch", kill)
        with pytest.raises(Killed):
            decided(store, settings, version)
    assert history(store, settings) == [] and read(store)[1] == []
    assert mend(store, settings) == [] and champion(store, settings) is None
    decided(store, settings, version)
    assert champion(store, settings) == 1 and read(store)[1] == []


def test_an_alias_that_was_moved_in_mlflow_is_named_then_written_down(store, settings):
    champions(store, settings, 2)
    point(store, find_version(store, settings, 1))
    (said,) = unsettled(store, settings)
    assert "version 1 is champion, the ledger says 2" in said
    mend(store, settings)
    entry = history(store, settings)[-1]
    assert (entry.action, entry.from_version, entry.to_version) == ("found", 2, 1)
    assert entry.by == "unknown" and champion(store, settings) == 1
    assert unsettled(store, settings) == []
    store.delete_registered_model_alias(find_version(store, settings, 1).name, "champion")
    assert len(mend(store, settings)) == 1 and unsettled(store, settings) == []
    assert roll_back(store, settings).to_version == 1, "the last champion there was"


# --- the chain --------------------------------------------------------------------------------


def record(sequence: int, previous: str = ledger.NOTHING, **content) -> ledger.Record:
    fields = {
        "time": "2026-01-01T00:00:00+00:00",
        "action": "promote",
        "model": "shop",
        "from_version": None,
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
    made = ledger.Record(
        sequence=sequence, previous_sha256=previous, sha256="", **(fields | content)
    )
    return replace(made, sha256=ledger._hash(ledger._content(made)))


def chain(length: int) -> list[ledger.Record]:
    made: list[ledger.Record] = []
    for sequence in range(1, length + 1):
        made.append(record(sequence, made[-1].sha256 if made else ledger.NOTHING))
    return made


def test_a_chain_that_nobody_touched_is_whole():
    assert verify([]) == verify(chain(1)) == verify(chain(5)) == []


CONTENT = [
    name for name in ledger.Record.__dataclass_fields__ if name not in ("state", "mlflow_run_id")
]


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


@pytest.fixture
def own(tmp_path):
    """A store of its own: what is broken in it stays broken."""
    settings = load("smoke", ["--var", str(tmp_path / "var")], env={})
    client = open_store(settings)
    champions(client, settings, 3)
    return client, settings


def test_what_is_altered_in_the_store_is_named_and_no_way_back_is_guessed(own):
    client, settings = own
    second = history(client, settings)[1]
    file = ledger._file(client.get_run(second.mlflow_run_id))
    file.chmod(0o644)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"by": "nobody"}))
    assert read(client)[1] == ["record 2 was altered"]
    with pytest.raises(UserError, match=r"the ledger is not whole.*record 2 was altered"):
        roll_back(client, settings)
    assert champion(client, settings) == 3
    assert roll_back(client, settings, 1).to_version == 1, "a named one can be had"

    file.unlink()
    said = read(client)[1]
    assert said[0].startswith("record 2 was altered or lost") and "record 2 is missing" in said[1]

    # Taken out at the end, with its run: the next record leaves the place empty.
    last = history(client, settings)[-1]
    client.delete_run(last.mlflow_run_id)
    assert "record 4, the last, is missing" in read(client)[1]
    assert mend(client, settings) != [], "the champion is not whom the ledger says"
    assert history(client, settings)[-1].sequence == 5
    assert "record 4 is missing" in read(client)[1]
