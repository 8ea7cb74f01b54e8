"""Change the champion, by the gate, by manual promotion or by rollback: nothing else does.

A decision is made durable in three steps, under one lock (`_carry_out`): its record is written, the
alias is moved, the record is closed. What a killed command leaves between two of them is finished
by the next command here (`reconcile`), because the decision had been taken. While the ledger is
damaged, every command here raises LedgerBroken, except a manual promotion with `despite_ledger`.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.locks import file_lock
from configs.make_command import make
from configs.settings import Settings
from registry import ledger
from registry.bundle import DESCRIPTION, BundleRefused, verify_bundle
from registry.chain import MOVES, Action, Record, champion_by, stack
from registry.champion import (
    ModelVersion,
    champion_number,
    fetch,
    find_version,
    model_name,
    promote,
    versions,
)
from registry.gate import Decision
from registry.ledger import LedgerBroken
from registry.runs import name_of, under_way

if TYPE_CHECKING:
    from mlflow import MlflowClient

GATE = "gate"
LOCK_SECONDS = 60.0  # to wait for another command, which holds the lock for one or two


class ChampionChanged(UserError):
    """Another one became champion between the comparison and the promotion."""


def conclude(
    client: MlflowClient,
    settings: Settings,
    *,
    version: ModelVersion,
    decision: Decision,
    expected_champion: int | None,
    figures: Mapping[str, Any],
    data_sha256: str,
    code_revision: str,
    run_id: str,
) -> Record:
    """Write the gate's decision down, and promote when it says so.

    expected_champion: the version the challenger was compared with, None when there was none.
    Raises ChampionChanged, with the rejection written down, when that is not the champion any
    more, and LedgerBroken, with nothing written, when the ledger is not whole.
    """
    with _lock(settings):
        _reconcile(client, settings)
        now = champion_number(client, settings)
        changed = decision.action == "promote" and now != expected_champion
        compared = (
            f"version {version.version} was compared with version {expected_champion or '–'}, and"
            f" version {now or '–'} is champion now"
        )
        reasons = (f"broken: {compared}",) if changed else decision.reasons
        entry = Record(
            action="reject" if changed else decision.action,
            from_version=now,
            to_version=version.version,
            by=GATE,
            reason="\n".join(reasons),
            figures=dict(figures),
            rules=list(decision.rules),
            bundle_sha256=version.bundle_sha256,
            data_sha256=data_sha256,
            code_revision=code_revision,
            run_id=run_id,
        )
        entry = _carry_out(client, settings, entry, version)
    if changed:
        raise ChampionChanged(
            f"the champion of {version.name} changed while this run was under way: {compared};"
            " nothing is promoted",
            where=model_name(settings),
            next_step=f"compare again: {make('train', settings)} (finished stages are reused)",
        )
    return entry


def promote_manually(
    client: MlflowClient,
    settings: Settings,
    number: int,
    *,
    reason: str = "",
    despite_ledger: bool = False,
) -> Record:
    """Make a version champion because a person says so, whatever the gate said.

    despite_ledger: promote although the ledger is damaged. A `restart` record lists the damage,
    older records no longer count for the model, and `number` may be the present champion.

    Raises UserError for an unknown version, for the present champion, for a bundle that is not
    whole, and LedgerBroken.
    """
    with _lock(settings):
        named = require_version(client, settings, number)
        problems = ledger.standing(client, settings)[1] if despite_ledger else []
        if problems:
            return _move(client, settings, "restart", named, reason, problems)
        _reconcile(client, settings)
        # "release" is a manual promotion in the format of the ledger.
        return _move(client, settings, "release", named, reason)


def roll_back(
    client: MlflowClient, settings: Settings, number: int | None = None, *, reason: str = ""
) -> Record:
    """Go back to the champion before the present one, or to a version that once was champion.

    A second time goes one further back: what was rolled back from is not returned to. Raises
    UserError when there is nothing to go back to, or its bundle is missing or altered, and
    LedgerBroken.
    """
    with _lock(settings):
        if number is not None:
            require_version(client, settings, number)
        _reconcile(client, settings)
        past = ledger.trusted(client, settings)
        if number is None:
            number = _previous(client, settings, past)
        elif number not in {entry.to_version for entry in past if entry.moves}:
            raise UserError(
                f"version {number} has never been champion",
                where=model_name(settings),
                next_step=f"to make it champion: {make('promote', settings, VERSION=str(number))}",
            )
        version = require_version(client, settings, number)
        return _move(client, settings, "rollback", version, reason)


def require_version(client: MlflowClient, settings: Settings, number: int) -> ModelVersion:
    """Find this version. Raises UserError when there is none."""
    version = find_version(client, settings, number)
    if version is None:
        known = ", ".join(str(v.version) for v in versions(client, settings))
        raise UserError(
            f"{model_name(settings)} has no version {number}",
            where="VERSION",
            next_step=f"the versions are {known}" if known else make("train", settings),
        )
    return version


def write_trigger(
    client: MlflowClient, settings: Settings, *, reason: str, figures: Mapping[str, Any], by: str
) -> Record:
    """Write down why a retraining is started; the champion stays. Raises LedgerBroken."""
    with _lock(settings):
        _reconcile(client, settings)
        now = champion_number(client, settings)
        entry = Record(action="trigger", from_version=now, to_version=None, by=by, reason=reason)
        return _carry_out(client, settings, replace(entry, figures=dict(figures)))


def verify(version: ModelVersion, known: Iterable[Record]) -> None:
    """Check that the bundle is the one that was registered, and the one in these records of the
    ledger. A record that is yet to be carried out must name its bundle.

    Raises BundleRefused.
    """
    fetch(version)
    verify_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    for entry in known:
        if entry.to_version != version.version or entry.bundle_sha256 == version.bundle_sha256:
            continue
        if entry.bundle_sha256 or entry.open:
            raise BundleRefused(
                f"the model bundle is refused: version {version.version} is registered with another"
                f" hash than record {entry.sequence} of the ledger has",
                where=str(version.bundle),
                next_step="train again (make train); do not edit a bundle",
            )


# --- what a killed command left -----------------------------------------------------------------


def reconcile(client: MlflowClient, settings: Settings) -> list[str]:
    """Finish what a killed command left: a record that is not carried out, a version without a
    decision because its run failed, a champion that somebody set in MLflow.

    Returns what was done, in words; [] when there was nothing to do. Raises LedgerBroken.
    """
    with _lock(settings):
        return _reconcile(client, settings)


def pending(client: MlflowClient, settings: Settings) -> list[str]:
    """What `reconcile` would do, with nothing changed."""
    try:
        texts = [text for text, _ in _unfinished(client, settings)]
    except LedgerBroken:
        steps = ledger.repair_steps(settings)
        return [f"no command moves the champion until the ledger is repaired: {steps}"]
    return [f"{text}; the next command that moves the champion reconciles it" for text in texts]


def _reconcile(client: MlflowClient, settings: Settings) -> list[str]:
    ledger.close_unfinished(client)
    return [f"{text}: {repair()}" for text, repair in _unfinished(client, settings)]


def _unfinished(
    client: MlflowClient, settings: Settings
) -> Iterator[tuple[str, Callable[[], str]]]:
    """What a killed command left, in words, each with the function that repairs it and returns what
    it did.

    It is lazy on purpose: `_reconcile` repairs each item before the next one is looked for, while
    `pending` only lists them, and then an open record explains where the alias stands.
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
    entry = _carry_out(client, settings, entry)
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
        verify(version, past)
    except UserError as error:
        reason = f"record {entry.sequence} could not be carried out: {error.what}"
        dropped = Record(
            action="drop",
            from_version=entry.to_version,
            to_version=now,
            by=_user(),
            reason=reason,
        )
        written = _write_down(client, settings, dropped)
        ledger.close(client, entry)
        return f"dropped, as {error.what}: {written}"
    promote(client, version)
    ledger.close(client, entry)
    return "carried out now"


# --- under the lock -----------------------------------------------------------------------------


def _carry_out(
    client: MlflowClient, settings: Settings, decision: Record, version: ModelVersion | None = None
) -> Record:
    """Write the decision, move the alias where it says so, close the record: in this order."""
    entry = ledger.write(client, settings, decision)
    if version is not None and entry.action in MOVES:
        promote(client, version)
    return ledger.close(client, entry)


def _move(
    client: MlflowClient,
    settings: Settings,
    action: Action,
    version: ModelVersion,
    reason: str,
    problems: Sequence[str] = (),
) -> Record:
    """Write a person's decision, and carry it out. problems: those of the ledger, which the person
    overrides."""
    now = champion_number(client, settings)
    if version.version == now and action != "restart":
        raise UserError(
            f"version {version.version} is champion already",
            where=model_name(settings),
            next_step=f"see all versions: {make('models', settings)}",
        )
    verify(version, ledger.standing(client, settings)[0])
    described = json.loads((version.bundle / DESCRIPTION).read_text(encoding="utf-8"))
    entry = Record(
        action=action,
        from_version=now,
        to_version=version.version,
        by=_user(),
        reason=reason,
        figures=described.get("test", {}),
        rules=[{"rule": "ledger", "held": False, "found": problem} for problem in problems],
        bundle_sha256=version.bundle_sha256,
        data_sha256=described.get("data_sha256", ""),
        code_revision=described.get("code_revision", ""),
        run_id=described.get("run_id", ""),
    )
    return _carry_out(client, settings, entry, version)


def _previous(client: MlflowClient, settings: Settings, past: list[Record]) -> int:
    now = champion_number(client, settings)
    before = [number for number in stack(past) if number != now]
    if not before:
        raise UserError(
            "there is no champion to go back to"
            + (f": version {now} is the first" if now else ": nothing has been promoted yet"),
            where=model_name(settings),
            next_step=f"see all versions: {make('models', settings)}",
        )
    return before[-1]


def _user() -> str:
    """Who typed the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown user"


def _lock(settings: Settings) -> AbstractContextManager[None]:
    """Held to read the champion, write the decision and move the alias. Not the lock of var/, which
    a training holds for minutes: a rollback cannot wait for that."""
    return file_lock(
        settings.var.absolute() / "mlflow" / "champion.lock",
        wait=LOCK_SECONDS,
        busy="another command has been moving the champion for a minute",
    )
