"""Carry a decision out in three steps, and finish what a killed command left between two of them.

Under one lock (`champion_lock`): the record is written, the alias is moved, the record is closed
(`carry_out`). A record that is still open was decided, so the next command that moves the champion
finishes it (`reconcile`), or drops it where that is not possible any more.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from common.errors import UserError
from common.locks import file_lock
from configs.settings import Settings
from registry import ledger
from registry.chain import MOVES, Record, champion_by
from registry.champion import (
    ModelVersion,
    champion_number,
    find_version,
    promote,
    verify_version,
    versions,
)
from registry.ledger import LedgerBroken
from registry.runs import name_of, under_way

if TYPE_CHECKING:
    from mlflow import MlflowClient

GATE = "gate"
LOCK_SECONDS = 60.0  # to wait for another command, which holds the lock for one or two


def champion_lock(settings: Settings) -> AbstractContextManager[None]:
    """Lock the registry, to read the champion, write the decision and move the alias. It is not the
    lock of var/, which a training holds for minutes: a rollback cannot wait for that."""
    return file_lock(
        settings.var.absolute() / "mlflow" / "champion.lock",
        wait=LOCK_SECONDS,
        busy="another command has been moving the champion for a minute",
    )


def carry_out(
    client: MlflowClient, settings: Settings, decision: Record, version: ModelVersion | None = None
) -> Record:
    """Write the decision, move the alias where it says so, close the record: in this order."""
    entry = ledger.write(client, settings, decision)
    if version is not None and entry.action in MOVES:
        promote(client, version)
    return ledger.close(client, entry)


def reconcile(client: MlflowClient, settings: Settings) -> list[str]:
    """Finish what a killed command left: a record that is not carried out, a version without a
    decision because its run failed, a champion that somebody set in MLflow.

    Returns what was done, in words; [] when there was nothing to do. Raises LedgerBroken.
    """
    with champion_lock(settings):
        return reconcile_locked(client, settings)


def pending(client: MlflowClient, settings: Settings) -> list[str]:
    """Return what `reconcile` would do, and change nothing."""
    try:
        texts = [text for text, _ in _unfinished(client, settings)]
    except LedgerBroken:
        steps = ledger.repair_steps(settings)
        return [f"no command moves the champion until the ledger is repaired: {steps}"]
    return [f"{text}; the next command that moves the champion reconciles it" for text in texts]


def reconcile_locked(client: MlflowClient, settings: Settings) -> list[str]:
    """The same as `reconcile`, for a caller that holds `champion_lock`."""
    ledger.close_unfinished(client)
    return [f"{text}: {repair()}" for text, repair in _unfinished(client, settings)]


def _unfinished(
    client: MlflowClient, settings: Settings
) -> Iterator[tuple[str, Callable[[], str]]]:
    """What a killed command left, in words, each with the function that repairs it and returns what
    it did.

    It is lazy on purpose: `reconcile_locked` repairs each item before the next one is looked for,
    while `pending` only lists them, and then an open record explains where the alias stands.
    """
    past = ledger.trusted(client, settings)
    if past and past[-1].open:
        entry = past[-1]
        what = f"record {entry.sequence} ({entry.action} version {entry.to_version})"
        text = f"{what} was written and not carried out, because its command was killed"
        yield text, partial(_finish, client, settings, past)
        past = ledger.trusted(client, settings)
    now, expected = champion_number(client, settings), champion_by(past)
    if now != expected and not (past and past[-1].open):
        version = find_version(client, settings, now) if now else None
        entry = Record(
            action="found",
            from_version=expected,
            to_version=now,
            by="unknown",
            reason="the alias was found here, and no record had put it there",
            bundle_sha256=version.bundle_sha256 if version else "",
        )
        text = f"version {now or '–'} is champion, but {expected or '–'} by the ledger"
        yield text, partial(_write_down, client, settings, entry)
    for version in undecided(client, settings):
        entry = Record(
            action="reject",
            from_version=now,
            to_version=version.version,
            by=GATE,
            reason="broken: its run is over, and no decision about it is on record",
            bundle_sha256=version.bundle_sha256,
            run_id=name_of(client, version.run_id),
        )
        text = f"version {version.version} has no decision on record, and its run is over"
        yield text, partial(_write_down, client, settings, entry)


def undecided(client: MlflowClient, settings: Settings) -> list[ModelVersion]:
    """The versions that no record is about and whose run is over, the oldest first; none that is or
    was champion, as its record may be lost (`despite_ledger` of `promote_manually`)."""
    decided = {champion_number(client, settings)}
    for entry in ledger.history(client, settings):
        decided |= {entry.from_version, entry.to_version}
    return [
        version
        for version in reversed(versions(client, settings))
        if version.version not in decided and not under_way(client, version.run_id)
    ]


def _write_down(client: MlflowClient, settings: Settings, entry: Record) -> str:
    entry = carry_out(client, settings, entry)
    return f"written as record {entry.sequence}, {entry.action}"


def _finish(client: MlflowClient, settings: Settings, past: list[Record]) -> str:
    """Carry out the last record, or drop it where that is not possible any more."""
    entry, now = past[-1], champion_number(client, settings)
    if entry.action in ("trigger", "reject", "found", "drop") or now == entry.to_version:
        ledger.close(client, entry)
        return "it had been carried out"
    version = find_version(client, settings, entry.to_version or 0)
    try:
        if version is None or now != entry.from_version:
            raise UserError(f"the champion is version {now or '–'} now")
        verify_version(version, past)
    except UserError as error:
        reason = f"record {entry.sequence} could not be carried out: {error.what}"
        dropped = Record(
            action="drop",
            from_version=entry.to_version,
            to_version=now,
            by=current_user(),
            reason=reason,
        )
        written = _write_down(client, settings, dropped)
        ledger.close(client, entry)
        return f"dropped, as {error.what}: {written}"
    promote(client, version)
    ledger.close(client, entry)
    return "carried out now"


def current_user() -> str:
    """Return the name of the user who typed the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown user"
