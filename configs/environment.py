"""What the libraries are told before they load: no telemetry, loopback only, state under var/.

Most of them read these variables while they are imported, so an entry point calls `prepare` first.
A variable that is already set wins: whoever sets it knows why.
"""

from __future__ import annotations

import os
from pathlib import Path

QUIET = {
    # No usage statistics, of any library
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "OTEL_SDK_DISABLED": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    # Nothing is ever pickled or unpickled
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Waiting threads sleep: two processes that spin on two cores are twenty times slower
    "OMP_WAIT_POLICY": "PASSIVE",
    # A start without what a single local run never uses
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_CLI_PROMPT": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
}


def prepare(var: Path) -> None:
    """Set the variables of this process and of every process it starts."""
    home = {
        "PREFECT_HOME": str(var.absolute() / "prefect"),
        "BENTOML_HOME": str(var.absolute() / "bentoml"),
        "MPLCONFIGDIR": str(var.absolute() / "matplotlib"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{var.absolute() / 'mlflow' / 'mlflow.db'}",
    }
    for name, value in (QUIET | home).items():
        os.environ.setdefault(name, value)
