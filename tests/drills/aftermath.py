"""What a run has left, looked at by the project's own eyes: is all that is relied on whole?"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def figures_of(var: Path) -> dict[str, Any]:
    """What must come out the same: hashes of the data, figures and parameters of the families."""
    summary = json.loads((var / "runs" / "latest" / "summary.json").read_text(encoding="utf-8"))
    families = {
        name: {part: found[part] for part in ("trials", "params", "valid", "test")}
        for name, found in summary["families"].items()
    }
    kept = ("data_sha256", "table_sha256", "rows", "winner")
    return {name: summary[name] for name in kept} | {"families": families}


QUERIES = {  # for runs that MLflow's or Prefect's page would show as going on
    "mlflow/mlflow.db": "SELECT count(*) FROM runs WHERE status = 'RUNNING'",
    "prefect/prefect.db": "SELECT count(*) FROM flow_run"
    " WHERE state_type NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')",
}


def problems_in(var: Path, preset: Path, databases: tuple[str, ...] = tuple(QUERIES)) -> list[str]:
    """What is wrong there, in words. databases: those in which no run may go on.

    Looked for in a process of its own: MLflow keeps connections to a database, which is another one
    after the next case."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_look, args=(var, preset, databases, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return ["what is left could not be looked at"]
    finally:
        process.join()


def _look(var: Path, preset: Path, databases: tuple[str, ...], answer: Any) -> None:
    from configs.command import run_command

    found: list[str] = []
    code = run_command(
        "tests.drills",
        "",
        lambda settings: found.extend(_problems(settings, databases)),
        ["--config", str(preset), "--var", str(var)],
    )
    answer.send(found if not code else [*found, "what is left cannot be read: see above"])


def _problems(settings: Any, databases: tuple[str, ...]) -> list[str]:
    from common.files import sha256_of
    from flows.acceptance import last_validated
    from flows.stage import RECORD
    from ingestion.batches import ACCEPTED, seen
    from registry import ledger
    from registry.carry_out import pending
    from registry.champion import verify_version, versions
    from registry.tracking import open_store

    var, client = settings.var.absolute(), open_store(settings)
    found = ledger.read(client)[1] + pending(client, settings)
    past = ledger.history(client, settings)
    decided = {entry.to_version for entry in past}
    for version in versions(client, settings):
        verify_version(version, past)
        if version.version not in decided:
            found.append(f"version {version.version} has no decision")
    found += [f"record {entry.sequence} is open" for entry in past if entry.open]
    for folder in (var / "stages").glob("[!.]*"):
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = {path.name: sha256_of(path) for path in folder.iterdir() if path.name != RECORD}
        if files != record["files"]:
            found.append(f"the stage {folder.name} is half-made")
    if not any(batch.status in ACCEPTED for batch in seen(var, settings.dataset)):
        found.append("no batch is accepted")
    if not last_validated(settings).folder.is_dir():
        found.append("the validated batch is not where it is said to be")
    found += _left_running(var, databases)
    return found


def _left_running(var: Path, databases: tuple[str, ...]) -> list[str]:
    found = []
    for name in databases:
        with closing(sqlite3.connect(var / name, timeout=60)) as connection:
            if count := connection.execute(QUERIES[name]).fetchall()[0][0]:
                found.append(f"{count} runs go on for ever in {name}")
    return found
