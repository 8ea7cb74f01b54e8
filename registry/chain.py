"""What a record of the ledger is, and what is wrong with a chain of them.

Each record holds the hash of the one before it, over all models of a store; who is champion follows
per model. Nothing here uses MLflow: `registry/ledger.py` reads and writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

NOTHING = "0" * 64  # what stands before the first record

# promote, reject: by the gate.  release, rollback: by a person.  restart: by a person although the
# ledger was not whole; what it says of the model begins anew there.  found: the alias was seen to
# stand where no record had put it, so somebody moved it in MLflow.  drop: the move before it could
# not be carried out any more.  trigger: why a retraining was started; it is about no version.
Action = Literal["trigger", "promote", "reject", "release", "rollback", "restart", "found", "drop"]
MOVES = ("promote", "release", "rollback", "restart", "found", "drop")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One decision.

    from_version: the champion when it was taken.  to_version: the version it is about, which is
    the champion afterwards if it `moves`.  figures, rules: what it was taken on.  sequence to
    sha256: filled in when it is written.  open: whether it is yet to be carried out; like the id of
    its MLflow run not part of what is hashed.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    action: Action
    from_version: int | None
    to_version: int | None
    by: str
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    bundle_sha256: str = ""
    data_sha256: str = ""
    code_revision: str = ""
    run_id: str = ""
    sequence: int = 0
    time: str = ""  # ISO 8601, UTC
    model: str = ""
    previous_sha256: str = ""
    sha256: str = ""
    open: bool = False
    mlflow_run_id: str = ""

    @property
    def moves(self) -> bool:
        """Whether the champion is `to_version` because of it, once it has been carried out."""
        return self.action in MOVES


RECORD = TypeAdapter(Record)


@dataclass(frozen=True)
class Problem:
    """place: the sequence of the record to blame; 0 where no decision depends on it."""

    place: int
    text: str


def content_of(entry: Record) -> dict[str, Any]:
    """What is written of a record: all that is hashed, and the hash."""
    content = asdict(entry)
    del content["open"], content["mlflow_run_id"]
    return content


def hash_of(content: Mapping[str, Any]) -> str:
    """The hash of a record's content. Raises ValueError for NaN or infinity in it."""
    hashed = {name: value for name, value in content.items() if name != "sha256"}
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse(text: str) -> Record:
    """Read the record in a `decision.json`. Raises ValueError unless it is one, unaltered."""
    entry = RECORD.validate_json(text)
    content = json.loads(text)
    if content != content_of(entry) or entry.sequence < 1 or hash_of(content) != entry.sha256:
        raise ValueError("this record was altered")
    return entry


def problems_of(records: list[Record], damaged: Collection[int] = ()) -> list[Problem]:
    """What is wrong with the chain: records missing, there twice, or not following the one before.

    records: each unaltered in itself (`parse`), by sequence.  damaged: the sequences of others,
    which are known already.
    """
    problems: list[Problem] = []
    expected, before = 1, NOTHING
    for entry in records:
        number = entry.sequence
        if number > expected + sum(expected <= place < number for place in set(damaged)):
            single = f"record {expected} is missing"
            several = f"records {expected} to {number - 1} are missing"
            problems.append(Problem(number - 1, single if number - 1 == expected else several))
        elif number < expected:
            problems.append(Problem(number, f"record {number} is duplicated"))
        elif number == expected and entry.previous_sha256 != before:
            # Whoever rewrote the one before it, or the link itself: this one is whole.
            text = f"record {number} does not follow the one before it"
            problems.append(Problem(number - 1, text))
        expected, before = number + 1, entry.sha256
    return problems


def stack(past: list[Record]) -> list[int]:
    """Champions one can go back to, the present one last: a rollback takes off what stood above
    its target, a restart all, and what was dropped never was champion."""
    champions: list[int] = []
    for entry in past:
        version = entry.to_version
        if entry.action == "drop":
            champions = [number for number in champions if number != entry.from_version]
        if not entry.moves or version is None:
            continue
        if entry.action == "rollback" and version in champions:
            del champions[champions.index(version) + 1 :]
        elif entry.action == "restart":
            champions = [version]
        else:
            champions = [number for number in champions if number != version] + [version]
    return champions


def champion_by(past: list[Record]) -> int | None:
    """The champion according to these records of one model."""
    return next((entry.to_version for entry in reversed(past) if entry.moves), None)
