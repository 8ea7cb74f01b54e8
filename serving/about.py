"""What `GET /model` says: who answers, what it learnt from, how good it is, what it takes."""

from __future__ import annotations

from typing import Any

import msgspec

from serving.asked import Champion, Limits

# Of `bundle.json`, as it stands there; null where an older bundle does not have it.
KEPT = (
    *("family", "trained_at", "config", "seed", "question", "as_of", "data_sha256"),
    *("code_revision", "calibration", "params", "valid", "test", "versions", "features"),
    *("contact_cost", "sale_value", "source_form"),
)


def about(champion: Champion, limits: Limits, loaded_at: str) -> bytes:
    """As JSON."""
    description = champion.bundle.description
    section = description.get("transactions")
    return msgspec.json.encode(
        {
            **msgspec.structs.asdict(champion.model),
            "loaded_at": loaded_at,
            "outcome": outcome(description),
            **{name: description.get(name) for name in KEPT},
            "transactions": section and {**section, "contract": _of_pages(section["contract"])},
            "limits": vars(limits),
            "refused": None,  # `Champions.about` says which, if any
            "shadow": None,
        }
    )


def _of_pages(contract: dict[str, Any]) -> dict[str, Any]:
    """What a client may want to know of the contract: how a cancellation is marked, the rules."""
    rules = {name: rule["why"] for name, rule in contract["rules"].items() if rule["column"]}
    return {"cancellation_prefix": contract["cancellation_prefix"], "rules": rules}


def outcome(description: dict[str, Any]) -> str:
    """What the probability is of, as the bundle tells: `that Churn is Yes`."""
    question = description.get("question") or {}
    if question.get("target") is not None:
        return f"that {question['target']} is {question.get('positive', 'positive')}"
    if "horizon_days" in question:
        return f"that the customer buys within {question['horizon_days']} days"
    return "of the outcome that the model predicts"
