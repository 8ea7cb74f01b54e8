"""Do the figures of a run come out again? `make reproduce RUN=<id>`, or RUN=latest.

The run is repeated from its recorded settings by its own code, every stage from nothing, in
var/reproduce/<id>/: nothing else under var/ is touched, and no champion is changed. Its rows are
read first: other rows make other figures, and that is known after a second or two.
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
from typing import Any

from rich.console import Console
from rich.table import Table

from common.errors import UserError
from common.terminal import console as terminal
from common.terminal import plain
from configs.command import run_command
from configs.load import PREFIX, dump
from configs.settings import Settings
from flows.commands.quarantine import arguments
from flows.lock import alone
from flows.original import Original, code_to_run, cores_to_use, find_original, why_not_repeatable

ABOUT = "Repeat a run from its recorded settings, data and code, and compare the figures."
ANYWAY = "--anyway"
SHOWN = (" roc_auc", " log_loss")  # of the figures that are the same
# What `configs/environment.py` has set for this command, and leads into its own var/.
OURS = {
    *("PREFECT_HOME", "PREFECT_PROFILES_PATH", "PREFECT_API_URL"),
    *("BENTOML_HOME", "MPLCONFIGDIR", "MLFLOW_TRACKING_URI"),
}


# Run by the code of the run, which may be of another revision: what `flows/train.py` does first.
READ = """
import sys
from configs.command import run_command
def read(settings):
    from flows import data_stages
    parts = data_stages.ingest(settings)
    page = settings.var.absolute() / "contract.html"
    print(data_stages.validate(settings, parts, page).files["transactions.parquet"])
sys.exit(run_command("flows.commands.reproduce", "", read, sys.argv[1:]))
"""


def main(asked: str | None, anyway: bool, settings: Settings) -> None:
    original = find_original(settings, asked)
    folder = settings.var.absolute() / "reproduce" / original.id
    # The second lock is that of a run whose `make reproduce` was killed, and which goes on.
    with alone(folder, f"reproduce {original.id}"):
        with alone(folder / "var", f"reproduce {original.id}"):
            _clear(folder)
        _reproduce(original, folder, anyway)


def _reproduce(original: Original, folder: Path, anyway: bool) -> None:
    reason = why_not_repeatable(original)
    if reason and not anyway:
        raise UserError(
            f"run {original.id} cannot be repeated: {reason}",
            where=str(original.folder),
            next_step=f"to see how far it comes: add {ANYWAY}",
        )
    code = code_to_run(original, folder / "code", anyway=anyway)
    cores = cores_to_use(original)
    other = other_rows(original, code, folder, cores)
    if other and not anyway:
        raise UserError(
            f"run {original.id} cannot be repeated: {other}",
            where=source_of(original),
            next_step=f"bring back the rows as they were; to see how far it comes: add {ANYWAY}",
        )
    if other:
        print(f"Not its own rows: {other}. Going on with the present ones.")
    seconds = original.summary["seconds"]["total"]
    print(f"Repeating run {original.id} from nothing, in {folder}. It took {seconds:.0f} s then")
    repeated = repeat(original, code, folder, cores)
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


def other_rows(original: Original, code: Path, folder: Path, cores: set[int] | None) -> str:
    """ "" when the source holds the rows of the run; otherwise what is wrong with it."""
    words = ["-c", READ, "--config", str(_config(original, folder))]
    done = _by(code, words, cores, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        start = next((line for line in said if line.startswith("Error: ")), "Error: unexpected")
        if start.startswith("Error: unexpected"):
            return ""  # a revision whose stages are called otherwise: the run will tell
        return f"its rows are read no more: {start.removeprefix('Error: ')}"
    found = done.stdout.decode().strip().splitlines()[-1]
    wanted = str(original.summary["data_sha256"])
    if found == wanted:
        return ""
    return (
        "the source holds other rows than it did"
        f" (data_sha256 {wanted[:12]}… then, {found[:12]}… now)"
    )


def source_of(original: Original) -> str:
    """Where its rows come from, in words."""
    source = original.settings.source
    return ", ".join(source.path) if source.kind != "simulated" else "source.simulation"


def repeat(original: Original, code: Path, folder: Path, cores: set[int] | None) -> Path:
    """Run `flows.train` of this code on the recorded settings; returns the folder of the run."""
    log_file = folder / "train.log"
    words = ["-m", "flows.train", "--config", str(_config(original, folder))]
    with log_file.open("wb") as log:
        done = _by(code, words, cores, stdout=log, stderr=subprocess.STDOUT)
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
    """What may have made the figures different, the surest first."""
    now = json.loads((repeated / "summary.json").read_text(encoding="utf-8"))
    timed = [name for name, found in now["families"].items() if found["ended_by"] == "seconds"]
    found = []
    if "data_sha256" in different:
        found.append("the source holds other rows than it did: bring back the file as it was")
    elif "table_sha256" in different:
        found.append("the same rows made another table: another DuckDB, or another machine")
    if reason:
        found.append(f"as was said, {reason}")
    if timed:
        found.append(
            f"this time the search of {', '.join(timed)} was ended by the clock, not by its trials:"
            " repeat it while the machine does nothing else"
        )
    return "; and ".join(found) or (
        "another machine, or another number of cores: figures repeat on the same one"
    )


def _config(original: Original, folder: Path) -> Path:
    """The settings of the run, with a var/ of their own."""
    file = folder / "reproduced.yaml"
    settings = original.settings.model_copy(update={"var": folder / "var"})
    file.write_text(dump(settings), encoding="utf-8")
    return file


def _by(
    code: Path, words: list[str], cores: set[int] | None, **streams: Any
) -> subprocess.CompletedProcess[bytes]:
    """Python on this code and these cores, with nothing set but the settings it is given."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in OURS
    }
    return subprocess.run(
        [sys.executable, *words],
        cwd=code,
        env=environment,
        preexec_fn=partial(_bind, cores),
        **streams,
    )


def _clear(folder: Path) -> None:
    """Empty it but for its lock, which is held."""
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


def _anyway(words: list[str]) -> tuple[bool, list[str]]:
    return ANYWAY in words, [word for word in words if word != ANYWAY]


if __name__ == "__main__":
    forced, words = _anyway(sys.argv[1:])
    wanted, options = arguments(words)
    sys.exit(run_command("flows.commands.reproduce", ABOUT, partial(main, wanted, forced), options))
