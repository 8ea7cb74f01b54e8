"""The shop of a simulated year: its log as monthly files, what is planted in it, its service, and a
client that sends requests all the time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from common.duck import connect, literal, parquet
from common.errors import UserError
from common.files import atomic_folder, atomic_path
from configs.settings import Settings
from configs.source import Drift
from flows.prefect_api import free_port

ROOT = Path(__file__).parents[1]
PAUSE = 0.1  # seconds between two requests
READY, SWAP, END = 180.0, 60.0, 20.0  # seconds that a start, a new champion and the end may take
# What is planted, and what to call it.
DRIFTS: dict[str, tuple[dict[str, float], str]] = {
    "none": ({}, "nothing was planted"),
    "rate": ({"purchase_rate": 0.8}, "customers began to buy a fifth less often"),
    "price": ({"price_level": 1.1}, "every price was raised by a tenth"),
    "unit": ({"broken_unit": 0.05}, "a twentieth of the lines began to count pieces for dozens"),
    "missing": ({"missing_customers": 0.2}, "a fifth of the repeat invoices lost their customer"),
    "mix": ({"customer_mix": 0.5}, "half of the new customers came from abroad"),
}


def log_end(settings: Settings) -> date:
    """The first day after the simulated log."""
    simulation = settings.source.simulation
    return date.fromordinal(simulation.start.toordinal() + simulation.days)


def write_months(settings: Settings, drift: str, planted: date, folder: Path) -> Path:
    """Simulate the log, and write the rows of each month into a file of its own, `2026-04.parquet`;
    returns their folder, which is made once. A row without a usable time is in the file of the row
    before it."""
    from simulator.simulator import simulate

    if folder.exists():
        return folder
    effects, _ = DRIFTS[drift]
    simulation = settings.source.simulation
    if effects:
        change = Drift.model_validate({"on": planted, **effects})
        simulation = simulation.model_copy(update={"drift": change})
    with atomic_folder(folder) as temporary:
        raw = simulate(simulation, settings.seed, temporary).raw
        with connect(temporary, settings.compute, ordered=True) as connection:
            start, end = f"DATE '{simulation.start}'", f"DATE '{log_end(settings)}'"
            connection.execute(f"""
                CREATE TABLE log AS
                SELECT *, last_value(
                    CASE WHEN invoiced_at >= {start} AND invoiced_at < {end}
                         THEN strftime(invoiced_at, '%Y-%m') END IGNORE NULLS
                ) OVER (ORDER BY place) AS month
                FROM (SELECT row_number() OVER () AS place, * FROM {parquet(raw)})
            """)
            months = connection.execute(
                "SELECT DISTINCT month FROM log WHERE month IS NOT NULL ORDER BY month"
            ).fetchall()
            for (month,) in months:
                connection.execute(f"""
                    COPY (
                        SELECT * EXCLUDE (place, month) FROM log
                        WHERE coalesce(month, '{months[0][0]}') = '{month}' ORDER BY place
                    ) TO {literal(temporary / f"{month}.parquet")} (FORMAT parquet)
                """)
        raw.unlink()
    return folder


def deliver(months: Path, delivered: Path, *, before: str | None = None, month: str = "") -> None:
    """Copy the files of the months before one, or of a month, to where the source reads them."""
    delivered.mkdir(exist_ok=True)
    for file in sorted(months.glob("*-*.parquet")):
        selected = file.stem < before if before is not None else file.stem == month
        if selected and not (delivered / file.name).exists():
            with atomic_path(delivered / file.name) as temporary:
                shutil.copyfile(file, temporary)


# --- the service and its client ------------------------------------------------------------------


@dataclass
class Client:
    """Sends requests from the moment on at which the service is ready. versions: requests answered
    by each; lost: those without an answer."""

    url: str
    body: bytes
    lost: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        import httpx

        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self.stop.wait(PAUSE):
                with suppress(httpx.HTTPError):
                    if client.get(f"{self.url}/readyz").is_success:
                        break
            while not self.stop.wait(PAUSE):
                try:
                    answer = client.post(f"{self.url}/predict", content=self.body)
                    version = answer.json()["model"]["version"] if answer.is_success else None
                except (httpx.HTTPError, ValueError, LookupError):
                    version = None
                if version is None:
                    self.lost += 1
                else:
                    self.versions[version] = self.versions.get(version, 0) + 1


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[bytes]
    client: Client
    log: Path

    def wait_for(self, version: int | None = None) -> None:
        """Wait until the service has answered, by this version where one is named. Raises UserError
        where it does not."""
        until = time.monotonic() + (SWAP if self.client.versions else READY)
        while time.monotonic() < until and self.process.poll() is None:
            if self.client.versions and version in (None, *self.client.versions):
                return
            time.sleep(0.05)
        what = "did not start" if not self.client.versions else f"does not serve version {version}"
        raise UserError(
            f"the service {what}", where=str(self.log), next_step="read the end of that file"
        )


@contextmanager
def served(settings: Settings) -> Iterator[Service]:
    """Start the service on a free port of loopback, for the time of the block; it need not be ready
    yet. It ends with this process, however that ends."""
    var = settings.var.absolute()
    port, log = free_port(), var / "service.log"
    command = [
        *(sys.executable, "-m", "common.parent", "serving"),
        *("--config", str(settings.file or settings.name), "--var", str(var)),
        *("--serving.port", str(port)),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k != settings.serving.token_variable},
            stdin=subprocess.PIPE,  # its other end is closed when this process is gone
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    example = var / "runs" / "latest" / "example.json"
    client = Client(f"http://127.0.0.1:{port}", example.read_bytes())
    thread = threading.Thread(target=client.run, name="client", daemon=True)
    thread.start()
    try:
        yield Service(process, client, log)
    finally:
        client.stop.set()
        thread.join(END)
        process.terminate()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
