"""What is typed behind `make` reaches the command as it was typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTILE = """saves $5, $(whoami) and `touch x`; it's "better" & more"""


@pytest.fixture
def arguments(tmp_path):
    """`arguments("promote", "VERSION=3")`: what the command behind the target is given."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || printf \'%s\\n\' "$@"\n')
    python.chmod(0o755)

    def run(*words: str) -> list[str]:
        done = subprocess.run(
            ["make", "--no-print-directory", *words, f"BIN={tmp_path}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def test_a_reason_is_kept_to_the_letter(arguments):
    given = arguments("promote", "VERSION=3", f"REASON={HOSTILE}")
    assert given == ["-m", "flows.promote", "3", "--reason", HOSTILE, "--config", "default"]


def test_a_version_is_one_word_and_no_command(arguments, tmp_path):
    given = arguments("rollback", f"VERSION=1; touch {tmp_path}/made")
    assert given[2] == f"1; touch {tmp_path}/made"
    assert not (tmp_path / "made").exists()


def test_paths_and_columns_may_hold_spaces_and_quotes(arguments):
    assert arguments("adopt", "DATA=my file.csv", 'TARGET=a "b"')[2:] == ["my file.csv", 'a "b"']
    assert arguments("train", "CONFIG=my folder/x.yaml")[-1] == "my folder/x.yaml"
    assert arguments("quarantine", "REASON=a b")[2] == "a b"


def test_what_is_not_given_is_not_passed(arguments):
    assert arguments("rollback") == ["-m", "flows.rollback", "--config", "default"]
    assert arguments("reproduce") == ["-m", "flows.reproduce", "latest"]
    train = arguments("train", "ARGS=--tuning.trials 5 --seed 3")
    assert train[2:] == ["--config", "default", "--tuning.trials", "5", "--seed", "3"]


def test_the_environment_sets_no_reason(arguments, monkeypatch):
    monkeypatch.setenv("REASON", "from elsewhere")
    monkeypatch.setenv("VERSION", "9")
    assert "--reason" not in arguments("rollback") and "9" not in arguments("rollback")
