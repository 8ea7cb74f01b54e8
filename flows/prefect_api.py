"""Prefect's API for the time of one run, started before the heavy imports so that both overlap.

Prefect would start the same server itself, but only once everything else is loaded: 7 s later.
`python -m flows.prefect_api PORT` is that server, for `make ui` too. It ends when its parent does,
killed or not: the parent holds the other end of its standard input.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.full_disk import full_disk
from common.parent import when_parent_ends

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

FOREIGN_LIMIT = 10.0
START_LIMIT = 120.0  # seconds; 12 with a new database on two cores


def start_prefect_api(log: Path) -> subprocess.Popen[bytes] | None:
    """Set PREFECT_API_URL to a server of our own, unless `prefect.api_url` has set it. Returns the
    server.

    Call it before Prefect is imported: exit handlers run in reverse, so that the server outlives
    what Prefect still has to send at the end of the process.
    """
    if os.environ.get("PREFECT_API_URL"):
        return None
    port = free_port()
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_api", str(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).parents[1],
            env={**os.environ, "PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"},
            # Ctrl-C goes to all processes of the terminal: this one is needed to say that the run
            # was cancelled, and would leave Prefect's client trying for minutes.
            start_new_session=True,
        )
    atexit.register(_stop, server)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    return server


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def wait_until_ready(server: subprocess.Popen[bytes] | None, log: Path) -> None:
    """Return when the API answers; raises UserError when it does not.

    server: what `start_prefect_api` returned; None for one that somebody else runs.
    """
    import httpx

    url = os.environ["PREFECT_API_URL"]
    deadline = time.monotonic() + (START_LIMIT if server else FOREIGN_LIMIT)
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline and (server is None or server.poll() is None):
            try:
                if client.get(f"{url}/health", timeout=5).status_code == 200:
                    return
            except (httpx.HTTPError, httpx.InvalidURL):
                pass
            time.sleep(0.05)
    if server is None:
        raise UserError(
            f"no Prefect API answers at {url}",
            where="prefect.api_url",
            next_step="start that server, or leave the setting out: the run then starts its own",
        )
    raise full_disk(log.read_text(errors="replace")[-10_000:], log) or UserError(
        "Prefect's API did not start",
        where=str(log),
        next_step="read the end of that file; a second start is faster than the first",
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SameOrigin:
    """ASGI middleware: answers requests by the names of loopback, from pages that this server sent.

    Any web page can have a browser send requests to loopback, and read the answers if it was loaded
    under a name that now leads here (DNS rebinding). Prefect's server has no check of its own.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = dict(scope["headers"])
            host = headers.get(b"host")
            scheme, _, origin = headers.get(b"origin", b"http://" + (host or b"")).partition(b"://")
            if host not in self.hosts or origin not in self.hosts or scheme != b"http":
                await self._refuse(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal = PlainTextResponse("The Host or Origin is not this server's own.", 403)
            await refusal(scope, receive, send)


def _serve(port: int) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    app = SameOrigin(create_app(), port)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="on")
    )

    def stop() -> None:
        server.should_exit = True
        time.sleep(1)
        os._exit(0)  # also in the middle of its start; SQLite's journal keeps the database whole

    when_parent_ends(stop)
    server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
