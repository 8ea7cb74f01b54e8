"""Train on the rows of the settings: `make train`. `flows/train.py` shows the order."""

from __future__ import annotations

import sys

from configs.command import run_command
from configs.settings import Settings
from flows.exclusive import exclusive
from flows.start import run_training
from flows.stopping import end_on_signals
from ingestion.sources import check_source
from training.families import check_families

ABOUT = "Train on the rows of the settings: validate, build features, tune, compare, decide."


def main(settings: Settings) -> None:
    end_on_signals()
    check_source(settings.source)  # before anything is started or written
    check_families(settings.training.families)
    with exclusive(settings, "train"):
        run_training(settings)


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.train", ABOUT, main))
