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
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    make_bundle(folder)
    return folder


def version(number: int, folder: Path, bundle: Path, **changes: Any) -> ModelVersion:
    """The bundle once more, of another description or with other examples."""
    description = json.loads((bundle / DESCRIPTION).read_text())
    examples = json.loads((bundle / EXAMPLES).read_text())
    for name, value in changes.items():
        of = examples if name in ("reference", "samples") else description
        of[name] = value
    target = folder / str(number)
    sha256 = write_bundle(target, (bundle / MODEL).read_bytes(), description, examples)
    return ModelVersion("m", number, target, sha256, run_id="")


class Registry:
    """What a look finds: a version, nobody, or a fault."""

    def __init__(self, **limits: int) -> None:
        self.found: ModelVersion | UserError | None = None
        self.noted: list[str] = []
        self.champions = Champions(
            Served(name="m", **limits),  # type: ignore[arg-type]
            noted=lambda outcome, champions: self.noted.append(outcome),
        )

    def look(self, found: ModelVersion | UserError | None, again: bool = False) -> str:
        self.found = found
        return self.champions.look(again=again)[0]

    def find(self) -> ModelVersion | None:
        if isinstance(self.found, UserError):
            raise self.found
        return self.found


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = Registry()
    monkeypatch.setattr(Served, "find", lambda served: found.find())
    return found


def test_what_is_refused_is_tried_once_whatever_happens_in_between(
    registry: Registry, bundle: Path, tmp_path: Path
) -> None:
    good, bad = version(1, tmp_path, bundle), version(2, tmp_path, bundle)
    (bad.bundle / MODEL).write_bytes(b"")
    locked = UserError("MLflow's database cannot be read: locked")
    assert registry.look(None) == "none"
    assert [registry.look(good), registry.look(good)] == ["swapped", "unchanged"]
    looks = [registry.look(one) for one in (bad, locked, locked, bad, None, bad, good, good)]
    assert looks == ["refused", "unknown", *["unchanged"] * 6]
    # The last one: what was refused is not the champion any more.
    assert registry.noted == ["swapped", "refused", "unknown", "unchanged"]
    assert registry.look(bad, again=True) == "refused"
    assert registry.champions.ready().model.version == 1


def test_other_columns_of_invoice_lines_are_another_contract(
    registry: Registry, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = version(1, tmp_path, bundle)
    section = json.loads((bundle / DESCRIPTION).read_text())["transactions"]
    fewer = [name for name in section["declared"] if name != "description"]
    second = version(2, tmp_path, bundle, samples=[], transactions=section | {"declared": fewer})
    none = version(3, tmp_path, bundle, transactions=None)
    assert registry.look(first) == "swapped"
    assert [registry.look(second), registry.look(none)] == ["refused", "refused"]
    assert "takes other invoice lines than the one that serves: description" in caplog.text
    assert "takes no invoice lines, as the one that serves does" in caplog.text
    assert registry.champions.ready().model.version == 1


def test_a_small_limit_is_no_reason_to_refuse_a_champion(bundle: Path, tmp_path: Path) -> None:
    found = version(1, tmp_path, bundle)
    served = Served(name="m", max_lines=3, max_rows=1, max_explained=1)
    limits = Champions(served).limits
    champion = open_champion(found, limits)
    assert [one.name for one in champion.samples] == ["sample 2"], "of one line, not of four"
    described = msgspec.json.decode(champion.description)
    asked = described["paths"]["/predict_transactions"]["post"]["requestBody"]["content"]
    (example,) = asked["application/json"]["examples"].values()
    assert len(example["value"]["customers"][0]["lines"]) == 1


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"samples": [{"as_of": "2025-06-24"}]}, "its samples are not what they should be"),
        ({"samples": [{"name": "x", "lines": 5}]}, "its samples are not what they should be"),
        ({"samples": [*SAMPLES, SAMPLES[0] | {"as_of": "a day"}]}, "as_of: must be a day"),
        ({"samples": [*SAMPLES, {"name": "x", "values": {"recency_days": -1}}]}, "recency_days"),
        ({"threshold": float("nan")}, "its threshold is nan"),
        ({"threshold": "0.5"}, "its threshold is 0.5"),
        ({"reference": [[1]]}, "are not rows of its features"),
    ],
)
def test_a_bundle_that_could_not_be_described_is_refused(
    registry: Registry, bundle: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    found = version(1, tmp_path, bundle, **changes)
    registry.found = found
    outcome, reason = registry.champions.look()
    assert outcome == "refused" and why in reason


# --- trials --------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path: Path) -> Served:
    (tmp_path / "trials").mkdir()
    return Served(name="m", opening_seconds=60, trials_folder=str(tmp_path / "trials"))


def test_a_bundle_is_tried_once_by_all_of_a_service_and_again_when_an_operator_asks(
    told: Served, bundle: Path, tmp_path: Path
) -> None:
    found = version(1, tmp_path, bundle)
    kept = (found.bundle / MODEL).rename(tmp_path / "kept")
    one, other = Trials(told), Trials(told)
    with pytest.raises(TrialFailed, match=r"the bundle has no model\.onnx") as caught:
        one.check(found)
    assert caught.value.reason == "bundle"
    kept.rename(found.bundle / MODEL)
    with pytest.raises(TrialFailed):  # as it was tried before
        other.check(found)
    other.check(found, again=True)
    (found.bundle / MODEL).unlink()
    one.check(found)  # passed; whoever opens it sees that it is altered
    one.forget()
    with pytest.raises(TrialFailed):
        other.check(found)


def test_the_other_workers_take_the_verdict_of_the_one_that_an_operator_asked(
    registry: Registry, bundle: Path, tmp_path: Path
) -> None:
    tried = []

    class Kept(Trials):
        def check(self, found: ModelVersion, *, again: bool = False) -> None:
            tried.append(again)
            raise TrialFailed(Verdict("time", "it takes too long"))

    registry.champions.trials = Kept(registry.champions.served)
    registry.look(version(1, tmp_path, bundle))
    assert registry.champions.look(told=True) == ("refused", "it takes too long")
    assert registry.champions.look(again=True) == ("refused", "it takes too long")
    assert registry.champions.look() == ("unchanged", "")
    assert tried == [False, False, True]


def test_whoever_looks_while_a_look_is_under_way_shares_the_next_one(
    registry: Registry, bundle: Path, tmp_path: Path
) -> None:
    """A hundred operators at once do not have a hundred trials."""
    bad, began, go = version(1, tmp_path, bundle), threading.Event(), threading.Event()
    tried = []

    class Slow(Trials):
        def check(self, found: ModelVersion, *, again: bool = False) -> None:
            tried.append(found.version)
            began.set()
            assert go.wait(60)
            raise TrialFailed(Verdict("time", "it takes too long"))

    class Queue:
        def __init__(self) -> None:
            self.lock, self.came = threading.Lock(), 0

        def __enter__(self) -> None:
            self.came += 1
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    registry.champions.trials = Slow(registry.champions.served)
    registry.champions._one_at_a_time = queue = Queue()  # type: ignore[assignment]
    registry.found = bad
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(registry.champions.look, again=True)
        assert began.wait(60)
        others = [pool.submit(registry.champions.look, again=True) for _ in range(7)]
        while queue.came < 8:
            time.sleep(0.01)
        go.set()
        looks = [one.result() for one in (first, *others)]
    assert looks == [("refused", "it takes too long")] * 8
    assert len(tried) == 2


def test_a_trial_ends_with_the_service(told: Served, tmp_path: Path) -> None:
    sha256 = bundle_of(tmp_path / "endless", 0.5, graph=endless())
    found, trials = ModelVersion("m", 1, tmp_path / "endless", sha256, run_id=""), Trials(told)
    others = psutil.Process().children()  # services that other tests have started
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(trials.check, found)
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


def test_a_trial_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    sha256 = bundle_of(tmp_path / "bundle", 0.5, graph=endless())
    command = [sys.executable, "-c", TRYING, str(tmp_path / "bundle"), sha256]
    with subprocess.Popen(command, cwd=ROOT) as worker:
        while not (children := psutil.Process(worker.pid).children()):
            assert worker.poll() is None
            time.sleep(0.01)
        worker.kill()
    assert psutil.wait_procs(children, timeout=60)[1] == []
