"""What a run asks a person at its end: only where there is something to look at."""

from __future__ import annotations

from typing import Any

import pytest
from made_table import settings

from configs.load import load
from features.facts import TableFacts
from features.leak_report import LeakReport
from flows.report import questions

SURE = {"difference": 0.05, "low": 0.02, "high": 0.08}
EVEN = {"difference": 0.001, "low": -0.004, "high": 0.006}


def about_columns(kind: str = "table", **changes: Any) -> dict[str, str]:
    """Column -> question."""
    made = settings("table.csv", "var", group="household", split="fold")
    strong = LeakReport((), 0.85, 100, 0, (), None, tuple(changes.get("strong", ())))
    torn = {"groups_torn": changes.get("torn", 0), "test_rows_torn": 30}
    facts = TableFacts(1, ("visits",), (), {"test": 60}, {}, {}, leak_check=strong, **torn)
    lost = changes.get("lost", {"visits": 0.04, "age": 0.03})
    importance = {"features": [{"name": n, "roc_auc_loss": loss} for n, loss in lost.items()]}
    found = questions(
        made if kind == "table" else load("default", [], {}),
        *(facts, changes.get("against", SURE), {"feature": "visits"}, importance),
    )
    return {one["about"]: one["text"] for one in found}


STRONG = [("duration", 0.83), ("seconds", 0.82), ("age", 0.74)]
CASES: dict[str, tuple[dict[str, Any], dict[str, list[str]]]] = {
    "nothing, where nothing is odd": ({}, {}),
    "columns that are strong by themselves": (
        {"strong": STRONG},
        {"duration": ["known before the outcome?", "0.830", "leave_out"], "seconds": ["0.820"]},
    ),
    "one that is worth more than all others together": (
        {"lost": {"duration": 0.2, "age": 0.1, "n": -0.3}},
        {"duration": ["0.200 of ROC AUC, all others together 0.100"]},
    ),
    "both in one question": (
        {"strong": [("duration", 0.8)], "lost": {"duration": 0.06}},
        {"duration": ["0.800", "0.060", "all others together 0.000"]},
    ),
    "a model that hardly ranks better than one column": (
        {"against": EVEN},
        {"visits": ["+0.0010 [-0.0040, +0.0060]"]},
    ),
    "groups in several splits": (
        {"torn": 3},
        {"household": ["3 different household have rows in more than one split"]},
    ),
    "no feature of a log, which was made again without the future": (
        {"kind": "files", "strong": STRONG},
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_asks_about(case):
    changes, about = CASES[case]
    asked = about_columns(**changes)
    assert list(asked) == list(about)
    assert all(part in asked[name] for name, parts in about.items() for part in parts)
