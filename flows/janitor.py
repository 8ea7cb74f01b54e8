"""End the flow runs whose process is gone, in Prefect's records: `make janitor`.

Prefect does not notice when a flow run's process is killed together with its worker, or while the
server is down: the run stays RUNNING. Here a run counts as dead when the lock on the file that its
process made is free. The system releases that lock when the process ends, however it ends, so no
run is mistaken for dead because it is slow, or because another process, perhaps in another
container, has its number. Runs of another host, and of another folder, are not touched: their own
janitor ends them. A run of a deployment that has not made its file after 15 minutes never began.

Called at the start of every training and deployed flow, and by a deployment of its own
(`prefect.yaml`).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from common.files import atomic_path
from configs.command import run_command
from configs.settings import Settings
from flows.prefect_api import start_prefect_api, wait_until_ready

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

ABOUT = "Mark flow runs in Prefect whose process is gone, and say which."
TAG = "golden-path"  # of every run of a deployment: prefect.yaml
PROCESS = "process.json"  # in the folder of a training run
BEGINS_WITHIN = timedelta(minutes=15)
_held: list[IO[str]] = []  # open until the process ends
GONE, NEVER_BEGAN = "its process is gone", "it never began: its worker was stopped before"


def main(settings: Settings) -> None:
    log = settings.var.absolute() / "prefect.log"
    server = start_prefect_api(log)
    wait_until_ready(server, log)
    ended = end_dead_runs(settings)
    for line in ended:
        print(line)
    if not ended:
        print("No dead flow run: each that Prefect lists as under way has a living process.")


def end_dead_runs(settings: Settings) -> list[str]:
    """Set the state of every flow run of this folder whose process is gone, and of its tasks, to
    Crashed (Cancelled, where its cancellation had begun); returns a line for each."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed

    lines = []
    with get_client(sync_client=True) as api:
        going = _runs(api, [str(settings.var.absolute()), TAG])
        for run in going:
            if reason := why_dead(settings, run):
                cancelling = run.state and run.state.type == StateType.CANCELLING
                _end(api, run, (Cancelled if cancelling else Crashed)(message=reason))
                lines.append(f"{run.name}: {reason}")
    _remove_files(settings, {str(run.id) for run in going})
    return lines


def end_run(settings: Settings, run_id: str, state: State[Any]) -> None:
    """Set the state of the flow run of a training run of this folder, where it is under way."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as api:
        for run in _runs(api, [str(settings.var.absolute())]):
            if run_id in run.tags:
                _end(api, run, state)


def why_dead(settings: Settings, run: FlowRun) -> str:
    """Return why a flow run that Prefect lists as under way is dead; "" where it may be alive."""
    var, tags = settings.var.absolute(), set(run.tags)
    training = {folder.name for folder in (var / "runs").glob("*")} & tags
    ours = str(var) in tags
    file = var / "runs" / min(training) / PROCESS if training and ours else _file(settings, run.id)
    try:
        if not is_gone(file):
            return ""
        # On a network disk the lock of another host may not be seen.
        return "" if _is_shared(settings) and host_of(file) != socket.gethostname() else GONE
    except FileNotFoundError:
        pass
    if training and ours:
        return GONE  # the file is made before the flow run is: a version without it, or removed
    began = run.state.timestamp if run.state else None
    unseen = TAG in tags and not any(tag.startswith("host:") for tag in tags)
    late = began is not None and datetime.now(UTC) - began > BEGINS_WITHIN
    return NEVER_BEGAN if unseen and late else ""


def begin_run(settings: Settings, flow_run: FlowRun) -> list[str]:
    """Record at the start of a deployment's flow run which process works on it, and where; end dead
    runs, and cancel later starts of the same deployment that were missed, as this one does their
    work.

    Returns lines about it. The work goes on where the server does not answer.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    make_process_file(_file(settings, flow_run.id))
    where = [str(settings.var.absolute()), f"host:{socket.gethostname()}"]
    try:
        with get_client(sync_client=True) as api:
            api.update_flow_run(flow_run.id, tags=sorted({*flow_run.tags, *where}))
            missed = drop_missed(api, flow_run)
        return [*missed, *end_dead_runs(settings)]
    except (httpx.HTTPError, PrefectException) as error:
        return [f"the Prefect server does not answer, the work goes on: {error}"]


def _file(settings: Settings, flow_run: Any) -> Path:
    return settings.var.absolute() / "prefect" / "flow-runs" / f"{flow_run}.json"


def _is_shared(settings: Settings) -> bool:
    """Whether other hosts record their runs at the same API. A run's own API has the runs of this
    folder alone, whatever the host is called (a container's name changes)."""
    return bool(settings.prefect.api_url) or "PREFECT__FLOW_RUN_ID" in os.environ


def _runs(api: SyncPrefectClient, tags: list[str]) -> list[FlowRun]:
    """Return the flow runs with one of these tags that Prefect lists as under way: at most 200, the
    limit of a query; the next call gets the others."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType

    types = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
    return api.read_flow_runs(
        flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(any_=tags), state=state)
    )


def _end(api: SyncPrefectClient, run: FlowRun, state: State[Any]) -> None:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    api.set_flow_run_state(run.id, state, force=True)
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    for task in api.read_task_runs(flow_run_filter=mine):
        if task.state is None or not task.state.is_final():
            api.set_task_run_state(task.id, state, force=True)


def drop_missed(api: SyncPrefectClient, flow_run: FlowRun) -> list[str]:
    """Cancel the late scheduled starts of the same deployment, where this run was started by its
    schedule: where the worker was stopped for a week there are hundreds."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterDeploymentId,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled

    # One that a person started may be for other months.
    if flow_run.deployment_id is None or not flow_run.auto_scheduled:
        return []
    waiting = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[flow_run.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
    )
    missed = [run for run in api.read_flow_runs(flow_run_filter=waiting) if run.auto_scheduled]
    for run in missed:
        api.set_flow_run_state(run.id, Cancelled(message=f"{flow_run.name} does the same"))
    return [f"{len(missed)} missed starts of the same deployment are dropped"] if missed else []


def _remove_files(settings: Settings, under_way: set[str]) -> None:
    """Remove the files of runs that have ended."""
    for file in _file(settings, "").parent.glob("*.json"):
        with suppress(OSError):
            if file.stem not in under_way and is_gone(file):
                file.unlink()


# --- the file of a run's process -----------------------------------------------------------------


def make_process_file(file: Path) -> None:
    """Write a file that names this host and process, and hold its lock until the process ends. The
    file stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with atomic_path(file) as temporary:  # locked before it has its name
        opened = temporary.open("w", encoding="utf-8")
        _held.append(opened)
        fcntl.flock(opened, fcntl.LOCK_EX)
        json.dump(content, opened)
        opened.flush()


def is_gone(file: Path) -> bool:
    """Whether the process that made the file has ended. Raises OSError when there is no file."""
    with file.open(encoding="utf-8") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may look too
        except BlockingIOError:
            return False
        return True


def host_of(file: Path) -> str:
    """Return the host of the process that made the file; "" where the file does not say."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        return str(content["host"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


if __name__ == "__main__":
    sys.exit(run_command("flows.janitor", ABOUT, main))
