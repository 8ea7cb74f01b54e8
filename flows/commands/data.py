"""Fetch the published Online Retail II log into `data/`: `make data`."""

from __future__ import annotations

import sys
from pathlib import Path

from configs.command import run_command
from configs.settings import Settings

ABOUT = "Download the published Online Retail II log into data/: once, resumed if cut off, checked."
FOLDER = Path("data")


def main(settings: Settings) -> None:
    """Fetch the log and print what to type next. No setting changes what is fetched."""
    from ingestion.download import ONLINE_RETAIL_II, fetch

    fetch(ONLINE_RETAIL_II, FOLDER, print)
    print("next:  make train CONFIG=online_retail")


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.data", ABOUT, main, network=True))
