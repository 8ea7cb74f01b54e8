"""Run what the Prefect server starts: `make worker`, on the host that has the folder of the state.

Prefect's own worker, in this process, with the environment of the project. It ends by Ctrl-C or
SIGTERM, and by itself when the server does not answer for minutes: let systemd or what starts it
restart it (docs/operations.md).
"""

from __future__ import annotations

import os
import sys

from configs.command import run_command
from configs.settings import Settings
from flows.commands.deploy import ROOT, check_server, make_pool

ABOUT = "Run the flows that a Prefect server starts, until Ctrl-C."

AT_ONCE = 4  # processes: after a pause of the worker, many starts may wait


def main(settings: Settings) -> None:
    check_server(settings)
    make_pool(settings)
    os.chdir(ROOT)
    os.environ["PREFECT_WORKER_QUERY_SECONDS"] = "5"  # so that a run begins within them
    words = ["worker", "start", "--pool", settings.prefect.work_pool, "--type", "process"]
    words += ["--limit", str(AT_ONCE)]
    sys.stdout.flush()
    # In place of this process, so that signals reach it.
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *words])


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.worker", ABOUT, main))
