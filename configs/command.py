"""What every command of the project does the same way: options, settings, errors."""

from __future__ import annotations

import atexit
import io
import logging
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from common.errors import NO_ROOM, UserError
from common.full_disk import full_disk
from common.interrupt import CODE, MESSAGE
from common.terminal import visible
from configs.describe import accepted, default_of, options
from configs.environment import prepare, private
from configs.load import dump, load, not_used, presets
from configs.settings import Settings

RUN_LOG = "run.log"  # the name of the handler that writes it: `flows/run.py`
USAGE = """usage: python -m {module} [--config NAME] [--print-config] [--section.key VALUE ...]

{about}

  --config NAME     a preset: {presets}; or the path of a YAML file
  --print-config    show the settings this command would run with, and stop
  --section.key V   override one setting; the environment variable GOLDEN_PATH_SECTION__KEY does too

settings:
"""


def run_command(
    module: str,
    about: str,
    body: Callable[..., None],
    arguments: Sequence[str] | None = None,
    *,
    network: bool = False,
    options: Mapping[str, str] | None = None,
) -> int:
    """Parse, load the settings, run the body; returns the exit code. No traceback is shown.

    network: the command reaches other machines.  options: this command's own, with what they mean:
    `--as-of DAY` reaches the body as `as_of="DAY"`, None where it is not given.
    """
    own = options or {}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal has no …
    rest = list(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger("golden_path").addHandler(logging.NullHandler())  # before there is a log
    var = Path.cwd()  # until the settings say
    try:
        if "--help" in rest or "-h" in rest:
            print(_help(module, about, own), flush=True)
            return 0
        show = "--print-config" in rest
        rest = [word for word in rest if word != "--print-config"]
        named = take(rest, "--config", f"choose one of {', '.join(presets())}")
        config = "default" if named is None else named
        given = {name.replace("-", "_"): take(rest, f"--{name}", own[name]) for name in own}
        settings = load(config, rest)
        remember(rest)
        var = settings.var.absolute()
        if show:
            print(dump(settings), end="", flush=True)
            return 0
        if foreign := not_used(config, rest):
            print(
                f"The limits and costs of preset {visible(config)} are those of another source than"
                f" {settings.source.kind}, and not used: {', '.join(map(visible, foreign))}."
                " What holds here belongs in a preset of its own: docs/adopt-your-data.md"
            )
        prepare(settings, network=network)
        with private(settings.var):
            body(settings, **given)
        if sys.stdout is not None:  # it is, when it was closed
            sys.stdout.flush()  # else Python does so at its exit, and fails with words of its own
        return 0
    except UserError as error:
        logging.getLogger("golden_path").info("stopped", exc_info=error)
        print(error, file=sys.stderr)
        _release(error)
        return 1
    except BrokenPipeError:  # what read our output has gone, as in `… | head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (Python flushes it at exit)
        return 1
    except OSError as error:
        logging.getLogger("golden_path").info("stopped", exc_info=error)
        print(_unwritten(error) or full_disk(error, var) or _explained(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(MESSAGE, end="", file=sys.stderr)
        return CODE
    except Exception as error:  # a fault of ours: the traceback belongs in the log
        if full := full_disk(error, var):  # as a database, Prefect or MLflow says it
            logging.getLogger("golden_path").info("stopped", exc_info=error)
            _release(error)
            print(full, file=sys.stderr)
            return 1
        log = _write_down(error)
        _release(error)
        print(
            UserError(
                f"unexpected {type(error).__name__}: {error}",
                where=log,
                next_step="a fault of the project: please report it with the end of that log",
            ),
            file=sys.stderr,
        )
        return 1
    finally:
        _overrides.clear()


def leave(code: int) -> NoReturn:
    """End the process after a training: what is to be done at its exit is done, but its modules are
    not taken apart. Threads of Prefect's hold them, and DuckDB would complain of that at length."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code)


# What this command was given on its line: the next one has to be given the same, or it would look
# for another batch, or judge by other rules.
_overrides: list[str] = []


def remember(overrides: Sequence[str]) -> None:
    """Take these as what was given on the command line, for the commands that are printed."""
    _overrides[:] = _without_var(list(overrides))


def given(settings: Settings) -> list[str]:
    """This command's overrides as words, for another one with the same settings; its folders by
    their full paths."""
    return [*_overrides, "--var", str(settings.var.absolute())]


def make(target: str, settings: Settings, *arguments: str, **variables: str) -> str:
    """The make command to type next: `make serve CONFIG=smoke`, with this command's overrides.

    arguments: words for ARGS.  variables: others of make's, such as VERSION="3".
    """
    words = [*_overrides, *arguments, *where(settings)]
    if settings.name != "default":
        variables = {"CONFIG": str(settings.file or settings.name), **variables}
    return typed(target, *words, **variables)


def where(settings: Settings) -> list[str]:
    """The words that lead to the state of these settings."""
    usual = settings.var == Settings.model_fields["var"].default
    return [] if usual else ["--var", str(settings.var)]


def typed(target: str, *words: str, **variables: str) -> str:
    """`make target NAME=value ARGS="words"`, quoted so that it can be pasted into a shell."""
    said = [f"make {target}", *(f"{name}={_quoted(text)}" for name, text in variables.items())]
    if words:
        # Read twice more, by make, to which $ is a variable, and by the recipe's shell.
        recipe = " ".join(map(_quoted, words)).replace("$", "$$")
        plain = not set('"$`\\!') & set(recipe) and recipe.isprintable()
        said.append(f'ARGS="{recipe}"' if plain else f"ARGS={_quoted(recipe)}")
    return " ".join(said)


def _quoted(text: str) -> str:
    r"""For a shell. What is not printable is written `$'\n'`: a line end would end the command, and
    an escape sequence would reach the terminal."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", r"\\").replace("'", r"\'")
    # By their bytes up to 7f, where a shell's \x ends, and by their number beyond.
    return "$'" + "".join(c if c.isprintable() else _numbered(ord(c)) for c in escaped) + "'"


def _numbered(character: int) -> str:
    return f"\\x{character:02x}" if character < 0x80 else f"\\U{character:08x}"


def _explained(error: OSError) -> UserError:
    return UserError(
        f"the system says: {error.strerror or error}",
        where=str(error.filename or ""),
        next_step="see that it can be read and written, or pass --var FOLDER",
    )


def _unwritten(error: OSError) -> UserError | None:
    """The error for people when it is our own output that cannot be written."""
    if error.errno not in NO_ROOM or error.filename is not None or sys.stdout is None:
        return None
    try:
        print(flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (Python flushes it at exit)
        return UserError(
            f"the output could not be written: {error.strerror}",
            where="standard output",
            next_step="see where it is sent to: the disk of that file may be full",
        )
    return None


def _without_var(arguments: list[str]) -> list[str]:
    """The overrides but for --var, which `make` adds by itself."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        value = [] if "=" in word or not rest else [rest.pop(0)]
        if word.partition("=")[0] != "--var":
            kept += [word, *value]
    return kept


def _write_down(error: Exception) -> str:
    """The traceback goes to the log of the run, or to a file of its own; returns its path."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and handler.name == RUN_LOG:
            logging.getLogger("golden_path").error("unexpected", exc_info=error)
            return handler.baseFilename
    number, name = tempfile.mkstemp(prefix="golden-path-", suffix=".log")
    with os.fdopen(number, "w") as file:
        traceback.print_exception(error, file=file)
    return name


def _release(error: BaseException | None) -> None:
    """Let go of DuckDB's objects in the failed frames and in what the error was raised from: those
    that are alive at exit are complained about at length on the terminal."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None  # cleared frames still lead to their modules
        below = error.__cause__ or error.__context__
        error.__cause__ = error.__context__ = None
        error = below


def take(arguments: list[str], option: str, next_step: str) -> str | None:
    """Remove `OPTION VALUE` (or `OPTION=VALUE`) and return the value; None where it is not there.
    Raises UserError, with this next step, for one without a value."""
    for index, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            return arguments.pop(index).partition("=")[2]
        if word == option:
            if index + 1 == len(arguments):
                raise UserError(f"{option} has no value", where="command line", next_step=next_step)
            del arguments[index]
            return arguments.pop(index)
    return None


def _help(module: str, about: str, own: Mapping[str, str]) -> str:
    lines = [USAGE.format(module=module, about=about, presets=", ".join(presets()))]
    if own:  # before the settings
        lines[0] = lines[0].replace(
            "\nsettings:\n",
            "".join(f"  --{name + ' VALUE':16}{what}\n" for name, what in own.items())
            + "\nsettings:\n",
        )
    for name, field in list(options())[2:]:  # the first two are the preset, which --config sets
        default = f" (default: {value})" if (value := default_of(field)) else ""
        lines.append(f"  --{name}  {accepted(field)}\n      {field.description or ''}{default}")
    return "\n".join(lines)
