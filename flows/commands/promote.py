"""Make a version champion by hand: `make promote VERSION=3 REASON="holiday season"`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

from common.errors import UserError
from configs.command import make, run_command
from configs.settings import Settings
from flows.commands.quarantine import arguments
from registry.chain import Record
from registry.promotion import existing, mend, release
from registry.store import open_store
from serving.served import Served
from serving.trial import Trials, check_version

ABOUT = "Make a version champion by hand, whatever the gate said; the ledger says who did it."
REASON, DESPITE = "--reason", "--despite-ledger"


def main(
    asked: str | None, reason: str, settings: Settings, *, despite_ledger: bool = False
) -> None:
    if asked is None:
        raise UserError(
            "no version is named",
            where="VERSION",
            next_step=f"see them all: {make('models', settings)}; then"
            f" {make('promote', settings, VERSION='N')}",
        )
    client, number = open_store(settings), version_number(asked)
    version = existing(client, settings, number)  # what is refused mends nothing
    if not despite_ledger:
        for line in mend(client, settings):
            print(line)
    # A service would refuse it, and go on with the one before until it is started again.
    check_version(Trials(Served.of(settings, version.name)), version)
    tell(release(client, settings, number, reason=reason, despite_ledger=despite_ledger), settings)


def tell(entry: Record, settings: Settings) -> None:
    """What was done, and what to type next."""
    print(
        f"Version {entry.to_version} of {entry.model} is champion, in place of"
        f" {f'version {entry.from_version}' if entry.from_version else 'none'}:"
        f" record {entry.sequence} of the ledger, {entry.action} by {entry.by}."
    )
    seconds = settings.serving.watch_seconds
    print(f"A service that runs takes it up within about {seconds:g} seconds.")
    print(f"None runs? {make('serve', settings)}")


def version_number(text: str) -> int:
    """`3` or `v3`. Raises UserError for anything else."""
    digits = text.removeprefix("v")
    if not digits.isdecimal() or not 0 < int(digits) < 2**31:
        raise UserError(
            f"{text!r} is no version", where="VERSION", next_step="write its number, such as 3"
        )
    return int(digits)


def take_reason(words: list[str]) -> tuple[str, list[str]]:
    """The text after `--reason`, and the other words. Raises UserError when none follows."""
    for place, word in enumerate(words):
        if word.startswith(f"{REASON}="):
            return word.partition("=")[2], words[:place] + words[place + 1 :]
        if word == REASON:
            if place + 1 == len(words):
                raise UserError(
                    f"{REASON} has no text", where="command line", next_step=f'{REASON} "why"'
                )
            return words[place + 1], words[:place] + words[place + 2 :]
    return "", words


def command(
    module: str,
    about: str,
    body: Callable[[str | None, str, Settings], None],
    words: Sequence[str] | None = None,
) -> int:
    """A command with a version before its options, and a reason among them."""
    try:
        asked, options = arguments(list(sys.argv[1:] if words is None else words))
        reason, options = take_reason(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return run_command(module, about, partial(body, asked, reason), options)


def run(words: list[str]) -> int:
    """`make promote`, with these words after it."""
    others = [word for word in words if word != DESPITE]
    body = partial(main, despite_ledger=len(others) < len(words))
    return command("flows.commands.promote", ABOUT, body, others)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
