"""Start a training run: Prefect's API, the heavy imports meanwhile, then the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from configs.load import dump
from configs.settings import Settings
from flows.exclusive import exclusive
from flows.janitor import PROCESS, make_process_file
from flows.prefect_api import start_prefect_api, wait_until_ready
from flows.run import start_run
from ingestion.sources import check_source
from training.families import check_families, family_names

if TYPE_CHECKING:
    from rich.console import Console


def train(settings: Settings) -> dict[str, Any]:
    """Train once, as the only command on the state, and return the summary: what `make train` does.

    Raises UserError for settings by which nothing can be trained, Busy, and what a stage raises.
    """
    check_source(settings.source)  # before anything is started or written
    check_families(settings.training.families)
    with exclusive(settings, "train"):
        return run_training(settings)


def run_training(settings: Settings, console: Console | None = None) -> dict[str, Any]:
    """Run one training in this process and return its summary. The caller holds the lock of var/.

    console: where it prints; none: the terminal. Prefect's API is started once a process.
    """
    run = start_run(settings.var)
    make_process_file(run.folder / PROCESS)  # before Prefect knows of the run
    (run.folder / "settings.yaml").write_text(dump(settings), encoding="utf-8")
    with run.clock("start"):
        api_log = run.folder / "prefect.log"
        server = start_prefect_api(api_log)
        from flows.display import Display

        display = Display(console)
        display.say(
            f"run {run.id}, preset {settings.name}: starting Prefect, Great Expectations, MLflow"
        )
        for name in _not_named(settings):
            display.say(
                f"training/families/{name}.py is not compared: add {name} to training.families"
            )
        import great_expectations  # noqa: F401  (while the API starts in its own process)

        from flows.train import run_flow
        from registry.tracking import open_store

        open_store(settings)
        wait_until_ready(server, api_log)
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.display import print_summary

    # The heartbeat thread holds up the end of every flow by a second.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        summary = run_flow(settings, run, display)
    print_summary(display.console, summary, settings, run.folder)
    return summary


def _not_named(settings: Settings) -> list[str]:
    """Return families that were added to training/families/ and are not in the settings."""
    shipped = type(settings.training).model_fields["families"].default
    return [name for name in family_names() if name not in {*settings.training.families, *shipped}]
