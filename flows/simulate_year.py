"""A year of operation in minutes: `make simulate-year DRIFT=rate`.

A simulated shop of three and a quarter years is cut into monthly files. A champion is trained on
the first of them and served; then twelve months are delivered one after the other, and each is
worked off by the real `operate`: the pipeline, the gate and the service are those of every day, and
only the clock is set. Requests reach the service all the time. What is planted is said nowhere in
the data. The state lies in a folder of its own, var/year/<drift>/, and a year that was interrupted
goes on where it stopped.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from configs.command import make, run_command
from configs.errors import UserError
from configs.records import read_record, write_record
from configs.settings import Settings
from configs.terminal import console as terminal
from flows.clock import as_of_month
from flows.lock import alone
from flows.monitor import finish
from flows.operate import Operated, operate_month
from flows.stopping import end_on_signals
from flows.train import run_training
from flows.watch import folder_of
from flows.year_shop import DRIFTS, deliver, log_end, write_months
from ingestion.validate import ContractBroken
from monitoring import state
from monitoring.facts import Reading, add_months, end_of, first_day, month_of

ABOUT = "Operate a simulated year: twelve months through the real pipeline, gate and service."
OPTIONS = {"drift": "what happens in its fourth month: rate, price, unit, missing, mix or none"}
MONTHS, BEFORE_DRIFT = 12, 3
ROOT = Path(__file__).parents[1]


@dataclass
class Client:
    """Somebody who asks the service all the time. versions: requests answered by each."""

    url: str
    body: bytes
    answered: int = 0
    lost: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        import httpx

        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self.stop.wait(0.1):
                try:
                    answer = client.post(f"{self.url}/predict", content=self.body)
                    version = answer.json()["model"]["version"] if answer.is_success else None
                except (httpx.HTTPError, ValueError, LookupError):
                    version = None
                if version is None:
                    self.lost += 1
                else:
                    self.answered += 1
                    self.versions[version] = self.versions.get(version, 0) + 1


def main(settings: Settings, *, drift: str | None) -> None:
    drift = drift or "rate"
    if drift not in DRIFTS:
        raise UserError(
            f"no drift is called {drift!r}",
            where="DRIFT",
            next_step=f"choose one of {', '.join(DRIFTS)}",
        )
    if settings.source.kind != "simulated":
        raise UserError(
            f"the source of {settings.name} is {settings.source.kind}: a year is simulated of a"
            " simulated shop",
            where="source.kind",
            next_step="make simulate-year",
        )
    end_on_signals()
    home = settings.var / "year" / drift
    if (home / "finished.json").exists():  # a year that was seen to its end begins anew
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    settings = settings.model_copy(update={"var": home})
    with alone(home, "simulate-year"):
        _run(settings, drift)


def _run(settings: Settings, drift: str) -> None:
    began, out = time.monotonic(), terminal()
    first = _first_month(settings)
    planted = first_day(add_months(first, BEFORE_DRIFT))
    last = add_months(first, MONTHS - 1)
    out.print(f"[bold]A simulated year[/]: {first} to {last}, drift: {drift}")
    with out.status("simulating the shop"):
        files = write_months(settings, drift, planted, settings.var.absolute() / "shop")
    settings = _reading(settings, first)
    delivered = settings.var.absolute() / "delivered"
    with out.status(f"training the first champion on the rows before {first}"):
        deliver(files, delivered, before=first)
        _first_champion(as_of_month(settings, add_months(first, -1)))
    with out.status("starting the service"), _served(settings) as client:
        months = _operate(settings, files, delivered, first, out)
        _wait_for_swap(client, months)
    seconds = time.monotonic() - began
    out.print()
    for line in _story(settings, drift, planted, months, client, seconds):
        out.print(line, soft_wrap=False, markup=False)
    out.print()
    for head, text in (
        ("Page", str(folder_of(settings) / "page.html")),
        ("Ledger", make("models", settings)),
    ):
        out.print(f"{head:9} {text}", soft_wrap=True, markup=False)
    write_record(settings.var / "finished.json", {"drift": drift, "seconds": round(seconds, 1)})


def _first_month(settings: Settings) -> str:
    """The first of the last twelve whole months of the log."""
    return add_months(month_of(log_end(settings)), -MONTHS)


def _reading(settings: Settings, first: str) -> Settings:
    """The settings of whoever operates: the delivered files, and nothing of the simulation."""
    delivered = settings.var.absolute() / "delivered"
    source = settings.source.model_copy(
        update={"kind": "files", "path": (str(delivered / "*.parquet"),)}
    )
    operations = settings.operations.model_copy(update={"start": first_day(first)})
    return settings.model_copy(update={"source": source, "operations": operations})


def _first_champion(settings: Settings) -> None:
    from registry.alias import champion_now

    if champion_now(settings) is None:
        run_training(settings, _nowhere())
    if champion_now(settings) is None:
        raise UserError(
            "the first training has no champion: the gate rejected it",
            where=str(settings.var / "runs" / "latest" / "report.html"),
            next_step="see why; the year needs a champion to operate",
        )


def _nowhere() -> Any:
    import io

    from rich.console import Console

    return Console(file=io.StringIO(), width=100)


# --- the service ------------------------------------------------------------------------------


@contextmanager
def _served(settings: Settings) -> Iterator[Client]:
    """The service on a free port of loopback, and a client that asks it all the time."""
    port = _free_port()
    log = settings.var.absolute() / "service.log"
    command = [
        *(sys.executable, "-m", "serving", "--config", str(settings.file or settings.name)),
        *("--var", str(settings.var.absolute()), "--serving.port", str(port)),
    ]
    with log.open("ab") as output:
        service = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(service, url, log)
        example = settings.var / "runs" / "latest" / "example.json"
        client = Client(url, example.read_bytes())
        thread = threading.Thread(target=client.run, name="client", daemon=True)
        thread.start()
        yield client
        client.stop.set()
        thread.join(20)
    finally:
        service.terminate()
        try:
            service.wait(20)
        except subprocess.TimeoutExpired:
            service.kill()


def _wait_until_ready(service: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import httpx

    for _ in range(1200):
        if service.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/readyz", trust_env=False, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise UserError(
        "the service did not start", where=str(log), next_step="read the end of that file"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_swap(client: Client, months: Sequence[Operated]) -> None:
    """Give the service the time to take up the last champion."""
    last = next((one.version for one in reversed(months) if one.decision == "promote"), None)
    for _ in range(600):
        if last is None or last in client.versions:
            return
        time.sleep(0.1)


# --- the months -------------------------------------------------------------------------------

HEADS = ("month", "rows", "scored", "alarms", "verdict", "training", "champion")
WIDTHS = (7, 7, 6, 17, 15, 14, 8)


def _operate(
    settings: Settings, files: Path, delivered: Path, first: str, out: Any
) -> list[Operated]:
    out.print()
    out.print(f"[bold]{_line(HEADS)}[/]", markup=True)
    done = []
    for month in [add_months(first, n) for n in range(MONTHS)]:
        deliver(files, delivered, month=month)
        with out.status(f"{month}: starting") as status:
            at = as_of_month(settings, month)
            found = _known(at, month)
            released = ""
            while found is None:
                try:
                    found = operate_month(at, month, lambda text: status.update(text))
                except ContractBroken as error:
                    released = _release(at, error)
            done.append(found)
        alarms = [r.sensor for r in _readings(settings, month) if r.state == "alarm"]
        training = ""
        if found.trigger:
            what = "promoted" if found.decision == "promote" else "rejected"
            training = f"v{found.version} {what}"
        elif found.deferred:
            training = "not now"
        out.print(
            _line(
                (
                    month,
                    f"{found.rows:,}",
                    f"{found.scored:,}",
                    ", ".join(alarms) or "-",
                    found.verdict,
                    training,
                    f"v{_champion(found)}",
                )
            ),
            markup=False,
        )
        if released:
            out.print(f"        held, and released after a look: {released}", markup=False)
    with out.status("writing the page"):
        finish(as_of_month(settings, add_months(first, MONTHS - 1)))
    return done


def _champion(found: Operated) -> int:
    """Who is champion when the month is worked off."""
    promoted = found.decision == "promote" and found.version
    return found.version if promoted else found.champion  # type: ignore[return-value]


def _line(cells: Sequence[str]) -> str:
    return " ".join(
        f"{cell[:width]:{'>' if name in ('rows', 'scored') else '<'}{width}}"
        for cell, width, name in zip(cells, WIDTHS, HEADS, strict=True)
    ).rstrip()


def _known(settings: Settings, month: str) -> Operated | None:
    file = folder_of(settings) / "operated" / f"month={month}.json"
    return Operated(**read_record(file)) if file.exists() else None


def _release(settings: Settings, error: ContractBroken) -> str:
    """What a person does who was paged and finds that the rows are what was delivered: the year
    goes on. Raises the error again where nothing is held."""
    from flows.acceptance import last_seen
    from ingestion.batches import dataset_of, release

    seen = last_seen(settings)
    if not seen.why.startswith("held"):
        raise error
    release(settings.var.absolute(), dataset_of(settings), seen.batch)
    return seen.why.removeprefix("held: ")


def _readings(settings: Settings, month: str) -> list[Reading]:
    return state.read_facts(folder_of(settings), "readings", Reading, [month])


# --- the story --------------------------------------------------------------------------------


def _story(
    settings: Settings,
    drift: str,
    planted: date,
    months: Sequence[Operated],
    client: Client,
    seconds: float,
) -> list[str]:
    """What happened, from what was written down."""
    known = [one.verdict for one in state.read_judged(folder_of(settings))[0]]
    what = DRIFTS[drift][1]
    said = [f"On {planted} {what}." if DRIFTS[drift][0] else f"In this year {what}."]
    found = [one for one in known if one.verdict != "calendar"]
    if not found:
        said.append("No month had an alarm.")
    else:
        begun = found[0]
        said.append(f"{begun.month} was judged {begun.verdict}: {begun.evidence[0]}")
    due = next((one for one in known if one.retrain_due), None)
    drift_training = next((one for one in months if one.trigger == "changed demand"), None)
    if due is not None:
        said.append(
            f"A retraining at once would have learnt nothing, as no label of after the change was"
            f" known: it was dated {due.retrain_due}."
        )
    if drift_training is not None:
        said.append(f"It was done after {drift_training.month}, and {_decided(drift_training)}.")
    held_back = [one for one in months if one.deferred]
    if held_back and due is None:
        said.append(
            f"{len(held_back)} retrainings by the calendar were held back, as rows of broken data"
            " are nothing to learn from."
        )
    calendar = [one for one in months if one.trigger == "calendar"]
    if calendar:
        said.append(
            f"{len(calendar)} trainings came by the calendar:"
            f" {'; '.join(_decided(one) for one in calendar)}."
        )
    swaps = ", ".join(f"version {v}: {n:,}" for v, n in sorted(client.versions.items()))
    said.append(
        f"Meanwhile the service answered {client.answered:,} requests ({swaps}) and lost"
        f" {client.lost}. The year took {seconds:.0f} s."
    )
    return said


def _decided(one: Operated) -> str:
    if one.decision == "promote":
        return f"version {one.version} became champion as of {end_of(one.month)}"
    return f"the gate rejected version {one.version} as of {end_of(one.month)}"


if __name__ == "__main__":
    sys.exit(run_command("flows.simulate_year", ABOUT, main, options=OPTIONS))
