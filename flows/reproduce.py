"""Do the figures of a run come out again? `make reproduce RUN=<id>`, or RUN=latest.

The run is repeated from its recorded settings by its own code, every stage from nothing, in
var/reproduce/<id>/: nothing else under var/ is touched, and no champion is changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from configs.command import run_command
from configs.errors import UserError
from configs.load import PREFIX, dump
from configs.settings import Settings
from flows.original import Original, code_to_run, cores_to_use, find_original, why_not_repeatable
from flows.quarantine import arguments

ABOUT = "Repeat a run from its recorded settings, data and code, and compare the figures."
ANYWAY = "--anyway"
SHOWN = (" roc_auc", " log_loss")  # of the figures that are the same
# What `configs/environment.py` has set for this command, and leads into its own var/.
OURS = {"PREFECT_HOME", "BENTOML_HOME", "MPLCONFIGDIR", "MLFLOW_TRACKING_URI"}


def main(asked: str | None, anyway: bool, settings: Settings) -> None:
    original = find_original(settings, asked)
    folder = settings.var.absolute() / "reproduce" / original.id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reason = why_not_repeatable(original)
    if reason and not anyway:
        raise UserError(
            f"run {original.id} cannot be repeated: {reason}",
            where=str(original.folder),
            next_step=f"to see how far it comes: add {ANYWAY}",
        )
    code = code_to_run(original, folder / "code", anyway=anyway)
    seconds = original.summary["seconds"]["total"]
    print(f"Repeating run {original.id} from nothing, in {folder}. It took {seconds:.0f} s then")
    repeated = repeat(original, code, folder)
    rows = compare(original, repeated)
    show(rows, Console(highlight=False))
    different = [name for name, then, now in rows if then != now]
    if different:
        raise UserError(
            f"{len(different)} of {len(rows)} are different: {', '.join(different[:6])}",
            where=str(repeated),
            next_step=_guess(different, reason),
        )
    print(f"All {len(rows)} are the same.")


def repeat(original: Original, code: Path, folder: Path) -> Path:
    """Run `flows.train` of this code on the recorded settings; returns the folder of the run."""
    config = folder / "reproduced.yaml"
    settings = original.settings.model_copy(update={"var": folder / "var"})
    config.write_text(dump(settings), encoding="utf-8")
    log_file = folder / "train.log"
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in OURS
    }
    with log_file.open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "flows.train", "--config", str(config)],
            cwd=code,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(_bind, cores_to_use(original)),
        )
    if done.returncode:
        said = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        start = max((i for i, line in enumerate(said) if line.startswith("Error")), default=-3)
        raise UserError(
            f"run {original.id} could not be repeated: {' '.join(said[start:])[:600]}",
            where=str(log_file),
            next_step="read the end of that file",
        )
    return folder / "var" / "runs" / "latest"


def compare(original: Original, repeated: Path) -> list[tuple[str, str, str]]:
    """(what, then, now) of all that must come out the same; the figures to their last digit."""
    then = original.summary
    now = json.loads((repeated / "summary.json").read_text(encoding="utf-8"))
    rows = [(name, str(then[name]), str(now[name])) for name in ("data_sha256", "table_sha256")]
    for family, was in then["families"].items():
        for part in ("valid", "test"):
            found = now["families"].get(family, {}).get(part, {})
            rows += [
                (f"{family} {part} {name}", repr(value), repr(found.get(name)))
                for name, value in was[part].items()
            ]
    rows.append(("winner", then["winner"], now["winner"]))
    rows.append(("model.onnx", _model(original.folder), _model(repeated)))
    return rows


def show(rows: list[tuple[str, str, str]], console: Console) -> None:
    """The hashes, the winner, two figures of each contestant, and what is different, in full."""
    if not console.is_terminal:
        console.width = 150
    table = Table(box=None, pad_edge=False)
    for name in ("", "then", "now", ""):
        table.add_column(name)
    kept = 0
    for name, then, now in rows:
        if then != now:
            table.add_row(name, then, now, "[bold]different[/]")
        elif " " not in name or name.endswith(SHOWN):
            table.add_row(name, _short(then), _short(now), "same")
        else:
            kept += 1
    console.print(table)
    console.print(f"and {kept} more figures that are the same", style="dim")


def _guess(different: list[str], reason: str) -> str:
    if reason:
        return f"as was said: {reason}"
    if "data_sha256" in different:
        return "the source holds other rows than it did: bring back the file as it was"
    if "table_sha256" in different:
        return "the same rows made another table: another version of DuckDB, or another machine"
    return "another machine, or another number of cores: figures repeat on the same one"


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


def _anyway(words: list[str]) -> tuple[bool, list[str]]:
    return ANYWAY in words, [word for word in words if word != ANYWAY]


if __name__ == "__main__":
    forced, words = _anyway(sys.argv[1:])
    wanted, options = arguments(words)
    sys.exit(run_command("flows.reproduce", ABOUT, partial(main, wanted, forced), options))
