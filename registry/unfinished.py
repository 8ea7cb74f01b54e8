"""What a command that was killed has left of a decision: found, and settled.

A record of the ledger that is not carried out, a version without a decision because its run failed,
or a champion that the ledger does not know. Changes are made under the lock of
`registry/promotion.py` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from common.errors import UserError
from configs.settings import Settings
from registry import ledger
from registry.bundle import BundleRefused, verify_bundle
from registry.chain import Record, left_by
from registry.models import ModelVersion, find_champion, find_version, promote, versions
from registry.tracking import name_of, under_way

if TYPE_CHECKING:
    from mlflow import MlflowClient


def unsettled(client: MlflowClient, settings: Settings) -> list[str]:
    """What `mend` would find, with nothing changed."""
    past, problems = ledger.standing(client, settings)
    if problems:
        return [f"no command moves the champion by a ledger like this: {ledger.way_out(settings)}"]
    now = champion_number(client, settings)
    found = [
        f"record {entry.sequence} ({entry.action} version {entry.to_version}) was written down and"
        " not carried out: its command was killed; the next one that moves the champion finishes it"
        for entry in past
        if entry.state == "open"
    ]
    if not found and now != left_by(past):
        found.append(
            f"version {now or '–'} is champion, the ledger says {left_by(past) or '–'}:"
            " the alias was moved by something else"
        )
    found += [
        f"version {version.version} has no decision on record, and its run is over; the next"
        " command that moves the champion rejects it"
        for version in undecided(client, settings)
    ]
    return found


def undecided(client: MlflowClient, settings: Settings) -> list[ModelVersion]:
    """The versions that no record is about and whose run is over, the oldest first. None that is
    or was champion: its record may have been lost (see `release`, `despite_ledger`)."""
    decided = {champion_number(client, settings)}
    for entry in ledger.history(client, settings):
        decided |= {entry.from_version, entry.to_version}
    return [
        version
        for version in reversed(versions(client, settings))
        if version.version not in decided and not under_way(client, version.run_id)
    ]


def settle(client: MlflowClient, settings: Settings) -> list[str]:
    """See `registry/promotion.py` `mend`, whose lock is held."""
    said = []
    ledger.close_unfinished(client)
    past = ledger.trusted(client, settings)
    if past and past[-1].state == "open":
        said.append(_finish(client, settings, past))
        past = ledger.trusted(client, settings)
    expected = left_by(past)
    now = champion_number(client, settings)
    if now != expected:
        version = find_version(client, settings, now) if now else None
        entry = ledger.record(
            client,
            settings,
            action="found",
            from_version=expected,
            to_version=now,
            by="unknown",
            reason="the alias stood here and no record had put it there",
            bundle_sha256=version.bundle_sha256 if version else "",
        )
        ledger.close(client, entry)
        said.append(
            f"version {now or '–'} is champion, the ledger said {expected or '–'}:"
            f" written down as record {entry.sequence}"
        )
    for version in undecided(client, settings):
        entry = ledger.record(
            client,
            settings,
            action="reject",
            from_version=now,
            to_version=version.version,
            by=ledger.GATE,
            reason="broken: its run is over, and no decision about it is on record",
            bundle_sha256=version.bundle_sha256,
            run_id=name_of(client, version.run_id),
        )
        ledger.close(client, entry)
        said.append(
            f"version {version.version} had no decision on record, and its run is over:"
            f" rejected, record {entry.sequence}"
        )
    return said


def _finish(client: MlflowClient, settings: Settings, past: list[Record]) -> str:
    """Carry out what a killed command had written down last, where that can still be done."""
    entry = past[-1]
    what = f"record {entry.sequence} ({entry.action} version {entry.to_version})"
    now = champion_number(client, settings)
    if entry.action in ("trigger", "reject", "found") or now == entry.to_version:
        ledger.close(client, entry)
        return f"{what}: its command was killed, and all of it had been done"
    version = find_version(client, settings, entry.to_version or 0)
    try:
        if version is None or now != entry.from_version:
            raise UserError(f"the champion is version {now or '–'} by now")
        verify(version, past)
    except UserError as error:
        ledger.close(client, entry, done=False)
        return f"{what}: its command was killed, and it is dropped: {error.what}"
    promote(client, version)
    ledger.close(client, entry)
    return f"{what}: its command was killed; carried out now"


def verify(version: ModelVersion, known: Iterable[Record]) -> None:
    """Raises BundleRefused unless the bundle is what was registered, and what these records of the
    ledger know. One that is yet to be carried out knows its bundle, or promotes none."""
    verify_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    for entry in known:
        if entry.to_version != version.version or entry.bundle_sha256 == version.bundle_sha256:
            continue
        if entry.bundle_sha256 or entry.state == "open":
            raise BundleRefused(
                f"the model bundle is refused: version {version.version} is registered with another"
                f" hash than record {entry.sequence} of the ledger has",
                where=str(version.bundle),
                next_step="train again (make train); never mend a bundle by hand",
            )


def champion_number(client: MlflowClient, settings: Settings) -> int | None:
    found = find_champion(client, settings)
    return found.version if found else None
