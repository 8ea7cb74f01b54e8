"""Show the challenger in shadow beside the champion: `make shadow`; promote it: ARGS=--promote."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from common.errors import UserError
from common.terminal import console, facts
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows.commands.promote import print_promoted
from flows.exclusive import exclusive
from flows.shadow import (
    PROMOTE,
    conclude_shadow,
    evidence_of,
    purchases_of,
    sides,
    standing,
    why_not_promoted,
)
from monitoring.facts import ShadowComparison
from monitoring.shadow import Purchases
from registry.champion import CHALLENGER, alias_now, champion_now, model_name
from registry.tracking import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABOUT = "Show how the challenger in shadow compares with the champion."


def main(settings: Settings, *, promote: bool = False) -> None:
    client = open_store(settings)
    with exclusive(settings, "shadow"):
        purchases = purchases_of(settings)
        if promote:
            entry = conclude_shadow(client, settings, purchases)
            if entry is None:
                raise UserError(
                    why_not_promoted(client, settings, purchases),
                    where=model_name(settings),
                    next_step=f"see how it compares: {make('shadow', settings)}",
                )
            print_promoted(entry, settings)
            return
        show(settings, client, purchases)


def show(settings: Settings, client: MlflowClient, purchases: Purchases | None) -> None:
    """Print the comparison of challenger and champion, and what to type next."""
    champion = champion_now(settings)
    challenger = alias_now(settings, CHALLENGER)
    if champion is None or challenger is None or challenger.version == champion.version:
        raise UserError(
            "there is no challenger beside the champion",
            where=model_name(settings),
            next_step=f"train one: {make('train', settings)}",
        )
    evidence, comparison = evidence_of(settings, champion.version, challenger.version, purchases)
    shown = console()
    shown.print(facts(("Shadow", comparison.text), *(("But", text) for text in evidence.harm)))
    for left_out in comparison.left_out:
        shown.print(f"Left out  {left_out}", soft_wrap=True, markup=False)
    if comparison.state == "ok":
        shown.print()
        shown.print(_table(comparison))
    waits = standing(client, settings, purchases)
    if waits is not None and waits.version.version == challenger.version:
        next_step = why_not_promoted(client, settings, purchases)
        if waits.ready:
            next_step = make("shadow", settings, PROMOTE)
    elif comparison.rows:
        next_step = make("promote", settings, VERSION=str(challenger.version))
    else:
        next_step = evidence.next_step.partition(", and when")[0]
    shown.print(f"Next      {next_step}", soft_wrap=True, markup=False)


def _table(comparison: ShadowComparison) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column(f"champion {comparison.champion}", justify="right")
    table.add_column(f"challenger {comparison.challenger}", justify="right")
    for name, ours, theirs in sides(comparison):
        table.add_row(name, ours, theirs)
    return table


def run(words: Sequence[str] | None = None) -> int:
    """`make shadow`, with these words after it."""
    flags = {"promote": "promote it, where the gate asks for nothing else"}
    return run_command("flows.commands.shadow", ABOUT, main, words, flags=flags)


if __name__ == "__main__":
    sys.exit(run())
