"""Which champion answers: looked up, verified, warmed up beside the old one, then swapped in.

The swap is one assignment. A request keeps the champion it began with to its end, and the old one
is let go of with its last request. Whatever is wrong with a new one, the old one goes on serving.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from configs.errors import UserError
from registry.bundle import Bundle, load_bundle
from registry.models import ModelVersion
from serving.about import about
from serving.asked import Asked, Champion, Limits
from serving.messages import Model, Sample
from serving.openapi import describe
from serving.refusal import REFUSED, Problem, Refused
from serving.served import Served
from serving.values.schema import Decoder
from serving.values.shapley import answered

log = logging.getLogger("golden_path.serving")
Outcome = Literal["unchanged", "swapped", "refused", "none"]
WARM_UPS = 3
WHO = "champion"


@dataclass
class Champions:
    """The one that answers now, and what was refused last."""

    served: Served
    current: Champion | None = None
    refused: tuple[tuple[int, str], str] | None = None  # version and SHA-256, and why
    unknown: str = ""  # why the last look found out nothing
    noted: Callable[[Outcome, Champion | None, Champion | None], None] | None = None
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
            if self.noted is not None and outcome in ("swapped", "refused"):
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
            return "refused", error.what
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
                _same_contract(old, new)
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


def open_champion(found: ModelVersion, limits: Limits) -> Champion:
    """The champion, verified, open and warm. Raises UserError, or whatever its files make fail."""
    bundle = load_bundle(found.bundle, expected_sha256=found.bundle_sha256)
    if not 0 <= bundle.threshold <= 1:  # NaN is neither
        raise UserError(f"its threshold is {bundle.threshold}, and not from 0 to 1")
    features, section = bundle.features, bundle.description.get("transactions")
    shape = bundle.session.get_inputs()[0].shape
    if shape[1] != len(features):
        raise UserError(f"its graph takes {shape[1]} features, its description has {len(features)}")
    transactions = None
    if section is not None:
        from serving.lines.transactions import Transactions

        transactions = Transactions(section, features, limits.max_lines)
    champion = Champion(
        Model(found.name, found.version, bundle.sha256, bundle.threshold),
        bundle,
        Decoder(features),
        transactions,
        reference=reference_rows(bundle),
        samples=_samples(bundle, limits),
    )
    _warm_up(champion)
    loaded_at = datetime.now(UTC).isoformat(timespec="seconds")
    # Written once: what is served does not change while it is.
    return replace(
        champion,
        about=about(champion, limits, loaded_at),
        described=describe(champion, limits),
    )


def reference_rows(bundle: Bundle) -> np.ndarray:
    """Customers to explain against, float32 (r, f), none in an older bundle. Raises UserError."""
    rows = bundle.examples.get("reference") or []
    x = np.array(rows, dtype=np.float32).reshape(-1, len(bundle.features))  # None becomes NaN
    if len(x) and not answered(bundle.predict(x)).all():
        raise UserError("it has no probability for a customer of its own examples")
    return x


def _samples(bundle: Bundle, limits: Limits) -> list[Sample]:
    """Customers to try it with, of no more lines than may be asked about. Raises UserError."""
    try:
        samples = msgspec.convert(bundle.examples.get("samples") or [], list[Sample])
    except msgspec.ValidationError as error:
        raise UserError(f"its samples are not what they should be: {error}") from None
    return [one for one in samples if len(one.lines or ()) <= limits.max_lines]


def _warm_up(champion: Champion) -> None:
    """Ask it before anyone else does: about its own examples, or about a customer of zeros."""
    x = champion.reference
    if not len(x):
        x = np.zeros((1, len(champion.features)), dtype=np.float32)
    for _ in range(WARM_UPS):
        champion.bundle.predict(x)
    sample = next((one for one in champion.samples if one.lines), None)
    if champion.transactions is not None and sample is not None and sample.lines is not None:
        from serving.lines import transactions

        body = {
            "as_of": sample.as_of,
            "customers": [{"customer_id": "sample", "lines": sample.lines}],
        }
        asked = Asked(msgspec.json.encode(body), {}, champion, Limits(1, len(sample.lines), 1))
        for _ in range(WARM_UPS):
            transactions.answer(asked)


FIELD = ("name", "unit", "low", "high", "categories")  # what clients have built on


def _same_contract(old: Champion, new: Champion) -> None:
    """Raises UserError when clients of the old one would be refused by the new one."""
    ours = {one["name"]: _promised(one) for one in old.features}
    theirs = {one["name"]: _promised(one) for one in new.features}
    differ = [
        name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)
    ]
    what = f"asks for other features than the one that serves: {', '.join(differ[:3])}"
    if not differ:
        lost = _columns(old) ^ _columns(new)
        if not lost or old.transactions is None:
            return
        what = f"takes other invoice lines than the one that serves: {', '.join(sorted(lost)[:3])}"
        if new.transactions is None:
            what = "takes no invoice lines, as the one that serves does"
    raise UserError(f"it {what}; to serve it all the same, end the service and start it again")


def _columns(champion: Champion) -> frozenset[str]:
    return champion.transactions.declared if champion.transactions else frozenset()


def _promised(feature: dict[str, Any]) -> list[Any]:
    promised = [feature.get(key) for key in FIELD]
    return [*promised, bool(feature.get("missing"))]


def reload(champions: Champions) -> tuple[Outcome, Champion]:
    """Look at once, for an operator. Raises Refused when there is none, or it was refused."""
    outcome, reason = champions.look(again=True)
    if champions.served.signal_file:  # the other workers look at once
        Path(champions.served.signal_file).touch()
    if outcome == "refused" and champions.unknown:
        raise Refused("unknown_champion", f"{_stays(champions.current)}: {reason}")
    if outcome == "refused":
        problem = Problem(what=reason, where=WHO, reason=REFUSED)
        raise Refused("refused_champion", f"{_stays(champions.current)}: {reason}", problem)
    return outcome, champions.ready()


def _name(champion: Champion) -> str:
    return f"version {champion.model.version}"


def _stays(old: Champion | None) -> str:
    return f"{_name(old)} goes on serving" if old else "nothing serves yet"
