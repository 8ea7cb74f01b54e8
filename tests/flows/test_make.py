"""What is typed behind `make` reaches the command as it was typed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.command import typed

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
    assert given == [
        "-m",
        "flows.commands.promote",
        "3",
        "--reason",
        HOSTILE,
        "--config",
        "default",
    ]


def test_a_version_is_one_word_and_no_command(arguments, tmp_path):
    given = arguments("rollback", f"VERSION=1; touch {tmp_path}/made")
    assert given[2] == f"1; touch {tmp_path}/made"
    assert not (tmp_path / "made").exists()


def test_paths_and_columns_may_hold_spaces_and_quotes(arguments):
    assert arguments("adopt", "DATA=my file.csv", 'TARGET=a "b"')[2:] == ["my file.csv", 'a "b"']
    assert arguments("train", "CONFIG=my folder/x.yaml")[-1] == "my folder/x.yaml"
    assert arguments("quarantine", "REASON=a b")[2] == "a b"


def test_what_is_not_given_is_not_passed(arguments):
    assert arguments("rollback") == ["-m", "flows.commands.rollback", "--config", "default"]
    assert arguments("reproduce") == ["-m", "flows.commands.reproduce", "latest"]
    train = arguments("train", "ARGS=--tuning.trials 5 --seed 3")
    assert train[2:] == ["--config", "default", "--tuning.trials", "5", "--seed", "3"]


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], ["--config", "year"]),
        (["CONFIG=defaults_shop"], ["--config", "defaults_shop"]),
        (["CONFIG=my default/x.yaml"], ["--config", "my default/x.yaml"]),
        (["DRIFT=unit", "ARGS=--seed 3"], ["--drift", "unit", "--config", "year", "--seed", "3"]),
    ],
)
def test_a_year_is_simulated_of_its_own_preset_unless_one_is_named(arguments, words, given):
    assert arguments("simulate-year", *words) == ["-m", "flows.commands.simulate_year", *given]


def test_the_texts_of_the_help_stand_in_one_column(arguments):
    column = len("  make bench-monitoring ")
    for line in arguments("help"):
        if line.startswith("  "):
            assert line[column - 1] == " " and line[column] != " ", line


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


@settings(max_examples=25)
@given(path=TEXTS, word=TEXTS)
def test_a_command_that_is_printed_can_be_pasted(typed_in, path, word):
    command = typed("show", "--var", word, CONFIG=f"/{path}")
    assert command.isprintable()
    assert typed_in(command) == [f"/{path}", "--var", word]


def test_blanks_per_cents_dollars_and_quotes_can_be_pasted(typed_in):
    for text in ("/my folder/100 %", "/$HOME $(HOME) `x`", HOSTILE, "/a'b\"c\\d!e#f", "/\x1b[2J\n"):
        command = typed("show", "--x", text, CONFIG=text)
        assert typed_in(command) == [text, "--x", text]


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
