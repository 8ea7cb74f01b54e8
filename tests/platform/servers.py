"""A Prefect server and its worker, as processes on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import postgres
import psutil

from configs.environment import QUIET

ROOT = Path(__file__).parents[2]
LOGIN = "admin:s3cret-of-the-tests"  # the server lets nobody in without it
LIMIT = 300.0  # seconds for anything: the machine may be busy
LEASES = "prefect.server.concurrency.lease_storage.filesystem"


@dataclass
class Process:
    """A program that can be killed and started again. words: of its command line."""

    words: list[str]
    environment: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    children: list[psutil.Process] = field(default_factory=list)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.words,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def tree(self) -> list[psutil.Process]:
        """The process and all that it has started; nothing where it has ended."""
        if self.running is None or self.running.poll() is not None:
            return []
        first = psutil.Process(self.running.pid)
        return [first, *first.children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL, of this process alone: what it started has to notice, or goes on."""
        assert self.running is not None
        self.running.kill()
        self.running.wait()
        self.running = None

    def stop(self) -> None:
        """SIGTERM, and the end of all that it started."""
        if self.running is None:
            return
        everything = self.tree()
        self.running.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.running.wait(30)
        kill(everything)
        self.running.wait()
        self.running = None

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=30)


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a process of the tests is given: nothing of the machine's Prefect."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
    return QUIET | kept | {"HOME": str(home)} | more


def prefect_server(folder: Path, database: postgres.Server) -> tuple[Process, str]:
    """A Prefect server on a database of its own, not started yet, and the address of its API."""
    with database.connect() as connection:
        connection.execute("CREATE DATABASE prefect")
    home = folder / "server"
    home.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
        "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_PORT": str(database.port),
        "PREFECT_SERVER_DATABASE_NAME": "prefect",
        "PREFECT_SERVER_DATABASE_USER": postgres.USER,
        "PREFECT_SERVER_DATABASE_PASSWORD": postgres.PASSWORD,
        "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        "PREFECT_API_AUTH_STRING": LOGIN,
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_UI_ENABLED": "false",
    }
    words = [sys.executable, "-m", "prefect", "server", "start"]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    process = Process([*words, *address], environment(home, **settings), folder / "server.log")
    return process, f"http://127.0.0.1:{port}/api"


def wait_for_server(process: Process, url: str) -> None:
    def answers() -> bool:
        assert process.running is not None and process.running.poll() is None, process.said()
        try:
            return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(answers, "the Prefect server answers", process)


def wait_until(seen: Callable[[], object], what: str, *processes: Process) -> None:
    """Wait until `seen` returns something true; fails after LIMIT, with the ends of the logs."""
    deadline = time.monotonic() + LIMIT
    while not seen():
        logs = "\n".join(f"{process.log.name}: {process.said()[-3000:]}" for process in processes)
        assert time.monotonic() < deadline, f"not seen: {what}\n{logs}"
        time.sleep(0.2)
