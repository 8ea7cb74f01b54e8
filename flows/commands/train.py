"""Train on the rows of the settings: `make train`. `flows/train.py` shows the order."""

from __future__ import annotations

import sys

from configs.command import run_command
from configs.settings import Settings
from flows.start import train
from flows.stopping import end_on_signals

ABOUT = "Train on the rows of the settings: validate, build features, tune, compare, decide."


def main(settings: Settings) -> None:
    end_on_signals()
    train(settings)


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.train", ABOUT, main))
