"""The run report and the model card: every figure is the one given, whatever kind of run it was."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_story import made_story
from sklearn.metrics import precision_recall_curve, roc_curve

from configs.settings import Settings, Training
from configs.source import Source
from configs.table import Table
from training.report import Story, write_run_report
from training.report import curves as drawn

VOID = {"meta", "br"}


class Page(HTMLParser):
    """The page's tags, text and tables; fails on a tag that is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.caption = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows: list[list[str]] = []
            self.caption = ""
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[" ".join(self.caption.split())] = self.rows

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.words.append(data)
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += " " + data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def row(self, caption: str, first: str) -> list[str]:
        """The cells of a row, found by the begin of the table's caption and of its first cell."""
        (table,) = [t for name, t in self.tables.items() if name.startswith(caption)]
        rows = [[" ".join(cell.split()) for cell in row] for row in table]
        return next(row for row in rows if row and row[0].startswith(first))


def told(folder: Path, story: Story) -> tuple[Page, str]:
    folder.mkdir(parents=True, exist_ok=True)
    report, card = write_run_report(story, folder)
    assert [report.name, card.name] == ["report.html", "model_card.md"]
    assert sorted(path.name for path in folder.iterdir()) == ["model_card.md", "report.html"]
    return Page(report.read_text(encoding="utf-8")), card.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def story() -> Story:
    return made_story()


@pytest.fixture(scope="module")
def pages(story: Story, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    return told(tmp_path_factory.mktemp("report"), story)


# Every figure is the one given


def test_the_verdict_says_what_was_decided_and_why(story: Story, pages: tuple[Page, str]) -> None:
    page, card = pages
    found = story.evaluation.scores["ensemble"]
    assert "Promoted: it takes the champion's place" in page.text
    interval = f"({found['roc_auc_low']:.4f} to {found['roc_auc_high']:.4f})"
    assert f"ROC AUC {found['roc_auc']:.4f} {interval}, log loss {found['log_loss']:.4f}" in (
        page.text
    )
    for rule in story.summary["decision"]["rules"]:
        row = page.row("The gate: 2 of 2 rules held", "held")
        assert row[0] == "held"
        assert f"{rule['found']} {rule['why']}" in page.text and rule["limit"] in page.text
        assert all(rule[key] in card for key in ("found", "limit", "why"))


def test_the_contest_has_every_contestants_figures(story: Story, pages: tuple[Page, str]) -> None:
    page, card = pages
    for name, scores in story.evaluation.scores.items():
        row = page.row("Figures with their 95 % intervals", name)
        valid = story.results[name]["valid_metrics"]["levelled_log_loss"]
        assert row[1] == f"{valid:.4f}"
        for metric, digits in (("roc_auc", 4), ("log_loss", 4), ("calibration_error", 3)):
            value, low, high = (scores[metric + end] for end in ("", "_low", "_high"))
            shown = f"{value:.{digits}f} {low:.{digits}f} to {high:.{digits}f}"
            assert shown in row
            assert f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})" in card
    assert page.row("Figures with", "oracle")[2] == "0.8012" and "0.8012" in card
    baseline = story.evaluation.baseline
    assert baseline and page.row("Figures with", "baseline")[2] == f"{baseline.roc_auc:.4f}"
    for pair, found in story.evaluation.between.items():
        d = found["roc_auc"]
        row = page.row("Two models err on the same rows", pair)
        assert row[1] == f"{d['difference']:+.4f} {d['low']:+.4f} to {d['high']:+.4f}"
        sure = d["low"] > 0 or d["high"] < 0
        assert (row[2] == "no sure difference") == (not sure)
    for metric, name in (("roc_auc", "ROC AUC"), ("log_loss", "log loss")):
        assert story.evaluation.against_champion
        d = story.evaluation.against_champion[metric]
        row = page.row("Winner less champion", name)
        assert row[1] == f"{d['difference']:+.4f} {d['low']:+.4f} to {d['high']:+.4f}"
        assert f"{name} {d['difference']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})" in card


def test_a_lower_log_loss_counts_as_better(tmp_path: Path, story: Story) -> None:
    wide = {"difference": -0.1, "low": -0.2, "high": -0.05}
    between = {"a - b": {"roc_auc": wide, "log_loss": wide}}
    page, _ = told(tmp_path, replace(story, evaluation=replace(story.evaluation, between=between)))
    row = page.row("Two models err", "a - b")
    assert (row[2], row[4]) == ("b is better", "a is better")


def test_validation_is_told_date_by_date(story: Story, pages: tuple[Page, str]) -> None:
    page, _ = pages
    for place, fold in enumerate(story.results["xgboost"]["folds"]):
        row = page.row("After calibration; ROC AUC", fold["as_of"])
        assert row[1:3] == ["5,000", str(fold["rows"])]
        for column, name in enumerate(("ensemble", "xgboost", "logistic"), start=3):
            metrics = story.results[name]["folds"][place]["metrics"]
            assert row[column] == f"{metrics['roc_auc']:.4f} {metrics['log_loss']:.4f}"


def test_calibration_is_told_before_and_after(story: Story, pages: tuple[Page, str]) -> None:
    page, card = pages
    y, p = story.y, story.evaluation.probabilities["xgboost"]
    row = page.row("Before and after, every contestant", "xgboost")
    before, after = (
        story.evaluation.before_calibration["xgboost"],
        story.evaluation.scores["xgboost"],
    )
    assert row[1:] == [
        "season",
        f"{100 * story.test_raw['xgboost'].mean():.1f} %",
        f"{100 * p.mean():.1f} %",
        *(f"{m['calibration_error']:.4f}" for m in (before, after)),
        *(f"{m['log_loss']:.4f}" for m in (before, after)),
    ]
    winner = story.evaluation.probabilities["ensemble"]
    row = page.row("Mean prediction of ensemble", "test")
    assert row[2:4] == ["600", row[3]] and row[3].startswith(f"{100 * y.mean():.1f} %")
    assert row[5] == f"{100 * winner.mean():.1f} %" and row[5] in card
    assert story.valid is not None and story.valid.y is not None
    early = story.valid.as_of == np.datetime64("2025-03-01")
    row = page.row("Mean prediction of ensemble", "validation")
    assert row[1:3] == ["2025-03-01", str(early.sum())]
    assert row[3].startswith(f"{100 * story.valid.y[early].mean():.1f} %")
    assert row[5] == f"{100 * story.valid_native['ensemble'][early].mean():.1f} %"


def test_the_value_of_contact_is_counted_row_by_row(story: Story, pages: tuple[Page, str]) -> None:
    page, card = pages
    y, p = story.y, story.evaluation.probabilities["ensemble"]
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


def test_slices_are_told_and_the_worst_named(story: Story, pages: tuple[Page, str]) -> None:
    page, card = pages
    for one in story.evaluation.slices:
        row = page.row("Figures by slice", one["slice"])
        assert row[1:3] == [str(one["rows"]), str(one["positives"])]
        auc = f"{one['roc_auc']:.3f} {one['roc_auc_low']:.3f} to {one['roc_auc_high']:.3f}"
        assert row[3] == auc
        assert f"{100 * one['mean_predicted']:.1f} %" in row
        assert ("not judged" in row[0]) == (not one["judged"])
        assert (
            f"| {one['slice']} | {one['rows']} | {one['positives']} | {one['roc_auc']:.3f}" in card
        )
    judged = [one for one in story.evaluation.slices if one["judged"]]
    lowest = min(judged, key=lambda one: one["roc_auc"])
    named = f"Lowest ROC AUC: {lowest['slice']}"
    assert re.sub(r"\s+", " ", named) in page.text and named in card
    assert "among the lowest" in page.row("Figures by slice", lowest["slice"])[0]


def test_importance_and_contributions_are_told(story: Story, pages: tuple[Page, str]) -> None:
    page, card = pages
    assert story.importance is not None and story.contributions is not None
    for one in story.importance["features"]:
        row = page.row("Features, the most important first", one["name"])
        loss, error = one["roc_auc_loss"], one["roc_auc_error"]
        shown = f"{loss:+.4f}" if loss else "0.0000"
        assert row[1] == f"{shown} ± {error:.4f}"
        column = [feature["name"] for feature in story.schema].index(one["name"])
        assert row[4] == f"{np.abs(story.contributions[:, column]).mean():.3f}"
    best = story.importance["features"][0]
    assert f"{best['roc_auc_loss']:+.4f} (± {best['roc_auc_error']:.4f})" in card
    assert "A feature that another one repeats looks unimportant" in page.text


def test_the_search_marks_what_was_pruned_and_what_failed(pages: tuple[Page, str]) -> None:
    page, _ = pages
    assert "20 trials: 14 complete, 5 pruned, 1 failed, in 7.0 s; ended by trials." in page.text
    assert "Failed with: ValueError: no <number>" in page.text
    classes = [held.get("class") for tag, held in page.tags if tag == "path"]
    assert classes.count("pruned") == 2 * 5 + 1 and classes.count("failed") == 2 + 1  # and the keys
    assert page.row("The best trial, the first", "learning_rate") == [
        "learning_rate", "0.06", "0.05", "0.01 to 0.2",
    ]  # fmt: skip
    assert page.row("The best trial, the first", "rounds") == ["rounds", "210", "–", "200 to 300"]
    assert "ensemble is the weighted mean of xgboost (0.65), logistic (0.35)" in page.text


def test_export_latency_hashes_and_commands_are_told(pages: tuple[Page, str]) -> None:
    page, card = pages
    assert page.row("Largest difference of a probability", "xgboost")[1] == "2.5e-07"
    assert "takes 0.012 ms in the middle and 0.046 ms at the 99th percentile" in page.text
    for text in (page.text, card):
        assert "make reproduce RUN=20261123-192324-f9b0" in text and "make train" in text
        assert all(letter * 64 in text for letter in "abc") and "0123abcd" in text
    assert page.row("Rows of each split", "train")[1:] == [
        "2024-07-01, 2024-08-01",
        "17,669",
        "38.9 %",
    ]


# The curves are those of scikit-learn


def test_roc_and_precision_are_scikit_learns() -> None:
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


def test_the_value_curve_is_the_value_at_each_threshold() -> None:
    rng = np.random.default_rng(2)
    y, p = (rng.random(200) < 0.3).astype(int), rng.random(200).round(2)
    thresholds, worth = drawn.values(y, p, 2.0, 5.0)
    for threshold, value in zip(thresholds, worth, strict=True):
        assert value == pytest.approx(drawn.contact(y, p, threshold, 2.0, 5.0).value)


def test_the_interval_of_the_value_counts_customers_and_not_rows() -> None:
    rng = np.random.default_rng(2)
    y, p = (rng.random(400) < 0.3).astype(int), rng.random(400)
    one = drawn.contact(y, p, 0.4, 2.0, 5.0)
    thrice = drawn.contact(*np.tile([y, p], 3), 0.4, 2.0, 5.0, np.tile(np.arange(400), 3))
    assert (thrice.low, thrice.high) == pytest.approx((one.low, one.high))


# How the pages are made


def test_the_page_needs_nothing_else(story: Story, pages: tuple[Page, str], tmp_path: Path) -> None:
    page, _ = pages
    write_run_report(story, tmp_path)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?:|url\(|@import|data:", source)
    anchors = {held["id"] for _, held in page.tags if "id" in held}
    links = [str(held["href"]) for _, held in page.tags if "href" in held]
    assert len(links) == 12 and all(link[0] == "#" and link[1:] in anchors for link in links)
    assert len(source) < 300_000


def test_tables_have_captions_and_pictures_words(pages: tuple[Page, str]) -> None:
    page, _ = pages
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") and tags.count("h1") == 1
    plots = [held for _, held in page.tags if "plot" in (held.get("class") or "").split()]
    assert len(plots) == 8 + 2 + 5  # and a search per family, and five features
    assert all(held["role"] == "img" and len(str(held["aria-label"])) > 30 for held in plots)
    assert all("viewbox" in held or "width" in held for tag, held in page.tags if tag == "svg")


def test_no_figure_is_missing_or_unreadable(pages: tuple[Page, str]) -> None:
    for text in (pages[0].text, pages[1]):
        assert not re.search(r"\b(nan|None|inf|NaT|Undefined)\b", text)


@pytest.mark.slow
def test_the_same_story_gives_the_same_bytes(story: Story, tmp_path: Path) -> None:
    for name in ("one", "two"):
        told(tmp_path / name, story)
    for page in ("report.html", "model_card.md"):
        assert (tmp_path / "one" / page).read_bytes() == (tmp_path / "two" / page).read_bytes()


def test_the_card_is_a_table_where_it_looks_like_one(pages: tuple[Page, str]) -> None:
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
        ("Promoted: it is the new champion", {"names": ("xgboost",), "champion": False}),
        ("Not promoted", {"contributions": False, "champion": False, "promoted": False}),
        ("Promoted", {"importance": None}),
        ("Promoted", {"importance": None, "contributions": False}),
        ("Promoted", {"valid": None, "valid_native": {}, "valid_raw": {}, "test_raw": {}}),
        ("Promoted", {"plain": True, "names": ("logistic", "xgboost")}),
        ("Promoted", {"names": ("ensemble", "a", "b", "c", "d", "e", "f", "g")}),
    ],
)
def test_it_tells_every_kind_of_run(tmp_path: Path, wanted: str, kind: dict[str, Any]) -> None:
    story = made_story(200, bootstrap=20, **kind)
    page, card = told(tmp_path, story)
    assert wanted in page.text and wanted in card
    for text in (page.text, card):
        assert not re.search(r"\b(nan|None|inf|NaT)\b", text)
        assert ("buy again within" in text) == (not kind.get("plain") and text is card)
    assert ("as-of date" in card) == (not kind.get("plain"))
    if not kind.get("champion", True):
        assert "No champion was scored beside it" in page.text
        assert "compared with no champion" in card
    if kind.get("contributions") is False:
        assert "How the contribution changes" not in page.text
    if kind.get("plain"):
        row = page.row("Figures by slice", "contract: another value")
        assert row[0].startswith("contract: another value")
        assert "oracle" not in page.text and page.row("After calibration", "validation")


def test_a_champion_that_could_not_be_scored_is_said_in_the_rules(tmp_path: Path) -> None:
    story = made_story(200, bootstrap=20, champion=False, promoted=False)
    rule = {"rule": "champion", "held": False, "found": "the champion cannot be scored: gone",
            "limit": "must be scored", "why": "none can be better than the unknown"}  # fmt: skip
    decision = story.summary["decision"]
    story.summary["decision"] = {**decision, "rules": [*decision["rules"], rule]}
    page, card = told(tmp_path, story)
    broken = page.row("The gate: 1 of 3 rules held; one broken", "broken")
    assert broken[0] == "broken"
    assert "the champion cannot be scored: gone" in page.text and "cannot be scored: gone" in card


def test_without_costs_no_decision_is_drawn_and_what_is_asked_is_shown(tmp_path: Path) -> None:
    bare = Settings(training=Training(), source=Source(table=Table(group="house[hold]")))
    story = made_story(200, bootstrap=20, plain=True, contributions=False, settings=bare)
    text = "is call_[length] known before the outcome?"
    story.summary["questions"] = [{"about": "call_[length]", "text": text}]
    page, card = told(tmp_path, story)
    assert "No decision is taken: no costs are set" in page.text and text in page.text
    assert r"Rows of one house\[hold\] are alike: they are on one side of the split" in card
    assert "No decision is taken: no costs are set" in card and "to decide by" not in card
    assert r"call\_\[length\] known before the outcome?" in card
    for said in (page.text, card):
        assert not re.search(r"\b(nan|None|inf|NaT)\b", said)


def test_a_decision_without_rules_has_its_reasons(tmp_path: Path) -> None:
    story = made_story(200, bootstrap=20, promoted=False)
    story.summary["decision"] = {"action": "reject", "reasons": ["broken: too slow"]}
    page, card = told(tmp_path, story)
    assert "broken: too slow" in page.text and "- broken: too slow" in card


def test_all_trials_failed_but_the_first(tmp_path: Path) -> None:
    story = made_story(200, bootstrap=20)
    trials = story.results["xgboost"]["trials"]
    for trial in trials[1:]:
        trial |= {"state": "failed", "metrics": {}, "params": {}, "error": "RuntimeError: no"}
    page, _ = told(tmp_path, story)
    assert "20 trials: 1 complete, 0 pruned, 19 failed" in page.text


@pytest.mark.slow
def test_markup_in_names_is_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>|`[x](y)*'
    story = made_story(200, bootstrap=20, names=("xgboost", evil), plain=True)
    schema = [{**feature, "name": evil + str(i)} for i, feature in enumerate(story.schema)]
    schema[0]["categories"] = (evil, "b")
    assert story.importance is not None
    features = [
        {**one, "name": schema[i]["name"], "alike": [evil]}
        for i, one in enumerate(story.importance["features"])
    ]
    slices = [{**one, "slice": evil} for one in story.evaluation.slices]
    story = replace(
        story,
        schema=tuple(schema),
        importance={**story.importance, "features": features},
        evaluation=replace(story.evaluation, slices=slices),
    )
    story.summary["source"] = story.summary["model"]["name"] = evil
    story.summary["decision"]["reasons"] = [evil]
    page, card = told(tmp_path, story)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)</script>") >= 8
    assert not any(name.startswith("on") for _, held in page.tags for name in held)
    assert "<script" not in card and "[x](y)" not in card
    test_the_card_is_a_table_where_it_looks_like_one((page, card))
