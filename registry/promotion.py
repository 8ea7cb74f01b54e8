"""Who is champion changes here and nowhere else: by the gate, by hand, or by going back.

Each change is written to the ledger first and carried out after, under one lock. What a killed
command leaves is a record that is not carried out; the next command here carries it out first
(`registry/unfinished.py`), because the decision had been taken. Nothing is done by a ledger that
is not whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from configs.command import make
from configs.settings import Settings
from registry import ledger
from registry.bundle import DESCRIPTION
from registry.chain import Action, Record, stack
from registry.gate import Decision
from registry.models import ModelVersion, find_version, promote, versions
from registry.store import model_name
from registry.unfinished import champion_number, settle, verify

if TYPE_CHECKING:
    from mlflow import MlflowClient

PATIENCE = 60.0  # seconds; holding the lock takes one or two


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
    with _alone(settings):
        settle(client, settings)
        now = champion_number(client, settings)
        changed = decision.action == "promote" and now != expected_champion
        reasons = decision.reasons
        if changed:
            reasons = (
                f"broken: it was compared with version {expected_champion or '–'}, and version"
                f" {now or '–'} is champion now",
            )
        entry = ledger.record(
            client,
            settings,
            action="reject" if changed else decision.action,
            from_version=now,
            to_version=version.version,
            by=ledger.GATE,
            reason="\n".join(reasons),
            figures=figures,
            rules=decision.rules,
            bundle_sha256=version.bundle_sha256,
            data_sha256=data_sha256,
            code_revision=code_revision,
            run_id=run_id,
        )
        if entry.action == "promote":
            promote(client, version)
        entry = ledger.close(client, entry)
    if changed:
        raise ChampionChanged(
            f"the champion of {version.name} changed while this run was under way: version"
            f" {version.version} was compared with version {expected_champion or '–'}, now it is"
            f" {now or '–'}; nothing is promoted",
            where=model_name(settings),
            next_step=f"compare again: {make('train', settings)} (finished stages are reused)",
        )
    return entry


def release(
    client: MlflowClient,
    settings: Settings,
    number: int,
    *,
    reason: str = "",
    despite_ledger: bool = False,
) -> Record:
    """Make a version champion by hand, whatever the gate said.

    despite_ledger: also when the ledger is not whole. What is wrong with it is written down, and
    what it says of the model begins anew there; the present champion may be named too.

    Raises UserError for an unknown version, for the present champion, for a bundle that is not
    whole, and LedgerBroken.
    """
    with _alone(settings):
        named = existing(client, settings, number)
        problems = ledger.standing(client, settings)[1] if despite_ledger else []
        if problems:
            return _move(client, settings, "restart", named, reason, problems)
        settle(client, settings)
        return _move(client, settings, "release", named, reason)


def roll_back(
    client: MlflowClient, settings: Settings, number: int | None = None, *, reason: str = ""
) -> Record:
    """Back to the champion before the present one, or to a version that once was champion.

    A second time goes one further back: what was rolled back from is not returned to. Raises
    UserError when there is nothing to go back to, or its bundle is missing or altered, and
    LedgerBroken.
    """
    with _alone(settings):
        if number is not None:
            existing(client, settings, number)
        settle(client, settings)
        past = ledger.trusted(client, settings)
        if number is None:
            number = _previous(client, settings, past)
        elif number not in {entry.to_version for entry in past if entry.moves}:
            raise UserError(
                f"version {number} has never been champion",
                where=model_name(settings),
                next_step=f"to make it champion: {make('promote', settings, VERSION=str(number))}",
            )
        return _move(client, settings, "rollback", existing(client, settings, number), reason)


def existing(client: MlflowClient, settings: Settings, number: int) -> ModelVersion:
    """This version. Raises UserError when there is none: asked before anything is mended."""
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
    with _alone(settings):
        settle(client, settings)
        entry = ledger.record(
            client,
            settings,
            action="trigger",
            from_version=champion_number(client, settings),
            to_version=None,
            by=by,
            reason=reason,
            figures=figures,
        )
        return ledger.close(client, entry)


def mend(client: MlflowClient, settings: Settings) -> list[str]:
    """Finish what a killed command left: a record that is not carried out, a version without a
    decision because its run failed, a champion that somebody set in MLflow.
    Returns what was done, in words; [] when there was nothing to mend. Raises LedgerBroken."""
    with _alone(settings):
        return settle(client, settings)


# --- under the lock ---------------------------------------------------------------------------


def _move(
    client: MlflowClient,
    settings: Settings,
    action: Action,
    version: ModelVersion,
    reason: str,
    problems: Sequence[str] = (),
) -> Record:
    now = champion_number(client, settings)
    if version.version == now and action != "restart":
        raise UserError(
            f"version {version.version} is champion already",
            where=model_name(settings),
            next_step=f"see all versions: {make('models', settings)}",
        )
    verify(version, ledger.standing(client, settings)[0])
    said = json.loads((version.bundle / DESCRIPTION).read_text(encoding="utf-8"))
    entry = ledger.record(
        client,
        settings,
        action=action,
        from_version=now,
        to_version=version.version,
        by=ledger.user(),
        reason=reason,
        figures=said.get("test", {}),
        rules=[{"rule": "ledger", "held": False, "found": problem} for problem in problems],
        bundle_sha256=version.bundle_sha256,
        data_sha256=said.get("data_sha256", ""),
        code_revision=said.get("code_revision", ""),
        run_id=said.get("run_id", ""),
    )
    promote(client, version)
    return ledger.close(client, entry)


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


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One at a time: read the champion, write, move the alias. Not `flows/lock.py`'s: a run holds
    that one for minutes, and a rollback cannot wait for it."""
    file = settings.var.absolute() / "mlflow" / "champion.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o644), "r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - begun > PATIENCE:
                    raise UserError(
                        "another command has been moving the champion for a minute",
                        where=str(file),
                        next_step="wait for it to end, then try again",
                    ) from None
                time.sleep(0.05)
        yield
