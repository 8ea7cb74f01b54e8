"""The project on a Prefect server: what the tests start, ask and look at."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import postgres
import psutil
import servers
from prefect.exceptions import PrefectHTTPStatusError
from servers import LOGIN, ROOT, Process, environment, wait_until

from configs.load import load
from configs.settings import Settings

OFFLINE = ROOT / "tests" / "end_to_end" / "offline"
PRESET = Path(__file__).with_name("small.yaml")
START = "2025-08-01"  # the first month that is operated


@dataclass
class Platform:
    """What runs, and where. options: of every command of the project."""

    folder: Path
    database: postgres.Server
    server: Process
    url: str
    worker: Process
    options: list[str]

    @property
    def settings(self) -> Settings:
        return load(str(PRESET), self.options, {})

    @property
    def var(self) -> Path:
        return self.settings.var

    def environment(self) -> dict[str, str]:
        """Nobody may leave the machine: an attempt is refused and written down."""
        log = {"PYTHONPATH": str(OFFLINE), "OFFLINE_LOG": str(self.folder / "offline.log")}
        secrets = {"PREFECT_API_AUTH_STRING": LOGIN, "OPTUNA_PASSWORD": postgres.PASSWORD}
        return environment(self.folder, **secrets, **log)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """`make COMMAND`, to its end."""
        module = f"flows.{command}" if command == "janitor" else f"flows.commands.{command}"
        words = ["-m", module, "--config", str(PRESET), *self.options]
        return subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=servers.LIMIT,
        )

    @contextmanager
    def api(self) -> Iterator[Any]:
        from prefect.client.orchestration import get_client
        from prefect.settings import (
            PREFECT_API_AUTH_STRING,
            PREFECT_API_URL,
            temporary_settings,
        )

        updates = {PREFECT_API_URL: self.url, PREFECT_API_AUTH_STRING: LOGIN}
        with temporary_settings(updates), get_client(sync_client=True) as client:
            yield client

    def start(self, flow: str, today: str | None = None, **parameters: Any) -> UUID:
        """Start a deployment, as its page or its schedule does; returns the flow run.

        today: the clock.
        """
        with self.api() as api:
            deployment = api.read_deployment_by_name(f"{flow}/{PRESET.stem}")
            told = dict(deployment.parameters)
            if today:
                told["overrides"] = [*told["overrides"], "--operations.today", today]
            return api.create_flow_run_from_deployment(
                deployment.id, parameters={**told, **parameters}
            ).id

    def answers(self) -> bool:
        """Whether the server can read its database."""
        with self.api() as api, suppress(httpx.HTTPError, PrefectHTTPStatusError):
            return bool(api.read_work_pools())
        return False

    def state(self, flow_run: UUID) -> Any:
        with self.api() as api:
            return api.read_flow_run(flow_run).state

    def log_of(self, flow_run: UUID) -> str:
        """What a flow run has said so far, as its page shows it."""
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run]))
        with self.api() as api:
            return "\n".join(line.message for line in api.read_logs(mine, limit=200))

    def finish(self, flow_run: UUID) -> Any:
        """The state that a flow run ends with."""
        wait_until(lambda: self.state(flow_run).is_final(), "the end of a flow run", self.worker)
        return self.state(flow_run)

    def under_way(self) -> list[str]:
        """The flow and task runs that Prefect believes to be under way, with their states."""
        from prefect.client.schemas.filters import (
            FlowRunFilter,
            FlowRunFilterState,
            FlowRunFilterStateType,
            TaskRunFilter,
            TaskRunFilterState,
            TaskRunFilterStateType,
        )
        from prefect.client.schemas.objects import StateType

        types = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
        flows = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)))
        tasks = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=types)))
        with self.api() as api:
            found = [
                *api.read_flow_runs(flow_run_filter=flows),
                *api.read_task_runs(task_run_filter=tasks),
            ]
        return [f"{run.name}: {run.state_name}" for run in found]

    def process_of(self, flow_run: UUID) -> psutil.Process:
        """The process that works on a flow run, once it says so."""
        file = self.var / "prefect" / "flow-runs" / f"{flow_run}.json"
        wait_until(file.exists, "the process of a flow run", self.worker)
        return psutil.Process(json.loads(file.read_text())["process"])

    def scored(self, day: str) -> bool:
        """Whether there are scores as of a day."""
        return any(self.var.glob(f"scores/*/as_of={day}/scores.json"))

    def operated(self) -> list[str]:
        found = self.var.glob("monitoring/*/operated/month=*.json")
        return sorted(file.stem.removeprefix("month=") for file in found)
