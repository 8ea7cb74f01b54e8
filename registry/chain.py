"""What a record of the ledger is, and what is wrong with a chain of them.

Records follow each other by hash, over all models of a store; who is champion follows per model.
Nothing of MLflow is known here: `registry/ledger.py` reads and writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NoReturn, get_args

NOTHING = "0" * 64  # what stands before the first record

# promote, reject: by the gate.  release, rollback: by a person.  restart: by a person although the
# ledger was not whole; what it says of the model begins anew there.  found: the alias was seen to
# stand where no record had put it, so somebody moved it in MLflow.  trigger: why a retraining was
# started; it is about no version.
Action = Literal["trigger", "promote", "reject", "release", "rollback", "restart", "found"]
MOVES = ("promote", "release", "rollback", "restart", "found")


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


OF_MLFLOW = ("state", "mlflow_run_id")
NUMBERS = ("from_version", "to_version")
TYPES: dict[str, type] = {"sequence": int, "figures": dict, "rules": list}


@dataclass(frozen=True)
class Problem:
    """place: the record that is to blame; 0 where no decision hangs on it."""

    place: int
    text: str


def parse(text: str) -> dict[str, Any]:
    """The content of a `decision.json`. Raises ValueError, TypeError, LookupError or
    RecursionError unless it is one, unaltered."""
    content = json.loads(text, parse_constant=_refuse)
    if not isinstance(content, dict):
        raise TypeError("no object")
    wanted = {field.name for field in fields(Record)} - set(OF_MLFLOW)
    if set(content) != wanted:
        raise ValueError("other fields than those of a record")
    for name in wanted - set(NUMBERS):
        if type(content[name]) is not TYPES.get(name, str):
            raise TypeError(f"{name} is of another type")
    for name in NUMBERS:
        if content[name] is not None and type(content[name]) is not int:
            raise TypeError(f"{name} is no version")
    if not all(isinstance(rule, dict) for rule in content["rules"]):
        raise TypeError("a rule is of another type")
    if content["sequence"] < 1 or content["action"] not in get_args(Action):
        raise ValueError("no such record")
    if (
        hash_of({name: value for name, value in content.items() if name != "sha256"})
        != (content["sha256"])
    ):
        raise ValueError("its hash is another")
    return content


def content_of(entry: Record) -> dict[str, Any]:
    """What the hash is taken of."""
    content = asdict(entry)
    for name in ("sha256", *OF_MLFLOW):
        del content[name]
    return content


def hash_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(records: list[Record]) -> list[str]:
    """What is wrong with the chain: records altered, missing, told twice, or at odds with those
    before them. [] when nothing is."""
    return [problem.text for problem in problems_of(records)]


def problems_of(records: list[Record], damaged: Collection[int] = ()) -> list[Problem]:
    """The same with the record to blame. damaged: sequences that are named already, and left out
    of `records`."""
    problems = _links(records, damaged) + _states(records, damaged)
    return sorted(problems, key=lambda problem: problem.place)


def since(records: list[Record], problems: list[Problem], model: str) -> int:
    """The sequence of the newest sound `restart` of the model: only what stands there and after it
    is asked. 0 without one: everything is."""
    blamed = {problem.place for problem in problems}
    begun = [
        entry.sequence
        for entry in records
        if entry.model == model
        and entry.action == "restart"
        and entry.state != "void"
        and entry.sequence not in blamed
    ]
    return max(begun, default=0)


def stack(past: list[Record]) -> list[int]:
    """Champions one can go back to, the present one last: a rollback takes off what stood above
    its target, a restart all."""
    champions: list[int] = []
    for entry in past:
        version = entry.to_version
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
    moves = [entry.to_version for entry in past if entry.moves]
    return moves[-1] if moves else None


def _links(records: list[Record], damaged: Collection[int]) -> list[Problem]:
    problems: list[Problem] = []
    expected, before = 1, NOTHING
    for entry in records:
        number = entry.sequence
        if number > expected:
            lost = number - expected - sum(expected <= n < number for n in set(damaged))
            if lost:
                last = f" to {number - 1}" if number - 1 > expected else ""
                problems.append(Problem(number - 1, f"record {expected}{last} is missing"))
        elif number < expected:
            problems.append(Problem(number, f"record {number} is there twice"))
        elif entry.previous_sha256 != before:
            # Whoever rewrote the one before it, or the link itself: this one is whole.
            text = f"record {number} does not follow the one before it"
            problems.append(Problem(number - 1, text))
        if hash_of(content_of(entry)) != entry.sha256:
            problems.append(Problem(number, f"record {number} was altered"))
        expected, before = number + 1, entry.sha256
    return problems


def _states(records: list[Record], damaged: Collection[int]) -> list[Problem]:
    """The states are MLflow's and in no hash: the next record of the model, which says who was
    champion, bears witness to them."""
    problems: list[Problem] = []
    newest = {entry.model: entry.sequence for entry in records}
    champion: dict[str, int | None] = {}
    unknown: set[str] = set()
    expected = 1
    for entry in records:
        number, model = entry.sequence, entry.model
        if number != expected:  # what is missing may have been about any model
            unknown = set(newest)
        left = champion.get(model)
        if entry.action != "restart" and model not in unknown and entry.from_version != left:
            text = (
                f"record {number} says that version {entry.from_version or '–'} was champion, and"
                f" the records before it leave version {left or '–'}: a state was changed"
            )
            problems.append(Problem(number, text))
        unknown.discard(model)
        champion[model] = entry.to_version if entry.moves else entry.from_version
        if entry.state == "open" and number != newest[model]:
            text = f"record {number} stands open and is not the last one: its state was changed"
            problems.append(Problem(number, text))
            unknown.add(model)
        expected = number + 1
    return problems


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"JSON has no {text}")
