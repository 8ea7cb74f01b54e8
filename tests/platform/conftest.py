"""PostgreSQL, a Prefect server on it, and a worker: real ones, shared by the tests of this folder,
which run in their order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import postgres
import pytest
import servers
from running import OFFLINE, PRESET, START, Platform
from servers import Process


@pytest.fixture(scope="session")
def platform(tmp_path_factory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    with postgres.server() as database:
        server, url = servers.prefect_server(folder, database)
        options = [
            *("--var", str(folder / "var"), "--prefect.api_url", url),
            *("--operations.start", START, "--tuning.storage", database.url),
        ]
        worker = Process([], {}, folder / "worker.log")
        made = Platform(folder, database, server, url, worker, options)
        words = ["-m", "flows.commands.worker", "--config", str(PRESET), *options]
        worker.words, worker.environment = [sys.executable, *words], made.environment()
        server.environment |= {k: v for k, v in made.environment().items() if "OFFLINE" in k}
        server.environment["PYTHONPATH"] = str(OFFLINE)
        try:
            server.start()
            servers.wait_for_server(server, url)
            yield made
        finally:
            worker.stop()
            server.stop()
