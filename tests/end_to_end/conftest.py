"""The road as a person walks it: real commands, real processes, the `smoke` preset."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import pytest

from configs.environment import QUIET

ROOT = Path(__file__).parents[2]
OFFLINE = Path(__file__).parent / "offline"

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
import flows.data_stages, registry.store
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


# What another person's machine may have in its environment. Nothing listens on port 9.
NOBODY = "http://127.0.0.1:9"
THEIRS = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy"), NOBODY),
    "ALL_PROXY": "socks5h://127.0.0.1:9",
    "PREFECT_API_URL": f"{NOBODY}/api",
    "PREFECT_API_KEY": "theirs",
    "PREFECT_API_AUTH_STRING": "me:theirs",
    "PREFECT_SERVER_API_AUTH_STRING": "another:theirs",
    "PREFECT_HOME": "/nowhere/prefect",
    "PREFECT_PROFILES_PATH": "/nowhere/profiles.toml",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://me@127.0.0.1:9/prefect",
    "PREFECT_LOGGING_LEVEL": "DEBUG",
    "MLFLOW_TRACKING_URI": NOBODY,
    "MLFLOW_REGISTRY_URI": NOBODY,
    "MLFLOW_TRACKING_TOKEN": "theirs",
    "MLFLOW_RUN_ID": "0" * 32,
    "MLFLOW_EXPERIMENT_NAME": "theirs",
    "MLFLOW_EXPERIMENT_ID": "77",
    "BENTOML_HOME": "/nowhere/bentoml",
    "OTEL_EXPORTER_OTLP_ENDPOINT": NOBODY,
    "SSL_CERT_FILE": "/nowhere/ca.pem",
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": f"{OFFLINE}{os.pathsep}{ROOT}",
    "PYTHONIOENCODING": "ascii",
    "HOME": "/nowhere",
}


@dataclass(frozen=True)
class Walk:
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
def walk(environment: dict[str, str]) -> Callable[..., Walk]:
    """`walk(var, "--config", "smoke")` runs `python -m flows.train` with these arguments, and with
    further variables of the environment as named arguments."""

    def run(
        var: Path,
        *arguments: str,
        module: str = "flows.train",
        timeout: float = 300,
        **variables: str,
    ) -> Walk:
        command = [sys.executable, "-m", module, *arguments, "--var", str(var)]
        env = environment | variables
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
        )
        return Walk(done.returncode, done.stdout, done.stderr, var)

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
def quick_walk(
    environment: dict[str, str], shared_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Walk]]:
    """As `walk`, without the seconds of a start: forked off what is imported, on the shared API.

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
        module: str = "flows.train",
        end_at: Callable[[psutil.Process, str], bool] | None = None,
        end_by: signal.Signals = signal.SIGKILL,
        **variables: str,
    ) -> Walk:
        order = {
            "module": module,
            "arguments": [*arguments, "--var", str(var)],
            "environment": variables,
            "out": str(said / "out"),
            "err": str(said / "err"),
        }
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
        return Walk(code, (said / "out").read_text(), (said / "err").read_text(), var)

    yield run
    forked.stdin.close()
    forked.wait(20)


@pytest.fixture(scope="session")
def smoke(walk: Callable[..., Walk], tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """One whole run of the smoke preset, from nothing, where everything is set for others."""
    var = tmp_path_factory.mktemp("smoke") / "100% mine, 50 %d" / "var"
    done = walk(var, "--config", "smoke", **THEIRS)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="session")
def second(again: Walk, quick_walk: Callable[..., Walk]) -> tuple[Walk, dict[str, int]]:
    """The same once more in the folder of `again`, and the aliases that are there then."""
    done = quick_walk(again.var, "--config", "smoke")
    assert done.code == 0, done.err
    assert done.summary  # read now: another run follows
    with sqlite3.connect(again.var / "mlflow" / "mlflow.db") as database:
        aliases = dict(database.execute("SELECT alias, version FROM registered_model_aliases"))
    return done, aliases


@pytest.fixture(scope="session")
def other_question(
    again: Walk, second: tuple[Walk, dict[str, int]], quick_walk: Callable[..., Walk]
) -> Walk:
    """A run there that asks another question than the champion; TabM takes no part."""
    done = quick_walk(
        again.var,
        *("--config", "smoke", "--features.horizon_days", "60"),
        *("--training.families", "[xgboost, logistic]", "--tuning.families_at_once", "1"),
    )
    assert done.code == 0, done.err
    assert done.summary
    return done


@dataclass(frozen=True)
class Ended:
    """A run that was ended in the middle of its search."""

    code: int
    out: str
    err: str
    var: Path
    left: list[psutil.Process]  # of what it had started
    finished: bool


# Two families, which are fitted side by side; TabM would take long to start.
SEARCH = ("--tuning.trials", "500", "--training.families", "[xgboost, logistic]")


@pytest.fixture(scope="session")
def interrupted(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run from nothing at a terminal, ended by Ctrl-C, typed twice, in its search: the terminal
    sends the signal to every process of its foreground group. `out` is all that it shows."""
    var = tmp_path_factory.mktemp("again") / "var"
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "flows.train", "--config", "smoke", "--var", str(var)]
    run = subprocess.Popen(
        [*command, *SEARCH, "--tuning.workers", "2"],
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # closed at the other end
            while said := os.read(ours, 65536):
                shown.append(said)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        while "'event': 'trial'" not in "".join(
            log.read_text() for log in var.glob("runs/2*/run.log")
        ):
            assert run.poll() is None, b"".join(shown).decode()
            time.sleep(0.05)
        children = psutil.Process(run.pid).children(recursive=True)
        assert len(children) >= 5, "Prefect's API, two families, a helper of each"
        os.write(ours, b"\x03\x03")
        code = run.wait(120)
        _, left = psutil.wait_procs(children, timeout=20)
    finally:
        run.kill()
        run.wait()
        reader.join()
        os.close(ours)
    finished = (var / "runs" / "latest").exists()
    return Ended(code, b"".join(shown).decode(), "", var, left, finished)


@pytest.fixture(scope="session")
def killed(environment: dict[str, str], interrupted: Ended) -> Ended:
    """The next run on the same state, killed after the first trial of its search."""
    var = interrupted.var
    command = [sys.executable, "-m", "flows.train", "--config", "smoke", "--var", str(var)]
    run = subprocess.Popen(
        [*command, *SEARCH],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert run.stdout is not None
        said = []
        for line in run.stdout:
            said.append(line)
            if "trial " in line:
                break
        children = psutil.Process(run.pid).children(recursive=True)
        assert any("training.fit" in child.cmdline() for child in children)
        run.kill()
        out, err = run.communicate(timeout=120)
        _, left = psutil.wait_procs(children, timeout=20)
    finally:
        if run.poll() is None:
            run.kill()
            run.communicate()
    finished = (var / "runs" / "latest").exists()
    return Ended(run.returncode, "".join(said) + out, err, var, left, finished)


@pytest.fixture(scope="session")
def again(walk: Callable[..., Walk], killed: Ended) -> Walk:
    """The settings of `smoke` in another folder, where two runs were ended before: whole."""
    done = walk(killed.var, "--config", "smoke")
    assert done.code == 0, done.err
    assert done.summary  # read now: more runs follow in this folder
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
