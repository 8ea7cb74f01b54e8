"""The ledger: every decision about a model is one record, chained by hash and never rewritten.

A record is one MLflow run of the experiment `golden-path-decisions`, with tags and metrics for
MLflow's page, and the file `decision.json`, which is the record itself. Each record holds the hash
of the one before it, and the experiment a tag with the hash of the last: a record that was altered,
taken out or cut off at the end is named by `read`, and no champion is moved after it (`trusted`).

The run stays RUNNING until what was decided has been done (`registry/promotion.py`).
"""

from __future__ import annotations

import getpass
import json
import math
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from common.errors import UserError
from configs.command import make
from configs.settings import Settings
from registry.chain import NOTHING, Action, Problem, Record, hash_of, parse, problems_of, since
from registry.store import KIND, artifact_root, model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

EXPERIMENT = "golden-path-decisions"
RECORD, HEAD, NOTE = "decision.json", "golden_path.head", "mlflow.note.content"
GATE = "gate"
SHOWN = ("action", "model", "from_version", "to_version", "by", "run_id", "data_sha256")
STATES = {"RUNNING": "open", "FINISHED": "done", "KILLED": "void"}


class LedgerBroken(UserError):
    """The ledger is not whole, so nothing may be decided by it."""


@dataclass(frozen=True)
class _Ledger:
    records: list[Record]  # whole ones, oldest first
    problems: list[Problem]


def record(
    client: MlflowClient,
    settings: Settings,
    *,
    action: Action,
    from_version: int | None,
    to_version: int | None,
    by: str,
    reason: str,
    figures: Mapping[str, Any] | None = None,
    rules: Iterable[Mapping[str, Any]] = (),
    bundle_sha256: str = "",
    data_sha256: str = "",
    code_revision: str = "",
    run_id: str = "",
) -> Record:
    """Write one record; `close` it once it has been carried out. The caller holds the lock of
    `registry/promotion.py`: two writers would both follow the same record."""
    sequence, previous = _last(client)
    content = _jsonable(
        {
            "sequence": sequence + 1,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "action": action,
            "model": model_name(settings),
            "from_version": from_version,
            "to_version": to_version,
            "by": by,
            "reason": reason,
            "figures": dict(figures or {}),
            "rules": [dict(rule) for rule in rules],
            "bundle_sha256": bundle_sha256,
            "data_sha256": data_sha256,
            "code_revision": code_revision,
            "run_id": run_id,
            "previous_sha256": previous,
        }
    )
    content["sha256"] = hash_of(content)
    mlflow_run_id = _write(client, settings, content)
    return Record(**content, state="open", mlflow_run_id=mlflow_run_id)


def close(client: MlflowClient, entry: Record, *, done: bool = True) -> Record:
    """Say that the decision has been carried out, or with `done=False` that it never will be."""
    client.set_terminated(entry.mlflow_run_id, "FINISHED" if done else "KILLED")
    return replace(entry, state="done" if done else "void")


def close_unfinished(client: MlflowClient) -> None:
    """Mark as KILLED what a killed command had begun to write: MLflow shows it as running. The
    caller holds the lock, as for `record`."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        if "sha256" not in run.data.tags:
            client.set_terminated(run.info.run_id, "KILLED")


def history(client: MlflowClient, settings: Settings) -> list[Record]:
    """The whole records of this preset's model, oldest first."""
    return [entry for entry in read(client)[0] if entry.model == model_name(settings)]


def read(client: MlflowClient) -> tuple[list[Record], list[str]]:
    """Every whole record of the store, oldest first, and what is wrong with the ledger."""
    found = _all(client)
    return found.records, [problem.text for problem in found.problems]


def standing(client: MlflowClient, settings: Settings) -> tuple[list[Record], list[str]]:
    """What decisions about this preset's model rest on: its records since its last `restart`, and
    what is wrong there, which forbids to decide."""
    found, model = _all(client), model_name(settings)
    begin = since(found.records, found.problems, model)
    records = [e for e in found.records if e.model == model and e.sequence >= begin]
    return records, [problem.text for problem in found.problems if problem.place > begin]


def trusted(client: MlflowClient, settings: Settings) -> list[Record]:
    """The records of `standing`. Raises LedgerBroken when anything is wrong there."""
    records, problems = standing(client, settings)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise LedgerBroken(
            f"the ledger is not whole, so no champion is moved: {problems[0]}{more}",
            where=str(artifact_root(settings) / "decisions"),
            next_step=way_out(settings),
        )
    return records


def way_out(settings: Settings) -> str:
    """What to do when the ledger is not whole."""
    by_hand = make("promote", settings, "--despite-ledger", VERSION="N")
    return (
        f"see all of it: {make('models', settings)}; bring back {artifact_root(settings).parent}"
        f" from a copy, or name the champion yourself: {by_hand}"
    )


def _all(client: MlflowClient) -> _Ledger:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return _Ledger([], [])
    records: list[Record] = []
    problems: list[Problem] = []
    for run in reversed(_runs(client, experiment.experiment_id)):
        if "sha256" not in run.data.tags:
            continue  # killed before it was whole: nothing was decided
        name = run.data.tags.get("sequence", "?")
        place = int(name) if name.isascii() and name.isdigit() and len(name) < 10 else 0
        try:
            entry = _opened(run)
        except OSError:
            problems.append(Problem(place, f"record {name} is lost: {_file(run)}"))
        except (ValueError, TypeError, LookupError, RecursionError):
            problems.append(Problem(place, f"record {name} was altered: {_file(run)}"))
        else:
            records.append(entry)
            problems += _state_of(run, entry)
            problems += _page(run, entry)
    records.sort(key=lambda entry: entry.sequence)
    damaged = {problem.place for problem in problems} - {entry.sequence for entry in records}
    problems += problems_of(records, damaged)
    problems += _end(experiment, records, damaged)
    return _Ledger(records, sorted(problems, key=lambda problem: problem.place))


def _end(experiment: Experiment, records: list[Record], damaged: set[int]) -> list[Problem]:
    """Whether the last record is the one that the experiment's tag names."""
    sequence, head = _head(experiment)
    if sequence > (records[-1].sequence if records else 0):
        lost = sequence not in damaged
        return [Problem(sequence, f"record {sequence}, the last, is missing")] if lost else []
    if not records:
        return []
    last = records[-1]
    written = (last.sequence, last.sha256)
    # Its writer may have been killed before the tag.
    if (sequence, head) in (written, (last.sequence - 1, last.previous_sha256)):
        return []
    text = f"record {last.sequence}, the last, is not the one that was written"
    return [Problem(last.sequence, text)]


def user() -> str:
    """Who typed the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown user"


# --- in MLflow --------------------------------------------------------------------------------


def _write(client: MlflowClient, settings: Settings, content: dict[str, Any]) -> str:
    """The run of the record; only its hash, which comes last, makes it one."""
    from mlflow.entities import Metric, RunTag

    experiment = _experiment(client, settings)
    run = client.create_run(experiment, run_name=_title(content))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / RECORD
        file.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
        file.chmod(0o444)
        client.log_artifact(run.info.run_id, str(file))
    now = int(time.time() * 1000)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in _flat(content["figures"]).items()],
        tags=[
            *(RunTag(key, value) for key, value in _tags(content).items() if value),
            RunTag("sha256", content["sha256"]),
        ],
    )
    client.set_experiment_tag(experiment, HEAD, f"{content['sequence']} {content['sha256']}")
    return run.info.run_id


def _last(client: MlflowClient) -> tuple[int, str]:
    """Sequence and hash of the last record. Where that one was taken away, its place stays empty:
    the gap is seen for ever."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return 0, NOTHING
    records, _ = read(client)
    head = _head(experiment)
    if not records or records[-1].sequence <= head[0]:
        return head[0], head[1] or NOTHING  # where another stands in its place, the next shows it
    return records[-1].sequence, records[-1].sha256


def _head(experiment: Experiment) -> tuple[int, str]:
    sequence, _, head = experiment.tags.get(HEAD, f"0 {NOTHING}").partition(" ")
    known = sequence.isascii() and sequence.isdigit() and len(sequence) < 10
    return (int(sequence), head) if known else (0, "")


def _experiment(client: MlflowClient, settings: Settings) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return found.experiment_id
    return client.create_experiment(
        EXPERIMENT, (artifact_root(settings) / "decisions").as_uri(), tags=KIND
    )


def _runs(client: MlflowClient, experiment: str) -> list[Run]:
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _file(run: Run) -> Path:
    return Path(unquote(urlparse(run.info.artifact_uri).path)) / RECORD


def _opened(run: Run) -> Record:
    content = parse(_file(run).read_text(encoding="utf-8"))
    if content["sha256"] != run.data.tags["sha256"]:
        raise ValueError("another record lies here")
    state = STATES.get(run.info.status, "void")
    return Record(**content, state=state, mlflow_run_id=run.info.run_id)


def _state_of(run: Run, entry: Record) -> list[Problem]:
    """A state that `close` has not left: one that was settled has an end, which MLflow keeps."""
    status = run.info.status
    if status in STATES and (status == "RUNNING") == (run.info.end_time is None):
        return []
    text = f"record {entry.sequence} is {status} in MLflow, and was left otherwise"
    return [Problem(entry.sequence, text)]


def _page(run: Run, entry: Record) -> list[Problem]:
    """Where MLflow's page says something else than the record. Decisions do not rest on it."""
    content = vars(entry)
    wanted, shown = _tags(content), run.data.tags
    different = [key for key, value in wanted.items() if shown.get(key, "") != value]
    if run.info.run_name != _title(content):
        different.append("name")
    if run.data.metrics != _flat(entry.figures):
        different.append("metrics")
    if not different:
        return []
    text = f"record {entry.sequence} is shown otherwise on MLflow's page: {', '.join(different)}"
    return [Problem(0, text)]


def _title(content: Mapping[str, Any]) -> str:
    moved = f"{content['from_version'] or '–'} → {content['to_version'] or '–'}"
    return f"{content['sequence']} {content['action']} {content['model']} {moved}"


def _tags(content: Mapping[str, Any]) -> dict[str, str]:
    """What MLflow's page shows of a record; "" for what has no tag."""
    shown = {key: content[key] for key in (*SHOWN, "code_revision", "sequence")}
    tags = {key: "" if value is None else str(value) for key, value in shown.items()}
    return tags | {NOTE: content["reason"][:5000]}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{key}"] = float(value)
    return flat


def _jsonable(value: Any) -> Any:
    """JSON values only; what is no finite number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
