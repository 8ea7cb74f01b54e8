"""What is typed behind `make` reaches the command as it was typed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.make_command import typed

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


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (
            ["promote", "VERSION=3", f"REASON={HOSTILE}"],
            ["promote", "3", "--reason", HOSTILE, "--config", "default"],
        ),
        (["rollback"], ["rollback", "--config", "default"]),
        (["rollback", "VERSION=1; touch x"], ["rollback", "1; touch x", "--config", "default"]),
        (
            ["adopt", "DATA=my file.csv", 'TARGET=a "b"'],
            ["adopt", "my file.csv", 'a "b"'],
        ),
        (
            ["quarantine", "REASON=a b", "CONFIG=my folder/x.yaml"],
            ["quarantine", "a b", "--config", "my folder/x.yaml"],
        ),
        (["reproduce"], ["reproduce", "latest"]),
        (
            ["train", "ARGS=--tuning.trials 5 --seed 3"],
            ["train", "--config", "default", "--tuning.trials", "5", "--seed", "3"],
        ),
        # A year is simulated of its own preset unless one is named.
        (["simulate-year"], ["simulate_year", "--config", "year"]),
        (["simulate-year", "CONFIG=my x.yaml"], ["simulate_year", "--config", "my x.yaml"]),
        (
            ["simulate-year", "DRIFT=unit", "ARGS=--seed 3"],
            ["simulate_year", "--drift", "unit", "--config", "year", "--seed", "3"],
        ),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_a_command_is_given_what_was_typed_and_nothing_else(arguments, words, given):
    assert arguments(*words) == ["-m", f"flows.commands.{given[0]}", *given[1:]]


@pytest.fixture(scope="module")
def typed_in(tmp_path_factory):
    """Type a command into a shell; returns CONFIG and the words of ARGS as a recipe has them."""
    folder = tmp_path_factory.mktemp("make")
    head = (ROOT / "Makefile").read_text().partition("\nhelp:")[0]
    (folder / "Makefile").write_text(head + "\nshow:\n\t@printf '%s\\0' \"$$GP_CONFIG\" $(ARGS)\n")

    def run(command: str) -> list[str]:
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, check=True
        )
        return done.stdout.decode().split("\0")[:-1]

    return run


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


@settings(max_examples=10)
@given(path=TEXTS, word=TEXTS)
@example(path="my folder/100 %", word="/$HOME $(HOME) `x`")
@example(path=HOSTILE, word="/a'b\"c\\d!e#f")
@example(path="\x1b[2J\n", word="")
def test_a_command_that_is_printed_can_be_pasted(typed_in, path, word):
    command = typed("show", "--var", word, CONFIG=f"/{path}")
    assert command.isprintable()
    assert typed_in(command) == [f"/{path}", "--var", word]


def test_what_is_set_for_other_pythons_does_not_reach_a_command(tmp_path):
    head = (ROOT / "Makefile").read_text().partition("\nhelp:")[0]
    (tmp_path / "Makefile").write_text(head + "\nshow:\n\t@env\n")
    theirs = {"PYTHONSAFEPATH": "1", "PYTHONHOME": "/nowhere"}
    done = subprocess.run(
        ["make", "show"], cwd=tmp_path, env=os.environ | theirs, capture_output=True, check=True
    )
    assert b"GP_CONFIG" in done.stdout and not any(name.encode() in done.stdout for name in theirs)


def test_the_environment_sets_no_reason(arguments, monkeypatch):
    monkeypatch.setenv("REASON", "from elsewhere")
    monkeypatch.setenv("VERSION", "9")
    assert "--reason" not in arguments("rollback") and "9" not in arguments("rollback")
