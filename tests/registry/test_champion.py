"""Versions, aliases and the run tree in a real MLflow store."""

from __future__ import annotations

import subprocess
import sys

import pytest

from configs.load import load
from registry import tracking
from registry.bundle import write_bundle
from registry.champion import champion_now, find_champion, promote, register
from registry.tracking import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return load("smoke", ["--var", str(tmp_path_factory.mktemp("store") / "with a space")], env={})


@pytest.fixture(scope="module")
def client(settings):
    return open_store(settings)


def new_version(client, settings, tmp_path, threshold):
    run = tracking.open_run(client, "run")
    sha = write_bundle(tmp_path / f"bundle{threshold}", b"graph", {"threshold": threshold})
    folder = tmp_path / f"bundle{threshold}"
    return register(client, settings, run_id=run, bundle=folder, bundle_sha256=sha, tags={})


def test_there_is_no_champion_before_the_first_promotion(client, settings, tmp_path):
    assert champion_now(settings) is None
    first = new_version(client, settings, tmp_path, 0.1)
    assert champion_now(settings) is None, "a challenger is no champion"
    promote(client, first)
    assert champion_now(settings) == first
    assert (first.bundle / "model.onnx").read_bytes() == b"graph"


def test_promotion_moves_the_alias_and_registration_does_not(client, settings, tmp_path):
    one = new_version(client, settings, tmp_path, 0.2)
    promote(client, one)
    two = new_version(client, settings, tmp_path, 0.3)
    assert two.version == one.version + 1
    assert find_champion(client, settings) == one
    promote(client, two)
    assert find_champion(client, settings) == two


def test_another_preset_has_another_champion(client, settings):
    other = load("online_retail", ["--var", str(settings.var)], env={})
    assert find_champion(client, other) is None


def test_a_run_whose_process_is_gone_is_marked_as_killed(client):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    dead = tracking.open_run(client, "dead", tags={tracking.PROCESS: gone.stdout.decode().strip()})
    alive = tracking.open_run(client, "alive")
    tracking.close_dead_runs(client)
    assert client.get_run(dead).info.status == "KILLED"
    assert client.get_run(alive).info.status == "RUNNING"
