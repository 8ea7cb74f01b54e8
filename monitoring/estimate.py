"""The ROC AUC of scores whose labels are not known yet, if their probabilities are right.

Confidence-based performance estimation (CBPE), as NannyML does it: each row counts as a buyer with
its probability and as none with the rest. A champion that is wrong is wrong about this too, so the
estimate is shown with its assumption and never decides anything.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.statistics import NORMAL_95, rank
from monitoring.facts import Estimate

FEWEST = 50  # expected buyers, and others: with fewer nothing is estimated


def estimate(scores: Path) -> Estimate:
    """The estimate for the scores of one as-of date and version. scores: Parquet with as_of,
    version and probability; at least one row, or ValueError."""
    import pyarrow.parquet as pq

    table = pq.read_table(scores, columns=["as_of", "version", "probability"])
    if not table.num_rows:
        raise ValueError(f"{scores} holds no score")
    as_of, version = table["as_of"][0].as_py().isoformat(), int(table["version"][0].as_py())
    return estimate_from(as_of, version, table["probability"].to_numpy())


def estimate_from(as_of: str, version: int, probability: np.ndarray) -> Estimate:
    """The same of probabilities (n,) in [0, 1].

    The interval is where the ROC AUC would lie in 95 % of all cases if every row bought or not by
    its probability, independently of the others: the spread of its labels, by the delta method.
    """
    p = np.asarray(probability, dtype=np.float64)
    buyers = float(p.sum())
    fewest = min(buyers, len(p) - buyers)
    ranked = rank(p, p)
    if ranked is None or fewest < FEWEST:
        text = (
            f"Version {version} as of {as_of}: too few to estimate: {buyers:.0f} of {len(p):,}"
            f" customers are expected to buy; {FEWEST} who do and who do not are needed."
        )
        return Estimate(as_of, version, len(p), None, None, None, buyers, text)
    # What one more buyer in place of one who does not buy changes, by row.
    change = (ranked.below - ranked.roc_auc) / ranked.positives
    change -= (ranked.above - ranked.roc_auc) / ranked.negatives
    half = NORMAL_95 * float(np.sqrt(np.sum(p * (1 - p) * change**2)))
    low, high = max(ranked.roc_auc - half, 0.0), min(ranked.roc_auc + half, 1.0)
    text = (
        f"Version {version} as of {as_of}: if its probabilities are right, its ROC AUC will be"
        f" {ranked.roc_auc:.3f} [{low:.3f}, {high:.3f}] and {buyers:,.0f} of {len(p):,} customers"
        " will buy. That they are right is an assumption, which no label has confirmed yet."
    )
    return Estimate(as_of, version, len(p), ranked.roc_auc, low, high, buyers, text)
