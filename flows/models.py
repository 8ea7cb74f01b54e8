"""Which versions there are, who is champion, and how that came about: `make models`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from configs.command import make, run_command
from configs.settings import Settings
from registry.bundle import DESCRIPTION, MODEL, BundleRefused
from registry.chain import Record
from registry.ledger import history, read, standing
from registry.models import CHAMPION, ModelVersion, aliases, versions
from registry.promotion import unsettled, verify
from registry.store import model_name, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABOUT = "Show the registered versions of this preset's model, and the ledger of decisions."
MANY = 20  # records shown


def main(settings: Settings) -> None:
    client, console = open_store(settings), Console(highlight=False)
    if not console.is_terminal:
        console.width = 180
    found, past = versions(client, settings), history(client, settings)
    if not found:
        console.print(
            f"{model_name(settings)} has no version yet: {escape(make('train', settings))}"
        )
        return
    console.print(_versions(client, settings, found, past))
    console.print()
    console.print(_ledger(past))
    _, problems = read(client)
    for problem in (*problems, *unsettled(client, settings)):
        console.print(f"[bold]Warning:[/] {escape(problem)}", soft_wrap=True)
    change = f"{make('promote', settings)} VERSION=…    back: {make('rollback', settings)}"
    console.print(f"Change the champion: {escape(change)}", style="dim", soft_wrap=True)


def _versions(
    client: MlflowClient, settings: Settings, found: list[ModelVersion], past: list[Record]
) -> Table:
    called, (known, _) = aliases(client, settings), standing(client, settings)
    title = f"Versions of {model_name(settings)}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("version", "alias", "family", "trained at", "test ROC AUC", "95 % interval"):
        table.add_column(name, justify="right" if name == "version" else "left", no_wrap=True)
    for name in ("decision", "bundle", "run"):
        table.add_column(name)
    for version in found:
        said = _description(version)
        test = said.get("test", {})
        about = [entry for entry in past if entry.to_version == version.version]
        names = called.get(version.version, [])
        table.add_row(
            str(version.version),
            escape(", ".join(names)),
            str(said.get("family", "?")),
            str(said.get("trained_at", "?"))[:16].replace("T", " "),
            f"{test['roc_auc']:.4f}" if "roc_auc" in test else "?",
            f"{test['roc_auc_low']:.4f} – {test['roc_auc_high']:.4f}"
            if {"roc_auc_low", "roc_auc_high"} <= set(test)
            else "?",
            ", ".join(f"{entry.action} ({entry.sequence})" for entry in reversed(about)) or "none",
            _state(version, known),
            str(said.get("run_id") or version.run_id),
            style="bold" if CHAMPION in names else None,
        )
    return table


def _ledger(past: list[Record]) -> Table:
    table = Table(title="Ledger, newest first", title_justify="left", box=None, pad_edge=False)
    for name in ("record", "when (UTC)", "decision", "champion", "by", "why"):
        table.add_column(name, justify="right" if name == "record" else "left")
    for entry in list(reversed(past))[:MANY]:
        before, after = entry.from_version or "–", entry.to_version or "–"
        rejected = entry.action == "reject"
        first, *rest = entry.reason.splitlines() or [""]
        table.add_row(
            str(entry.sequence),
            entry.time[:16].replace("T", " "),
            f"{entry.action} {after}" + ("" if entry.state == "done" else f" ({entry.state})"),
            f"{before} stays" if rejected else f"{before} → {after}",
            escape(entry.by),
            escape(first) + (f" (and {len(rest)} more)" if rest else ""),
        )
    if len(past) > MANY:
        table.caption = f"the last {MANY} of {len(past)}; all are in MLflow: golden-path-decisions"
    return table


def _state(version: ModelVersion, known: list[Record]) -> str:
    if not (version.bundle / MODEL).is_file():
        return "missing"
    try:
        verify(version, known)
    except BundleRefused:
        return "altered"
    return "intact"


def _description(version: ModelVersion) -> dict[str, Any]:
    """What the bundle says of itself; nothing of it is trusted here, it is only shown."""
    try:
        said = json.loads((version.bundle / DESCRIPTION).read_text(encoding="utf-8"))
        return said if isinstance(said, dict) else {}
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    sys.exit(run_command("flows.models", ABOUT, main))
