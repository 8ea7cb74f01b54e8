"""Back to the champion before the present one: `make rollback`, or `make rollback VERSION=2`."""

from __future__ import annotations

import sys

from configs.settings import Settings
from flows.commands.promote import command, tell, version_number
from registry.promotion import existing, mend, roll_back
from registry.store import open_store

ABOUT = "Make the champion before the present one champion again, or a version that once was."


def main(asked: str | None, reason: str, settings: Settings) -> None:
    number = None if asked is None else version_number(asked)
    client = open_store(settings)
    if number is not None:
        existing(client, settings, number)  # what is refused mends nothing
    for line in mend(client, settings):
        print(line)
    tell(roll_back(client, settings, number, reason=reason), settings)


if __name__ == "__main__":
    sys.exit(command("flows.commands.rollback", ABOUT, main))
