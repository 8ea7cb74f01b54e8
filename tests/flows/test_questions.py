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
BASELINE = {"feature": "visits", "roc_auc": 0.7}


def asked(var: Any = "var", kind: str = "table", **changes: Any) -> list[dict[str, str]]:
    found = settings("table.csv", var, group="household", split="fold")
    if kind != "table":
        found = load("default", [], {})
    strong = tuple(changes.get("strong", [("visits", 0.7)]))
    facts = TableFacts(
        features=1,
        names=("visits",),
        schema=(),
        rows={"test": 60},
        positive_rate={},
        as_of={},
        groups_torn=changes.get("torn", 0),
        test_rows_torn=30,
        leak_check=LeakReport((), 0.85, 100, 0, (), None, strong),
    )
    lost = changes.get("lost", {"visits": 0.04, "age": 0.03})
    importance = {"features": [{"name": n, "roc_auc_loss": loss} for n, loss in lost.items()]}
    return questions(found, facts, changes.get("against", SURE), BASELINE, importance)


def test_nothing_is_asked_where_nothing_is_odd():
    assert asked() == [] and asked(strong=[]) == []


@pytest.mark.parametrize(
    ("changes", "about", "said"),
    [
        ({"strong": [("duration", 0.76), ("age", 0.74)]}, "duration", "ROC AUC of 0.760"),
        ({"lost": {"duration": 0.2, "age": 0.1, "n": -0.3}}, "duration", "0.200 of ROC AUC"),
        ({"lost": {"duration": 0.06}}, "duration", "all others together 0.000"),
        ({"against": EVEN}, "visits", "+0.0010 [-0.0040, +0.0060]"),
        ({"torn": 3}, "household", "3 different household have rows in more than one split"),
    ],
)
def test_what_is_odd_is_asked_about_by_name(changes, about, said):
    (only,) = asked(**changes)
    assert only["about"] == about and said in only["text"]


def test_one_column_that_is_strong_in_both_ways_is_one_question():
    (only,) = asked(strong=[("duration", 0.8)], lost={"duration": 0.2, "age": 0.1})
    assert "known before the outcome?" in only["text"] and "0.800" in only["text"]
    assert "0.200" in only["text"] and "source.table.leave_out" in only["text"]


def test_each_of_several_strong_columns_is_asked_about():
    found = asked(strong=[("duration", 0.83), ("seconds", 0.82), ("age", 0.6)])
    assert [one["about"] for one in found] == ["duration", "seconds"]


def test_a_strong_feature_of_a_log_is_not_asked_about_for_it_was_made_again_without_the_future():
    assert asked(kind="files", strong=[("buy_probability", 0.79)]) == []
