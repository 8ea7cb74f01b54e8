"""Back to the champion before the present one: `make rollback`, or `make rollback VERSION=2`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from configs.command import run_command
from configs.settings import Settings
from flows.commands.promote import OPTIONS, print_promoted, version_number
from registry.carry_out import reconcile
from registry.decisions import require_version, roll_back
from registry.tracking import open_store

ABOUT = "Make the champion before the present one champion again, or a version that once was."


def main(settings: Settings, version: str | None = None, reason: str | None = None) -> None:
    number = None if version is None else version_number(version)
    client = open_store(settings)
    if number is not None:
        require_version(client, settings, number)  # before anything is reconciled
    for line in reconcile(client, settings):
        print(line)
    print_promoted(roll_back(client, settings, number, reason=reason or ""), settings)


def run(words: Sequence[str] | None = None) -> int:
    """`make rollback`, with these words after it."""
    return run_command(
        *("flows.commands.rollback", ABOUT, main, words), arguments=("version",), options=OPTIONS
    )


if __name__ == "__main__":
    sys.exit(run())
