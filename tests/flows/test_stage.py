"""A stage is reused when nothing it depends on has changed, and never when its files have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.stage import run_stage

CODE = ("common.errors",)


@pytest.fixture
def stage(tmp_path):
    """`stage(depends_on, content)` runs a stage that writes `content`; `stage.built` counts."""

    def run(depends_on="x", content="made"):
        def build(folder):
            run.built += 1
            (folder / "out.txt").write_text(content)
            return {"rows": run.built}

        return run_stage(tmp_path, "stage", {"on": depends_on}, CODE, build)

    run.built = 0
    return run


def test_it_is_built_once(stage):
    first, second = stage(), stage()
    assert stage.built == 1
    assert (first.reused, second.reused) == (False, True)
    assert second.folder == first.folder and second.facts == first.facts == {"rows": 1}


def test_another_input_builds_it_again(stage):
    assert stage("x").folder != stage("y").folder
    assert stage.built == 2


@pytest.mark.parametrize("damage", ["alter", "remove"])
def test_a_file_that_was_altered_or_removed_is_made_anew(stage, damage):
    out = stage().path("out.txt")
    out.write_text("tampered") if damage == "alter" else out.unlink()
    again = stage()
    assert stage.built == 2 and not again.reused
    assert out.read_text() == "made"


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "half.parquet").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        run_stage(tmp_path, "stage", {}, CODE, build)
    assert list((tmp_path / "stages").iterdir()) == []


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{}", '{"files": {}}', '{"facts": {}, "files": {}}', '{"facts": 1}', "null"],
)
def test_a_damaged_record_is_made_anew(stage, record):
    first = stage()
    (first.folder / "stage.json").write_text(record)
    again = stage()
    assert not again.reused and again.path("out.txt").read_text() == "made"
    assert stage().reused


def test_altered_facts_are_made_anew(stage):
    record = stage().folder / "stage.json"
    record.write_text(record.read_text().replace('"rows": 1', '"rows": 7'))
    assert stage().facts == {"rows": 2}


def test_a_stage_that_does_not_repeat_is_not_reused(tmp_path):
    def build(folder):
        return {"repeats": False}

    for _ in range(2):
        assert not run_stage(tmp_path, "stage", {}, CODE, build).reused


def test_what_a_killed_run_left_aside_is_cleared_away(tmp_path, stage):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    left = tmp_path / "stages" / f".stage-0123.{gone.stdout.decode().strip()}"
    left.mkdir(parents=True)
    stage()
    assert not left.exists()


def test_a_folder_without_its_record_is_not_trusted(stage):
    first = stage()
    (first.folder / "stage.json").unlink()
    assert not stage().reused


def test_other_lines_that_build_it_build_it_again(tmp_path):
    def one(folder):
        return {"rows": 1}

    def two(folder):
        return {"rows": 2}

    assert run_stage(tmp_path, "stage", {}, CODE, one).facts == {"rows": 1}
    assert run_stage(tmp_path, "stage", {}, CODE, two).facts == {"rows": 2}
    assert run_stage(tmp_path, "stage", {}, CODE, one).reused
