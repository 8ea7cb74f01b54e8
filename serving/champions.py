"""Which champion answers: looked up, verified, warmed up beside the old one, then swapped in.

The swap is one assignment. A request keeps the champion it began with to its end, and the old one
is let go of with its last request. Whatever is wrong with a new one, the old one goes on serving.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from configs.errors import UserError
from serving.asked import Champion, Limits
from serving.opening import open_champion, same_contract
from serving.refusal import REFUSED, Problem, Refused
from serving.served import Served

log = logging.getLogger("golden_path.serving")
Outcome = Literal["unchanged", "swapped", "refused", "unknown", "none"]
WHO = "champion"


@dataclass
class Champions:
    """The one that answers now, and what was refused last."""

    served: Served
    current: Champion | None = None
    refused: tuple[tuple[int, str], str] | None = None  # version and SHA-256, and why
    unknown: str = ""  # why the last look found out nothing
    noted: Callable[[Outcome, Champion | None, Champion | None], None] | None = None
    told: int = 0  # when this one told the others to look
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    @property
    def limits(self) -> Limits:
        return Limits(self.served.max_rows, self.served.max_lines, self.served.max_explained)

    def ready(self) -> Champion:
        """The one that answers. Raises Refused when there is none."""
        if self.current is None:
            if self.refused is not None:
                what = f"no verified champion: it was refused: {self.refused[1]}"
                raise Refused("not_ready", what, Problem(what=what, where=WHO, reason=REFUSED))
            raise Refused("not_ready", f"no verified champion: {self.unknown or 'there is none'}")
        return self.current

    def look(self, *, again: bool = False) -> tuple[Outcome, str]:
        """Look up the champion, swap when it is another one: the outcome, and why it was refused.

        again: try one that has been refused before once more.
        """
        with self._one_at_a_time:
            old = self.current
            outcome, reason = self._look(again)
            if self.noted is not None and outcome in ("swapped", "refused", "unknown"):
                self.noted(outcome, old, self.current)
            return outcome, reason

    def _look(self, again: bool) -> tuple[Outcome, str]:
        try:
            found = self.served.find()
        except UserError as error:
            if self.unknown == error.what and not again:
                return "unchanged", ""
            self.unknown = error.what
            log.error("the champion cannot be looked up, %s: %s", _stays(self.current), error.what)
            return "unknown", error.what
        if self.unknown:
            log.info("the champion can be looked up again")
        self.unknown = ""
        if found is None:
            # An alias taken away is an accident more often than a wish: the old one goes on.
            return ("unchanged" if self.current else "none"), ""
        key = (found.version, found.bundle_sha256)
        old = self.current
        if old and (old.model.version, old.model.bundle_sha256) == key:
            self.refused = None
            return "unchanged", ""
        if self.refused and self.refused[0] == key and not again:
            return "unchanged", ""
        try:
            new = open_champion(found, self.limits)
            if old is not None:
                same_contract(old, new)
        except Exception as error:  # a bundle can be wrong in ways that no list holds
            reason = (
                error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            )
            self.refused = (key, reason)
            log.error("version %s refused, %s: %s", found.version, _stays(old), reason)
            return "refused", reason
        self.current, self.refused = new, None
        log.info("version %s serves%s", found.version, f", after {_name(old)}" if old else "")
        return "swapped", ""


def reload(champions: Champions) -> tuple[Outcome, Champion]:
    """Look at once, for an operator. Raises Refused when there is none, or it was refused."""
    outcome, reason = champions.look(again=True)
    if champions.served.signal_file:  # the other workers look at once
        file = Path(champions.served.signal_file)
        file.touch()
        champions.told = file.stat().st_mtime_ns
    if outcome == "unknown":
        raise Refused("unknown_champion", f"{_stays(champions.current)}: {reason}")
    if outcome == "refused":
        problem = Problem(what=reason, where=WHO, reason=REFUSED)
        raise Refused("refused_champion", f"{_stays(champions.current)}: {reason}", problem)
    return outcome, champions.ready()


def _name(champion: Champion) -> str:
    return f"version {champion.model.version}"


def _stays(old: Champion | None) -> str:
    return f"{_name(old)} goes on serving" if old else "nothing serves yet"
