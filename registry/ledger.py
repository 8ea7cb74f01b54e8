"""The ledger: every decision about a model is one record, chained by hash and never rewritten.

A record is one MLflow run of the experiment `golden-path-decisions`, with tags and metrics for
MLflow's page, and the file `decision.json`, which is the record itself. Each record holds the hash
of the one before it, and the experiment a tag with the hash of the last: a record that was altered,
taken out or cut off at the end is named by `read`.

The run stays RUNNING until what was decided has been done (`registry/promotion.py`).
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlparse

from configs.settings import Settings
from registry.store import KIND, artifact_root, model_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

EXPERIMENT = "golden-path-decisions"
RECORD, HEAD = "decision.json", "golden_path.head"
GATE = "gate"
NOTHING = "0" * 64  # what stands before the first record

# promote, reject: by the gate.  release, rollback: by a person.  found: the alias was seen to
# stand where no record had put it, so somebody moved it in MLflow.
Action = Literal["promote", "reject", "release", "rollback", "found"]
MOVES = ("promote", "release", "rollback", "found")


@dataclass(frozen=True)
class Record:
    """One decision.

    from_version: the champion when it was taken.  to_version: the version it is about, which is
    the champion afterwards unless it was rejected.  figures, rules: what it was taken on.
    state: "open" until it has been carried out, "void" when it never will be; like the id of its
    MLflow run no part of what the hash is taken of.
    """

    sequence: int
    time: str  # ISO 8601, UTC
    action: Action
    model: str
    from_version: int | None
    to_version: int | None
    by: str
    reason: str
    figures: dict[str, Any]
    rules: list[dict[str, Any]]
    bundle_sha256: str
    data_sha256: str
    code_revision: str
    run_id: str
    previous_sha256: str
    sha256: str
    state: str = "done"
    mlflow_run_id: str = ""

    @property
    def moves(self) -> bool:
        """Whether the champion is `to_version` because of it."""
        return self.action in MOVES and self.state == "done"


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
    content["sha256"] = _hash(content)
    mlflow_run_id = _write(client, settings, content)
    return Record(**content, state="open", mlflow_run_id=mlflow_run_id)


def close(client: MlflowClient, entry: Record, *, done: bool = True) -> Record:
    """Say that the decision has been carried out, or with `done=False` that it never will be."""
    client.set_terminated(entry.mlflow_run_id, "FINISHED" if done else "KILLED")
    return replace(entry, state="done" if done else "void")


def history(client: MlflowClient, settings: Settings) -> list[Record]:
    """The records of this preset's model, oldest first."""
    return [entry for entry in read(client)[0] if entry.model == model_name(settings)]


def read(client: MlflowClient) -> tuple[list[Record], list[str]]:
    """Every readable record of the store, oldest first, and what is wrong with the chain."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return [], []
    records, problems = [], []
    for run in _runs(client, experiment.experiment_id):
        if "sha256" not in run.data.tags:
            continue  # killed before it was whole: nothing was decided
        try:
            records.append(_opened(run))
        except (OSError, ValueError, TypeError, LookupError):
            name = run.data.tags.get("sequence", "?")
            problems.append(f"record {name} was altered or lost: {_file(run)}")
    records.sort(key=lambda entry: entry.sequence)
    problems += verify(records)
    sequence, head = _head(experiment)
    if sequence > (records[-1].sequence if records else 0):
        problems.append(f"record {sequence}, the last, is missing")
    elif records and sequence == records[-1].sequence and head != records[-1].sha256:
        problems.append(f"record {sequence}, the last, is not the one that was written")
    return records, problems


def verify(records: list[Record]) -> list[str]:
    """What is wrong with the chain: records altered, missing, or told twice. [] when nothing is."""
    problems, expected, before = [], 1, NOTHING
    for entry in records:
        if entry.sequence > expected:
            missing = f"record {expected}" + (
                f" to {entry.sequence - 1}" if entry.sequence - 1 > expected else ""
            )
            problems.append(f"{missing} is missing")
        elif entry.sequence < expected:
            problems.append(f"record {entry.sequence} is there twice")
        elif entry.previous_sha256 != before:
            problems.append(f"record {entry.sequence} does not follow the one before it")
        if _hash(_content(entry)) != entry.sha256:
            problems.append(f"record {entry.sequence} was altered")
        expected, before = entry.sequence + 1, entry.sha256
    return problems


def user() -> str:
    """Who typed the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown user"


def _content(entry: Record) -> dict[str, Any]:
    """What the hash is taken of."""
    content = asdict(entry)
    for name in ("sha256", "state", "mlflow_run_id"):
        del content[name]
    return content


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# --- in MLflow --------------------------------------------------------------------------------


def _write(client: MlflowClient, settings: Settings, content: dict[str, Any]) -> str:
    """The run of the record; only its hash, which comes last, makes it one."""
    from mlflow.entities import Metric, RunTag

    experiment = _experiment(client, settings)
    moved = f"{content['from_version'] or '–'} → {content['to_version'] or '–'}"
    name = f"{content['sequence']} {content['action']} {content['model']} {moved}"
    run = client.create_run(experiment, run_name=name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / RECORD
        file.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
        file.chmod(0o444)
        client.log_artifact(run.info.run_id, str(file))
    shown = ("action", "model", "from_version", "to_version", "by", "run_id", "data_sha256")
    tags = {key: content[key] for key in (*shown, "code_revision", "sequence")}
    now = int(time.time() * 1000)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in _flat(content["figures"]).items()],
        tags=[
            *(RunTag(key, str(value)) for key, value in tags.items() if value not in (None, "")),
            RunTag("mlflow.note.content", content["reason"][:5000]),
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
    return max((_head(experiment), *((entry.sequence, entry.sha256) for entry in records)))


def _head(experiment: Experiment) -> tuple[int, str]:
    sequence, _, head = experiment.tags.get(HEAD, f"0 {NOTHING}").partition(" ")
    return int(sequence) if sequence.isdigit() else 0, head


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
    content = json.loads(_file(run).read_text(encoding="utf-8"))
    if content["sha256"] != run.data.tags["sha256"]:
        raise ValueError("another record lies here")
    state = {"RUNNING": "open", "FINISHED": "done"}.get(run.info.status, "void")
    return Record(**content, state=state, mlflow_run_id=run.info.run_id)


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
