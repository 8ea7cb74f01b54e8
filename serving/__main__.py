"""Start the service: settings, champion, port, then BentoML; end it and all its children.

python -m serving [--config NAME] [--serving.port 3001 ...]        (make serve)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from configs.command import make, run_command
from configs.errors import UserError
from configs.settings import Settings
from registry.alias import champion_now
from registry.bundle import verify_bundle
from registry.store import database
from serving.access import is_loopback, read_token
from serving.address import check_address, url
from serving.served import FILE, VARIABLE, Served, write_served

ROOT = Path(__file__).resolve().parents[1]
TARGET = "serving.service:service"
READY_SECONDS, DRAIN_SECONDS = 120.0, 8


def main(settings: Settings) -> None:
    _address(settings)
    model = champion_now(settings)
    if model is None:
        raise UserError(
            "there is no champion yet",
            where=f"the registry in {settings.var}",
            next_step=f"train one: {make('train', settings)}",
        )
    # Verified here, so that a bad bundle is one message and no service.
    verify_bundle(model.bundle, expected_sha256=model.bundle_sha256)
    serve(
        settings,
        served_of(settings, model.name),
        f"version {model.version} (bundle {model.bundle_sha256[:12]})",
    )


def served_of(settings: Settings, name: str) -> Served:
    """What the service is told: the champion of `name` is what MLflow's database says."""
    serving, folder = settings.serving, home(settings)
    return Served(
        name=name,
        database=str(database(settings)),
        max_rows=serving.max_rows,
        max_lines=serving.max_lines,
        max_explained=serving.max_explained,
        max_concurrency=serving.max_concurrency,
        max_seconds=serving.max_seconds,
        watch_seconds=serving.watch_seconds,
        workers=serving.workers,
        token_variable=serving.token_variable,
        token_file=None if serving.token_file is None else str(serving.token_file.absolute()),
        allowed_hosts=[
            *serving.allowed_hosts,
            # Only a few names, or with a token any: then the address it is bound to is no name.
            *([serving.host] if serving.allowed_hosts or is_loopback(serving.host) else []),
        ],
        log_folder=str(settings.var.absolute() / "serving" / "log")
        if serving.log_requests
        else None,
        signal_file=str(folder / "reload"),
        launcher=os.getpid(),
    )


def home(settings: Settings) -> Path:
    """A folder for each port: BentoML empties part of it."""
    return (settings.var / "bentoml" / str(settings.serving.port)).resolve()


def serve(settings: Settings, served: Served, what: str) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises UserError when it ends by itself."""
    host, port = _address(settings), settings.serving.port
    process = None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)  # end as Ctrl-C does
    try:
        write_served(served, home(settings) / FILE)
        process = _start(settings, host)
        _wait_until_ready(process, url(host, port))
        print(_welcome(settings, f"{served.name} {what}", url(host, port)), flush=True)
        process.wait()
    except KeyboardInterrupt:
        return
    finally:
        if process is not None:
            _end(process)
    raise UserError(
        f"the service ended by itself with exit code {process.returncode}",
        where=url(host, port),
        next_step="read what it printed above, then start it again (make serve)",
    )


def _address(settings: Settings) -> str:
    """Where to listen. Raises UserError when it cannot, or may not, be there."""
    serving = settings.serving
    token = read_token(serving.token_variable, serving.token_file, os.environ)
    return check_address(serving.host, serving.port, token is not None)


def _start(settings: Settings, host: str) -> subprocess.Popen[bytes]:
    folder = home(settings)
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    # Whatever this machine has set for BentoML or as a proxy is not meant for this service.
    env = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("BENTOML_", "OTEL_", "PROMETHEUS_"))
    }
    env = {k: v for k, v in env.items() if not k.lower().endswith("_proxy")}
    env |= {
        VARIABLE: str(folder / FILE),
        "BENTOML_HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "true",
        "OTEL_SDK_DISABLED": "true",
        # ONNX Runtime from 1.29 on sends usage data, and keeps it in a database in ~/.cache.
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    command: list[Any] = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        TARGET,
        "--quiet",
        "--working-dir",
        ROOT,
    ]
    command += [
        "--host",
        host,
        "--port",
        str(settings.serving.port),
        "--timeout-graceful-shutdown",
        str(DRAIN_SECONDS // 2),
    ]
    # A session of its own: Ctrl-C reaches the launcher alone, which then ends the service in order.
    return subprocess.Popen(
        command, env=env, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL
    )


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    limit = time.monotonic() + READY_SECONDS
    with httpx.Client(trust_env=False, timeout=2) as client:
        while process.poll() is None and time.monotonic() < limit:
            try:
                answer = client.get(f"{address}/readyz")
                if answer.status_code == 200:
                    return
                if "refused" in (said := answer.json()["error"]):
                    raise UserError(
                        f"the service cannot start: {said}",
                        where=address,
                        next_step="train again (make train), or go back (make rollback)",
                    )
            except (httpx.HTTPError, ValueError, LookupError):
                pass  # it is starting; or what listens there is not ours
            time.sleep(0.05)
    ended = process.returncode is not None
    raise UserError(
        f"the service ended with exit code {process.returncode} before it was ready"
        if ended
        else f"the service was not ready within {READY_SECONDS:.0f} seconds",
        where=address,
        next_step="read what it printed above; train again (make train) if the bundle is at fault",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # impatience must not leave workers behind
    try:
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.terminate()
    _, left = psutil.wait_procs(family, timeout=DRAIN_SECONDS)
    for one in left:
        one.kill()
    process.wait()


def _welcome(settings: Settings, who: str, address: str) -> str:
    port = settings.serving.port
    usual = port == type(settings.serving).model_fields["port"].default
    ask = make("predict", settings)
    if not usual and "--serving.port" not in ask:  # a preset or the environment has set it
        ask = make("predict", settings, f"--serving.port {port}")
    return f"""Serving {who} at {address}
  ask it:   {ask}
  look:     {address}/ and, to try it in a browser, {address}/docs
  end it:   Ctrl-C"""


if __name__ == "__main__":
    sys.exit(run_command("serving", "Serve the champion until Ctrl-C.", main))
