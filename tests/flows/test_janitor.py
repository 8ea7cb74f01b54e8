"""Which flow runs count as dead: never one whose process lives, never one of another host."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs.load import load
from flows import janitor
from flows.janitor import (
    BEGINS_WITHIN,
    GONE,
    NEVER_BEGAN,
    PROCESS,
    TAG,
    make_process_file,
    why_dead,
)

ROOT = Path(__file__).parents[2]
LIVING, KILLED, REMOVED, ELSEWHERE = (f"20260101-000000-{one * 4}" for one in "abcd")
HOLD = """
import sys
from pathlib import Path
from flows.janitor import make_process_file
make_process_file(Path(sys.argv[1]))
print("made", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A folder with runs: of this very process, of a killed one, and one without its file."""
    settings = load("smoke", ["--var", str(tmp_path_factory.mktemp("janitor"))], {})
    make_process_file(settings.var / "runs" / LIVING / PROCESS)
    left_by(settings.var / "runs" / KILLED / PROCESS, gethostname())
    (settings.var / "runs" / REMOVED).mkdir()
    return settings


@pytest.fixture(scope="module")
def shared(settings):
    """The same, with runs of other hosts at the same API."""
    prefect = settings.prefect.model_copy(update={"api_url": "http://prefect:4200/api"})
    return settings.model_copy(update={"prefect": prefect})


@pytest.fixture(scope="module")
def living(settings):
    """The id of a deployed run of this very process."""
    number = uuid4()
    make_process_file(settings.var / "prefect" / "flow-runs" / f"{number}.json")
    return number


def run(*tags: str, age: timedelta = timedelta(0), number=None):
    """A flow run as Prefect has it."""
    state = SimpleNamespace(timestamp=datetime.now(UTC) - age)
    return SimpleNamespace(id=number or uuid4(), tags=list(tags), state=state)


def left_by(file: Path, host: str) -> Path:
    """The file of a process that is gone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"host": host, "process": 1}))
    return file


def test_a_process_is_gone_when_it_was_killed_and_not_before(tmp_path):
    file = tmp_path / "runs" / "a" / PROCESS
    command = [sys.executable, "-c", HOLD, str(file)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"made\n"
    for _ in range(2):  # looking does not take the lock away
        assert not janitor.is_gone(file)
    assert janitor.host_of(file) == gethostname()
    process.kill()
    process.communicate()
    assert janitor.is_gone(file)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", None])
def test_a_file_that_says_nothing_is_of_no_host(tmp_path, text):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    assert janitor.host_of(tmp_path / "x.json") == ""


@pytest.mark.parametrize(
    ("name", "var", "reason"),
    [
        (KILLED, None, GONE),
        (REMOVED, None, GONE),
        (ELSEWHERE, None, ""),
        (KILLED, "/other/var", ""),
    ],
    ids=["killed", "its file was removed", "of this path on another host", "of another folder"],
)
def test_a_training_run(settings, shared, name, var, reason):
    assert why_dead(shared, run(name, var or str(settings.var))) == reason


def test_a_run_of_another_host_is_not_touched_where_hosts_share_an_api(settings, shared):
    number = uuid4()
    left_by(settings.var / "prefect" / "flow-runs" / f"{number}.json", "another")
    flow_run = run(TAG, str(settings.var), "host:another", number=number, age=timedelta(days=9))
    assert why_dead(shared, flow_run) == ""
    assert why_dead(settings, flow_run) == GONE, "an API of its own: a container has a new name"


@pytest.mark.parametrize(
    ("tags", "times", "reason"),
    [
        ((TAG,), 0.5, ""),
        ((TAG,), 2, NEVER_BEGAN),
        ((TAG, "host:another"), 2, ""),
        (("its",), 2, ""),
    ],
)
def test_a_deployed_run_that_never_began_is_dead_after_a_while(shared, tags, times, reason):
    assert why_dead(shared, run(*tags, age=BEGINS_WITHIN * times)) == reason


@given(
    tags=st.sets(st.sampled_from([TAG, "host:another", "theirs", "VAR"])),
    age=st.timedeltas(timedelta(0), timedelta(days=400)),
    with_others=st.booleans(),
)
@hypothesis_settings(max_examples=30)
def test_a_run_whose_process_lives_is_never_dead(settings, shared, living, tags, age, with_others):
    of, var = shared if with_others else settings, str(settings.var)
    names = [var if tag == "VAR" else tag for tag in tags]
    assert why_dead(of, run(*names, number=living, age=age)) == ""
    assert why_dead(of, run(LIVING, var, *names, age=age)) == ""


def test_files_of_runs_that_ended_are_removed_and_those_of_living_ones_stay(settings, living):
    folder = settings.var / "prefect" / "flow-runs"
    ended, going = (left_by(folder / f"{uuid4()}.json", gethostname()) for _ in range(2))
    janitor._remove_files(settings, {going.stem})
    assert not ended.exists()
    assert going.exists() and (folder / f"{living}.json").exists()
