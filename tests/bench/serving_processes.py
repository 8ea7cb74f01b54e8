"""The processes of `make bench-serving`: the service, its peers, the load; and their end.

All listen on loopback, at a port that was free a moment before. Whatever ends the benchmark, Ctrl-C
too, ends them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from configs.settings import Settings
from tests.bench.serving_requests import Requests

ROOT = Path(__file__).parents[2]
READY_SECONDS, END_SECONDS = 120.0, 12.0
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
}


@dataclass(frozen=True)
class Server:
    url: str
    process: psutil.Process
    ready_seconds: float

    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """Of our service; of another one the process that holds most: it answers."""
        family = self.family()
        ours = [one for one in family if "_bentoml_impl" in " ".join(one.cmdline())]
        return ours or [max(family, key=lambda one: one.memory_info().rss)]

    def memory_mb(self) -> float:
        """The resident memory of its largest worker."""
        return max(one.memory_info().rss for one in self.workers()) / 2**20

    def cpu_seconds(self) -> float:
        """What all of its processes have used so far."""
        return sum(sum(one.cpu_times()[:2]) for one in self.family())


@contextmanager
def service(settings: Settings, *overrides: str) -> Iterator[Server]:
    """`python -m serving`, as `make serve` starts it."""
    port = free_port()
    command = ["serving", "--config", settings.name, "--var", str(settings.var)]
    with started([*command, "--serving.port", str(port), *overrides], port, "/readyz") as found:
        yield found


@contextmanager
def fastapi(bundle: Path) -> Iterator[Server]:
    port = free_port()
    command = ["uvicorn", "tests.bench.serving_fastapi:app", "--port", str(port)]
    options = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop"]
    options += ["--http", "httptools"]
    with started([*command, *options], port, "/docs", BUNDLE=str(bundle)) as found:
        yield found


@contextmanager
def bentoml(bundle: Path, home: Path) -> Iterator[Server]:
    port = free_port()
    command = ["bentoml", "serve", "tests.bench.serving_bentoml:Peer", "--quiet"]
    command += ["--working-dir", str(ROOT), "--host", "127.0.0.1", "--port", str(port)]
    environment = {"BUNDLE": str(bundle), "BENTOML_HOME": str(home)}
    with started(command, port, "/readyz", **environment) as found:
        yield found


@contextmanager
def mlflow(model: Path) -> Iterator[Server]:
    """MLflow's own scoring server, as its documentation starts it."""
    port = free_port()
    command = ["mlflow", "models", "serve", "--env-manager", "local", "--model-uri", str(model)]
    with started([*command, "--host", "127.0.0.1", "--port", str(port)], port, "/ping") as found:
        yield found


@contextmanager
def started(command: list[str], port: int, ready: str, **environment: str) -> Iterator[Server]:
    """`python -m COMMAND` until the block ends. Raises RuntimeError with what it printed when it
    does not answer `ready` with 200."""
    url, began = f"http://127.0.0.1:{port}", time.perf_counter()
    # The commands of a package lie beside its interpreter: MLflow starts its server by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    known = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=known | QUIET | {"PATH": path, "PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end it
        )
        try:
            with httpx.Client(trust_env=False, timeout=2) as client:
                while not _answers(client, url + ready):
                    if process.poll() is not None or time.perf_counter() - began > READY_SECONDS:
                        output.seek(0)
                        said = output.read().decode(errors="replace")[-4000:]
                        raise RuntimeError(f"{' '.join(command)} did not start:\n{said}")
                    time.sleep(0.02)
            took = time.perf_counter() - began
            yield Server(url, psutil.Process(process.pid), took)
        finally:
            _end(process)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=END_SECONDS)
    for one in left:
        one.kill()
    process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def loading(
    server: Server, requests: Requests, connections: int, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """The load generator, in a process of its own; `result` waits for what it found."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(requests, file)
        file.flush()
        module = ["-m", "tests.bench.serving_load"]
        asked = [server.url, str(connections), str(seconds), file.name]
        process = subprocess.Popen(
            [sys.executable, *module, *asked], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, _ = process.communicate()
    if process.returncode:
        raise RuntimeError("the load was not carried to its end; its reason stands above")
    return json.loads(printed)


def ask(server: Server, requests: Requests, connections: int, seconds: float) -> dict[str, Any]:
    """What the load generator found, and `cpu`: microseconds of the server for each request."""
    before = server.cpu_seconds()
    with loading(server, requests, connections, seconds) as process:
        found = result(process)
    used = server.cpu_seconds() - before
    statuses = found["statuses"]
    if set(statuses) != {"200"}:
        raise RuntimeError(f"{requests[0]['path']}: not every answer is 200: {statuses}")
    return found | {"cpu": 1e6 * used / sum(statuses.values())}
