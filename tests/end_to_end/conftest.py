"""The pipeline as a person uses it: real commands, real processes, the `smoke` preset."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cdnow import write_log

from tests.commands import OFFLINE, ROOT, Completed

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


@pytest.fixture(scope="session")
def smoke(cli: Callable[..., Completed], tmp_path_factory: pytest.TempPathFactory) -> Completed:
    """One whole run of the smoke preset, from nothing, where everything is set for others."""
    var = tmp_path_factory.mktemp("smoke") / "100% mine, 50 %d" / "var"
    done = cli(var, "--config", "smoke", **THEIRS)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="session")
def second(
    again: Completed, forked_cli: Callable[..., Completed]
) -> tuple[Completed, dict[str, int]]:
    """The same once more in the folder of `again`, and the aliases that are there then."""
    done = forked_cli(again.var, "--config", "smoke", *TWO_FAMILIES)
    assert done.code == 0, done.err
    assert done.summary  # read now: another run follows
    with sqlite3.connect(again.var / "mlflow" / "mlflow.db") as database:
        aliases = dict(database.execute("SELECT alias, version FROM registered_model_aliases"))
    return done, aliases


@pytest.fixture(scope="session")
def other_question(
    again: Completed, second: tuple[Completed, dict[str, int]], forked_cli: Callable[..., Completed]
) -> Completed:
    """A run there whose label window is another than the champion's."""
    done = forked_cli(
        again.var,
        *("--config", "smoke", "--features.horizon_days", "60"),
        *(*TWO_FAMILIES, "--tuning.families_at_once", "1"),
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


@pytest.fixture(scope="session")
def adopted(
    forked_cli: Callable[..., Completed], tmp_path_factory: pytest.TempPathFactory
) -> Completed:
    """A log without header, products or invoices, adopted by the YAML file of the guide alone, and
    with settings that are not those of the file."""
    folder = tmp_path_factory.mktemp("adopted")
    write_log(folder / "purchases.txt")
    guide = (ROOT / "docs" / "adopt-your-data.md").read_text()
    (yaml_block,) = re.findall(r"```yaml\n(# .*?purchases.*?)```", guide, re.DOTALL)[:1]
    preset = folder / "purchases.yaml"
    preset.write_text(re.sub(r"path: .*", f"path: {folder / 'purchases.txt'}", yaml_block))
    quick = ("--tuning.trials", "1", "--training.families", "[logistic]")
    quick += ("--training.bootstrap", "200")
    done = forked_cli(folder / "var", "--config", str(preset), *quick)
    assert done.code == 0, done.err
    return done


# Two families, which are fitted side by side; TabM would take long to start.
TWO_FAMILIES = ("--training.families", "[xgboost, logistic]")
SEARCH = ("--tuning.trials", "500", *TWO_FAMILIES)


@pytest.fixture(scope="session")
def interrupted(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run from nothing at a terminal, ended by Ctrl-C, typed twice, in its search: the terminal
    sends the signal to every process of its foreground group. `out` is all that it shows."""
    var = tmp_path_factory.mktemp("again") / "var"
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "flows.commands.train", "--config", "smoke", "--var", str(var)]
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
    command = [sys.executable, "-m", "flows.commands.train", "--config", "smoke", "--var", str(var)]
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
def again(cli: Callable[..., Completed], killed: Ended) -> Completed:
    """Two of the families of `smoke` in another folder, where two runs were ended before: whole."""
    done = cli(killed.var, "--config", "smoke", *TWO_FAMILIES)
    assert done.code == 0, done.err
    assert done.summary  # read now: more runs follow in this folder
    return done
