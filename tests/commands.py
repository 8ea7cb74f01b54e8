"""Commands as a person types them: fixtures of one test session, whatever folder asks for them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

from configs.environment import QUIET

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "tests" / "end_to_end" / "offline"

# One process loads the libraries once and forks for each command: a process of its own, with its
# own output, exit code and end. Prefect and Matplotlib are not loaded before: they read the folder
# of their state while they are imported. What is loaded is frozen: at its end, each command would
# take a second to collect it. DuckDB comes after that, as it complains of what is not collected.
FORKED = """
import gc, json, os, runpy, signal, sys
import great_expectations, httpx, mlflow, sklearn.linear_model
assert "duckdb" not in sys.modules
gc.collect()
gc.freeze()
import flows.data_stages, registry.tracking
assert not {"prefect", "matplotlib"} & set(sys.modules)
print("ready", flush=True)
while line := sys.stdin.readline():
    order = json.loads(line)
    if child := os.fork():
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for number, name in enumerate((os.devnull, order["out"], order["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(order["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background
    sys.argv[1:] = order["arguments"]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    sys.exit()
"""


@dataclass(frozen=True)
class Completed:
    """One command that has ended."""

    code: int
    out: str
    err: str
    var: Path

    @cached_property
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
def cli(environment: dict[str, str]) -> Callable[..., Completed]:
    """`cli(var, "--config", "smoke")` runs `make train`'s command with these arguments, and with
    further variables of the environment as named arguments."""

    def run(
        var: Path,
        *arguments: str,
        module: str = "flows.commands.train",
        timeout: float = 300,
        **variables: str,
    ) -> Completed:
        command = [sys.executable, "-m", module, *arguments, "--var", str(var)]
        env = environment | variables
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
        )
        return Completed(done.returncode, done.stdout, done.stderr, var)

    return run


@pytest.fixture(scope="session")
def shared_api(environment: dict[str, str], tmp_path_factory) -> Iterator[str]:
    """One Prefect API for the runs that need none of their own: each saves its start."""
    import httpx

    home = str(tmp_path_factory.mktemp("prefect"))
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.prefect_api", str(port)],
        cwd=ROOT,
        env=QUIET | environment | {"PREFECT_HOME": home},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/api"
    for _ in range(1200):
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.1)
    yield url
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="session")
def forked_cli(
    environment: dict[str, str], shared_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Completed]]:
    """As `cli`, without the seconds of a start: forked off what is imported, on the shared API.

    Named arguments are variables of the command's environment. A command with `end_at` is ended, by
    the signal `end_by`, as soon as that says so of its process and of what it has printed.
    """
    said = tmp_path_factory.mktemp("said")
    forked = subprocess.Popen(
        [sys.executable, "-c", FORKED],
        cwd=ROOT,
        env=QUIET | environment | {"GOLDEN_PATH_PREFECT__API_URL": shared_api},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert forked.stdin is not None and forked.stdout is not None
    assert forked.stdout.readline() == "ready\n"

    def run(
        var: Path,
        *arguments: str,
        module: str = "flows.commands.train",
        end_at: Callable[[psutil.Process, str], bool] | None = None,
        end_by: signal.Signals = signal.SIGKILL,
        **variables: str,
    ) -> Completed:
        order = {
            "module": module,
            "arguments": [*arguments, "--var", str(var)],
            "environment": variables,
            "out": str(said / "out"),
            "err": str(said / "err"),
        }
        (said / "out").unlink(missing_ok=True)  # `end_at` is given what this command prints
        print(json.dumps(order), file=forked.stdin, flush=True)
        child = int(forked.stdout.readline())
        if end_at is not None:
            process, out = psutil.Process(child), said / "out"
            while not end_at(process, out.read_text() if out.exists() else ""):
                assert process.status() != psutil.STATUS_ZOMBIE
                time.sleep(0.005)
            process.send_signal(end_by)
        ended, _, _ = select.select([forked.stdout], [], [], 300)
        assert ended, "no end after 300 s: " + (said / "err").read_text()
        code = int(forked.stdout.readline())
        return Completed(code, (said / "out").read_text(), (said / "err").read_text(), var)

    yield run
    forked.stdin.close()
    forked.wait(20)


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

    deadline = time.monotonic() + 180
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
