"""Repeat a run and compare its figures: `make reproduce RUN=<id>`, or RUN=latest.

The run is repeated from its recorded settings with this code, every stage from nothing, in
var/reproduce/<id>/: nothing else under var/ is touched, and no champion is changed. A run of
another revision is refused, with how to check that one out. The rows are read first: other rows
make other figures, and that is known after a second or two.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from common.errors import UserError
from common.locks import folder_lock
from common.terminal import console as terminal
from common.terminal import plain
from configs.command import run_command
from configs.load import PREFIX, dump, load
from configs.make_command import make
from configs.settings import Settings
from flows import data_stages
from flows.stage import ROOT, code_sha256
from ingestion.outcome import TRANSACTIONS
from ingestion.sources import check_source

ABOUT = "Repeat a run from its recorded settings and data, and compare the figures."
ANYWAY = "--anyway"
NEEDED = ("data_sha256", "table_sha256", "code_sha256", "code_revision")
CHANGES = "+changes"  # of a revision: it ran with changes that were not committed
SHOWN = (" roc_auc", " log_loss")  # of the figures that are the same
# What `configs/environment.py` has set for this command, and leads into its own var/.
OURS = {
    *("PREFECT_HOME", "PREFECT_PROFILES_PATH", "PREFECT_API_URL"),
    *("BENTOML_HOME", "MPLCONFIGDIR", "MLFLOW_TRACKING_URI"),
}


@dataclass(frozen=True)
class Original:
    """A run that has ended: its folder, its summary, and the settings it ran with."""

    folder: Path
    summary: dict[str, Any]
    settings: Settings

    @property
    def id(self) -> str:
        return self.folder.name


def main(settings: Settings, run: str | None = None, anyway: bool = False) -> None:
    original = find_original(settings, run)
    folder = settings.var.absolute() / "reproduce" / original.id
    # The second lock is that of a run whose `make reproduce` was killed, and which goes on.
    with folder_lock(folder, f"reproduce {original.id}"):
        with folder_lock(folder / "var", f"reproduce {original.id}"):
            _clear(folder)
        _reproduce(original, folder, anyway)


def _reproduce(original: Original, folder: Path, anyway: bool) -> None:
    reason = why_not_repeatable(original)
    if reason and not anyway:
        raise UserError(
            f"run {original.id} cannot be repeated: {reason}",
            where=str(original.folder),
            next_step=f"to repeat it all the same, add {ANYWAY}",
        )
    check_code(original, anyway=anyway)
    settings = original.settings.model_copy(update={"var": folder / "var"})
    other = other_rows(original, settings)
    if other and not anyway:
        source = settings.source
        raise UserError(
            f"run {original.id} cannot be repeated: {other}",
            where=", ".join(source.path) if source.kind != "simulated" else "source.simulation",
            next_step=f"restore the rows as they were; or with the present ones: {ANYWAY}",
        )
    if other:
        print(f"The rows are not those of the run: {other}. Continuing with the present rows.")
    seconds = original.summary["seconds"]["total"]
    print(f"Repeating run {original.id} from nothing, in {folder}. It took {seconds:.0f} s then")
    repeated = repeat(original, settings, folder)
    rows = compare(original, repeated)
    show(rows, terminal())
    different = [name for name, then, now in rows if then != now]
    if different:
        raise UserError(
            f"{len(different)} of {len(rows)} are different: {', '.join(different[:6])}",
            where=str(repeated),
            next_step=causes(different, reason, repeated),
        )
    print(f"All {len(rows)} are the same.")


def find_original(settings: Settings, run_id: str | None) -> Original:
    """Return the run of this id under var/runs. Raises UserError when it lacks what is needed."""
    runs = settings.var.absolute() / "runs"
    ended = sorted((path.parent.name for path in runs.glob("*/summary.json")), reverse=True)
    known = [name for name in ended if name != "latest"]
    plain = bool(run_id) and run_id not in (".", "..") and Path(str(run_id)).name == run_id
    if not run_id or not plain or not (runs / run_id).is_dir():
        raise UserError(
            f"there is no run {run_id!r}" if run_id else "no run is named",
            where="RUN",
            next_step=f"choose latest, or one of {', '.join(known[:5])}"
            if known
            else f"no run has ended yet: {make('train', settings)}",
        )
    folder = (runs / run_id).resolve()
    for name in ("settings.yaml", "summary.json"):
        if not (folder / name).is_file():
            what = "its settings are gone" if name == "settings.yaml" else "it has not ended"
            raise UserError(
                f"run {folder.name} cannot be repeated: {what}",
                where=str(folder / name),
                next_step="choose another run",
            )
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except ValueError:
        summary = {}  # altered
    missing = [name for name in NEEDED if name not in summary]
    if missing:
        raise UserError(
            f"run {folder.name} cannot be repeated: it has not recorded its {missing[0]}",
            where=str(folder / "summary.json"),
            next_step="choose a run of a later revision",
        )
    return Original(folder, summary, _settings(folder / "settings.yaml"))


def why_not_repeatable(original: Original) -> str:
    """Return why the same settings and rows may give other figures; "" when they may not.

    Raises UserError for what cannot be tried at all: rows that are gone, and a database.
    """
    settings = original.settings
    if settings.source.kind == "database":
        raise UserError(
            f"run {original.id} cannot be repeated: its rows came from a database, which cannot be"
            " read again as it was then",
            where=str(original.folder / "settings.yaml"),
            next_step="export the rows to a file and train from that: such a run can be repeated",
        )
    try:
        check_source(settings.source)
    except UserError as error:
        raise UserError(
            f"run {original.id} cannot be repeated, its source is not what it was: {error.what}",
            where=error.where,
            next_step="restore the file at its place",
        ) from None
    families = original.summary["families"]
    timed = [name for name, family in families.items() if family["ended_by"] == "seconds"]
    if timed:
        return f"the search of {timed[0]} was ended by the clock, not by its trials"
    if settings.tuning.workers > 1:
        return "its trials ran in parallel (tuning.workers), and their order is not fixed"
    return ""


def check_code(original: Original, *, anyway: bool) -> None:
    """Raise UserError when the run had other code than this, with how to get it; with `anyway` that
    is only printed."""
    revision, wanted = original.summary["code_revision"], original.summary["code_sha256"]
    if wanted == code_sha256():
        return
    commit = revision.removesuffix(CHANGES)
    if revision == "unknown":
        reason = "the code has changed since, and the run recorded no git revision to check out"
        how = "check out the code that it ran with"
    elif revision.endswith(CHANGES):
        reason = f"it ran with changes on top of {commit[:12]} that were not committed"
        how = "restore these changes"
    else:
        reason = f"the code differs from that of revision {commit[:12]}"
        words = f"git worktree add ../{commit[:12]} {commit[:12]} && cd ../{commit[:12]}"
        var = original.folder.parents[1]
        how = f'{words} && make reproduce RUN={original.id} ARGS="--var {var}"'
    if anyway:
        print(f"The code is not that of the run: {reason}. Continuing with the present code.")
        return
    raise UserError(
        f"run {original.id} cannot be repeated: {reason}",
        where=f"code_sha256 {wanted[:12]}…, now {code_sha256()[:12]}…",
        next_step=f"{how}; or add {ANYWAY} to repeat it with the present code",
    )


def other_rows(original: Original, settings: Settings) -> str:
    """Return what is wrong with the source; "" when it holds the rows of the run."""
    try:
        parts = data_stages.ingest(settings)
        validated = data_stages.validate(settings, parts, settings.var / "contract.html")
    except UserError as error:
        return f"its rows can no longer be read: {error.what}"
    wanted, now = str(original.summary["data_sha256"]), validated.files[TRANSACTIONS]
    if now == wanted:
        return ""
    return (
        "the source holds other rows than it did"
        f" (data_sha256 {wanted[:12]}… then, {now[:12]}… now)"
    )


def repeat(original: Original, settings: Settings, folder: Path) -> Path:
    """Run `make train` with these settings in a process of its own, with nothing else set, on as
    many cores as the run had; returns the folder of the new run."""
    file, log_file = folder / "reproduced.yaml", folder / "train.log"
    file.write_text(dump(settings), encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in OURS}
    with log_file.open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "flows.commands.train", "--config", str(file)],
            cwd=ROOT,
            env=env,
            preexec_fn=partial(_bind, cores_to_use(original)),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        output = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        start = max((i for i, line in enumerate(output) if line.startswith("Error")), default=-3)
        raise UserError(
            f"run {original.id} could not be repeated: {' '.join(output[start:])[:600]}",
            where=str(log_file),
            next_step="read the end of that file",
        )
    return settings.var / "runs" / "latest"


def cores_to_use(original: Original) -> set[int] | None:
    """Return as many cores as the run had, where this machine has more: threads change the last
    digits. None: all of them."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    threads = [
        json.loads(job.read_text(encoding="utf-8"))["threads"]
        for job in original.folder.glob("job-*.json")
    ]
    if not threads:  # every family was reused: nothing says how many
        return None
    settings = original.settings
    side_by_side = min(settings.tuning.families_at_once, len(settings.training.families))
    mine = sorted(os.sched_getaffinity(0))
    wanted = max(threads) * side_by_side
    if len(mine) // side_by_side == max(threads):
        return None
    if len(mine) < wanted:
        print(f"The run had {wanted} cores, here are {len(mine)}: the last digits may differ.")
        return None
    return set(mine[:wanted])


def compare(original: Original, repeated: Path) -> list[tuple[str, str, str]]:
    """Return (what, then, now) for all that must come out the same; the figures to their last
    digit."""
    then = original.summary
    now = json.loads((repeated / "summary.json").read_text(encoding="utf-8"))
    rows = [(name, str(then[name]), str(now[name])) for name in ("data_sha256", "table_sha256")]
    for family, was in then["families"].items():
        for part in ("valid", "test"):
            figures = now["families"].get(family, {}).get(part, {})
            rows += [
                (f"{family} {part} {name}", repr(value), repr(figures.get(name)))
                for name, value in was[part].items()
            ]
    rows.append(("winner", then["winner"], now["winner"]))
    rows.append(("model.onnx", _model(original.folder), _model(repeated)))
    return rows


def show(rows: list[tuple[str, str, str]], console: Console) -> None:
    """Print the hashes, the winner, two figures of each candidate, and in full what is
    different."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "then", "now", ""):
        table.add_column(name)
    kept = 0
    for name, then, now in rows:
        if then != now:
            table.add_row(plain(name), plain(then, 200), plain(now, 200), "[bold]different[/]")
        elif " " not in name or name.endswith(SHOWN):
            table.add_row(plain(name), plain(_short(then)), plain(_short(now)), "same")
        else:
            kept += 1
    console.print(table)
    console.print(f"and {kept} more figures that are the same", style="dim")


def causes(different: list[str], reason: str, repeated: Path) -> str:
    """Return what may have made the figures different, the most certain first."""
    now = json.loads((repeated / "summary.json").read_text(encoding="utf-8"))
    timed = [name for name, one in now["families"].items() if one["ended_by"] == "seconds"]
    likely = []
    if "data_sha256" in different:
        likely.append("the source holds other rows than it did: restore the file as it was")
    elif "table_sha256" in different:
        likely.append(
            "the same rows made another table: another DuckDB version, or another machine"
        )
    if reason:
        likely.append(reason)
    if timed:
        likely.append(
            f"this time the search of {', '.join(timed)} was ended by the clock, not by its trials:"
            " repeat it while the machine does nothing else"
        )
    return "; and ".join(likely) or (
        "another machine, or another number of cores: figures repeat on the same one"
    )


def _settings(file: Path) -> Settings:
    """Read the settings of a run whatever the environment says now; paths of its source
    absolute."""
    try:
        settings = load(str(file), env={})
    except UserError as error:
        raise UserError(
            f"run {file.parent.name} cannot be repeated: its settings are not those of this"
            f" revision: {error.what}",
            where=str(file),
            next_step="check out its own revision: code_revision in summary.json",
        ) from None
    paths = tuple(str(ROOT / path) for path in settings.source.path)
    return settings.model_copy(
        update={"source": settings.source.model_copy(update={"path": paths})}
    )


def _clear(folder: Path) -> None:
    """Empty a folder except for its lock, which is held."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != "lock":
            path.unlink()


def _model(run: Path) -> str:
    file = run / "bundle" / "model.onnx"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "not kept"


def _short(text: str) -> str:
    if len(text) == 64:
        return f"{text[:12]}…"
    try:
        return f"{float(text):.6f}"
    except ValueError:
        return text


def _bind(cores: set[int] | None) -> None:
    if cores is not None:
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    flags = {"anyway": "repeat it although something has changed"}
    sys.exit(run_command("flows.commands.reproduce", ABOUT, main, arguments=("run",), flags=flags))
