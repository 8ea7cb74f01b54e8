"""Run a command of the project: read its command line, load the settings, show errors to people.

Every command takes a preset and any setting. Its own arguments, options and flags are declared
where it calls `run_command`, and reach its function by name.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from common.errors import NO_ROOM, UserError
from common.full_disk import full_disk
from common.interrupt import CODE, MESSAGE
from common.terminal import visible
from configs.describe import accepted, default_of
from configs.describe import options as settings_by_name
from configs.environment import prepare, private
from configs.load import dump, load, not_used, presets
from configs.make_command import remember

RUN_LOG = "run.log"  # the name of the handler that writes it: `flows/run.py`
SHARED = {  # what every command takes, with its meaning
    "--config NAME": "a preset: {presets}; or the path of a YAML file",
    "--print-config": "show the settings this command would run with, and stop",
    "--section.key V": "override one setting; so does the environment variable"
    " GOLDEN_PATH_SECTION__KEY",
}


def run_command(
    module: str,
    about: str,
    body: Callable[..., None],
    words: Sequence[str] | None = None,
    *,
    arguments: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    network: bool = False,
) -> int:
    """Parse, load the settings, run the body; returns the exit code. No traceback is shown.

    words: the command line; none: that of this process.
    arguments: names of the words that may stand without an option, in their order.
    options, flags: of this command alone, with what they mean. They reach the body by name:
    `--as-of DAY` as `as_of="DAY"` (None where it is not given), a flag as True or False.
    network: the command reaches other machines.
    """
    line = CommandLine(tuple(arguments), dict(options or {}), dict(flags or {}))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal has no …
    logging.getLogger("golden_path").addHandler(logging.NullHandler())  # before there is a log
    var = Path.cwd()  # until the settings say
    try:
        typed = line.parse(sys.argv[1:] if words is None else words)
        if typed.help:
            print(line.help(module, about), flush=True)
            return 0
        settings = load(typed.config, typed.overrides)
        remember(typed.overrides)
        var = settings.var.absolute()
        if typed.print_config:
            print(dump(settings), end="", flush=True)
            return 0
        if foreign := not_used(typed.config, typed.overrides):
            print(
                f"The limits and costs of preset {visible(typed.config)} belong to another source"
                f" than {settings.source.kind}, and are not used:"
                f" {', '.join(map(visible, foreign))}."
                " What holds here belongs in a preset of its own: docs/adopt-your-data.md"
            )
        prepare(settings, network=network)
        with private(settings.var):
            body(settings, **typed.values)
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
        remember(())


@dataclass
class Typed:
    """A command line that was read. values: of the command's own arguments, options and flags;
    overrides: of settings, as they were typed."""

    values: dict[str, str | bool | None]
    config: str = "default"
    overrides: list[str] = field(default_factory=list)
    help: bool = False
    print_config: bool = False


@dataclass(frozen=True)
class CommandLine:
    """What the command line of one command may hold, besides settings."""

    arguments: tuple[str, ...]
    options: dict[str, str]
    flags: dict[str, str]

    def parse(self, words: Sequence[str]) -> Typed:
        """Read the words. Raises UserError for an option of ours without its value; what concerns a
        setting is left to `load`."""
        typed = Typed({_name(name): None for name in (*self.arguments, *self.options)})
        typed.values.update({_name(name): False for name in self.flags})
        places, rest = list(self.arguments), list(words)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.removeprefix("--").partition("=")
            if word in ("--help", "-h"):
                typed.help = True
            elif word == "--print-config":
                typed.print_config = True
            elif name in self.flags and word.startswith("--"):
                typed.values[_name(name)] = True
            elif word.startswith("--") and (name == "config" or name in self.options):
                if not equals and not rest:
                    meaning = self.options.get(name) or f"choose one of {', '.join(presets())}"
                    raise UserError(
                        f"--{name} has no value", where="command line", next_step=meaning
                    )
                value = value if equals else rest.pop(0)
                if name == "config":
                    typed.config = value
                else:
                    typed.values[_name(name)] = value
            elif places and not word.startswith("-"):
                typed.values[_name(places.pop(0))] = word
            else:  # of a setting, or what `load` refuses
                typed.overrides.append(word)
                if word.startswith("--") and not equals and rest and not rest[0].startswith("--"):
                    typed.overrides.append(rest.pop(0))
        return typed

    def help(self, module: str, about: str) -> str:
        """The text of `--help`: usage, the command's own options, every setting."""
        own = {f"--{name} VALUE": what for name, what in self.options.items()}
        own |= {f"--{name}": what for name, what in self.flags.items()}
        shared = {name: what.format(presets=", ".join(presets())) for name, what in SHARED.items()}
        places = "".join(f" [{name.upper()}]" for name in self.arguments)
        lines = [
            f"usage: python -m {module}{places} [--config NAME] [--print-config]"
            " [--section.key VALUE ...]",
            "",
            about,
            "",
            *(f"  {name:16}  {what}" for name, what in (own | shared).items()),
            "",
            "settings:",
        ]
        for name, setting in list(settings_by_name())[2:]:  # two that --config sets
            default = f" (default: {value})" if (value := default_of(setting)) else ""
            lines += [f"  --{name}  {accepted(setting)}"]
            lines += [f"      {setting.description or ''}{default}"]
        return "\n".join(lines)


def _name(option: str) -> str:
    return option.replace("-", "_")


def leave(code: int) -> NoReturn:
    """End the process after a training: what is to be done at its exit is done, but its modules are
    not taken apart. Threads of Prefect's hold them, and DuckDB would complain of that at length."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def _explained(error: OSError) -> UserError:
    return UserError(
        f"system error: {error.strerror or error}",
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
