"""A PostgreSQL server of the tests' own: made, started and stopped here."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

USER, PASSWORD, NAME = "shop", "s3cret-of-the-tests", "postgres"
DEBIAN = Path("/usr/lib/postgresql")
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}


@dataclass
class Server:
    """A cluster in a folder of its own. process: of the server, while it runs."""

    binaries: Path
    folder: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{NAME}"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(f"{self.url}?password={PASSWORD}", autocommit=True)

    def start(self) -> None:
        """Start it on its data, and wait until it answers."""
        log = self.folder / "log"
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with log.open("a") as output:
            self.process = subprocess.Popen(
                [
                    *(self.binaries / "postgres", "-D", self.folder / "data"),
                    *(f"--port={self.port}", *settings),
                ],
                **_told(self.folder, output),
            )
        for _ in range(1200):
            assert self.process.poll() is None, log.read_text()
            try:
                return self.connect().close()
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError(log.read_text())

    def stop(self, by: int = signal.SIGQUIT) -> None:
        """Stop it: at once, nothing of it is kept; or by SIGKILL."""
        if self.process is not None:
            self.process.send_signal(by)
            self.process.wait(30)
            self.process = None


@contextmanager
def server() -> Iterator[Server]:
    """A server on a free port of loopback that asks for the password; skips where none can be."""
    binaries = _binaries() or _installed()
    folder = Path(tempfile.mkdtemp(prefix="golden-path-postgres-"))
    secret, log = folder / "password", folder / "log"
    secret.write_text(PASSWORD)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        shutil.chown(secret, "postgres")
    try:
        with log.open("w") as output:
            options = ["--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--encoding=UTF8"]
            made = subprocess.run(
                [binaries / "initdb", "-D", folder / "data", "-U", USER, "--no-locale", *options],
                **_told(folder, output),
            )
        assert made.returncode == 0, log.read_text()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = Server(binaries, folder, port)
        try:
            started.start()
            yield started
        finally:
            started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(folder: Path, output: IO[str]) -> dict[str, Any]:
    """PostgreSQL refuses to run as root, and the folders of pytest are closed to other users."""
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    return {"stdout": output, "stderr": output, "cwd": folder, **user}


def _binaries() -> Path | None:
    """The newest PostgreSQL of this machine."""
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    return next(
        (
            folder
            for folder in [*folders, *reversed(versions)]
            if (folder / "initdb").exists() and (folder / "postgres").exists()
        ),
        None,
    )


def _installed() -> Path:
    """PostgreSQL from Debian's package, without a cluster of its own; or the test is skipped."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("no PostgreSQL here (initdb), and installing Debian's package needs root")
    conf = Path("/etc/postgresql-common/createcluster.conf")
    if not conf.exists():
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text("create_main_cluster = false\n")
    install = ("install", "-y", "-qq", "--no-install-recommends", "postgresql")
    try:
        installed = _apt_get(*install)
        if installed.returncode != 0:  # a new machine has no lists of packages, or old ones
            _apt_get("update", "-qq")
            installed = _apt_get(*install)
    except subprocess.TimeoutExpired:
        pytest.skip("no PostgreSQL here, and apt-get install took too long")
    found = _binaries()
    if found is None:
        pytest.skip(f"no PostgreSQL here, and apt-get says: {installed.stderr.strip()[-200:]}")
    return found


def _apt_get(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["apt-get", "-o", "Dpkg::Options::=--force-confold", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        timeout=180,
    )
