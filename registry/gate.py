"""The gate: may the challenger take the champion's place? Rules in, reasons out, nothing moved.

Figures are computed by the caller on the same test rows for both sides; a champion is never judged
by the figures it once had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.settings import Gate


@dataclass(frozen=True)
class Difference:
    """Challenger minus the other side on the same rows, with its 95 % interval."""

    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Evidence:
    """What the gate looks at. `champion_*` are None without a champion that can be scored."""

    export_max_difference: float
    baseline_roc_auc: Difference
    champion_roc_auc: Difference | None = None
    champion_log_loss: Difference | None = None
    champion_problem: str = ""  # why a champion that exists cannot be scored


@dataclass(frozen=True)
class Decision:
    action: Literal["promote", "reject"]
    reasons: tuple[str, ...]


def decide(evidence: Evidence, limits: Gate) -> Decision:
    """Promote only if every rule holds. The reasons name each rule's figure, held or broken."""
    verdicts = [
        (
            evidence.export_max_difference <= limits.max_export_difference,
            "the ONNX export differs from the original by at most"
            f" {evidence.export_max_difference:.1e} (limit {limits.max_export_difference:.0e})",
        ),
        (
            evidence.baseline_roc_auc.low > 0,
            f"ROC AUC against the order-count baseline: {evidence.baseline_roc_auc}"
            " (low end must be above 0)",
        ),
    ]
    if evidence.champion_roc_auc is not None:
        verdicts.append(
            (
                evidence.champion_roc_auc.low > limits.min_gain,
                f"ROC AUC against the champion on the same test rows: {evidence.champion_roc_auc}"
                f" (low end must be above {limits.min_gain:g})",
            )
        )
    if evidence.champion_log_loss is not None:
        verdicts.append(
            (
                evidence.champion_log_loss.difference <= limits.max_log_loss_rise,
                f"log loss against the champion: {evidence.champion_log_loss}"
                f" (may rise by {limits.max_log_loss_rise:g})",
            )
        )
    notes = []
    if evidence.champion_problem:
        verdicts.append(
            (
                limits.replace_unscorable,
                f"the champion cannot be scored on these test rows: {evidence.champion_problem};"
                " --gate.replace_unscorable true lets it go",
            )
        )
    elif evidence.champion_roc_auc is None:
        notes.append("there is no champion yet: the first one only has to beat the baseline")
    broken = [text for held, text in verdicts if not held]
    if broken:
        return Decision("reject", (*(f"broken: {text}" for text in broken), *notes))
    return Decision("promote", (*(f"held: {text}" for _, text in verdicts), *notes))
