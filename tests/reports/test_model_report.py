"""The run report and the model card: every figure is the one given, whatever kind of run it was."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made_context import made_context
from read_page import SCRIPT, Page, check_alone
from sklearn.metrics import precision_recall_curve, roc_curve

from configs.settings import Settings, Training
from configs.source import Source
from configs.table import Table
from reports import curves as drawn
from reports.model import write_model_report
from reports.model_context import ReportContext

UNREADABLE = re.compile(r"\b(nan|None|inf|NaT|Undefined)\b")


def rendered(folder: Path, context: ReportContext) -> tuple[Page, str]:
    folder.mkdir(parents=True, exist_ok=True)
    report, card = write_model_report(context, folder)
    assert [report.name, card.name] == ["report.html", "model_card.md"]
    assert sorted(path.name for path in folder.iterdir()) == ["model_card.md", "report.html"]
    return check_alone(report.read_text(encoding="utf-8")), card.read_text(encoding="utf-8")


def signed(value: float) -> str:
    """With the page's minus sign."""
    return f"{value:+.4f}".replace("-", "−")


@pytest.fixture(scope="module")
def context() -> ReportContext:
    return made_context()


@pytest.fixture(scope="module")
def pages(context: ReportContext, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    return rendered(tmp_path_factory.mktemp("report"), context)


# Every figure is the one given


def test_the_verdict_says_what_was_decided_and_why(context, pages):
    page, card = pages
    found = context.evaluation.scores["ensemble"]
    assert "Promoted: it takes the champion's place" in page.text
    interval = f"({found['roc_auc_low']:.4f} to {found['roc_auc_high']:.4f})"
    assert f"ROC AUC {found['roc_auc']:.4f} {interval}, log loss {found['log_loss']:.4f}" in (
        page.text
    )
    for rule in context.summary["decision"]["rules"]:
        row = page.row("The gate: 2 of 2 rules held", "held")
        assert row[0] == "held"
        assert f"{rule['found']} {rule['why']}" in page.text and rule["limit"] in page.text
        assert all(rule[key] in card for key in ("found", "limit", "why"))


def test_the_comparison_has_every_candidates_figures(context, pages):
    page, card = pages
    for name, scores in context.evaluation.scores.items():
        row = page.row("Figures with their 95 % intervals", name)
        valid = context.results[name]["valid_metrics"]["recalibrated_log_loss"]
        assert row[1] == f"{valid:.4f}"
        for metric, digits in (("roc_auc", 4), ("log_loss", 4), ("calibration_error", 3)):
            value, low, high = (scores[metric + end] for end in ("", "_low", "_high"))
            shown = f"{value:.{digits}f} {low:.{digits}f} to {high:.{digits}f}"
            assert shown in row
            assert f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})" in card
    assert page.row("Figures with", "oracle")[2] == "0.8012" and "0.8012" in card
    baseline = context.evaluation.baseline
    assert baseline and page.row("Figures with", "baseline")[2] == f"{baseline.roc_auc:.4f}"
    for pair, found in context.evaluation.between.items():
        d = found["roc_auc"]
        row = page.row("Two models err on the same rows", pair)
        assert row[1] == f"{signed(d['difference'])} {signed(d['low'])} to {signed(d['high'])}"
        sure = d["low"] > 0 or d["high"] < 0
        assert (row[2] == "no significant difference") == (not sure)
    for metric, name in (("roc_auc", "ROC AUC"), ("log_loss", "log loss")):
        assert context.evaluation.against_champion
        d = context.evaluation.against_champion[metric]
        row = page.row("Winner less champion", name)
        assert row[1] == f"{signed(d['difference'])} {signed(d['low'])} to {signed(d['high'])}"
        assert (
            f"{name} {signed(d['difference'])} ({signed(d['low'])} to {signed(d['high'])})" in card
        )


def test_validation_is_shown_date_by_date(context, pages):
    page, _ = pages
    for place, fold in enumerate(context.results["xgboost"]["folds"]):
        row = page.row("After calibration; ROC AUC", fold["as_of"])
        assert row[1:3] == ["5,000", str(fold["rows"])]
        for column, name in enumerate(("ensemble", "xgboost", "logistic"), start=3):
            metrics = context.results[name]["folds"][place]["metrics"]
            assert row[column] == f"{metrics['roc_auc']:.4f} {metrics['log_loss']:.4f}"


def test_calibration_is_shown_before_and_after(context, pages):
    page, card = pages
    y, p = context.y, context.evaluation.probabilities["xgboost"]
    row = page.row("Before and after, every candidate", "xgboost")
    before, after = (
        context.evaluation.before_calibration["xgboost"],
        context.evaluation.scores["xgboost"],
    )
    assert row[1:] == [
        "season",
        f"{100 * context.test_raw['xgboost'].mean():.1f} %",
        f"{100 * p.mean():.1f} %",
        *(f"{m['calibration_error']:.4f}" for m in (before, after)),
        *(f"{m['log_loss']:.4f}" for m in (before, after)),
    ]
    winner = context.evaluation.probabilities["ensemble"]
    row = page.row("Mean prediction of ensemble", "test")
    assert row[2:4] == ["600", row[3]] and row[3].startswith(f"{100 * y.mean():.1f} %")
    assert row[5] == f"{100 * winner.mean():.1f} %" and row[5] in card
    assert context.valid is not None and context.valid.y is not None
    early = context.valid.as_of == np.datetime64("2025-03-01")
    row = page.row("Mean prediction of ensemble", "validation")
    assert row[1:3] == ["2025-03-01", str(early.sum())]
    assert row[3].startswith(f"{100 * context.valid.y[early].mean():.1f} %")
    assert row[5] == f"{100 * context.valid_native['ensemble'][early].mean():.1f} %"


def test_the_value_of_contact_is_counted_row_by_row(context, pages):
    page, card = pages
    y, p = context.y, context.evaluation.probabilities["ensemble"]
    taken = p >= 2.0 / 5.0
    counts = page.row("Of 600 test rows", "contacted")[1:] + page.row("Of 600", "not contacted")[1:]
    assert counts == [
        str(int(np.sum(taken & (y == 1)))),
        str(int(np.sum(taken & (y == 0)))),
        str(int(np.sum(~taken & (y == 1)))),
        str(int(np.sum(~taken & (y == 0)))),
    ]
    worth = 1000 * np.sum(np.where(taken, 5.0 * y - 2.0, 0)) / len(y)
    row = page.row("Value per 1,000 rows", "from 0.4 on, in use")
    assert row[1] == str(taken.sum()) and row[2].startswith(f"{worth:.0f} ")
    assert f": {worth:.0f} per 1,000 rows" in card
    everybody = page.row("Value per 1,000 rows", "everybody")
    assert everybody[2].startswith(f"{1000 * (5 * y.mean() - 2):.0f} ")


def test_slices_are_shown_and_the_worst_named(context, pages):
    page, card = pages
    for one in context.evaluation.slices:
        row = page.row("Figures by slice", one["slice"])
        assert row[1:3] == [str(one["rows"]), str(one["positives"])]
        auc = f"{one['roc_auc']:.3f} {one['roc_auc_low']:.3f} to {one['roc_auc_high']:.3f}"
        assert row[3] == auc
        assert f"{100 * one['mean_predicted']:.1f} %" in row
        assert ("not judged" in row[0]) == (not one["judged"])
        assert (
            f"| {one['slice']} | {one['rows']} | {one['positives']} | {one['roc_auc']:.3f}" in card
        )
    judged = [one for one in context.evaluation.slices if one["judged"]]
    lowest = min(judged, key=lambda one: one["roc_auc"])
    named = f"Lowest ROC AUC: {lowest['slice']}"
    assert re.sub(r"\s+", " ", named) in page.text and named in card
    assert "among the lowest" in page.row("Figures by slice", lowest["slice"])[0]


def test_importance_and_contributions_are_rendered(context, pages):
    page, card = pages
    assert context.importance is not None and context.contributions is not None
    for one in context.importance["features"]:
        row = page.row("Features, the most important first", one["name"])
        loss, error = one["roc_auc_loss"], one["roc_auc_error"]
        shown = signed(loss) if loss else "0.0000"
        assert row[1] == f"{shown} ± {error:.4f}"
        column = [feature["name"] for feature in context.schema].index(one["name"])
        assert row[4] == f"{np.abs(context.contributions[:, column]).mean():.3f}"
    best = context.importance["features"][0]
    assert f"{signed(best['roc_auc_loss'])} (± {best['roc_auc_error']:.4f})" in card
    assert "A feature that another one repeats looks unimportant" in page.text


def test_the_search_marks_what_was_pruned_and_what_failed(pages):
    page, _ = pages
    assert "20 trials: 14 complete, 5 pruned, 1 failed, in 7.0 s; ended by trials." in page.text
    assert "Failed with: ValueError: no <number>" in page.text
    marks = [str(held.get("style")) for tag, held in page.tags if tag == "use"]
    assert sum("stroke: var(--soft)" in mark for mark in marks) == 2 * 5
    assert sum("stroke: var(--bad)" in mark for mark in marks) == 2
    assert page.row("The best trial, the first", "learning_rate") == [
        "learning_rate", "0.06", "0.05", "0.01 to 0.2",
    ]  # fmt: skip
    assert page.row("The best trial, the first", "rounds") == ["rounds", "210", "–", "200 to 300"]
    assert "ensemble is the weighted mean of xgboost (0.65), logistic (0.35)" in page.text


def test_export_latency_hashes_and_commands_are_rendered(pages):
    page, card = pages
    assert page.row("Largest difference of a probability", "xgboost")[1] == "2.5e-07"
    assert "takes 0.012 ms (median) and 0.046 ms (99th percentile" in page.text
    for text in (page.text, card):
        assert "make reproduce RUN=20261123-192324-f9b0" in text and "make train" in text
        assert all(letter * 64 in text for letter in "abc") and "0123abcd" in text
    assert page.row("Rows of each split", "train")[1:] == [
        "2024-07-01, 2024-08-01",
        "17,669",
        "38.9 %",
    ]


# The curves are those of scikit-learn


def test_roc_and_precision_are_scikit_learns():
    rng = np.random.default_rng(1)
    y = (rng.random(150) < 0.4).astype(int)
    p = (y + rng.normal(size=150)).round(1)
    x, found = drawn.roc(y, p)
    false_rate, true_rate, _ = roc_curve(y, p, drop_intermediate=False)
    assert np.allclose(x, false_rate) and np.allclose(found, true_rate)
    recall, precision = drawn.precision_recall(y, p)
    expected = precision_recall_curve(y, p)
    assert np.allclose(precision, expected[0][-2::-1]) and np.allclose(recall, expected[1][-2::-1])
    taken, gained = drawn.gain(y, p)
    assert (taken[0], gained[0], taken[-1], gained[-1]) == (0, 0, 1, 1)


def test_the_value_curve_is_the_value_at_each_threshold_and_its_interval_counts_customers():
    rng = np.random.default_rng(2)
    y, p = (rng.random(200) < 0.3).astype(int), rng.random(200).round(2)
    for threshold, value in zip(*drawn.values(y, p, 2.0, 5.0), strict=True):
        assert value == pytest.approx(drawn.contact(y, p, threshold, 2.0, 5.0).value)
    one = drawn.contact(y, p, 0.4, 2.0, 5.0)
    thrice = drawn.contact(*np.tile([y, p], 3), 0.4, 2.0, 5.0, np.tile(np.arange(200), 3))
    assert (thrice.low, thrice.high) == pytest.approx((one.low, one.high))


# How the pages are made


def test_sections_are_linked_tables_have_captions_and_every_figure_can_be_read(pages):
    page, card = pages
    tags = [tag for tag, _ in page.tags]
    assert tags.count("a") == 12 and tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption")
    assert len(page.having("chart")) == 8 + 2 + 5  # and a search per family, and five features
    assert all("viewbox" in held or "width" in held for tag, held in page.tags if tag == "svg")
    for text in (page.text, card):
        assert not UNREADABLE.search(text)


def test_the_card_is_a_table_where_it_looks_like_one(pages):
    lines = pages[1].splitlines()
    for first, second in pairwise(lines):
        if first.startswith("|") and second.startswith("|"):
            bars = [len(re.findall(r"(?<!\\)\|", line)) for line in (first, second)]
            assert bars[0] == bars[1], (first, second)


# Every kind of run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("Not promoted", {"plain": True, "champion": False, "promoted": False}),
        (
            "Promoted: it is the new champion",
            {"names": ("xgboost",), "champion": False, "contributions": False},
        ),
        ("Promoted", {"importance": None}),
        (
            "Promoted",
            {
                **{"importance": None, "contributions": False, "valid": None},
                **{"valid_native": {}, "valid_raw": {}, "test_raw": {}},
            },
        ),
        ("Promoted", {"names": ("ensemble", "a", "b", "c", "d", "e", "f", "g")}),
    ],
    ids=[
        "a labelled table without a champion",
        "one family without contributions",
        "no importance",
        "neither validation rows nor importance nor contributions",
        "more candidates than line styles",
    ],
)
def test_every_kind_of_run_has_its_pages(tmp_path, wanted, kind):
    context = made_context(200, bootstrap=20, **kind)
    page, card = rendered(tmp_path, context)
    assert wanted in page.text and wanted in card
    for text in (page.text, card):
        assert not UNREADABLE.search(text)
        assert ("buy again within" in text) == (not kind.get("plain") and text is card)
    assert ("as-of date" in card) == (not kind.get("plain"))
    if not kind.get("champion", True):
        assert "No champion was scored beside it" in page.text
        assert "not compared with a champion" in card
    if kind.get("contributions") is False:
        assert "How the contribution changes" not in page.text
    if kind.get("plain"):
        row = page.row("Figures by slice", "contract: another value")
        assert row[0].startswith("contract: another value")
        assert "oracle" not in page.text and page.row("After calibration", "validation")


@pytest.mark.slow
def test_an_unusual_outcome_is_shown(tmp_path):
    """The champion could not be scored, all trials but the first have failed, and of two models
    each is better by one metric."""
    context = made_context(200, bootstrap=20, champion=False, promoted=False)
    rule = {"rule": "champion", "held": False, "found": "the champion cannot be scored: gone",
            "limit": "must be scored", "why": "none can be better than the unknown"}  # fmt: skip
    decision = context.summary["decision"]
    context.summary["decision"] = {**decision, "rules": [*decision["rules"], rule]}
    for trial in context.results["xgboost"]["trials"][1:]:
        trial |= {"state": "failed", "metrics": {}, "params": {}, "error": "RuntimeError: no"}
    lower = {"difference": -0.1, "low": -0.2, "high": -0.05}
    between = {"a - b": {"roc_auc": lower, "log_loss": lower}}
    context = replace(context, evaluation=replace(context.evaluation, between=between))
    page, card = rendered(tmp_path, context)
    assert page.row("The gate: 1 of 3 rules held; one broken", "broken")[0] == "broken"
    assert "the champion cannot be scored: gone" in page.text and "cannot be scored: gone" in card
    assert "20 trials: 1 complete, 0 pruned, 19 failed" in page.text
    row = page.row("Two models err", "a - b")  # a lower log loss is better
    assert (row[2], row[4]) == ("b is better", "a is better")


@pytest.mark.slow
def test_without_costs_no_decision_is_drawn_and_questions_and_reasons_are_shown(tmp_path):
    bare = Settings(training=Training(), source=Source(table=Table(group="house[hold]")))
    how = {"plain": True, "contributions": False, "promoted": False, "settings": bare}
    context = made_context(200, bootstrap=20, **how)
    text = "is call_[length] known before the outcome?"
    context.summary["questions"] = [{"about": "call_[length]", "text": text}]
    context.summary["decision"] = {"action": "reject", "reasons": ["broken: too slow"]}
    page, card = rendered(tmp_path, context)
    assert "No decision is taken: no costs are set" in page.text and text in page.text
    assert r"Rows of one house\[hold\] are correlated: they are in one split" in card
    assert "No decision is taken: no costs are set" in card and "to decide by" not in card
    assert r"call\_\[length\] known before the outcome?" in card
    assert "broken: too slow" in page.text and "- broken: too slow" in card
    assert not UNREADABLE.search(page.text) and not UNREADABLE.search(card)


@pytest.mark.slow
def test_markup_in_names_is_text(tmp_path):
    evil = f'">{SCRIPT}|`[x](y)*'
    context = made_context(200, bootstrap=20, names=("xgboost", evil), plain=True)
    schema = [{**feature, "name": evil + str(i)} for i, feature in enumerate(context.schema)]
    schema[0]["categories"] = (evil, "b")
    assert context.importance is not None
    features = [
        {**one, "name": schema[i]["name"], "correlated": [evil]}
        for i, one in enumerate(context.importance["features"])
    ]
    slices = [{**one, "slice": evil} for one in context.evaluation.slices]
    context = replace(
        context,
        schema=tuple(schema),
        importance={**context.importance, "features": features},
        evaluation=replace(context.evaluation, slices=slices),
    )
    context.summary["source"] = context.summary["model"]["name"] = evil
    context.summary["decision"]["reasons"] = [evil]
    page, card = rendered(tmp_path, context)
    assert page.text.count(SCRIPT) >= 8
    assert "<script" not in card and "[x](y)" not in card
    test_the_card_is_a_table_where_it_looks_like_one((page, card))
