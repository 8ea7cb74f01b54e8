"""The environment of the libraries when they load: no telemetry, loopback only, state under var/.

Most of them read these variables while they are imported, so an entry point calls `prepare` first.
What is set for other projects on the same machine does not count: the servers and databases of a
run are its own, unless a setting of the project (`prefect.api_url`, `tracking.uri`) points
elsewhere.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from configs.settings import Settings

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
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # of each run that ends on a server
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of 7: a server that went away is reported in seconds
    "MLFLOW_CONFIGURE_LOGGING": "false",  # else every error goes to the terminal with a traceback
    "GIT_PYTHON_REFRESH": "quiet",
}

# Variables of the libraries, and of the servers that they start.
FOREIGN = (
    *("PREFECT_", "MLFLOW_", "_MLFLOW_", "BENTOML_", "GX_", "OTEL_"),
    *("PROMETHEUS_", "UVICORN_", "GUNICORN_", "WEB_CONCURRENCY"),
)
# What a Prefect API that is not ours may need.
OF_AN_API = (
    *("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_CLIENT_CUSTOM_HEADERS"),
    *("PREFECT_API_SSL_CERT_FILE", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"),
)
# What an MLflow server may need (`tracking.uri`).
OF_MLFLOW = (
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
LOOPBACK = "127.0.0.1,localhost,::1"


def prepare(settings: Settings, *, network: bool = False, in_prefect: bool = False) -> None:
    """Set the variables of this process and of every process it starts, and remove foreign ones.

    network: the command reaches other machines, through the proxy of this one if it has one.
    in_prefect: Prefect started this process, with variables of its own.
    """
    var = settings.var.absolute()
    ours = QUIET | {
        "PREFECT_HOME": str(var / "prefect"),
        "PREFECT_PROFILES_PATH": str(var / "prefect" / "profiles.toml"),
        "BENTOML_HOME": str(var / "bentoml"),
        "MPLCONFIGDIR": str(var / "matplotlib"),
        "MLFLOW_TRACKING_URI": settings.tracking.uri or f"sqlite:///{var / 'mlflow' / 'mlflow.db'}",
    }
    kept = {
        settings.source.database.password_variable,
        settings.tuning.password_variable,
        settings.serving.token_variable,
    }
    if settings.prefect.api_url:
        ours["PREFECT_API_URL"] = settings.prefect.api_url
        kept |= set(OF_AN_API)
    if settings.tracking.uri:
        kept |= set(OF_MLFLOW)
    if in_prefect:
        kept |= {name for name in os.environ if name.startswith("PREFECT_")}
    for name in [name for name in os.environ if name.startswith(FOREIGN) and name not in kept]:
        del os.environ[name]
    for name, value in ours.items():
        if name not in kept or name not in os.environ:
            os.environ[name] = value
    # Libraries would send requests to loopback to a proxy, and some do not even start with one.
    direct = "*"
    alerts = settings.alerts.webhook != "none" or settings.alerts.smtp_host
    elsewhere = settings.prefect.api_url or settings.tracking.uri
    if network or in_prefect or elsewhere or alerts:
        theirs = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        direct = f"{theirs},{LOOPBACK}" if theirs else LOOPBACK
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = direct
    # Prefect's server reads the certificates while it is imported, and ends where there are none.
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if direct == "*" or not Path(os.environ.get(name, "")).exists():
            os.environ.pop(name, None)
    # Processes that are started here find the project's modules in the folder they start in, and
    # print what a narrow encoding lacks as \u2026 (as `run_command` sees to for this one).
    os.environ.pop("PYTHONSAFEPATH", None)
    encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    os.environ["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)
    if not Path(os.path.expanduser("~")).is_dir():  # noqa: PTH111  (Path.home() may raise)
        os.environ["HOME"] = str(var / "home")
    _avoid_percent()


def _avoid_percent() -> None:
    """Import packages that lie in a folder with a % in its name through a link without one.

    MLflow passes the folder that it lies in to alembic, which reads % as the start of a variable.
    """
    packages = sysconfig.get_path("purelib")
    if "%" not in packages:
        return
    folder = tempfile.mkdtemp(prefix="golden-path-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = Path(folder, "packages")
    link.symlink_to(packages)
    # Behind the project's own modules, and for the processes that are started here too
    place = sys.path.index(packages) if packages in sys.path else len(sys.path)
    sys.path.insert(place, str(link))
    paths = filter(None, (str(link), os.environ.get("PYTHONPATH")))
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


@contextmanager
def private(var: Path) -> Iterator[None]:
    """Keep var/ private to its owner, whatever the umask: it contains customers' data. Create it if
    it is missing, correct its mode if it is ours, and remove it at the end if it is still empty."""
    var = var.absolute()
    created = not var.exists()
    if created:
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = var.stat()
    # --var may name a folder that is not for the state alone: /tmp, a home, the project itself, or
    # one that a group writes to.
    shared = status.st_mode & (
        stat.S_ISVTX | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH
    ) or Path.cwd().is_relative_to(var.resolve())
    if stat.S_IMODE(status.st_mode) != 0o700 and status.st_uid == os.getuid() and not shared:
        with suppress(OSError):  # on a disk that is read only
            var.chmod(0o700)
    try:
        yield
    finally:
        if created:
            with suppress(OSError):  # not empty
                var.rmdir()
