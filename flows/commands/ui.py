"""`make ui`: MLflow's and Prefect's pages on the state under var/, until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from typing import TYPE_CHECKING

from common.errors import UserError
from configs.command import run_command
from configs.settings import Settings
from registry.location import artifact_root, tracking_uri
from registry.tracking import experiment_id, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABOUT = "Open MLflow's and Prefect's pages on the state that the runs left under var/."
START_LIMIT, END_LIMIT = 120.0, 20.0  # seconds
VIEW = "figures"
METRICS = ("test_roc_auc", "test_log_loss", "valid_recalibrated_log_loss")
TAGS = ("winner", "decision")


def main(settings: Settings) -> None:
    client = open_store(settings)  # before the first run: an empty page, not an error
    paths = {"MLflow": show_metrics(client), "Prefect": ""}
    elsewhere = _recorded_elsewhere(settings, paths)
    ports = {"MLflow": settings.ui.mlflow_port, "Prefect": settings.ui.prefect_port}
    ports = {name: port for name, port in ports.items() if name not in elsewhere}
    for name, port in ports.items():
        _refuse_used(name, port)
    for name, page in elsewhere.items():
        print(f"  {name:8} {page}")
    if ports:
        _serve(settings, ports, paths)


def _recorded_elsewhere(settings: Settings, paths: dict[str, str]) -> dict[str, str]:
    """Return the addresses of the servers that the settings name, where the runs are recorded."""
    elsewhere = {}
    if settings.tracking.uri:
        page = settings.tracking.uri.rstrip("/") + paths["MLflow"]
        elsewhere["MLflow"] = f"{page}  (tracking.uri)"
    if settings.prefect.api_url:
        page = settings.prefect.api_url.removesuffix("/api")
        elsewhere["Prefect"] = f"{page}  (prefect.api_url)"
    return elsewhere


def _refuse_used(name: str, port: int) -> None:
    """Raise UserError when something listens on the port of a page."""
    if _answers(port):
        raise UserError(
            f"port {port} is in use, {name}'s page cannot listen there",
            where=f"ui.{name.lower()}_port",
            next_step=f"stop what listens there, or pass --ui.{name.lower()}_port {port + 1}",
        )


def _serve(settings: Settings, ports: dict[str, int], paths: dict[str, str]) -> None:
    """Start the servers of these pages, print their addresses, and end them with this process."""
    # Prefect's page asks the API at this address, whatever port it was served from itself. The
    # services that start scheduled runs stay off.
    os.environ["PREFECT_SERVER_UI_API_URL"] = f"http://127.0.0.1:{settings.ui.prefect_port}/api"
    os.environ["PREFECT__SERVER_WEBSERVER_ONLY"] = "1"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)
    log, commands = settings.var.absolute() / "ui.log", _commands(settings)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("wb") as output:
            for name in ports:
                process = subprocess.Popen(
                    [sys.executable, "-m", *commands[name]],
                    stdin=subprocess.PIPE,  # closes when this process is gone, and they end then
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                processes.append(process)
        print(f"Starting the pages of {' and '.join(ports)}: about 15 s")
        for name, port in ports.items():
            _wait(name, port, processes, str(log))
            page = f"http://127.0.0.1:{port}{paths[name]}"
            print(f"  {name:8} {page}")
            if os.environ.get("DISPLAY") or sys.platform == "darwin":
                webbrowser.open(page)
        print(f"Ctrl-C ends {'both' if len(ports) > 1 else 'it'}.", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        raise UserError(
            "one of the pages ended by itself",
            where=str(log),
            next_step="read the end of that file",
        )
    except KeyboardInterrupt:
        print("Stopping.")
    finally:
        _end(processes)


def _commands(settings: Settings) -> dict[str, list[str]]:
    """Return the module and arguments of each page's server."""
    # Only by these names, and from these pages: see `flows.prefect_api.SameOrigin`.
    hosts = [f"{name}:{settings.ui.mlflow_port}" for name in ("127.0.0.1", "localhost")]
    return {
        "MLflow": [
            *("common.parent", "mlflow", "server"),
            *("--host", "127.0.0.1", "--port", str(settings.ui.mlflow_port)),
            *("--workers", "1", "--backend-store-uri", tracking_uri(settings)),
            *("--default-artifact-root", artifact_root(settings).as_uri()),
            *("--allowed-hosts", ",".join(hosts)),
            *("--cors-allowed-origins", ",".join(f"http://{host}" for host in hosts)),
        ],
        "Prefect": ["flows.prefect_api", str(settings.ui.prefect_port)],
    }


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the servers with all that they started; by force after END_LIMIT."""
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(END_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def show_metrics(client: MlflowClient) -> str:
    """The path of MLflow's page with the list of runs, the figures that matter as columns.

    Columns are not MLflow's to choose by itself: what is chosen here is a view that is shared, as
    its page makes one by `Share`.
    """
    columns = [*map("tags.`{}`".format, TAGS), *map("metrics.`{}`".format, METRICS)]
    view = {
        **{"searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False},
        **{"startTime": "ALL", "lifecycleFilter": "Active", "modelVersionFilter": "All Runs"},
        **{"datasetsFilter": [], "selectedColumns": columns},
    }
    number = experiment_id(client)
    client.set_experiment_tag(number, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))
    return f"/#/experiments/{number}/runs?viewStateShareKey={VIEW}"


def _wait(name: str, port: int, processes: list[subprocess.Popen[bytes]], log: str) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not _answers(port):
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise UserError(
                f"{name}'s page did not start", where=log, next_step="read the end of that file"
            )
        time.sleep(0.2)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.ui", ABOUT, main))
