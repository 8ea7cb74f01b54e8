"""The swap: which champion answers now, and how a new one takes over while requests go on.

The alias is looked up, a new version is tried in a process of its own (`trial.py`), opened beside
the old one (`opening.py`), and takes its place.

The swap is one assignment. A request keeps the champion it began with to its end, and the old one
is let go of with its last request. Whatever is wrong with a new one, the old one goes on serving.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

from common.errors import UserError
from registry.bundle import BundleRefused
from registry.champion import ModelVersion
from serving.champion import Champion
from serving.errors import REFUSED, Problem, Refused
from serving.limits import Limits
from serving.opening import OtherContract, open_champion, same_contract
from serving.responses import RefusedVersion, ShadowVersion
from serving.served import Served
from serving.trial import TrialFailed, Trials

log = logging.getLogger("golden_path.serving")
LONGEST = 1000  # characters of a reason
Outcome = Literal["unchanged", "swapped", "refused", "unknown", "none"]
WHO = "champion"


@dataclass
class Champions:
    """The champion that answers now, and the version that was refused last."""

    served: Served
    current: Champion | None = None
    refused: RefusedVersion | None = None
    unknown: str = ""  # why the last look found out nothing
    trials: Trials | None = None  # none: bundles are opened without one
    noted: Callable[[Outcome, Champions], None] | None = None
    in_shadow: Callable[[], ShadowVersion | None] = lambda: None
    notified_at: int = 0  # when this worker had the others look, nanoseconds since 1970
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    _last: tuple[float, bool, tuple[Outcome, str]] = (-1.0, False, ("none", ""))

    @property
    def limits(self) -> Limits:
        return Limits(self.served.max_rows, self.served.max_lines, self.served.max_explained)

    def ready(self) -> Champion:
        """The one that answers. Raises Refused when there is none."""
        if self.current is None:
            if self.refused is not None:
                what = f"no verified champion: it was refused: {self.refused.why}"
                raise Refused("not_ready", what, Problem(what=what, where=WHO, reason=REFUSED))
            raise Refused("not_ready", f"no verified champion: {self.unknown or 'there is none'}")
        return self.current

    def look(self, *, again: bool = False, notified: bool = False) -> tuple[Outcome, str]:
        """Look up the champion, swap when it is another one: the outcome, and why it was refused.

        again: try one that has been refused before once more.  notified: by another worker: look at
        it once more, by the verdict of that worker's trial, which may take a minute.
        """
        asked_at = monotonic()
        with self._one_at_a_time:
            began_at, tried_again, last = self._last
            if began_at >= asked_at and tried_again >= again:
                return last  # of another caller that waited: a trial takes seconds
            began_at, before = monotonic(), self.refused
            outcome, why = self._look(again, notified)
            changed = outcome in ("swapped", "refused", "unknown") or self.refused != before
            if self.noted is not None and changed:
                self.noted(outcome, self)
            self._last = began_at, again, (outcome, why)
            return outcome, why

    def close(self) -> None:
        """A trial under way is ended."""
        if self.trials is not None:
            self.trials.close()

    def _look(self, again: bool, notified: bool) -> tuple[Outcome, str]:
        try:
            version = self.served.find()
        except UserError as error:
            if self.unknown == error.what and not (again or notified):
                return "unchanged", ""
            self.unknown = error.what
            log.error("the champion cannot be looked up, %s: %s", _stays(self.current), error.what)
            return "unknown", error.what
        if self.unknown:
            log.info("the champion can be looked up again")
        self.unknown = ""
        if version is None:
            # An alias taken away is an accident more often than a wish: the old one goes on.
            return ("unchanged" if self.current else "none"), ""
        key = (version.version, version.bundle_sha256)
        old = self.current
        if old and (old.model.version, old.model.bundle_sha256) == key:
            self.refused = None
            return "unchanged", ""
        refused = self.refused and (self.refused.version, self.refused.bundle_sha256)
        if refused == key and not (again or notified):
            return "unchanged", ""
        try:
            new = self._opened(version, again)
        except Exception as error:  # a bundle can be wrong in ways that no list holds
            why = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            why = why[:LONGEST]
            self.refused = RefusedVersion(*key, reason_of(error), why)
            log.error("version %s refused, %s: %s", version.version, _stays(old), why)
            return "refused", why
        self.current, self.refused = new, None
        log.info("version %s serves%s", version.version, f", after {_name(old)}" if old else "")
        return "swapped", ""

    def _opened(self, version: ModelVersion, again: bool) -> Champion:
        if self.trials is not None:
            self.trials.check(version, again=again)
        new = open_champion(version, self.limits)
        if self.current is not None:
            same_contract(self.current, new)
        return new


def reload(champions: Champions) -> tuple[Outcome, Champion]:
    """Look at once, for an operator. Raises Refused when there is none, or it was refused."""
    outcome, reason = champions.look(again=True)
    if champions.served.signal_file:  # the other workers look at once
        file = Path(champions.served.signal_file)
        file.touch()
        champions.notified_at = file.stat().st_mtime_ns
    if outcome == "unknown":
        raise Refused("unknown_champion", f"{_stays(champions.current)}: {reason}")
    if outcome == "refused":
        problem = Problem(what=reason, where=WHO, reason=REFUSED)
        raise Refused("refused_champion", f"{_stays(champions.current)}: {reason}", problem)
    return outcome, champions.ready()


def reason_of(error: Exception) -> str:
    """The reason of a refusal as a label for `/metrics`."""
    if isinstance(error, TrialFailed):
        return error.reason
    if isinstance(error, OtherContract):
        return "contract"
    return "bundle" if isinstance(error, BundleRefused) else "failed"


def _name(champion: Champion) -> str:
    return f"version {champion.model.version}"


def _stays(old: Champion | None) -> str:
    return f"{_name(old)} goes on serving" if old else "nothing serves yet"
