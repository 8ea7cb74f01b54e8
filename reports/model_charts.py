"""Draw the charts of the model report. Each describes its content in its alt text; lines differ by
their dashes and not only by their colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from reports import charts, curves
from reports.charts import SERIES, axes
from reports.curves import Bin
from reports.svg import INK, MEDIUM, NARROW, Hint, chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.model_context import ReportContext

LABELS = 5  # days that fit side by side below a chart of the width MEDIUM
Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
Line = tuple[str, str, float]  # ink, dashes in pixels, width


def lines_of(context: ReportContext) -> dict[str, Line]:
    """Return candidate -> how its line is drawn; the winner's is the thick one. Those beyond the
    sixth share a style."""
    styles = [
        (f"s{place}", charts.DASHES[place], 3.0 if place == 0 else 2.0) for place in range(SERIES)
    ]
    return {name: styles[min(i, SERIES - 1)] for i, name in enumerate(context.candidates)}


def drawn(context: ReportContext, sections: dict[str, Any]) -> dict[str, Any]:
    """Draw all charts of the page, by name. Within `svg.own_style()`."""
    calibration, shown = sections["calibration"], sections["importance"]["dependence"]
    reach = max(
        (abs(b[key]) for one in shown for b in one["bins"] for key in ("low", "high", "mean")),
        default=1.0,
    )
    by_date = sections["folds"] if len(sections["folds"]) > 1 else []
    return {
        "roc": _roc(context),
        "precision_recall": _precision_recall(context),
        "gain": _gain(context),
        "reliability": _reliability(calibration["before"], calibration["after"]),
        "levels": _levels(calibration["dates"]),
        "folds": _folds(context, by_date, "roc_auc") if by_date else "",
        "folds_loss": _folds(context, by_date, "log_loss") if by_date else "",
        "worth": _worth(sections["contact"]) if sections["contact"] else "",
        "search": {
            one["name"]: _search(f"search-{place}", one)
            for place, one in enumerate(sections["tuning"])
        },
        "dependence": {
            one["name"]: _dependence(f"dependence-{place}", one, reach or 1.0)
            for place, one in enumerate(shown)
        },
    }


# --- curves of every candidate -------------------------------------------------------------------


def _roc(context: ReportContext) -> Markup:
    scores = _score_text(context, "roc_auc", 4)
    alt = f"ROC curves on the test split; the area under the curve is: {scores}"
    return _per_candidate("roc", context, curves.roc, alt)


def _precision_recall(context: ReportContext) -> Markup:
    scores = _score_text(context, "average_precision", 3)
    alt = f"Precision over recall on the test split; average precision is: {scores}"
    return _per_candidate("precision-recall", context, curves.precision_recall, alt, False)


def _gain(context: ReportContext) -> Markup:
    scores = _score_text(context, "lift_top_decile", 2)
    alt = (
        "Share of the positives found over the share of rows taken, highest probability first;"
        f" lift of the top tenth: {scores}"
    )
    return _per_candidate("gain", context, curves.gain, alt)


def _score_text(context: ReportContext, metric: str, digits: int) -> str:
    scores = context.evaluation.scores
    return ", ".join(f"{name} {scores[name][metric]:.{digits}f}" for name in context.candidates)


def _per_candidate(
    name: str, context: ReportContext, curve: Curve, alt: str, diagonal: bool = True
) -> Markup:
    """One curve per candidate in a square of shares; the winner's is drawn last, on top."""

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = _square(figure, diagonal)
        for candidate, (ink, dash, thick) in reversed(lines_of(context).items()):
            x, y = curve(context.y, context.evaluation.probabilities[candidate])
            charts.line(ax, x, y, ink, thick, dash)
        return []

    return chart(name, NARROW, NARROW, alt, draw)


def _square(figure: Figure, diagonal: bool = True) -> Axes:
    ax = axes(figure, 38, 24, 10, 10)
    charts.share_axes(ax)
    if diagonal:
        charts.line(ax, [0, 1], [0, 1], "soft", 1)
    return ax


# --- calibration, validation, value --------------------------------------------------------------


def _reliability(before: Sequence[Bin], after: Sequence[Bin]) -> Markup:
    """Observed share over mean prediction, in bins of equal count, with Wilson's intervals."""

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = _square(figure)
        if before:
            x, y = [b.predicted for b in before], [b.observed for b in before]
            charts.line(ax, x, y, "raw", 2, "5 3")
        x, y = [b.predicted for b in after], [b.observed for b in after]
        charts.line(ax, x, y, "s0")
        charts.whiskers(ax, x, [b.low for b in after], [b.high for b in after], INK["s0"])
        charts.mark(ax, x, y, "o", INK["s0"], 7)
        return []

    points = ", ".join(f"{b.predicted:.0%} predicted, {b.observed:.0%} observed" for b in after)
    return chart("reliability", MEDIUM, 390, f"Reliability after calibration: {points}", draw)


def _levels(dates: Sequence[dict[str, Any]]) -> Markup:
    """Per date: the observed share with its interval, and the mean prediction before and after."""
    low, high = charts.padded(
        row[key] for row in dates for key in ("low", "high", "before", "after")
    )

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 46, 24, 10, 10)
        for place, row in enumerate(dates):
            charts.whisker(ax, place, row["low"], row["high"], INK["text"])
            charts.mark(ax, place, row["observed"], "o", INK["text"], 7)
            across = [place - 0.24, place + 0.24]
            if row["before"] is not None:
                charts.line(ax, across, [row["before"]] * 2, "raw", 4, "5 3")
            charts.line(ax, across, [row["after"]] * 2, "s0", 4)
        _places(ax, [row["date"] or row["split"] for row in dates])
        charts.value_axis(ax, low, high, charts.percent_tick, 6)
        return []

    texts = [
        f"{row['split']} {row['date']}: {row['observed']:.1%} observed,"
        f" {row['after']:.1%} predicted"
        for row in dates
    ]
    return chart("levels", MEDIUM, 390, "; ".join(texts), draw)


def _folds(context: ReportContext, folds: Sequence[dict[str, Any]], metric: str) -> Markup:
    """A line per candidate over the validation dates."""
    low, high = charts.padded(m[metric] for fold in folds for m in fold["candidates"].values())

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 50, 24, 10, 10)
        for name, (ink, dash, thick) in reversed(lines_of(context).items()):
            places = [i for i, fold in enumerate(folds) if name in fold["candidates"]]
            values = [folds[i]["candidates"][name][metric] for i in places]
            charts.line(ax, places, values, ink, thick, dash)
            charts.mark(ax, places, values, "o", INK[ink], 7)
        _places(ax, [fold["date"] for fold in folds])
        charts.value_axis(ax, low, high, charts.tick_text(low, high), 5)
        return []

    figures = "; ".join(
        f"{fold['date']}: "
        + ", ".join(f"{name} {m[metric]:.4f}" for name, m in fold["candidates"].items())
        for fold in folds
    )
    name = f"folds-{metric.replace('_', '-')}"
    return chart(name, MEDIUM, 190, f"By validation date. {figures}", draw)


def _worth(contact: dict[str, Any]) -> Markup:
    """Value of contact over the threshold; what the settings chose, and the best in hindsight."""
    per, threshold = contact["per"], contact["threshold"]
    best, most = contact["hindsight"][0], per * contact["hindsight"][1]
    values, chosen = per * contact["worth"], per * contact["chosen"].value
    low, high = charts.padded([0.0, float(values.min()), float(values.max())])

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 50, 24, 10, 10)
        charts.line(ax, [0, 1], [0, 0], "soft", 1)
        charts.line(ax, [threshold, threshold], [low, high], "text", 1.5, "5 4")
        charts.line(ax, contact["thresholds"], values, "s0", 3)
        charts.mark(ax, best, most, "o", INK["raw"], 8)
        charts.mark(ax, threshold, chosen, "o", INK["s0"], 8)
        charts.share_axis(ax)
        charts.value_axis(ax, low, high, charts.tick_text(low, high), 5)
        return []

    alt = (
        f"Value per {per} rows over the threshold: {chosen:,.0f} at the chosen {threshold:g},"
        f" at most {most:,.0f} at {best:.2f}"
    )
    return chart("worth", MEDIUM, 330, alt, draw)


def _places(ax: Axes, labels: Sequence[str]) -> None:
    """Put labels on the x axis at 0, 1, …; of many only every n-th, counted from the last."""
    every = -(-len(labels) // LABELS)
    shown = range((len(labels) - 1) % every, len(labels), every)
    charts.x_ticks(ax, shown, [labels[place] for place in shown])
    ax.set_xlim(-0.5, len(labels) - 0.5)


# --- tuning, and contributions of a feature ------------------------------------------------------


def _search(name: str, search: dict[str, Any]) -> Markup:
    """The best so far, trial by trial; complete trials as dots, others along the bottom."""
    trials = search["trials"]
    complete = {
        i: t["metrics"]["recalibrated_log_loss"]
        for i, t in enumerate(trials)
        if t["state"] == "complete"
    }
    best = [(i, t["best"]) for i, t in enumerate(trials) if t["best"] is not None]
    if not complete:
        return Markup("")
    # A trial far above the others must not press the rest against the bottom.
    middle, least = float(np.median([*complete.values()])), min(complete.values())
    low, high = charts.padded([least, min(max(complete.values()), middle + 4 * (middle - least))])
    last = len(trials) - 1

    def draw(figure: Figure, width: int) -> list[Hint]:
        from matplotlib.ticker import MaxNLocator

        ax = axes(figure, 50, 24, 10, 8)
        x, y = [i for i, _ in best] + [last], [value for _, value in best] + [best[-1][1]]
        ax.step(x, y, where="post", color=INK["s0"], lw=2, clip_on=False)
        values = np.minimum([*complete.values()], high)
        ax.plot([*complete], values, "o", ms=4.5, mfc=INK["s0"], mew=0, alpha=0.65, clip_on=False)
        for state, ink, thick in (("pruned", "soft", 1.5), ("failed", "bad", 3.5)):
            places = [i for i, trial in enumerate(trials) if trial["state"] == state]
            ax.plot(
                places,
                [0] * len(places),
                transform=ax.get_xaxis_transform(),
                ls="",
                marker=2,  # a tick upwards
                ms=9,
                mec=INK[ink],
                mew=thick,
                clip_on=False,
            )
        named = MaxNLocator(5, integer=True).tick_values(0, max(last, 1))
        named = [tick for tick in named if 0 <= tick <= max(last, 1)]
        charts.x_ticks(ax, named, [f"{tick:g}" for tick in named])
        ax.set_xlim(0, max(last, 1))
        charts.value_axis(ax, low, high, charts.tick_text(low, high), 5)
        return []

    alt = (
        f"Search of {search['name']}: {len(trials)} trials, the best validation log loss so far"
        f" falls from {best[0][1]:.4f} to {best[-1][1]:.4f}; {search['pruned']} pruned,"
        f" {search['failed']} failed"
    )
    return chart(name, NARROW, 160, alt, draw)


def _dependence(name: str, feature: dict[str, Any], reach: float) -> Markup:
    """Contribution along the values: the mean of each bin, and its quarters. reach: the largest
    size of all features shown, so that their charts compare."""
    bins = feature["bins"]
    low, high = charts.padded([-reach, reach])

    def draw(figure: Figure, width: int) -> list[Hint]:
        ax = axes(figure, 46, 24, 10, 8)
        charts.line(ax, [-0.5, len(bins) - 0.5], [0, 0], "soft", 1)
        low_ends, high_ends = [b["low"] for b in bins], [b["high"] for b in bins]
        charts.whiskers(ax, range(len(bins)), low_ends, high_ends, INK["s0"])
        charts.mark(ax, range(len(bins)), [b["mean"] for b in bins], "o", INK["s0"], 7)
        ticks = _bin_ticks(bins)
        charts.x_ticks(ax, [place for place, _ in ticks], [text for _, text in ticks])
        ax.set_xlim(-0.5, len(bins) - 0.5)
        charts.value_axis(ax, low, high, charts.tick_text(low, high), 5)
        return [
            Hint(i - 0.5, i + 0.5, f"{b['label']}: {b['mean']:+.3f} ({b['rows']} rows)")
            for i, b in enumerate(bins)
        ]

    means = "; ".join(f"{b['label']}: {b['mean']:+.2f}" for b in bins)
    alt = f"Mean contribution of {feature['name']} in log-odds by its value. {means}"
    return chart(name, NARROW, 160, alt, draw)


def _bin_ticks(bins: list[dict[str, Any]]) -> list[tuple[float, str]]:
    """The ends of the values, and what is missing; the rest is in the tooltips and in words."""
    missing = bins[-1]["label"] == "missing" and len(bins) > 1
    last = len(bins) - 1 - missing
    ticks = [(0.0, _short(bins[0]["label"].split(" to ")[0]))]
    if last > 0:
        ticks.append((float(last), _short(bins[last]["label"].split(" to ")[-1])))
    if missing and len(bins) < 5:
        ticks.append((last + 1.0, "missing"))
    elif missing:
        ticks[-1] = (last - 0.08 * len(bins), ticks[-1][1])
        ticks.append((last + 1.0, "none"))
    return ticks


def _short(label: str) -> str:
    return label if len(label) <= 10 else label[:9] + "…"
