"""The make command to type next, as messages and pages print it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from configs.settings import Settings

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
    """Return the arguments that select the state folder of these settings."""
    usual = settings.var == Settings.model_fields["var"].default
    return [] if usual else ["--var", str(settings.var)]


def typed(target: str, *words: str, **variables: str) -> str:
    """`make target NAME=value ARGS="words"`, quoted so that it can be pasted into a shell."""
    parts = [f"make {target}", *(f"{name}={_quoted(text)}" for name, text in variables.items())]
    if words:
        # Read twice more, by make, to which $ is a variable, and by the recipe's shell.
        recipe = " ".join(map(_quoted, words)).replace("$", "$$")
        plain = not set('"$`\\!') & set(recipe) and recipe.isprintable()
        parts.append(f'ARGS="{recipe}"' if plain else f"ARGS={_quoted(recipe)}")
    return " ".join(parts)


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


def _without_var(arguments: list[str]) -> list[str]:
    """Return the overrides except --var, which `make` adds itself."""
    kept: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        value = [] if "=" in word or not rest else [rest.pop(0)]
        if word.partition("=")[0] != "--var":
            kept += [word, *value]
    return kept
