"""`python -m tests.operating.short_year`: three months of a simulated year, the drift in the second
one, through all that `make simulate-year` does."""

from __future__ import annotations

from common.locks import folder_lock
from common.terminal import console
from configs.command import leave, run_command
from configs.settings import Settings
from flows.commands.simulate_year import simulate_year
from flows.stopping import end_on_signals


def main(settings: Settings, *, drift: str) -> None:
    end_on_signals()
    with folder_lock(settings.var, "simulate-year"):
        simulate_year(settings, drift, console(), months=3, before=1)


if __name__ == "__main__":
    leave(run_command("tests.operating.short_year", "", main, options={"drift": ""}))
