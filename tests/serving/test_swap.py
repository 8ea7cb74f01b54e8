"""Which champion is taken, and which is not, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from made_graphs import bundle_of, endless
from real_service import ROOT, SAMPLES, make_bundle

from common.errors import UserError
from registry.bundle import DESCRIPTION, EXAMPLES, MODEL, write_bundle
from registry.champion import ModelVersion
from serving.opening import open_champion
from serving.served import Served
from serving.swap import Champions
from serving.trial import TrialFailed, Trials, Verdict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    make_bundle(folder)
    return folder


def version(number: int, folder: Path, bundle: Path, **changes: Any) -> ModelVersion:
    """The bundle once more, of another description or with other examples."""
    description = json.loads((bundle / DESCRIPTION).read_text())
    examples = json.loads((bundle / EXAMPLES).read_text())
    for name, value in changes.items():
        (examples if name in ("reference", "samples") else description)[name] = value
    target = folder / str(number)
    sha256 = write_bundle(target, (bundle / MODEL).read_bytes(), description, examples)
    return ModelVersion("m", number, target, sha256, run_id="")


class Registry:
    """What a look finds: a version, nobody, or a fault."""

    def __init__(self) -> None:
        self.there: ModelVersion | UserError | None = None
        self.noted: list[str] = []
        self.champions = Champions(
            Served(name="m"), noted=lambda outcome, champions: self.noted.append(outcome)
        )

    def look(self, there: ModelVersion | UserError | None, again: bool = False) -> tuple[str, str]:
        self.there = there
        return self.champions.look(again=again)

    def find(self) -> ModelVersion | None:
        if isinstance(self.there, UserError):
            raise self.there
        return self.there


@pytest.fixture
def registry(monkeypatch):
    registry = Registry()
    monkeypatch.setattr(Served, "find", lambda served: registry.find())
    return registry


def test_a_refused_version_is_not_tried_again_until_an_operator_asks(registry, bundle, tmp_path):
    good, bad = version(1, tmp_path, bundle), version(2, tmp_path, bundle)
    (bad.bundle / MODEL).write_bytes(b"")
    locked = UserError("MLflow's database cannot be read: locked")
    looks = [None, good, good, bad, locked, locked, bad, None, bad, good, good]
    outcomes = ["none", "swapped", "unchanged", "refused", "unknown", *["unchanged"] * 6]
    assert [registry.look(one)[0] for one in looks] == outcomes
    # The last one: what was refused is not the champion any more.
    assert registry.noted == ["swapped", "refused", "unknown", "unchanged"]
    assert registry.look(bad, again=True)[0] == "refused"
    assert registry.champions.ready().model.version == 1


def test_a_champion_with_other_columns_of_invoice_lines_is_refused(registry, bundle, tmp_path):
    section = json.loads((bundle / DESCRIPTION).read_text())["transactions"]
    fewer = [name for name in section["declared"] if name != "description"]
    second = version(2, tmp_path, bundle, samples=[], transactions=section | {"declared": fewer})
    none = version(3, tmp_path, bundle, transactions=None)
    registry.look(version(1, tmp_path, bundle))
    for other, why in (
        (second, "takes other invoice lines than the champion that serves: description"),
        (none, "does not take invoice lines, as the champion that serves does"),
    ):
        outcome, reason = registry.look(other)
        assert outcome == "refused" and why in reason
    assert registry.champions.ready().model.version == 1


def test_samples_larger_than_the_limits_are_left_out_of_the_description(bundle, tmp_path):
    served = Served(name="m", max_lines=3, max_rows=1, max_explained=1)
    champion = open_champion(version(1, tmp_path, bundle), Champions(served).limits)
    assert [one.name for one in champion.samples] == ["sample 2"], "of one line, not of four"
    described = msgspec.json.decode(champion.description)
    content = described["paths"]["/predict_transactions"]["post"]["requestBody"]["content"]
    (example,) = content["application/json"]["examples"].values()
    assert len(example["value"]["customers"][0]["lines"]) == 1


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"samples": [{"as_of": "2025-06-24"}]}, "its samples do not have the expected shape"),
        ({"samples": [{"name": "x", "lines": 5}]}, "its samples do not have the expected shape"),
        ({"samples": [*SAMPLES, SAMPLES[0] | {"as_of": "a day"}]}, "as_of: must be a day"),
        ({"samples": [*SAMPLES, {"name": "x", "values": {"recency_days": -1}}]}, "recency_days"),
        ({"threshold": float("nan")}, "from 0 to 1, got nan"),
        ({"threshold": "0.5"}, "from 0 to 1, got 0.5"),
        ({"reference": [[1]]}, "are not rows of its features"),
    ],
)
def test_a_bundle_with_wrong_samples_or_settings_is_refused(
    registry, bundle, tmp_path, changes, why
):
    outcome, reason = registry.look(version(1, tmp_path, bundle, **changes))
    assert outcome == "refused" and why in reason


# --- trials --------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    (tmp_path / "trials").mkdir()
    return Served(name="m", opening_seconds=60, trials_folder=str(tmp_path / "trials"))


def test_a_bundle_is_tried_once_by_all_of_a_service_and_again_when_an_operator_asks(
    served, bundle, tmp_path
):
    champion = version(1, tmp_path, bundle)
    kept = (champion.bundle / MODEL).rename(tmp_path / "kept")
    one, other = Trials(served), Trials(served)
    with pytest.raises(TrialFailed, match=r"the bundle has no model\.onnx") as caught:
        one.check(champion)
    assert caught.value.reason == "bundle"
    kept.rename(champion.bundle / MODEL)
    with pytest.raises(TrialFailed):  # as it was tried before
        other.check(champion)
    other.check(champion, again=True)
    (champion.bundle / MODEL).unlink()
    one.check(champion)  # passed; whoever opens it sees that it is altered
    one.forget()
    with pytest.raises(TrialFailed):
        other.check(champion)


class Slow(Trials):
    """Refuses every bundle, once it may."""

    def __init__(self, served: Served) -> None:
        super().__init__(served)
        self.tried, self.began, self.go = list[bool](), threading.Event(), threading.Event()

    def check(self, version: ModelVersion, *, again: bool = False) -> None:
        self.tried.append(again)
        self.began.set()
        assert self.go.wait(60)
        raise TrialFailed(Verdict("time", "it takes too long"))


def test_the_other_workers_take_the_verdict_of_the_one_that_an_operator_asked(
    registry, bundle, tmp_path
):
    registry.champions.trials = trials = Slow(registry.champions.served)
    trials.go.set()
    registry.look(version(1, tmp_path, bundle))
    assert registry.champions.look(notified=True) == ("refused", "it takes too long")
    assert registry.champions.look(again=True) == ("refused", "it takes too long")
    assert registry.champions.look() == ("unchanged", "")
    assert trials.tried == [False, False, True]


def test_all_who_ask_during_a_look_share_the_next_one(registry, bundle, tmp_path):
    """A hundred operators at once do not have a hundred trials."""

    class Queue:
        def __init__(self) -> None:
            self.lock, self.came = threading.Lock(), 0

        def __enter__(self) -> None:
            self.came += 1
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    registry.champions.trials = trials = Slow(registry.champions.served)
    registry.champions._one_at_a_time = queue = Queue()
    registry.there = version(1, tmp_path, bundle)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(registry.champions.look, again=True)
        assert trials.began.wait(60)
        others = [pool.submit(registry.champions.look, again=True) for _ in range(7)]
        while queue.came < 8:
            time.sleep(0.01)
        trials.go.set()
        looks = [one.result() for one in (first, *others)]
    assert looks == [("refused", "it takes too long")] * 8
    assert len(trials.tried) == 2


def test_a_trial_ends_with_the_service(served, tmp_path):
    sha256 = bundle_of(tmp_path / "endless", 0.5, graph=endless())
    champion, trials = ModelVersion("m", 1, tmp_path / "endless", sha256, ""), Trials(served)
    others = psutil.Process().children()  # services that other tests have started
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(trials.check, champion)
        while psutil.Process().children() == others:
            time.sleep(0.01)
        trials.close()
        with pytest.raises(TrialFailed, match="the service is ending"):
            waiting.result()
    assert psutil.Process().children() == others
    assert [one.name for one in (tmp_path / "trials").iterdir()] == ["lock"]


TRYING = """
import sys
from pathlib import Path
from registry.champion import ModelVersion
from serving.served import Served
from serving.trial import Trials
folder, sha256 = sys.argv[1:]
Trials(Served(name="m", opening_seconds=600)).check(ModelVersion("m", 1, Path(folder), sha256, ""))
"""


def test_a_trial_ends_with_a_worker_that_is_killed(tmp_path):
    sha256 = bundle_of(tmp_path / "bundle", 0.5, graph=endless())
    command = [sys.executable, "-c", TRYING, str(tmp_path / "bundle"), sha256]
    with subprocess.Popen(command, cwd=ROOT) as worker:
        while not (children := psutil.Process(worker.pid).children()):
            assert worker.poll() is None
            time.sleep(0.01)
        worker.kill()
    assert psutil.wait_procs(children, timeout=60)[1] == []
