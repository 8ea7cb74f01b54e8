"""Which versions there are, who is champion, and how that came about: `make models`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from common.terminal import console as terminal
from common.terminal import plain, short, visible
from configs.command import run_command
from configs.make_command import make
from configs.settings import Settings
from registry.bundle import DESCRIPTION, LARGEST, MODEL, BundleRefused
from registry.carry_out import pending
from registry.chain import Record
from registry.champion import CHAMPION, ModelVersion, aliases, model_name, verify_version, versions
from registry.ledger import history, read, standing
from registry.tracking import open_store

ABOUT = "Show the registered versions of this preset's model, and the ledger of decisions."
MANY = 20  # records shown


def main(settings: Settings) -> None:
    client, console = open_store(settings), terminal()
    registered, past = versions(client, settings), history(client, settings)
    if not registered:
        console.print(
            Text(f"{model_name(settings)} has no version yet: {make('train', settings)}"),
            soft_wrap=True,
        )
        return
    shown = [_look_into(version, standing(client, settings)[0]) for version in registered]
    called = aliases(client, settings)
    console.print(_versions(f"Versions of {model_name(settings)}", shown, called, past))
    console.print()
    console.print(_ledger(past))
    _, problems = read(client)
    problems += [f"version {one.version.version}: {one.problem}" for one in shown if one.problem]
    for problem in (*problems, *pending(client, settings)):
        console.print(Text.assemble(("Warning: ", "bold"), visible(problem)), soft_wrap=True)
    for head, command in (
        ("Change the champion:", make("promote", settings, VERSION="N")),
        ("Go back:", make("rollback", settings)),
    ):
        console.print(Text(f"{head:20} {visible(command)}", style="dim"), soft_wrap=True)


@dataclass(frozen=True)
class Shown:
    """A version as its bundle describes it. Nothing of that is trusted here, it is only shown:
    what is altered or missing is "?", and `problem` says why the bundle would be refused."""

    version: ModelVersion
    state: str
    problem: str
    family: str
    trained_at: str
    roc_auc: str
    interval: str
    run: str


def _look_into(version: ModelVersion, known: list[Record]) -> Shown:
    state, problem = "intact", ""
    try:
        verify_version(version, known)
    except BundleRefused as error:
        state = "altered" if (version.bundle / MODEL).is_file() else "missing"
        problem = error.what
    except OSError as error:
        state, problem = "unreadable", f"the bundle cannot be read: {error.strerror}"
    description = _description(version)
    test = description.get("test")
    low, high = (_figure(test, f"roc_auc_{end}", 3) for end in ("low", "high"))
    return Shown(
        version,
        state,
        problem,
        family=str(description.get("family", "?")),
        trained_at=str(description.get("trained_at", "?"))[:16].replace("T", " "),
        roc_auc=_figure(test, "roc_auc", 4),
        interval=f"{low} – {high}",
        run=str(description.get("run_id") or "?"),
    )


def _description(version: ModelVersion) -> dict[str, Any]:
    try:
        file = version.bundle / DESCRIPTION
        if not file.is_file() or file.stat().st_size > LARGEST[DESCRIPTION]:
            return {}
        content = json.loads(file.read_bytes())
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _figure(test: object, name: str, digits: int) -> str:
    value = test.get(name) if isinstance(test, dict) else None
    known = isinstance(value, int | float) and abs(value) <= 1  # neither NaN nor a huge integer
    return f"{value:.{digits}f}" if known else "?"


def _versions(
    title: str, shown: list[Shown], called: dict[int, list[str]], past: list[Record]
) -> Table:
    """Make the table of versions, two lines each so that they fit 80 columns."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("version", justify="right")
    table.add_column("family\nalias", overflow="fold")
    for name in ("trained at\nrun", "test ROC AUC\n95 % interval"):
        table.add_column(name, no_wrap=True)
    for name in ("decision", "bundle"):
        table.add_column(name)
    for one in shown:
        number = one.version.version
        about = [entry for entry in past if entry.to_version == number]
        names = called.get(number, [])
        table.add_row(
            str(number),
            Text(f"{short(one.family, 20)}\n{short(', '.join(names), 40)}"),
            Text(f"{short(one.trained_at)}\n{short(one.run, 24)}"),
            f"{one.roc_auc}\n{one.interval}",
            ", ".join(f"{entry.action} ({entry.sequence})" for entry in reversed(about)) or "none",
            one.state,
            style="bold" if CHAMPION in names else None,
        )
    return table


def _ledger(past: list[Record]) -> Table:
    table = Table(title="Ledger, newest first", title_justify="left", box=None, pad_edge=False)
    for name in ("record", "when (UTC)", "decision", "champion", "by", "why"):
        table.add_column(name, justify="right" if name == "record" else "left")
    for entry in list(reversed(past))[:MANY]:
        before, after = entry.from_version or "–", entry.to_version or "–"
        stays = entry.action in ("reject", "trigger")
        first, *rest = entry.reason.splitlines() or [""]
        table.add_row(
            str(entry.sequence),
            entry.time[:16].replace("T", " "),
            entry.action
            + (f" {after}" if entry.to_version else "")
            + (" (open)" if entry.open else ""),
            f"{before} stays" if stays else f"{before} → {after}",
            plain(entry.by, 20),
            plain(first, 200).append(f" (and {len(rest)} more)" if rest else ""),
        )
    if len(past) > MANY:
        table.caption = f"the last {MANY} of {len(past)}; all are in MLflow: golden-path-decisions"
    return table


if __name__ == "__main__":
    sys.exit(run_command("flows.commands.models", ABOUT, main))
