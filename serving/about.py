"""What `GET /model` says: who answers, what it learnt from, how good it is, what it takes."""

from __future__ import annotations

from typing import Any

import msgspec

from registry.bundle import Bundle
from serving.asked import Limits, Model

# Of `bundle.json`, as it stands there; null where an older bundle does not have it.
KEPT = (
    *("family", "trained_at", "config", "seed", "question", "as_of", "data_sha256"),
    *("code_revision", "calibration", "params", "valid", "test", "versions", "features"),
)


def about(model: Model, bundle: Bundle, limits: Limits, loaded_at: str) -> bytes:
    """JSON, made once: what is served does not change while it is."""
    description = bundle.description
    section = description.get("transactions")
    return msgspec.json.encode(
        {
            **msgspec.structs.asdict(model),
            "loaded_at": loaded_at,
            "outcome": outcome(description),
            **{name: description.get(name) for name in KEPT},
            "transactions": section
            and {"declared": section["declared"], "log_start": section["log_start"]},
            "limits": vars(limits),
        }
    )


def outcome(description: dict[str, Any]) -> str:
    """What the probability is of, as the bundle tells: `that Churn is Yes`."""
    question = description.get("question") or {}
    if question.get("target") is not None:
        return f"that {question['target']} is {question.get('positive', 'positive')}"
    if "horizon_days" in question:
        return f"that the customer buys within {question['horizon_days']} days"
    return "of the outcome that the model predicts"
