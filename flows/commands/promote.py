"""Promote a version manually: `make promote VERSION=3 REASON="holiday season"`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import UserError
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from registry.carry_out import reconcile
from registry.chain import Record
from registry.champion import fetch
from registry.decisions import promote_manually, require_version
from registry.tracking import open_store
from serving.served import Served
from serving.trial import Trials, check_version

ABOUT = "Promote a version manually, whatever the gate decided; the ledger records who did it."
OPTIONS = {"reason": "why, for the ledger"}
FLAGS = {"despite-ledger": "though the ledger was altered, or cannot be read"}


def main(
    settings: Settings,
    version: str | None = None,
    reason: str | None = None,
    despite_ledger: bool = False,
) -> None:
    if version is None:
        raise UserError(
            "no version is named",
            where="VERSION",
            next_step=f"see them all: {make('models', settings)}; then"
            f" {make('promote', settings, VERSION='N')}",
        )
    client, number = open_store(settings), version_number(version)
    model = require_version(client, settings, number)  # before anything is reconciled
    fetch(model)
    if not despite_ledger:
        for line in reconcile(client, settings):
            print(line)
    # A service would refuse it, and go on with the one before until it is started again.
    check_version(Trials(Served.of(settings, model.name)), model)
    entry = promote_manually(
        client, settings, number, reason=reason or "", despite_ledger=despite_ledger
    )
    print_promoted(entry, settings)


def print_promoted(entry: Record, settings: Settings) -> None:
    """Print what was done, and what to type next."""
    print(
        f"Version {entry.to_version} of {entry.model} is champion, in place of"
        f" {f'version {entry.from_version}' if entry.from_version else 'none'}:"
        f" record {entry.sequence} of the ledger, {entry.action} by {entry.by}."
    )
    seconds = settings.serving.watch_seconds
    print(f"A service that runs takes it up within about {seconds:g} seconds.")
    print(f"None runs? {make('serve', settings)}")


def version_number(text: str) -> int:
    """Parse `3` or `v3`. Raises UserError for anything else."""
    digits = text.removeprefix("v")
    if not digits.isdecimal() or not 0 < int(digits) < 2**31:
        raise UserError(
            f"{text!r} is not a version", where="VERSION", next_step="write its number, such as 3"
        )
    return int(digits)


def run(words: Sequence[str] | None = None) -> int:
    """`make promote`, with these words after it."""
    return run_command(
        *("flows.commands.promote", ABOUT, main, words),
        arguments=("version",),
        options=OPTIONS,
        flags=FLAGS,
    )


if __name__ == "__main__":
    sys.exit(run())
