"""Prefect's API for the time of one run, started before the heavy imports so that both overlap.

Prefect would start the same server itself, but only once everything else is loaded: 7 s later.
`python -m flows.prefect_api PORT` is that server. It ends when its parent does, killed or not: the
parent holds the other end of its standard input.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from configs.errors import UserError

START_LIMIT = 120.0  # seconds; 12 with a new database on two cores


def start_prefect_api(log: Path) -> None:
    """Set PREFECT_API_URL to a server of our own, unless it is set already.

    Call it before Prefect is imported: exit handlers run in reverse, so that the server outlives
    what Prefect still has to send at the end of the process.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    port = _free_port()
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_api", str(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"},
        )
    atexit.register(_stop, server)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def wait_until_ready(log: Path) -> None:
    """Return when the API answers; raises UserError when it does not in time."""
    import httpx

    url, deadline = os.environ["PREFECT_API_URL"] + "/health", time.monotonic() + START_LIMIT
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline:
            try:
                if client.get(url, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
    raise UserError(
        f"Prefect's API did not answer within {START_LIMIT:.0f} s",
        where=str(log),
        next_step="read the end of that file; a second start is faster than the first",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve(port: int) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    server = uvicorn.Server(
        uvicorn.Config(create_app(), host="127.0.0.1", port=port, log_level="error", lifespan="on")
    )

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()  # returns when the parent is gone
        server.should_exit = True
        time.sleep(5)
        os._exit(0)

    threading.Thread(target=stop_with_parent, daemon=True).start()
    server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
