"""Release a held batch, which differs from the last one: `make accept-batch BATCH=…`."""

from __future__ import annotations

import sys

from common.errors import UserError
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from flows.watch import folder_of
from ingestion.batches import release, seen

ABOUT = (
    "Release a held batch by name (or its first letters): its rows are correct despite the check."
)


def main(settings: Settings, batch: str | None = None) -> None:
    var, dataset = settings.var.absolute(), settings.dataset
    if batch is None:
        held = [one for one in seen(var, dataset) if one.status == "held"]
        raise UserError(
            "no batch is named",
            where="BATCH",
            next_step="; ".join(
                f"{make('accept-batch', settings, BATCH=one.name)}  ({one.reasons[0]})"
                for one in held
            )
            or f"no batch of {dataset} is held",
        )
    released = release(var, dataset, batch)
    print(f"Batch {released.name} of {dataset} is {released.status} by {released.by}.")
    operated = (folder_of(settings) / "operated").exists()
    print(f"Go on with: {make('operate' if operated else 'train', settings)}")


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.accept_batch", ABOUT, main, arguments=("batch",)))
