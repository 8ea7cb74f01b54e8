"""The pictures, from figures to markup. Each says in its `alt` what it shows, so that nothing is
told by a picture alone; lines differ by their dashes and not only by their colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from features.report import plot
from features.report.plot import Tick, compact
from training.report import curves
from training.report.curves import Bin
from training.report.story import Story

SERIES = 6  # kinds of line; more contestants than that share the last
SHARES = (0, 0.25, 0.5, 0.75, 1)
Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def series(story: Story) -> dict[str, str]:
    """Contestant -> the class of its line; the winner's is the thick one."""
    return {name: f"s{min(i, SERIES - 1)}" for i, name in enumerate(story.contestants)}


def per_contestant(story: Story, curve: Curve, alt: str, diagonal: bool = True) -> Markup:
    """One curve per contestant in a square of shares; the winner's is drawn last, on top."""
    shapes = [plot.segment(0, 0, 1, 1, "level")] if diagonal else []
    for name, kind in reversed(series(story).items()):
        x, y = curve(story.y, story.evaluation.probabilities[name])
        shapes.append(plot.line(x, y, kind))
    return plot.frame(shapes, _shares(minor=True), _shares(), alt, "square")


def roc(story: Story) -> Markup:
    said = ", ".join(
        f"{name} {story.evaluation.scores[name]['roc_auc']:.4f}" for name in story.contestants
    )
    alt = f"ROC curves on the test split; the area under the curve is: {said}"
    return per_contestant(story, curves.roc, alt)


def precision_recall(story: Story) -> Markup:
    said = ", ".join(
        f"{name} {story.evaluation.scores[name]['average_precision']:.3f}"
        for name in story.contestants
    )
    alt = f"Precision over recall on the test split; average precision is: {said}"
    return per_contestant(story, curves.precision_recall, alt, diagonal=False)


def gain(story: Story) -> Markup:
    said = ", ".join(
        f"{name} {story.evaluation.scores[name]['lift_top_decile']:.2f}"
        for name in story.contestants
    )
    alt = (
        "Share of the positives found over the share of rows taken, highest probability first;"
        f" lift of the top tenth: {said}"
    )
    return per_contestant(story, curves.gain, alt)


def reliability(before: Sequence[Bin], after: Sequence[Bin]) -> Markup:
    """Observed share over mean prediction, in bins of equal count, with Wilson's intervals."""
    shapes = [plot.segment(0, 0, 1, 1, "level")]
    if before:
        shapes.append(plot.line([b.predicted for b in before], [b.observed for b in before], "raw"))
    for one in after:
        shapes.append(plot.segment(one.predicted, one.low, one.predicted, one.high, "s0 whisker"))
    shapes.append(plot.line([b.predicted for b in after], [b.observed for b in after], "s0 thin"))
    shapes += [plot.dot(one.predicted, one.observed, "s0") for one in after]
    said = ", ".join(f"{b.predicted:.0%} predicted, {b.observed:.0%} observed" for b in after)
    return plot.frame(
        shapes, _shares(minor=True), _shares(), f"Reliability after calibration: {said}", "square"
    )


def levels(dates: Sequence[dict[str, Any]]) -> Markup:
    """Per date: the observed share with its interval, and the mean prediction before and after."""
    values = [
        v for d in dates for v in (d["low"], d["high"], d["before"], d["after"]) if v is not None
    ]
    axis = _Axis(min(values), max(values))
    shapes, ticks, said = [], [], []
    for place, one in enumerate(dates):
        x = (place + 0.5) / len(dates)
        shapes.append(
            plot.segment(x, axis.place(one["low"]), x, axis.place(one["high"]), "observed whisker")
        )
        shapes.append(plot.dot(x, axis.place(one["observed"]), "observed"))
        step = 0.12 / len(dates)
        if one["before"] is not None:
            at = axis.place(one["before"])
            shapes.append(plot.segment(x - 2 * step, at, x + 2 * step, at, "raw bar"))
        at = axis.place(one["after"])
        shapes.append(plot.segment(x - 2 * step, at, x + 2 * step, at, "s0 bar"))
        ticks.append(Tick(x, one["date"] or one["split"], minor=len(dates) > 4 and place % 2 == 1))
        said.append(
            f"{one['split']} {one['date']}: {one['observed']:.1%} observed,"
            f" {one['after']:.1%} predicted"
        )
    return plot.frame(shapes, ticks, axis.percent(), "; ".join(said), "tall")


def folds(story: Story, found: Sequence[dict[str, Any]], metric: str) -> Markup:
    """A line per contestant over the validation dates."""
    known = [m[metric] for fold in found for m in fold["contestants"].values()]
    axis = _Axis(min(known), max(known))
    shapes = []
    for name, kind in reversed(series(story).items()):
        places = [i for i, fold in enumerate(found) if name in fold["contestants"]]
        at = [(i + 0.5) / len(found) for i in places]
        heights = [axis.place(found[i]["contestants"][name][metric]) for i in places]
        shapes.append(plot.line(at, heights, kind))
        shapes += [plot.dot(x, y, kind) for x, y in zip(at, heights, strict=True)]
    ticks = [
        Tick((i + 0.5) / len(found), fold["date"], minor=len(found) > 4 and i % 2 == 1)
        for i, fold in enumerate(found)
    ]
    said = "; ".join(
        f"{fold['date']}: "
        + ", ".join(f"{name} {m[metric]:.4f}" for name, m in fold["contestants"].items())
        for fold in found
    )
    return plot.frame(shapes, ticks, axis.ticks, f"By validation date. {said}", "low")


def worth(facts: dict[str, Any]) -> Markup:
    """Value of contact over the threshold; what the settings chose, and the best in hindsight."""
    per = facts["per"]
    values = per * facts["worth"]
    axis = _Axis(min(0.0, float(values.min())), float(values.max()))
    threshold, hindsight = facts["threshold"], facts["hindsight"]
    chosen = per * facts["chosen"].value
    shapes = [
        plot.segment(0, axis.place(0), 1, axis.place(0), "level"),
        plot.segment(threshold, 0, threshold, 1, "mark"),
        plot.line(facts["thresholds"], [axis.place(v) for v in values], "s0"),
        plot.dot(hindsight[0], axis.place(per * hindsight[1]), "raw"),
        plot.dot(threshold, axis.place(chosen), "s0"),
    ]
    alt = (
        f"Value per {per} rows over the threshold: {chosen:,.0f} at the chosen {threshold:g},"
        f" at most {per * hindsight[1]:,.0f} at {hindsight[0]:.2f}"
    )
    return plot.frame(shapes, _shares(minor=True), axis.ticks, alt, "tall")


def search(one: dict[str, Any]) -> Markup:
    """The best so far, trial by trial; complete trials as dots, others along the bottom."""
    trials = one["trials"]
    known = [t["metrics"]["levelled_log_loss"] for t in trials if t["state"] == "complete"]
    best = [(i, t["best"]) for i, t in enumerate(trials) if t["best"] is not None]
    if not known:
        return Markup("")
    # A trial far above the others must not press the rest against the bottom.
    high = min(max(known), float(np.median(known)) + 4 * (float(np.median(known)) - min(known)))
    axis = _Axis(min(known), high)
    width = max(len(trials) - 1, 1)
    shapes, steps = [], []
    for (i, value), (following, _) in zip(best, [*best[1:], (len(trials) - 1, 0)], strict=True):
        steps += [(i / width, axis.place(value)), (following / width, axis.place(value))]
    shapes.append(plot.line([s[0] for s in steps], [s[1] for s in steps], "s0 thin"))
    for i, trial in enumerate(trials):
        x = i / width
        if trial["state"] == "complete":
            shapes.append(
                plot.dot(
                    x, axis.place(min(trial["metrics"]["levelled_log_loss"], high)), "s0 small-dot"
                )
            )
        else:
            kind = "failed" if trial["state"] == "failed" else "pruned"
            shapes.append(plot.segment(x, 0, x, 0.07, kind))
    ticks = [Tick(v / width, f"{v:.0f}") for v in plot.nice_ticks(0, len(trials) - 1, 4)]
    alt = (
        f"Search of {one['name']}: {len(trials)} trials, the best validation log loss so far falls"
        f" from {best[0][1]:.4f} to {best[-1][1]:.4f}; {one['pruned']} pruned, {one['failed']}"
        " failed"
    )
    return plot.frame(shapes, ticks, axis.ticks, alt, "small")


def dependence(one: dict[str, Any], reach: float) -> Markup:
    """Contribution along the values: the mean of each bin, and its quarters. reach: the largest
    size of all features shown, so that their pictures compare."""
    bins = one["bins"]
    axis = _Axis(-reach, reach)
    shapes = [plot.segment(0, axis.place(0), 1, axis.place(0), "level")]
    places = [(i + 0.5) / len(bins) for i in range(len(bins))]
    for x, b in zip(places, bins, strict=True):
        shapes.append(plot.segment(x, axis.place(b["low"]), x, axis.place(b["high"]), "s0 whisker"))
        shapes.append(plot.dot(x, axis.place(b["mean"]), "s0"))
    shapes.append(plot.hints([f"{b['label']}: {b['mean']:+.3f} ({b['rows']} rows)" for b in bins]))
    said = "; ".join(f"{b['label']}: {b['mean']:+.2f}" for b in bins)
    alt = f"Mean contribution of {one['name']} in log-odds by its value. {said}"
    return plot.frame(shapes, _bin_ticks(bins, places), axis.ticks, alt, "small")


def drawn(story: Story, facts: dict[str, Any]) -> dict[str, Any]:
    """All pictures of the page, by name."""
    calibration, shown = facts["calibration"], facts["importance"]["dependence"]
    reach = max(
        (abs(b[key]) for one in shown for b in one["bins"] for key in ("low", "high", "mean")),
        default=1.0,
    )
    by_date = facts["folds"] if len(facts["folds"]) > 1 else []
    return {
        "roc": roc(story),
        "precision_recall": precision_recall(story),
        "gain": gain(story),
        "reliability": reliability(calibration["before"], calibration["after"]),
        "levels": levels(calibration["dates"]),
        "folds": folds(story, by_date, "roc_auc") if by_date else "",
        "folds_loss": folds(story, by_date, "log_loss") if by_date else "",
        "worth": worth(facts["contact"]) if facts["contact"] else "",
        "search": {one["name"]: search(one) for one in facts["tuning"]},
        "dependence": {one["name"]: dependence(one, reach or 1.0) for one in shown},
    }


class _Axis:
    """An axis that holds low and high, with a little room, and its ticks."""

    def __init__(self, low: float, high: float) -> None:
        room = 0.06 * (high - low) or max(abs(high), 1e-6) * 0.05
        self.low, self.high = low - room, high + room
        self.values = plot.nice_ticks(self.low, self.high, 5)
        said = [compact(v) for v in self.values]
        if len(set(said)) < len(said):  # ticks closer together than three digits tell
            said = [f"{v:.4f}" for v in self.values]
        self.ticks = [Tick(self.place(v), text) for v, text in zip(self.values, said, strict=True)]

    def place(self, value: float) -> float:
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def percent(self) -> list[Tick]:
        return [Tick(self.place(v), f"{100 * v:.3g} %") for v in self.values]


def _shares(minor: bool = False) -> list[Tick]:
    return [Tick(v, f"{v:g}", minor and v in (0.25, 0.75)) for v in SHARES]


def _bin_ticks(bins: list[dict[str, Any]], places: list[float]) -> list[Tick]:
    """The ends of the values, and what is apart; the rest is told by the pointer and in words."""
    missing = bins[-1]["label"] == "missing" and len(bins) > 1
    last = len(bins) - 1 - missing
    ticks = [Tick(places[0], _short(bins[0]["label"].split(" to ")[0]))]
    if last > 0:
        ticks.append(Tick(places[last], _short(bins[last]["label"].split(" to ")[-1])))
    if missing and places[-1] - places[last] > 0.2:
        ticks.append(Tick(places[-1], "missing"))
    elif missing:
        ticks[-1] = Tick(places[last] - 0.08, ticks[-1].label)
        ticks.append(Tick(places[-1], "none"))
    return ticks


def _short(label: str) -> str:
    return label if len(label) <= 10 else label[:9] + "…"
