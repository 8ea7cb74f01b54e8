"""Send the deployments of `prefect.yaml` to a Prefect server: `make deploy`. Without a network.

The work pool, of type process, is made where it is absent. It differs from `prefect.yaml` in
what only this command knows: the preset and its overrides, the folder of the project, and the
environment in which the libraries log little. A second time changes only what was edited.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.files import write_file
from common.terminal import console, visible
from configs.command import run_command
from configs.environment import QUIET
from configs.make_command import given, make
from configs.settings import Settings
from flows.prefect_api import wait_until_ready

ABOUT = "Deploy operate, score, monitor, train and the janitor to a Prefect server."
ROOT = Path(__file__).parents[2]
FILE = ROOT / "prefect.yaml"


@dataclass(frozen=True)
class Scheduled:
    """A deployment as the server has it. next: when it is started next; None: only manually."""

    name: str
    cron: str
    next: datetime | None


def main(settings: Settings) -> None:
    check_server(settings)
    made = make_pool(settings)
    deploy(settings)
    shown = console()
    url = (settings.prefect.api_url or "").removesuffix("/api")
    shown.print(
        f"Deployed to {url}, work pool {settings.prefect.work_pool}{' (made now)' if made else ''}:"
    )
    shown.print(_table(read_deployments(settings)))
    for head, text in (
        ("Next", make("worker", settings)),
        ("", "runs them, on the host of this folder; restart it when it ends (docs/operations.md)"),
        ("Or", f"PREFECT_API_URL={settings.prefect.api_url} .venv/bin/prefect deployment run \\"),
        ("", f"  operate/{settings.name}   starts one now"),
    ):
        shown.print(f"{head:9} {text}", soft_wrap=True, markup=False)


def check_server(settings: Settings) -> None:
    """Raise UserError where no server is named, or where it does not answer or refuses access."""
    if not settings.prefect.api_url:
        raise UserError(
            "no Prefect server is named",
            where="prefect.api_url",
            next_step="start one (.venv/bin/prefect server start), then pass"
            " --prefect.api_url http://127.0.0.1:4200/api, or write it into the preset",
        )
    try:
        wait_until_ready(None, Path())
    except UserError as error:
        raise UserError(error.what, where=error.where, next_step="start that server") from None
    _query_server(settings, lambda api: api.read_work_pools(limit=1))


def make_pool(settings: Settings) -> bool:
    """Make the work pool where it is absent, and return whether it was made now. Raises UserError
    for one of another type."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.workers.process import ProcessWorker

    name = settings.prefect.work_pool

    def read_or_make(api: Any) -> tuple[str, bool]:
        try:
            return api.read_work_pool(name).type, False
        except ObjectNotFound:
            pass
        pool = WorkPoolCreate(
            name=name,
            type=ProcessWorker.type,
            base_job_template=ProcessWorker.get_default_base_job_template(),
        )
        try:
            return api.create_work_pool(pool).type, True
        except ObjectAlreadyExists:  # by another host, meanwhile
            return api.read_work_pool(name).type, False

    kind, created = _query_server(settings, read_or_make)
    if kind != ProcessWorker.type:
        raise UserError(
            f"the work pool {name} is of type {kind}: the flows need the folder of this project",
            where="prefect.work_pool",
            next_step="name another pool; one that is absent is made",
        )
    return created


def deploy(settings: Settings) -> None:
    """Send `prefect.yaml`, with what only this command knows, by Prefect's own command."""
    file = settings.var.absolute() / "prefect" / "prefect.yaml"
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    content["deployments"] = [_filled(one, settings) for one in content["deployments"]]
    content["pull"] = [
        {"prefect.deployments.steps.set_working_directory": {"directory": f"{ROOT}"}}
    ]
    write_file(file, yaml.safe_dump(content, sort_keys=False))
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(
            f"Prefect did not take the deployments: {(done.stderr or done.stdout).strip()[-1500:]}",
            where=str(file),
            next_step="see the server's log, and whether its version of Prefect is ours",
        )


def _filled(deployment: dict[str, Any], settings: Settings) -> dict[str, Any]:
    preset = str(settings.file.absolute()) if settings.file else settings.name
    return {
        **deployment,
        "name": settings.name,
        "parameters": {"config": preset, "overrides": given(settings)},
        "work_pool": {
            "name": settings.prefect.work_pool,
            "job_variables": {
                "working_dir": str(ROOT),
                # Directly: Prefect's default is two processes, which load the libraries twice.
                "command": f"{shlex.quote(sys.executable)} -m prefect.engine",
                "env": dict(QUIET),
            },
        },
    }


def read_deployments(settings: Settings) -> list[Scheduled]:
    """Return the deployments of the preset, those with a schedule first."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    mine = DeploymentFilter(name=DeploymentFilterName(any_=[settings.name]))
    scheduled = []
    for deployment in _query_server(
        settings, lambda api: api.read_deployments(deployment_filter=mine)
    ):
        flow = _query_server(settings, lambda api, flow=deployment.flow_id: api.read_flow(flow))
        crons = [schedule.schedule.cron for schedule in deployment.schedules]
        active = [schedule.schedule for schedule in deployment.schedules if schedule.active]
        starts = [at for schedule in active if (at := _next(schedule)) and not deployment.paused]
        scheduled.append(
            Scheduled(
                f"{flow.name}/{deployment.name}",
                ", ".join(crons),
                min(starts, default=None),
            )
        )
    return sorted(scheduled, key=lambda one: (one.next is None, one.name))


def _next(schedule: Any) -> datetime | None:
    """Return the next start by a schedule, computed by the server's own code."""
    from prefect.server.schemas.schedules import CronSchedule

    theirs = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    return next(iter(asyncio.run(theirs.get_dates(1))), None)


def _table(deployments: list[Scheduled]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("deployment", "next start", "schedule (UTC)"):
        table.add_column(column)
    for one in deployments:
        at = f"{one.next:%Y-%m-%d %H:%M}" if one.next else "switched off"
        table.add_row(*map(visible, (one.name, at, one.cron)))
    return table


def _query_server(settings: Settings, query: Any) -> Any:
    """Return the result of a query of the server. Raises UserError where it is refused."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as api:
            return query(api)
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        secret = " or ".join(
            name for name in ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY") if name in os.environ
        )
        raise UserError(
            f"the Prefect server refuses the request: status {status}",
            where=f"prefect.api_url = {settings.prefect.api_url}",
            next_step=(
                f"see whether {secret} is what the server wants"
                if secret
                else "export PREFECT_API_AUTH_STRING or PREFECT_API_KEY, as the server wants it"
            )
            if status in (401, 403)
            else "see the server's log",
        ) from None
    except (httpx.HTTPError, RuntimeError) as error:
        raise UserError(
            f"the Prefect server does not answer as one: {error}",
            where=f"prefect.api_url = {settings.prefect.api_url}",
            next_step="see that the address ends in /api, and that its version of Prefect is ours",
        ) from None


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.deploy", ABOUT, main))
