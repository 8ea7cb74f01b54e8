"""Release a batch that is held because it is unlike the last one: `make accept-batch BATCH=…`."""

from __future__ import annotations

import sys
from functools import partial

from common.errors import UserError
from configs.command import make, run_command
from configs.settings import Settings
from flows.commands.quarantine import arguments
from flows.watch import folder_of
from ingestion.batches import dataset_of, release, seen

ABOUT = "Release a held batch by name (or its first letters): it is right, though unlike the last."


def main(name: str | None, settings: Settings) -> None:
    var, dataset = settings.var.absolute(), dataset_of(settings)
    if name is None:
        held = [batch for batch in seen(var, dataset) if batch.status == "held"]
        raise UserError(
            "no batch is named",
            where="BATCH",
            next_step="; ".join(
                f"{make('accept-batch', settings, BATCH=batch.name)}  ({batch.reasons[0]})"
                for batch in held
            )
            or f"no batch of {dataset} is held",
        )
    batch = release(var, dataset, name)
    print(f"Batch {batch.name} of {dataset} is {batch.status} by {batch.by}.")
    operated = (folder_of(settings) / "operated").exists()
    print(f"Go on with: {make('operate' if operated else 'train', settings)}")


if __name__ == "__main__":
    asked, options = arguments(sys.argv[1:])
    sys.exit(run_command("flows.commands.accept_batch", ABOUT, partial(main, asked), options))
