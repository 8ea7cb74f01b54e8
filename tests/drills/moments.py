"""When a run is killed: as soon as something can be seen that a run makes, or by the clock.

Nothing in the run is changed for it. A moment is looked for every few milliseconds, so the kill
comes a little after what it is named for, and not at the same place twice.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

# What the run finds: an empty folder, or what an earlier one left, but no stages. All is computed
# again in both; in the second, the databases, the ledger and a champion are there.
NOTHING, KNOWN = "nothing", "known"

Seen = Callable[[Path], bool]


@dataclass(frozen=True)
class Case:
    """seen: whether the moment has come, by the folder of the state; None: after `share` of the
    time that the run takes undisturbed.  tree: kill all processes of the run at once, or only the
    first, which the others have to notice.  ctrl_c: do not kill it, interrupt it."""

    name: str
    start: str
    tree: bool
    seen: Seen | None = None
    share: float = 0.0
    ctrl_c: bool = False


def file(pattern: str, size: int = 0) -> Seen:
    """A file or folder that matches, of at least this many bytes."""

    def seen(var: Path) -> bool:
        try:
            return any(path.stat().st_size >= size for path in var.glob(pattern))
        except OSError:  # it has just been renamed
            return False

    return seen


def line(text: str) -> Seen:
    """A line in the log of the newest run."""

    def seen(var: Path) -> bool:
        logs = sorted((var / "runs").glob("2*/run.log"))
        return bool(logs) and text in logs[-1].read_text(encoding="utf-8", errors="replace")

    return seen


def row(query: str) -> Seen:
    """More than there was: a row in MLflow's database that the query counts."""
    before: list[int] = []

    def seen(var: Path) -> bool:
        try:
            uri = f"file:{var / 'mlflow' / 'mlflow.db'}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
                found = connection.execute(query).fetchall()[0][0]
        except sqlite3.Error:  # not there yet, or being written
            return False
        before.append(found)
        return found > before[0]

    return seen


RUNS, DECISIONS = "runs/2*", "mlflow/artifacts/decisions"
# (name, what is seen, where it is tried from)
CHOSEN: list[tuple[str, Callable[[], Seen], str]] = [
    ("folder of the run", lambda: file(f"{RUNS}/settings.yaml"), NOTHING),
    ("Prefect's database: first byte", lambda: file("prefect/prefect.db"), NOTHING),
    ("Prefect's database: its journal", lambda: file("prefect/prefect.db-wal", 1), NOTHING),
    ("Prefect's database: half", lambda: file("prefect/prefect.db-wal", 700_000), NOTHING),
    ("MLflow's database: first byte", lambda: file("mlflow/.mlflow.db.new-*/*", 1), NOTHING),
    ("MLflow's database: a third", lambda: file("mlflow/.mlflow.db.new-*/*.db", 250_000), NOTHING),
    ("MLflow's database: most", lambda: file("mlflow/.mlflow.db.new-*/*.db", 600_000), NOTHING),
    ("MLflow's database: there", lambda: file("mlflow/mlflow.db"), NOTHING),
    ("MLflow: first run", lambda: row("SELECT count(*) FROM runs"), NOTHING),
    ("ingest: begun", lambda: file("stages/.ingest-*"), NOTHING),
    ("ingest: done", lambda: file("stages/ingest-*"), NOTHING),
    ("validate: begun", lambda: file("stages/.validate-*"), KNOWN),
    ("validate: rows written", lambda: file("stages/.validate-*/transactions.parquet", 1), KNOWN),
    ("validate: done", lambda: file("stages/validate-*"), KNOWN),
    ("first accepted batch", lambda: file("batches/*/*.json"), NOTHING),
    ("where the batch lies", lambda: file("validated/*.json"), NOTHING),
    ("features: begun", lambda: file("stages/.features-*"), KNOWN),
    ("features: table written", lambda: file("stages/.features-*/table.parquet", 1), KNOWN),
    ("features: done", lambda: file("stages/features-*"), KNOWN),
    ("data report", lambda: file(f"{RUNS}/data.json"), KNOWN),
    ("family: process started", lambda: file(f"{RUNS}/logistic.log"), KNOWN),
    ("Optuna's study: begun", lambda: file("optuna/.studies.db.new-*"), NOTHING),
    ("Optuna's study: tables", lambda: file("optuna/.studies.db.new-*/*.db", 50_000), NOTHING),
    ("Optuna's study: there", lambda: file("optuna/studies.db"), NOTHING),
    ("search: first trial", lambda: line("'event': 'trial'"), KNOWN),
    ("search: refit", lambda: line("'name': 'refit'"), KNOWN),
    ("search: export", lambda: line("'name': 'export'"), KNOWN),
    ("family: files written", lambda: file("stages/.logistic-*/**/model.onnx", 1), KNOWN),
    ("family: done", lambda: file("stages/logistic-*"), KNOWN),
    ("bundle: begun", lambda: file(f"{RUNS}/bundle*"), KNOWN),
    ("bundle: there", lambda: file(f"{RUNS}/bundle"), NOTHING),
    ("bundle: logged", lambda: file("mlflow/artifacts/*/artifacts/bundle/*", 1), NOTHING),
    ("registered", lambda: row("SELECT count(*) FROM model_versions"), NOTHING),
    ("challenger", lambda: row("SELECT count(*) FROM registered_model_aliases"), NOTHING),
    ("report", lambda: file(f"{RUNS}/report.html"), KNOWN),
    ("ledger: a run of its own", lambda: row("SELECT count(*) FROM experiments"), NOTHING),
    ("ledger: the record", lambda: file(f"{DECISIONS}/*/artifacts/decision.json"), NOTHING),
    (
        "champion",
        lambda: row("SELECT count(*) FROM registered_model_aliases WHERE alias = 'champion'"),
        NOTHING,
    ),
    ("summary", lambda: file(f"{RUNS}/summary.json"), NOTHING),
    ("latest run", lambda: file("runs/latest"), NOTHING),
]


# Where a Ctrl-C is tried too, with seconds in which it has to end: while libraries are imported and
# Prefect's API starts, and in each stage.
INTERRUPTED = (
    *("folder of the run", "Prefect's database: half", "MLflow's database: a third"),
    *("ingest: begun", "validate: begun", "features: begun", "data report", "search: first trial"),
    *("family: done", "bundle: there", "report", "ledger: the record"),
)


def cases(seed: int) -> list[Case]:
    """40 chosen moments, as many by chance, and 12 to interrupt a run at."""
    draw = random.Random(seed)
    found = [
        Case(name, start, tree=number % 3 != 2, seen=seen())
        for number, (name, seen, start) in enumerate(CHOSEN)
    ]
    for number in range(len(CHOSEN)):
        start = NOTHING if number % 4 == 0 else KNOWN
        share = draw.random()
        found.append(Case(f"after {share:.0%}", start, tree=number % 3 != 2, share=share))
    for name, seen, start in CHOSEN:
        if name in INTERRUPTED:
            found.append(Case(name, start, tree=False, seen=seen(), ctrl_c=True))
    return found
