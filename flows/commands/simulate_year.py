"""A year of operation in minutes: `make simulate-year DRIFT=rate`.

A simulated shop of three and a quarter years is cut into monthly files. A champion is trained on
the first of them and served; then twelve months are delivered one after the other, and each is
processed by the real `operate`: the pipeline, the gate and the service are those of every day, and
only the clock is set. Requests reach the service all the time. Nothing in the data says what was
planted. The state is in a folder of its own, var/year/<drift>/, with the settings to operate the
shop by, `year-<drift>.yaml`; a year that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError
from common.files import RecordAltered, read_record, write_file, write_record
from common.locks import folder_lock
from common.terminal import console as terminal
from common.terminal import say, short
from configs.command import leave, run_command
from configs.load import dump
from configs.make_command import remember, typed
from configs.settings import Settings
from flows.clock import as_of_month
from flows.finish import finish
from flows.operate import Operated, operate_month, reconcile_registry
from flows.retrain import run_retraining
from flows.stage import hash_text
from flows.stopping import end_on_signals
from flows.watch import PAGE, folder_of
from flows.year_report import LEGEND, Year, alarms_of, head, paragraphs, plan, rows
from flows.year_shop import DRIFTS, Client, deliver, log_end, served, write_months
from ingestion.outcome import ContractBroken
from monitoring import state
from monitoring.alerts import alerts_of
from monitoring.facts import Reading, add_months, first_day, month_of

if TYPE_CHECKING:
    from rich.console import Console

ABOUT = "Operate a simulated year: twelve months through the real pipeline, gate and service."
OPTIONS = {"drift": f"what happens in its fourth month: {', '.join(DRIFTS)}"}
MONTHS, BEFORE_DRIFT = 12, 3
YEAR, FINISHED = "year.json", "finished.json"
PRESET_HEAD = """\
# The shop of a simulated year, as it is operated: `make simulate-year` wrote this file. The clock,
# operations.today, is the day after the last month that was processed.
"""


@dataclass(frozen=True)
class Tally:
    """What is only known while the year goes on, summed over all its commands and saved after each
    month. settings: a hash of those that it was begun with."""

    settings: str
    seconds: float = 0.0
    lost: int = 0
    versions: dict[str, int] = field(default_factory=dict)

    def with_more(self, seconds: float, client: Client | None = None) -> Tally:
        """Return the tally with what this command adds to it."""
        versions, lost = dict(self.versions), self.lost
        for version, count in dict(client.versions if client else {}).items():
            versions[str(version)] = versions.get(str(version), 0) + count
        lost += client.lost if client else 0
        return replace(self, seconds=self.seconds + seconds, lost=lost, versions=versions)


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
    settings = settings.model_copy(update={"var": home})
    home.mkdir(parents=True, exist_ok=True)
    with folder_lock(home, "simulate-year"):
        simulate_year(settings, drift, terminal())


def simulate_year(
    settings: Settings, drift: str, out: Console, months: int = MONTHS, before: int = BEFORE_DRIFT
) -> Year:
    """Operate the last months of the simulated log, and print what comes of them.

    settings: of the shop; their `var` is the folder of the year, whose lock the caller holds.
    months: how many; before: of them before the drift.
    """
    from rich.text import Text

    began, tally = time.monotonic(), _begun(settings, drift)
    first = add_months(month_of(log_end(settings)), -months)
    names = [add_months(first, n) for n in range(months)]
    planted = first_day(names[before])
    resumed = f", goes on after {tally.seconds:.0f} s" if tally.seconds else ""
    out.print(
        f"[bold]A simulated year[/], {first} to {names[-1]}, drift: {drift}{resumed}", markup=True
    )
    say(out, plan(drift, planted))
    with out.status("simulating the shop") as status:

        def show(text: str, after: str = "") -> None:
            shown = f"{time.monotonic() - began:.0f} s {after} {text}"
            status.update(Text(short(shown, out.width - 3)))  # folded lines would scroll the table

        files = write_months(settings, drift, planted, settings.var.absolute() / "shop")
        settings = _operating(settings, drift, first)
        deliver(files, _delivered(settings), before=first)
        version = _first_champion(settings, add_months(first, -1), show)
        show("starting the service")
        with served(settings) as service:
            where = service.client.url
            say(
                out, f"Version {version} was trained on rows before {first_day(first)}; see {where}"
            )
            say(out, LEGEND)
            out.print(f"\n[bold]{head()}[/]")
            done = []
            for place, month in enumerate(names, 1):
                deliver(files, _delivered(settings), month=month)
                operated, released = _known(settings, month), list[str]()
                if operated is None:
                    counted = partial(show, after=f"({place} of {months})")
                    at = _as_of(settings, month)
                    operated, released = _process(at, month, counted)
                    counted(f"{month}: alerts, metrics, page")
                    finish(at)
                    if operated.decision == "promote":
                        service.wait_for(operated.version)
                elif month == names[-1]:  # killed before its page was written, perhaps
                    finish(_as_of(settings, month))
                done.append(operated)
                now = tally.with_more(time.monotonic() - began, service.client)
                write_record(settings.var / YEAR, asdict(now))
                for line in rows(operated, _alarms(settings, [month])):
                    out.print(line, markup=False, highlight=False)
                for reason in released:
                    say(out, f"        held, and released after a look: {reason}")
            service.wait_for()
            tally = tally.with_more(time.monotonic() - began, service.client)
    year = read_year(settings, drift, names[before], done, tally)
    for paragraph in paragraphs(year):
        out.print()
        say(out, paragraph)
    out.print()
    command = partial(typed, CONFIG=str(settings.file))  # which says where its state is
    for heading, text in (
        ("Page", str(folder_of(settings) / PAGE)),
        ("Decisions", command("models")),
        ("Service", command("serve")),
        ("Go on", command("operate")),
    ):
        out.print(f"{heading:10} {text}", soft_wrap=True, markup=False)
    write_record(settings.var / FINISHED, {"planted": names[before], **asdict(tally)})
    return year


def _begun(settings: Settings, drift: str) -> Tally:
    """Return the tally of a year that goes on. One that was finished, or was begun with other
    settings, begins again from nothing."""
    home = settings.var.absolute()
    shop = settings.source.simulation.model_dump(mode="json")
    wanted = hash_text(json.dumps([_name(drift), settings.seed, shop], sort_keys=True))
    others = [path for path in home.iterdir() if path.name != "lock"]  # which is held
    if others and not (home / YEAR).exists():
        raise UserError(
            "the folder of the simulated year holds something else",
            where=str(home),
            next_step="move it away, or name another folder: --var FOLDER",
        )
    try:
        tally = Tally(**read_record(home / YEAR))
    except (OSError, RecordAltered, TypeError):
        tally = Tally("")
    if (home / FINISHED).exists() or tally.settings != wanted:
        write_record(home / YEAR, asdict(Tally("")))  # whose removal may be cut short
        for path in others:
            if path.name != YEAR:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        tally = Tally(wanted)
        write_record(home / YEAR, asdict(tally))
    return tally


def _name(drift: str) -> str:
    """Return the name of the year's preset, its data set and its model."""
    return f"year-{drift}"


def _operating(settings: Settings, drift: str, first: str) -> Settings:
    """Return the settings to operate the shop by: they read the delivered files, and nothing of the
    simulation.

    Their preset is a file in the year's folder (`_as_of` writes it), so that the service and every
    command that is printed act on the same data set.
    """
    path = (str(_delivered(settings) / "*.parquet"),)
    source = settings.source.model_copy(update={"kind": "files", "path": path})
    operations = settings.operations.model_copy(update={"start": first_day(first)})
    name = _name(drift)
    own = {"name": name, "file": settings.var / f"{name}.yaml"}
    remember(())  # what this command was given is in that file
    return settings.model_copy(update={**own, "source": source, "operations": operations})


def _as_of(settings: Settings, month: str) -> Settings:
    """Return the settings with the clock on the day after the month, and write them as the preset:
    today's date is not in the months of the simulated shop."""
    at = as_of_month(settings, month)
    assert at.file is not None
    content = at.model_copy(update={"var": at.var.absolute()})
    write_file(at.file, f"{PRESET_HEAD}{dump(content)}")
    return at


def _delivered(settings: Settings) -> Path:
    return settings.var.absolute() / "delivered"


def _first_champion(settings: Settings, month: str, show: Callable[[str], None]) -> int:
    """Return the version of the champion; where there is none yet, train one as of the day after
    the month."""
    from registry.champion import champion_now

    reconcile_registry(settings)  # what a training that was killed has left
    if champion_now(settings) is None:
        at = _as_of(settings, month)
        run_retraining(at, lambda line: show(f"training the first champion: {line}"))
    champion = champion_now(settings)
    if champion is None:
        raise UserError(
            "the first training has no champion: the gate rejected it",
            where=str(settings.var / "runs" / "latest" / "report.html"),
            next_step="see why; the year needs a champion to operate",
        )
    return champion.version


def _known(settings: Settings, month: str) -> Operated | None:
    file = folder_of(settings) / "operated" / f"month={month}.json"
    return Operated(**read_record(file)) if file.exists() else None


def _process(
    settings: Settings, month: str, show: Callable[[str], None]
) -> tuple[Operated, list[str]]:
    """Process the month; return it, and why its batch was held, where it was.

    A person who is paged and finds that the rows are those that were delivered would release the
    batch, and so does the year.
    """
    from flows.acceptance import last_seen
    from ingestion.batches import release

    released: list[str] = []
    while True:
        try:
            return operate_month(settings, month, show), released
        except ContractBroken:
            seen = last_seen(settings)
            if not seen.why.startswith("held"):
                raise
            release(settings.var.absolute(), settings.dataset, seen.batch)
            released.append(seen.why.removeprefix("held: ").partition(" (")[0])


def _alarms(settings: Settings, months: Sequence[str]) -> list[Reading]:
    return alarms_of(state.read_facts(folder_of(settings), "readings", Reading, months))


def finished_year(settings: Settings) -> Year:
    """Read a year that was operated to its end. settings: its preset."""
    kept = read_record(settings.var / FINISHED)
    planted = kept.pop("planted")
    files = sorted((folder_of(settings) / "operated").glob("month=*.json"))
    done = [Operated(**read_record(file)) for file in files]
    drift = settings.name.removeprefix(_name(""))
    return read_year(settings, drift, planted, done, Tally(**kept))


def read_year(
    settings: Settings, drift: str, drifted: str, done: Sequence[Operated], tally: Tally
) -> Year:
    """Gather what was recorded of a year. drifted: the first month of the drift."""
    from registry import ledger
    from registry.tracking import open_store

    names = [one.month for one in done]
    known = {one.verdict.month: one.verdict for one in state.read_judged(folder_of(settings))[0]}
    return Year(
        drift,
        first_day(drifted),
        done,
        [known[name] for name in names],
        _alarms(settings, names),
        alerts_of(folder_of(settings)),
        ledger.history(open_store(settings), settings),
        {int(version): count for version, count in tally.versions.items()},
        tally.lost,
        tally.seconds,
    )


if __name__ == "__main__":
    leave(run_command("flows.commands.simulate_year", ABOUT, main, options=OPTIONS))
