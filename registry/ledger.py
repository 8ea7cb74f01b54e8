"""The ledger: every decision about a model is one record, chained by hash and never rewritten.

A record (`registry/chain.py`) is one MLflow run of the experiment `golden-path-decisions`, with
tags and metrics for MLflow's page, and the file `decision.json`, which is the record itself. The
experiment has a tag with the hash of the last: a record that was altered, taken out or cut off at
the end is named by `read`, and no champion is moved after it (`trusted`).

The run stays RUNNING until what was decided has been done (`registry/carry_out.py`).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from common.errors import UserError
from configs.make_command import make
from configs.settings import Settings
from registry.chain import NOTHING, Problem, Record, content_of, hash_of, parse, problems_of
from registry.champion import model_name, pages_of
from registry.location import artifact_root, local_path
from registry.tracking import ensure_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

EXPERIMENT = "golden-path-decisions"
RECORD, HEAD, NOTE = "decision.json", "golden_path.head", "mlflow.note.content"
SHOWN = (
    *("action", "model", "from_version", "to_version", "by", "run_id", "data_sha256"),
    *("code_revision", "sequence"),
)


class LedgerBroken(UserError):
    """The ledger is not whole, so no decision may rest on it."""


# --- write --------------------------------------------------------------------------------------


def write(client: MlflowClient, settings: Settings, decision: Record) -> Record:
    """Write the decision as the next record; `close` it once it has been carried out. The caller
    holds the lock of `registry/carry_out.py`: two writers would both follow the same record."""
    from mlflow.entities import Metric, RunTag

    experiment = ensure_experiment(client, settings, EXPERIMENT, "decisions")
    sequence, previous = _last(client, experiment)
    entry = replace(
        decision,
        sequence=sequence + 1,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model_name(settings),
        figures=to_jsonable_python(decision.figures, inf_nan_mode="null"),
        rules=to_jsonable_python(decision.rules, inf_nan_mode="null"),
        previous_sha256=previous,
    )
    entry = replace(entry, sha256=hash_of(content_of(entry)))
    run = client.create_run(experiment.experiment_id, run_name=_title(entry)).info.run_id
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / RECORD
        file.write_text(json.dumps(content_of(entry), indent=2, sort_keys=True), encoding="utf-8")
        file.chmod(0o444)
        client.log_artifact(run, str(file))
    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(key, value, now, 0) for key, value in _flat(entry.figures).items()],
        # Only its hash, which comes last, makes it a record.
        tags=[
            *(RunTag(key, value) for key, value in _tags(entry).items() if value),
            RunTag("sha256", entry.sha256),
        ],
    )
    client.set_experiment_tag(experiment.experiment_id, HEAD, f"{entry.sequence} {entry.sha256}")
    return replace(entry, open=True, mlflow_run_id=run)


def close(client: MlflowClient, entry: Record) -> Record:
    """Mark the decision as carried out."""
    client.set_terminated(entry.mlflow_run_id)
    return replace(entry, open=False)


def close_unfinished(client: MlflowClient) -> None:
    """Mark as KILLED what a killed command had begun to write: MLflow shows it as running. The
    caller holds the lock, as for `write`."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        if "sha256" not in run.data.tags:
            client.set_terminated(run.info.run_id, "KILLED")


# --- read ---------------------------------------------------------------------------------------


def history(client: MlflowClient, settings: Settings) -> list[Record]:
    """The whole records of this preset's model, oldest first."""
    return [entry for entry in _read(client)[0] if entry.model == model_name(settings)]


def read(client: MlflowClient) -> tuple[list[Record], list[str]]:
    """Every whole record of the store, oldest first, and what is wrong with the ledger."""
    records, problems = _read(client)
    return records, [problem.text for problem in problems]


def standing(client: MlflowClient, settings: Settings) -> tuple[list[Record], list[str]]:
    """What decisions about this preset's model rest on: its records since its newest sound
    `restart`, and what is wrong with the ledger since then, which forbids to decide."""
    records, problems = _read(client)
    blamed = {problem.place for problem in problems}
    ours = [entry for entry in records if entry.model == model_name(settings)]
    restarts = [e.sequence for e in ours if e.action == "restart" and e.sequence not in blamed]
    begin = max(restarts, default=0)
    texts = [problem.text for problem in problems if problem.place > begin]
    return [entry for entry in ours if entry.sequence >= begin], texts


def trusted(client: MlflowClient, settings: Settings) -> list[Record]:
    """The records of `standing`. Raises LedgerBroken when anything is wrong there."""
    records, problems = standing(client, settings)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LedgerBroken(
            f"the ledger is not whole, so the champion stays: {problems[0]}{more}",
            where=settings.tracking.uri or str(artifact_root(settings) / "decisions"),
            next_step=repair_steps(settings),
        )
    return records


def repair_steps(settings: Settings) -> str:
    """What to do when the ledger is not whole."""
    state = settings.tracking.uri or artifact_root(settings).parent
    promote = make("promote", settings, "--despite-ledger", VERSION="N")
    return (
        f"see all problems: {make('models', settings)}; restore {state} from a copy, or promote a"
        f" version yourself: {promote}"
    )


def _read(client: MlflowClient) -> tuple[list[Record], list[Problem]]:
    records: list[Record] = []
    problems: list[Problem] = []
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return records, problems
    for run in reversed(pages_of(client.search_runs, [experiment.experiment_id])):
        if "sha256" not in run.data.tags:
            continue  # killed before it was whole: nothing was decided
        name = run.data.tags.get("sequence", "?")
        place = _number(name)
        try:
            entry = _record_of(client, run)
        except OSError:
            problems.append(Problem(place, f"record {name} is lost: {record_file(run)}"))
        except ValueError:
            problems.append(Problem(place, f"record {name} was altered: {record_file(run)}"))
        else:
            records.append(entry)
            problems += _page_problems(run, entry)
            if entry.open and run.info.end_time is not None:  # which MLflow keeps
                text = f"record {name} was carried out, but its status in MLflow is RUNNING"
                problems.append(Problem(place, text))
    records.sort(key=lambda entry: entry.sequence)
    damaged = {problem.place for problem in problems} - {entry.sequence for entry in records}
    problems += problems_of(records, damaged)
    problems += _end_problems(experiment, records, damaged)
    return records, sorted(problems, key=lambda problem: problem.place)


def _record_of(client: MlflowClient, run: Run) -> Record:
    """The record of this run. Raises OSError when it is gone, ValueError when it was altered."""
    from mlflow.exceptions import MlflowException

    file = record_file(run)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(file, str):
            try:
                file = Path(client.download_artifacts(run.info.run_id, RECORD, folder))
            except MlflowException as error:
                raise OSError(str(error)) from None
        entry = parse(file.read_text(encoding="utf-8"))
    if entry.sha256 != run.data.tags["sha256"]:
        raise ValueError("this is the record of another run")
    return replace(entry, open=run.info.status == "RUNNING", mlflow_run_id=run.info.run_id)


def record_file(run: Run) -> Path | str:
    """Where the record of this run lies: a path, or on a server its URI."""
    uri = f"{run.info.artifact_uri}/{RECORD}"
    return local_path(uri) or uri


def _last(client: MlflowClient, experiment: Experiment) -> tuple[int, str]:
    """Sequence and hash of the last record. Where that one was taken away, its place stays empty,
    so that the gap is noticed ever after."""
    records, _ = _read(client)
    sequence, head = _head(experiment)
    if records and records[-1].sequence > sequence:  # its writer was killed before the tag
        return records[-1].sequence, records[-1].sha256
    return sequence, head or NOTHING


def _head(experiment: Experiment) -> tuple[int, str]:
    sequence, _, head = experiment.tags.get(HEAD, f"0 {NOTHING}").partition(" ")
    return (_number(sequence), head) if sequence == str(_number(sequence)) else (0, "")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _end_problems(
    experiment: Experiment, records: list[Record], damaged: set[int]
) -> list[Problem]:
    """Whether the last record is the one that the experiment's tag names."""
    sequence, head = _head(experiment)
    if sequence > (records[-1].sequence if records else 0):
        text = f"record {sequence}, the last, is missing"
        return [] if sequence in damaged else [Problem(sequence, text)]
    if not records:
        return []
    last = records[-1]
    # Its writer may have been killed before the tag.
    if (sequence, head) in (
        (last.sequence, last.sha256),
        (last.sequence - 1, last.previous_sha256),
    ):
        return []
    text = f"record {last.sequence}, the last, is not the one that was written"
    return [Problem(last.sequence, text)]


def _page_problems(run: Run, entry: Record) -> list[Problem]:
    """Where MLflow's page differs from the record. Decisions do not rest on it."""
    shown = run.data.tags
    different = [key for key, value in _tags(entry).items() if shown.get(key, "") != value]
    if run.info.run_name != _title(entry):
        different.append("name")
    if run.data.metrics != _flat(entry.figures):
        different.append("metrics")
    if run.info.status not in ("RUNNING", "FINISHED"):
        different.append("status")
    text = f"MLflow's page differs from record {entry.sequence}: {', '.join(different)}"
    return [Problem(0, text)] if different else []


# --- its content --------------------------------------------------------------------------------


def _title(entry: Record) -> str:
    moved = f"{entry.from_version or '–'} → {entry.to_version or '–'}"
    return f"{entry.sequence} {entry.action} {entry.model} {moved}"


def _tags(entry: Record) -> dict[str, str]:
    """What MLflow's page shows of a record; "" for what has no tag."""
    values = {name: getattr(entry, name) for name in SHOWN}
    tags = {name: "" if value is None else str(value) for name, value in values.items()}
    return tags | {NOTE: entry.reason[:5000]}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{key}"] = float(value)
    return flat
