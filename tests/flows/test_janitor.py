"""Which flow runs count as dead: never one whose process lives, never one of another host."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.load import load
from flows import janitor
from flows.janitor import (
    BEGINS_WITHIN,
    GONE,
    NEVER_BEGAN,
    PROCESS,
    TAG,
    host_of,
    is_gone,
    make_process_file,
    why_dead,
)

ROOT = Path(__file__).parents[2]
RUN = "20260101-000000-aaaa"
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
    return load("smoke", ["--var", str(tmp_path_factory.mktemp("janitor"))], {})


@pytest.fixture
def shared(settings):
    """The same, with runs of other hosts at the same API."""
    prefect = settings.prefect.model_copy(update={"api_url": "http://prefect:4200/api"})
    return settings.model_copy(update={"prefect": prefect})


def run(*tags: str, age: timedelta = timedelta(0), number=None):
    """A flow run as Prefect has it."""
    state = SimpleNamespace(timestamp=datetime.now(UTC) - age)
    return SimpleNamespace(id=number or uuid4(), tags=list(tags), state=state)


def left_by(file: Path, host: str) -> Path:
    """The file of a process that is gone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"host": host, "process": 1}))
    return file


def here() -> str:
    import socket

    return socket.gethostname()


def test_a_process_is_gone_when_it_was_killed_and_not_before(tmp_path):
    file = tmp_path / "runs" / "a" / PROCESS
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"made\n"
    assert not is_gone(file) and not is_gone(file)  # looking does not take the lock away
    assert host_of(file) == here()
    process.kill()
    process.communicate()
    assert is_gone(file)


def test_a_file_that_says_nothing_is_of_no_host(tmp_path):
    for text in ("", "{}", "[]", "null"):
        (tmp_path / "x.json").write_text(text)
        assert host_of(tmp_path / "x.json") == ""
    assert host_of(tmp_path / "absent.json") == ""


def test_a_killed_training_run_of_this_folder_is_dead(settings, shared):
    left_by(settings.var / "runs" / RUN / PROCESS, here())
    assert why_dead(settings, run(RUN, str(settings.var))) == GONE
    assert why_dead(shared, run(RUN, str(settings.var))) == GONE


def test_so_is_one_whose_file_was_removed(settings):
    (settings.var / "runs" / "20260101-000000-bbbb").mkdir(parents=True)
    assert why_dead(settings, run("20260101-000000-bbbb", str(settings.var))) == GONE


def test_a_training_run_of_a_folder_of_the_same_path_elsewhere_is_left_alone(settings, shared):
    assert why_dead(shared, run("20260101-000000-cccc", str(settings.var))) == ""
    # …and one of this name in another folder
    left_by(settings.var / "runs" / RUN / PROCESS, here())
    assert why_dead(shared, run(RUN, "/elsewhere/var")) == ""


def test_a_run_of_another_host_is_left_alone_where_hosts_share_an_api(settings, shared):
    number = uuid4()
    left_by(settings.var / "prefect" / "flow-runs" / f"{number}.json", "another")
    flow_run = run(TAG, str(settings.var), "host:another", number=number, age=timedelta(days=9))
    assert why_dead(shared, flow_run) == ""
    # A database of this folder's own: a container that has a new name since.
    assert why_dead(settings, flow_run) == GONE


def test_a_deployed_run_that_never_began_is_dead_after_a_while(shared):
    assert why_dead(shared, run(TAG, age=BEGINS_WITHIN / 2)) == ""
    assert why_dead(shared, run(TAG, age=BEGINS_WITHIN * 2)) == NEVER_BEGAN
    assert why_dead(shared, run(TAG, "host:another", age=BEGINS_WITHIN * 2)) == ""
    assert why_dead(shared, run("theirs", age=BEGINS_WITHIN * 2)) == ""


@pytest.fixture(scope="module")
def living(settings):
    """The run of this very process."""
    number = uuid4()
    make_process_file(settings.var / "prefect" / "flow-runs" / f"{number}.json")
    make_process_file(settings.var / "runs" / "20260101-000000-dddd" / PROCESS)
    return number


@given(
    tags=st.sets(st.sampled_from([TAG, "host:another", "theirs", "VAR"])),
    age=st.timedeltas(timedelta(0), timedelta(days=400)),
    with_others=st.booleans(),
)
def test_a_run_whose_process_lives_is_never_dead(settings, living, tags, age, with_others):
    if with_others:
        url = {"api_url": "http://prefect:4200/api"}
        prefect = settings.prefect.model_copy(update=url)
        settings = settings.model_copy(update={"prefect": prefect})
    told = [str(settings.var) if tag == "VAR" else tag for tag in tags]
    assert why_dead(settings, run(*told, number=living, age=age)) == ""
    training = run("20260101-000000-dddd", str(settings.var), *told, age=age)
    assert why_dead(settings, training) == ""


def test_files_of_runs_that_ended_are_removed_and_those_of_living_ones_stay(settings, living):
    folder = settings.var / "prefect" / "flow-runs"
    ended = left_by(folder / f"{uuid4()}.json", here())
    going = left_by(folder / f"{uuid4()}.json", here())
    janitor._remove_files(settings, {going.stem})
    assert not ended.exists()
    assert going.exists() and (folder / f"{living}.json").exists()
