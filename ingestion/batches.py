"""The batches seen so far, and which of them were accepted.

One JSON file per batch and data set: what it measured, and whether it was accepted by the rules,
held because it differs from the last accepted one, or released by a person. What was accepted once
stays so.
"""

from __future__ import annotations

import getpass
import hashlib
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import RecordAltered, read_record, write_record

ACCEPTED = ("accepted", "released")


@dataclass(frozen=True)
class Batch:
    """`status`: accepted (by the rules), held, or released (by a person: `by`)."""

    name: str
    dataset: str
    status: str
    decided: str  # ISO time, UTC
    by: str
    beside: str  # the batch it was compared with
    level: dict[str, Any]  # `ingestion/judge.py`
    reasons: list[str]  # why it was held


def name_of(part_hashes: list[str]) -> str:
    """The batch's name: a hash of the content of its parts."""
    return hashlib.sha256("\n".join(part_hashes).encode()).hexdigest()[:12]


def find(var: Path, dataset: str, name: str) -> Batch | None:
    return next((batch for batch in seen(var, dataset) if batch.name == name), None)


def last_accepted(var: Path, dataset: str, *, but: str, before: date | None = None) -> Batch | None:
    """The batch that was accepted last, other than the batch `but`.

    before: only batches whose last row is of an earlier day. A log as it stood on a day is compared
    with what was accepted up to then, in whatever order months are processed.
    """
    accepted = [b for b in seen(var, dataset) if b.status in ACCEPTED and b.name != but]
    if before is not None:
        accepted = [b for b in accepted if b.level.get("last_day", "") < before.isoformat()]
        # The longest one: a past month may have been processed after a later one.
        return max(accepted, key=lambda b: (b.level["last_day"], b.decided), default=None)
    return max(accepted, key=lambda batch: batch.decided, default=None)


def seen(var: Path, dataset: str) -> list[Batch]:
    """Every batch of the data set, the latest decision last."""
    batches = []
    for file in (var / "batches" / dataset).glob("*.json"):
        try:
            batch = Batch(**read_record(file))
            if (batch.dataset, batch.name) != (dataset, file.stem):
                raise RecordAltered("it is the record of another batch")
        except (RecordAltered, TypeError) as error:
            raise UserError(
                f"the record of a batch was altered, or an earlier version wrote it: {error}",
                where=str(file),
                next_step="restore it from a copy, or remove it: the batch then counts as new",
            ) from error
        batches.append(batch)
    return sorted(batches, key=lambda batch: batch.decided)


def decide(
    var: Path, dataset: str, name: str, level: dict[str, Any], beside: str, reasons: list[str]
) -> Batch:
    """Record that the rules accept the batch (no reasons) or hold it, and return the record."""
    status = "held" if reasons else "accepted"
    return _write(var, Batch(name, dataset, status, _now(), "rules", beside, level, reasons))


def release(var: Path, dataset: str, name: str) -> Batch:
    """Record that a person accepts a held batch. `name` may be its first letters.

    Raises UserError when no batch, or more than one, is called so, and for a batch that another
    one has taken the place of.
    """
    batches = seen(var, dataset)
    matching = [batch for batch in batches if name and batch.name.startswith(name)]
    held = [batch.name for batch in batches if batch.status == "held"]
    if len(matching) != 1:
        raise UserError(
            f"{'more than one' if matching else 'no'} batch of {dataset} is called {name!r}",
            where=str(var / "batches" / dataset),
            next_step=f"held are: {', '.join(held)}" if held else "no batch is held",
        )
    batch = matching[0]
    if batch.status in ACCEPTED:
        return batch
    later = last_accepted(var, dataset, but=batch.name)
    if later is not None and later.decided > batch.decided:
        raise UserError(
            f"the batch {batch.name} was held on {batch.decided[:10]}, and the batch {later.name}"
            " was accepted since: the next one would be compared with a batch that was withdrawn",
            where=str(var / "batches" / dataset),
            next_step="run again on its source: it is then compared with the latest one, and"
            " accepted or held",
        )
    return _write(var, replace(batch, status="released", decided=_now(), by=_person()))


def _write(var: Path, batch: Batch) -> Batch:
    write_record(var / "batches" / batch.dataset / f"{batch.name}.json", asdict(batch))
    return batch


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        return f"user {os.getuid()}"
