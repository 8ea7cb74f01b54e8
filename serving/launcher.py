"""Start BentoML's process: where it listens, how it is waited for, and ended with its workers."""

from __future__ import annotations

import ipaddress
import math
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import psutil

from common.errors import UserError
from serving.errors import REFUSED, ErrorResponse
from serving.served import FILE, VARIABLES
from serving.served import VARIABLE as SERVED

ROOT = Path(__file__).resolve().parents[1]
TARGET = "serving.service:service"
READY_SECONDS = 120.0
DEATHS = 3  # of workers, after which it will not start
DRAIN_MOST = 25  # seconds: BentoML's arbiter kills a worker after 30
# A connection without a request is closed after that. Clients should be first to close (httpx is,
# after 5 seconds): a request that is sent just when it is closed gets no answer.
IDLE_SECONDS = 15
OVER = 4  # seconds to end in, once nothing is running any more
FOREIGN = ("BENTOML_", "OTEL_", "PROMETHEUS_")


def drain_seconds(max_seconds: float) -> int:
    """How long a request that was begun has at the end of the service."""
    return min(math.ceil(max_seconds), DRAIN_MOST)


def start(home: Path, host: str, port: int, max_seconds: float) -> subprocess.Popen[bytes]:
    """home: a folder of its own, with what it is to serve in `FILE`."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    # Whatever this machine has set for BentoML or as a proxy is not meant for this service.
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN) and not name.lower().endswith("_proxy")
    }
    env = VARIABLES | ours
    env |= {
        SERVED: str(home / FILE),
        "BENTOML_HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "bentoml", "serve", TARGET, "--quiet"]
    command += ["--working-dir", str(ROOT), "--host", host, "--port", str(port)]
    command += ["--timeout-graceful-shutdown", str(drain_seconds(max_seconds))]
    command += ["--timeout-keep-alive", str(IDLE_SECONDS)]
    # A session of its own: Ctrl-C reaches the launcher alone, which then ends the service in order.
    return subprocess.Popen(
        command, env=env, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL
    )


def wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    """Raises UserError when it ends before, when it may not serve its champion, when its workers
    die again and again, or when it is too slow."""
    limit, seen = time.monotonic() + READY_SECONDS, set[psutil.Process]()
    why = f"was not ready within {READY_SECONDS:.0f} seconds"
    with httpx.Client(trust_env=False, timeout=2) as client:
        while process.poll() is None and time.monotonic() < limit:
            # It is starting; or what listens there is not ours. msgspec's errors are ValueErrors.
            with suppress(httpx.HTTPError, ValueError):
                answer = client.get(f"{address}/readyz")
                if answer.status_code == 200:
                    return
                refusal = msgspec.json.decode(answer.content, type=ErrorResponse)
                if any(problem.reason == REFUSED for problem in refusal.detail):
                    raise UserError(
                        f"the service cannot start: {refusal.error}",
                        where=address,
                        next_step="train again (make train), or go back (make rollback)",
                    )
            with suppress(psutil.NoSuchProcess):
                seen |= set(psutil.Process(process.pid).children())
            if sum(not worker.is_running() for worker in seen) >= DEATHS:
                why = "cannot start: its workers die"
                break
            time.sleep(0.05)
    if process.returncode is not None:
        why = f"ended with exit code {process.returncode} before it was ready"
    raise UserError(
        f"the service {why}",
        where=address,
        next_step="read what it printed above; train again (make train) if the bundle is at fault",
    )


def end(process: subprocess.Popen[bytes], max_seconds: float) -> None:
    """End the service: it answers what was begun; kill what is left after that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave workers behind
    try:
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.terminate()
    _, left = psutil.wait_procs(family, timeout=drain_seconds(max_seconds) + OVER)
    for one in left:
        one.kill()
    process.wait()


def check_address(host: str, port: int, with_token: bool = False) -> str:
    """The address to listen on. Raises UserError when it is not an IP address, when it is beyond
    loopback and clients need no token, and when the port is taken."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UserError(
            f"the service must listen at an IP address, got {host!r}",
            where="setting serving.host",
            next_step="leave it at 127.0.0.1, or give one of this machine, such as 0.0.0.0",
        ) from None
    if not address.is_loopback and not with_token:
        raise UserError(
            f"listening at {host!r}, beyond this machine's loopback, requires a token",
            where="setting serving.host",
            next_step="leave it at 127.0.0.1; or set SERVING_TOKEN (or --serving.token_file FILE)"
            " to what clients will send",
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just given up is free
        try:
            probe.bind((str(address), port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            why = (error.strerror or str(error)).lower()
            raise UserError(
                f"the service cannot listen on port {port}: {why}",
                where=f"setting serving.port, at {address}",
                next_step=f"stop what listens there, or choose another: --serving.port {other}",
            ) from None
    return str(address)


def url_here(host: str, port: int) -> str:
    """Where this machine itself asks a service that listens at `host`."""
    return url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)


def url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
