"""What a record of the ledger is, and what is wrong with a chain of them.

Each record holds the hash of the one before it, over all models of a store; who is champion follows
per model. Nothing of MLflow is known here: `registry/ledger.py` reads and writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NoReturn, get_args

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


@dataclass(frozen=True)
class Problem:
    """place: the record that is to blame; 0 where no decision hangs on it."""

    place: int
    text: str


HASHED = {one.name for one in fields(Record)} - {"sha256", "open", "mlflow_run_id"}


def hashed(entry: Record) -> dict[str, Any]:
    """What the hash is taken of."""
    return {name: value for name, value in asdict(entry).items() if name in HASHED}


def hash_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse(text: str) -> dict[str, Any]:
    """The content of a `decision.json`. Raises ValueError, TypeError, LookupError or
    RecursionError unless it is one, unaltered."""
    content = json.loads(text, parse_constant=_refuse)
    if not isinstance(content, dict) or set(content) != HASHED | {"sha256"}:
        raise ValueError("other fields than those of a record")
    types = {"sequence": int, "figures": dict, "rules": list}
    for name, value in content.items():
        if name in ("from_version", "to_version"):
            known = value is None or type(value) is int
        else:
            known = type(value) is types.get(name, str)
        if not known:
            raise TypeError(f"{name} is of another type")
    if not all(isinstance(rule, dict) for rule in content["rules"]):
        raise TypeError("a rule is of another type")
    if content["sequence"] < 1 or content["action"] not in get_args(Action):
        raise ValueError("no such record")
    if hash_of({name: content[name] for name in HASHED}) != content["sha256"]:
        raise ValueError("its hash is another")
    return content


def problems_of(records: list[Record], damaged: Collection[int] = ()) -> list[Problem]:
    """What is wrong with the chain: records altered, missing, there twice, or not following the one
    before. damaged: sequences that are named already, and left out of `records`."""
    problems: list[Problem] = []
    expected, before = 1, NOTHING
    for entry in records:
        number = entry.sequence
        if number > expected:
            lost = number - expected - sum(expected <= n < number for n in set(damaged))
            last = f" to {number - 1}" if number - 1 > expected else ""
            if lost:
                problems.append(Problem(number - 1, f"record {expected}{last} is missing"))
        elif number < expected:
            problems.append(Problem(number, f"record {number} is there twice"))
        elif entry.previous_sha256 != before:
            # Whoever rewrote the one before it, or the link itself: this one is whole.
            text = f"record {number} does not follow the one before it"
            problems.append(Problem(number - 1, text))
        if hash_of(hashed(entry)) != entry.sha256:
            problems.append(Problem(number, f"record {number} was altered"))
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


def left_by(past: list[Record]) -> int | None:
    """The champion that these records of one model leave."""
    return next((entry.to_version for entry in reversed(past) if entry.moves), None)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"JSON has no {text}")
