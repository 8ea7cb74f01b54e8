"""Start the service: settings, champion, port, then BentoML; end it and all its children.

python -m serving [--config NAME] [--serving.port 3001 ...]        (make serve)
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.customer_hash import read_key
from common.errors import UserError
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from registry.champion import the_champion
from registry.location import bundle_cache, tracking_uri
from serving.access import is_loopback, read_token
from serving.launcher import check_address, end, start, url, url_here, wait_until_ready
from serving.served import FILE, METRICS, Served, write_served
from serving.trial import Trials, check_version


def main(settings: Settings) -> None:
    _address(settings)
    model = the_champion(settings)
    serve(
        settings,
        served_of(settings, model.name),
        f"version {model.version} (bundle {model.bundle_sha256[:12]})",
    )


def served_of(settings: Settings, name: str) -> Served:
    """What the service is started with, to follow the champion of `name` in MLflow."""
    serving = settings.serving
    return Served.of(
        settings,
        name,
        tracking_uri=tracking_uri(settings),
        bundles=str(bundle_cache(settings)),
        watch_seconds=serving.watch_seconds,
        token_file=None if serving.token_file is None else str(serving.token_file.absolute()),
        allowed_hosts=[
            *serving.allowed_hosts,
            # Only a few names, or with a token any: then the address it is bound to is not a name.
            *([serving.host] if serving.allowed_hosts or is_loopback(serving.host) else []),
        ],
        log_folder=_log_folder(settings) if serving.log_requests else None,
        metrics_file=str(settings.var.absolute() / "monitoring" / settings.dataset / METRICS),
        shadow_folder=_shadow_folder(settings) if serving.shadow != "none" else None,
        shadow_share=serving.shadow_share,
        signal_file=str(home(settings) / "reload"),
        trials_folder=str(home(settings) / "trials"),
        launcher=os.getpid(),
    )


def _log_folder(settings: Settings) -> str:
    """Make the folder before the start. Raises UserError when that fails."""
    folder = settings.var.absolute() / "serving" / "log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        read_key(folder.with_suffix(".key"))
    except OSError as error:
        raise UserError(
            f"the log of requests cannot be set up: {error}",
            where=str(folder),
            next_step="make the folder writable, or start without it: --serving.log_requests false",
        ) from None
    return str(folder)


def _shadow_folder(settings: Settings) -> str:
    """The folder of its answers. Raises UserError when requests are not logged."""
    if not settings.serving.log_requests:
        raise UserError(
            "serving.shadow needs serving.log_requests: the answers of the challenger are compared"
            " with those in the log of requests",
            where="setting serving.log_requests",
            next_step="--serving.log_requests true, or --serving.shadow none",
        )
    return str(settings.var.absolute() / "serving" / "shadow")


def home(settings: Settings) -> Path:
    """The folder of BentoML's files, one for each port: BentoML empties part of it."""
    return (settings.var / "bentoml" / str(settings.serving.port)).resolve()


def serve(settings: Settings, served: Served, what: str) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises UserError when it ends by itself."""
    host, port = _address(settings), settings.serving.port
    process, trials = None, Trials(served, launcher=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, signal.default_int_handler)  # end as Ctrl-C does
    try:
        write_served(served, home(settings) / FILE)
        trials.forget()
        with ThreadPoolExecutor(1) as pool:
            try:
                # While BentoML starts. Its workers wait for the verdict.
                tried = pool.submit(_try, trials, served)
                process = start(home(settings), host, port, settings.serving.max_seconds)
                tried.result()
            finally:
                trials.close()
        wait_until_ready(process, url_here(host, port))
        print(_welcome(settings, f"{served.name} {what}", url_here(host, port)), flush=True)
        process.wait()
    except KeyboardInterrupt:
        return
    finally:
        if process is not None:
            end(process, settings.serving.max_seconds)
    raise UserError(
        f"the service ended by itself with exit code {process.returncode}",
        where=url(host, port),
        next_step="read what it printed above, then start it again (make serve)",
    )


def _try(trials: Trials, served: Served) -> None:
    """Raises UserError for a champion that cannot be served."""
    version = served.find()
    if version is not None:
        check_version(trials, version)


def _address(settings: Settings) -> str:
    """The address to listen on. Raises UserError when it is taken or not allowed."""
    serving = settings.serving
    token = read_token(serving.token_variable, serving.token_file, os.environ)
    return check_address(serving.host, serving.port, token is not None)


def _welcome(settings: Settings, who: str, address: str) -> str:
    port = settings.serving.port
    usual = port == type(settings.serving).model_fields["port"].default
    command = make("predict", settings)
    if not usual and "--serving.port" not in command:  # a preset or the environment has set it
        command = make("predict", settings, "--serving.port", str(port))
    return f"""Serving {who} at {address}
  query:    {command}
  open:     {address}/ and, to try it in a browser, {address}/docs
  stop:     Ctrl-C"""


if __name__ == "__main__":
    sys.exit(run_command("serving", "Serve the champion until Ctrl-C.", main))
