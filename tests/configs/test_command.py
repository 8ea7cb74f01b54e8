"""No command shows a traceback, whatever goes wrong; what is unexpected is written down."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from rich.columns import Columns
from rich.console import Console

from common.errors import UserError
from common.terminal import JOINERS, console, on_page, plain, visible
from configs.command import RUN_LOG, CommandLine, run_command
from configs.load import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def environment_as_it_was(monkeypatch):
    """A command sets variables for the rest of its process; here that is the other tests."""
    monkeypatch.setattr("os.environ", os.environ.copy())


def run(body, tmp_path, *arguments: str) -> int:
    return run_command("tests", "A test.", body, ["--var", str(tmp_path / "var"), *arguments])


def test_a_body_that_returns_is_a_success(tmp_path):
    seen = []
    assert run(seen.append, tmp_path, "--config", "smoke", "--seed", "3") == 0
    assert (seen[0].name, seen[0].seed) == ("smoke", 3)


def raising(error: BaseException) -> Callable[[object], None]:
    def body(settings: object) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (
            UserError("the cup is empty", where="kitchen", next_step="fill it"),
            *(1, ["Error: the cup is empty\n  where: kitchen\n  next:  fill it\n"]),
        ),
        (
            NotADirectoryError(20, "Not a directory", "/dev/null/x"),
            1,
            ["/dev/null/x", "--var FOLDER"],
        ),
        (KeyboardInterrupt(), 130, ["Interrupted"]),
    ],
)
def test_an_error_that_is_expected_is_one_message(tmp_path, capsys, error, code, shown):
    assert run(raising(error), tmp_path) == code
    err = capsys.readouterr().err
    assert all(part in err for part in shown) and "Traceback" not in err


def test_a_fault_of_ours_is_one_message_and_a_file_with_the_traceback(tmp_path, capsys):
    def body(settings):
        return 1 / 0

    assert run(body, tmp_path) == 1
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError" in said and "Traceback" not in said
    log = Path(said.split("where: ")[1].splitlines()[0])
    assert "Traceback" in log.read_text() and "1 / 0" in log.read_text()
    log.unlink()


def test_a_fault_during_a_run_goes_to_its_log(tmp_path, capsys):
    handler = logging.FileHandler(tmp_path / "run.log")
    handler.set_name(RUN_LOG)
    logging.getLogger().addHandler(handler)
    try:
        assert run(lambda settings: [][0], tmp_path) == 1
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert str(tmp_path / "run.log") in capsys.readouterr().err
    assert "IndexError" in (tmp_path / "run.log").read_text()


@pytest.mark.slow
def test_a_reader_that_goes_away_is_not_an_error():
    command = f"{sys.executable} -m flows.commands.train --print-config | true"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_not_called_a_full_disk():
    command = f"{sys.executable} -m flows.commands.models --help > /dev/full"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the output could not be written: No space left")
    assert "Exception ignored" not in done.stderr and "free)" not in done.stderr


def test_help_names_every_section(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert console().width == 80, "a narrow terminal does not cut figures"
    assert run_command("flows.commands.train", "Train.", print, ["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("--tuning.trials", "--source.path", "--gate.min_gain", "--config NAME"):
        assert name in shown


LINE = CommandLine(
    ("data", "target"), {"output": "where", "as-of": "the day"}, {"force": "over it"}
)


def test_a_commands_own_words_may_stand_anywhere_among_the_settings():
    typed = LINE.parse(
        ["--seed", "3", "f.csv", "--output=o.yaml", "left", "--force", "--source.text.decimal", ","]
    )
    assert typed.overrides == ["--seed", "3", "--source.text.decimal", ","]
    assert typed.values == {
        **{"data": "f.csv", "target": "left"},
        **{"output": "o.yaml", "as_of": None, "force": True},
    }


def test_the_text_of_an_option_is_taken_as_it_stands_and_must_be_there():
    assert LINE.parse(["--output", "--force", "--as-of", ""]).values == {
        **{"data": None, "target": None},
        **{"output": "--force", "as_of": "", "force": False},
    }
    for words in (["--output"], ["--seed", "3", "--config"]):
        with pytest.raises(UserError, match=f"{words[-1]} has no value"):
            LINE.parse(words)


def test_a_word_too_many_is_refused_with_the_settings():
    typed = LINE.parse(["a", "b", "c"])
    with pytest.raises(UserError, match="'c' is not an option"):
        load("default", typed.overrides, {})


@settings(max_examples=50)
@given(st.text())
def test_any_text_is_shown_by_a_terminal_and_does_nothing_else(text):
    shown = visible(text)
    assert all(c.isprintable() or c in JOINERS for c in shown)
    assert visible(shown) == shown, "what is printable stays as it is"
    screen = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    screen.print(Columns([plain(text, 60)]))
    assert visible(screen.file.getvalue().strip()) == screen.file.getvalue().strip()
    assert on_page(Markup("a\n")) == "a\n", "markup of ours is left alone"


def test_an_error_shows_hostile_texts_and_does_what_none_of_them_says(capsys, tmp_path):
    """A column may be called anything: it clears no screen and passes for no line of ours."""
    name = "\x1b[2J\x1b]0;mine\x07 \u202e [/red]\n  next:  rm -r /\r"

    def body(settings):
        raise UserError(f"no column {name}", where="x" * 10**6, next_step="\n".join("a" * 9000))

    assert run(body, tmp_path) == 1
    said = capsys.readouterr().err
    assert len(said) < 10_000 and said.count("\n") < 50
    assert all(c.isprintable() or c == "\n" for c in said)
    assert "no column \\x1b[2J\\x1b]0;mine\\x07 \\u202e [/red]" in said
    heads = [line for line in said.splitlines() if not line.startswith(" " * 9)]
    assert [line.split()[0] for line in heads] == ["Error:", "where:", "next:"]
    assert "more characters" in said and "more lines" in said


@pytest.mark.parametrize(
    "given",
    [
        ["postgresql://u:hunter2@h/d"],
        ["--source.path", "postgresql://u:hunter2@h/d"],
        ["--seed", "postgresql://u:hunter2@h/d"],
        ["--source.database.url", "postgresql://u:hunter2@h/d"],
        ["--source.database.urll", "postgresql://u:hunter2@h/d"],
    ],
)
def test_a_password_typed_in_the_wrong_place_is_not_repeated(given, capsys, tmp_path):
    assert run_command("m", "", lambda settings: None, [*given, "--var", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("Error: ") and "hunter2" not in said.out + said.err
