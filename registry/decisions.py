"""Change the champion, by the gate, by manual promotion or by rollback: nothing else does.

Each decision takes the lock, finishes what a killed command left, and is carried out
(`registry/carry_out.py`). While the ledger is damaged, each raises LedgerBroken, except a manual
promotion with `despite_ledger`, which does not touch what is damaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from configs.make_command import make
from configs.settings import Settings
from registry import ledger
from registry.bundle import DESCRIPTION
from registry.carry_out import GATE, carry_out, champion_lock, current_user, reconcile_locked
from registry.chain import Action, Record, stack
from registry.champion import (
    ModelVersion,
    champion_number,
    find_version,
    model_name,
    verify_version,
    versions,
)
from registry.gate import Decision

if TYPE_CHECKING:
    from mlflow import MlflowClient


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
    with champion_lock(settings):
        reconcile_locked(client, settings)
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
        entry = carry_out(client, settings, entry, version)
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
    with champion_lock(settings):
        named = require_version(client, settings, number)
        problems = ledger.standing(client, settings)[1] if despite_ledger else []
        if problems:
            return _move(client, settings, "restart", named, reason, problems)
        reconcile_locked(client, settings)
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
    with champion_lock(settings):
        if number is not None:
            require_version(client, settings, number)
        reconcile_locked(client, settings)
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
    with champion_lock(settings):
        reconcile_locked(client, settings)
        now = champion_number(client, settings)
        entry = Record(action="trigger", from_version=now, to_version=None, by=by, reason=reason)
        return carry_out(client, settings, replace(entry, figures=dict(figures)))


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
    verify_version(version, ledger.standing(client, settings)[0])
    described = json.loads((version.bundle / DESCRIPTION).read_text(encoding="utf-8"))
    entry = Record(
        action=action,
        from_version=now,
        to_version=version.version,
        by=current_user(),
        reason=reason,
        figures=described.get("test", {}),
        rules=[{"rule": "ledger", "held": False, "found": problem} for problem in problems],
        bundle_sha256=version.bundle_sha256,
        data_sha256=described.get("data_sha256", ""),
        code_revision=described.get("code_revision", ""),
        run_id=described.get("run_id", ""),
    )
    return carry_out(client, settings, entry, version)


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
