"""The service of a simulated year, and somebody who asks it all the time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from configs.settings import Settings

ROOT = Path(__file__).parents[1]
PAUSE = 0.1  # seconds between two requests
READY, SWAP, END = 180.0, 60.0, 20.0  # seconds that a start, a new champion and the end may take


@dataclass
class Client:
    """It asks from the moment on at which the service is ready. versions: requests answered by
    each; lost: those without an answer."""

    url: str
    body: bytes
    lost: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        import httpx

        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self.stop.wait(PAUSE):
                with suppress(httpx.HTTPError):
                    if client.get(f"{self.url}/readyz").is_success:
                        break
            while not self.stop.wait(PAUSE):
                try:
                    answer = client.post(f"{self.url}/predict", content=self.body)
                    version = answer.json()["model"]["version"] if answer.is_success else None
                except (httpx.HTTPError, ValueError, LookupError):
                    version = None
                if version is None:
                    self.lost += 1
                else:
                    self.versions[version] = self.versions.get(version, 0) + 1


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[bytes]
    client: Client
    log: Path

    def wait_for(self, version: int | None = None) -> None:
        """Until it has answered, by this version where one is named. Raises UserError where it does
        not come to that."""
        until = time.monotonic() + (SWAP if self.client.versions else READY)
        while time.monotonic() < until and self.process.poll() is None:
            if self.client.versions and version in (None, *self.client.versions):
                return
            time.sleep(0.05)
        what = "did not start" if not self.client.versions else f"does not serve version {version}"
        raise UserError(
            f"the service {what}", where=str(self.log), next_step="read the end of that file"
        )


@contextmanager
def served(settings: Settings) -> Iterator[Service]:
    """The service on a free port of loopback, while the block works; it is started, and need not be
    ready yet. It ends with this process, however that ends."""
    var = settings.var.absolute()
    port, log = _free_port(), var / "service.log"
    command = [
        *(sys.executable, "-m", "common.parent", "serving"),
        *("--config", str(settings.file or settings.name), "--var", str(var)),
        *("--serving.port", str(port)),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k != settings.serving.token_variable},
            stdin=subprocess.PIPE,  # its other end is closed when this process is gone
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    example = var / "runs" / "latest" / "example.json"
    client = Client(f"http://127.0.0.1:{port}", example.read_bytes())
    thread = threading.Thread(target=client.run, name="client", daemon=True)
    thread.start()
    try:
        yield Service(process, client, log)
    finally:
        client.stop.set()
        thread.join(END)
        process.terminate()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
