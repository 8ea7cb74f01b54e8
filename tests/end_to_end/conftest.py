"""The road as a person walks it: real commands, real processes, the `smoke` preset."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OFFLINE = Path(__file__).parent / "offline"


@dataclass(frozen=True)
class Walk:
    """One command that has ended."""

    code: int
    out: str
    err: str
    var: Path

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.var / "runs" / "latest" / "summary.json").read_text())


@pytest.fixture(scope="session")
def offline_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("offline") / "attempts.log"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder: what a library leaves there would be seen."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def environment(offline_log: Path, home: Path) -> dict[str, str]:
    """What every command runs under: no way off the machine, and nothing set but the system's."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(OFFLINE),
        "OFFLINE_LOG": str(offline_log),
    }


@pytest.fixture(scope="session")
def walk(environment: dict[str, str]) -> Callable[..., Walk]:
    """`walk(var, "--config", "smoke")` runs `python -m flows.train` with these arguments."""

    def run(var: Path, *arguments: str, module: str = "flows.train", timeout: float = 300) -> Walk:
        command = [sys.executable, "-m", module, *arguments, "--var", str(var)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
        )
        return Walk(done.returncode, done.stdout, done.stderr, var)

    return run


@pytest.fixture(scope="session")
def smoke(walk: Callable[..., Walk], tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """One whole run of the smoke preset, from nothing."""
    done = walk(tmp_path_factory.mktemp("smoke") / "var", "--config", "smoke")
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="session")
def service(environment: dict[str, str]) -> Callable[..., Any]:
    """`with service(var) as url:` is `make serve` on a free port, ended as a person would."""

    @contextmanager
    def start(var: Path, *arguments: str, config: str = "smoke") -> Iterator[str]:
        port = free_port()
        command = [sys.executable, "-m", "serving", "--config", config, "--var", str(var)]
        process = subprocess.Popen(
            [*command, "--serving.port", str(port), *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate(timeout=30)

    return start


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    """Return when the service says it is ready."""
    import httpx

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the service did not start: {process.communicate()[0]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
