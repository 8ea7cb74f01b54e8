"""A bundle becomes a champion: verified, open, warm, and with the contract of the one before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from common.errors import UserError
from configs.source import Form, Text
from registry.bundle import Bundle, load_bundle
from registry.champion import ModelVersion
from serving.champion import Champion, Request, score
from serving.explain import answered
from serving.limits import Limits
from serving.openapi import describe
from serving.requests import FeatureReader
from serving.responses import Model, Sample

WARM_UPS = 3


class OtherContract(UserError):
    """Clients of the champion that serves would be refused by the new one."""


def open_champion(version: ModelVersion, limits: Limits) -> Champion:
    """The champion, verified, open and warm. Raises UserError, or any error its files cause."""
    bundle = load_bundle(version.bundle, expected_sha256=version.bundle_sha256)
    threshold = bundle.threshold
    if threshold is not None and not (
        isinstance(threshold, int | float) and 0 <= threshold <= 1  # NaN is neither
    ):
        raise UserError(f"its threshold must be from 0 to 1, got {threshold}")
    features, section = bundle.features, bundle.description.get("transactions")
    shape = bundle.session.get_inputs()[0].shape
    if shape[1] != len(features):
        raise UserError(f"its graph takes {shape[1]} features, its description has {len(features)}")
    form = _form(bundle.description)
    transactions = None
    if section is not None:
        from serving.transactions import Transactions

        transactions = Transactions(section, features, limits.max_lines, form)
    champion = Champion(
        Model(version.name, version.version, bundle.sha256, bundle.threshold),
        bundle,
        FeatureReader(features, form.missing_values),
        transactions,
        reference=reference_rows(bundle),
        samples=_samples(bundle, limits),
        loaded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _warm_up(champion, limits)
    return replace(champion, description=describe(champion, limits))


def _form(description: dict[str, Any]) -> Form:
    """How the source of the training rows writes values. Raises UserError."""
    try:
        return Form.model_validate(description.get("source_form") or {})
    except ValueError as error:
        raise UserError(
            f"this version cannot read its source_form: {str(error)[:300]}",
            where="bundle.json",
            next_step="serve it with the version that trained it, or train again",
        ) from None


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
        raise UserError(f"its samples do not have the expected shape: {error}") from None
    return [one for one in samples if len(one.lines or ()) <= limits.max_lines]


def _warm_up(champion: Champion, limits: Limits) -> None:
    """Score its own examples, or a customer of zeros, before the first request does."""
    x = champion.reference
    if not len(x):
        x = np.zeros((1, len(champion.features)), dtype=np.float32)
    for _ in range(WARM_UPS):
        champion.bundle.predict(x)
    lines = [one for one in champion.samples if one.lines]
    for sample in [*lines[:1] * WARM_UPS, *lines[1:]]:
        if champion.transactions is not None:
            customer = {"customer_id": "sample", "lines": sample.lines}
            body = msgspec.json.encode({"as_of": sample.as_of, "customers": [customer]})
            request = Request(body, {}, champion, limits)
            read = champion.transactions.read(body, limits, request.skip, request.stop)
            score(request, read.customers, read.as_of)
    for sample in champion.samples:
        if sample.values is not None:
            body = msgspec.json.encode({"customers": [sample.values]})
            request = Request(body, {}, champion, limits)
            score(request, champion.reader.read(body, limits, request.skip))


FIELD = ("name", "unit", "low", "high", "categories")  # what clients have built on


def same_contract(old: Champion, new: Champion) -> None:
    """Raises OtherContract when clients of the old one would be refused by the new one."""
    differ = changed_features(old.features, new.features)
    what = f"takes other features than the champion that serves: {', '.join(differ[:3])}"
    if not differ:
        lost = _columns(old) ^ _columns(new)
        if old.transactions is None:
            return
        if new.transactions is not None and not lost:
            _same_form(old.transactions.form, new.transactions.form)
            return
        names = ", ".join(sorted(lost)[:3])
        what = f"takes other invoice lines than the champion that serves: {names}"
        if new.transactions is None:
            what = "does not take invoice lines, as the champion that serves does"
    raise OtherContract(
        f"it {what}: clients of the one that serves would be refused (the gate promotes such a"
        " champion with gate.change_features only); once they send what it takes, end the service"
        " and start it again"
    )


def changed_features(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[str]:
    """Names of the features whose contract differs, or that only one of the two has."""
    ours = {one["name"]: _promised(one) for one in old}
    theirs = {one["name"]: _promised(one) for one in new}
    return [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]


def _same_form(old: Form, new: Form) -> None:
    """Raises UserError when the new one would read a line differently than the old one."""
    if old.time_format not in (None, new.time_format):
        what = f"times as {old.time_format}, as the champion that serves does"
    elif old.text and not (new.text and _marks(old.text) == _marks(new.text)):
        what = "numbers as text as the champion that serves does"
    else:
        return
    raise UserError(
        f"it does not read {what}; to serve it anyway, end the service and start it again"
    )


def _marks(text: Text) -> tuple[Any, ...]:
    return text.decimal, text.thousands, text.symbols


def _columns(champion: Champion) -> frozenset[str]:
    return champion.transactions.declared if champion.transactions else frozenset()


def _promised(feature: dict[str, Any]) -> list[Any]:
    promised = [feature.get(key) for key in FIELD]
    return [*promised, bool(feature.get("missing"))]
