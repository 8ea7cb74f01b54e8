"""A stage is reused when nothing it depends on has changed, and never when its files have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.stage import RECORD, run_stage

CODE = ("common.errors",)


@pytest.fixture
def stage(tmp_path):
    """`stage(depends_on, content)` runs a stage that writes `content`; `stage.built` counts."""

    def run(depends_on="x", content="made", repeats=True):
        def build(folder):
            run.built += 1
            (folder / "out.txt").write_text(content)
            return {"rows": run.built, "repeats": repeats}

        return run_stage(tmp_path, "stage", {"on": depends_on}, CODE, build)

    run.built = 0
    return run


def test_it_is_built_once_and_again_for_another_input(stage):
    first, second = stage("x"), stage("x")
    assert (first.reused, second.reused, stage.built) == (False, True, 1)
    assert second.folder == first.folder and second.facts == first.facts
    assert stage("y").folder != first.folder and stage.built == 2


def test_other_lines_that_build_it_build_it_again(tmp_path):
    def one(folder):
        return {"rows": 1}

    def two(folder):
        return {"rows": 2}

    assert run_stage(tmp_path, "stage", {}, CODE, one).facts == {"rows": 1}
    assert run_stage(tmp_path, "stage", {}, CODE, two).facts == {"rows": 2}
    assert run_stage(tmp_path, "stage", {}, CODE, one).reused


RECORDS = ("", "[]", "{}", '{"files": {}}', '{"facts": {}, "files": {}}', '{"facts": 1}', "null")
DAMAGE = {
    "a file was altered": lambda folder: (folder / "out.txt").write_text("tampered"),
    "a file was removed": lambda folder: (folder / "out.txt").unlink(),
    "the record was removed": lambda folder: (folder / RECORD).unlink(),
    "a fact was altered": lambda folder: (folder / RECORD).write_text(
        (folder / RECORD).read_text().replace('"rows": 1', '"rows": 7')
    ),
    **{
        f"the record is {text!r}": lambda folder, text=text: (folder / RECORD).write_text(text)
        for text in RECORDS
    },
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_stage_is_built_again(stage, how):
    DAMAGE[how](stage().folder)
    again = stage()
    assert not again.reused and again.facts["rows"] == 2
    assert again.path("out.txt").read_text() == "made" and stage().reused


def test_a_stage_that_does_not_repeat_is_not_reused(stage):
    assert [stage(repeats=False).reused for _ in range(2)] == [False, False]


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "half.parquet").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        run_stage(tmp_path, "stage", {}, CODE, build)
    assert list((tmp_path / "stages").iterdir()) == []


def test_what_a_killed_run_left_unfinished_is_removed_by_the_next_stage(tmp_path, stage):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    left = tmp_path / "stages" / f".another-0123.{gone.stdout.strip()}.77"
    left.mkdir(parents=True)
    stage()
    assert not left.exists()
