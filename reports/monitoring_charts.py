"""Draw the charts of monitoring by month and by as-of date: how well the champions' scores ranked,
what was decided, the shares of buyers, the scores, and the rows that the data contract kept out.
Versions differ by their markers and not only by their colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from common.terminal import short
from monitoring.facts import Drift, Estimate, Performance, Quality, Requests
from reports import charts, svg
from reports.charts import at_day, at_month, axes, ends
from reports.monitoring_state import Champion, PageState, Run
from reports.svg import INK, MEDIUM, NARROW, Hint, chart
from reports.words import (
    BATCHES,
    compact,
    count,
    figure,
    interval,
    month_name,
    percent,
    short_month,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 200  # of a chart of the width MEDIUM
LANES = ("champion", "gate", "triggers", "alerts")
GATE = {  # a decision's marker, colour, and word
    "promote": ("^", "good", "promoted"),
    "reject": ("X", "bad", "rejected"),
    "release": ("s", "s0", "promoted by a person"),
    "rollback": ("<", "warn", "rolled back"),
}


def performance(state: PageState, first: str, last: str) -> Markup:
    """Draw ROC AUC by as-of date and version, observed and estimated, the test figures as lines,
    and below it on the same axis who was champion, what the gate decided, triggers and alerts."""
    known = [
        *(value for p in state.performance for value in (p.roc_auc, p.roc_auc_low, p.roc_auc_high)),
        *(value for e in state.estimates for value in (e.roc_auc, e.low, e.high)),
        *(c.roc_auc for c in state.champions),
    ]
    low, high = ends(known, 0.06)
    left_end = at_month(first) - 1.0
    right_end = max(at_day(state.day), *(at_day(e.as_of) for e in state.estimates), 0) + 0.6

    def draw(fig: Figure, width: int) -> list[Hint]:
        wide = width > NARROW
        whole = fig.get_figheight() * 72
        left, lane = (70, 22) if wide else (62, 22)
        lanes_high = lane * len(LANES)
        ax = axes(fig, left, 36 + lanes_high + 8, 8, 8)
        below = axes(fig, left, 36, 8, whole - 36 - lanes_high)
        for champion in state.champions:
            _test_line(ax, champion, at_day(state.day))
        for estimate in state.estimates:
            _estimate(ax, estimate)
        for result in state.performance:
            _observed(ax, result)
        _lanes(below, state, left_end, right_end)
        for decision in state.decisions:
            if decision.action in ("promote", "rollback", "release"):
                for panel in (ax, below):
                    panel.axvline(at_day(decision.day), color=INK["soft"], lw=1, ls=(0, (2, 3)))
        span = (left_end, right_end)
        charts.month_axis(below, first, last, 14 if wide else 5, days=True, span=span)
        ax.set_xlim(*span)
        charts.value_axis(ax, low, high, charts.auc_tick, 5)
        return _date_hints(state)

    alt = f"ROC AUC of each champion by as-of date, {month_name(first)} to {month_name(last)}: "
    alt += _performance_words(state.performance) or "no label window is complete yet"
    return svg.wide_and_narrow("performance", (400, 360), alt, draw)


def buyers(results: Sequence[Performance], estimates: Sequence[Estimate]) -> Markup:
    """Draw the share of buyers by as-of date, predicted and observed."""
    expected = {one.as_of: one.expected_buyers / max(one.rows, 1) for one in estimates}
    expected |= {one.day: one.predicted for one in results}
    observed = {one.day: one.observed for one in results}
    days = sorted(expected)
    low, high = ends([*expected.values(), *observed.values()], 0.05)

    def draw(fig: Figure, width: int) -> list[Hint]:
        ax = axes(fig, 46, 36, 8, 8)
        charts.dashed(ax, [(at_day(day), expected[day]) for day in days])
        charts.solid(ax, [(at_day(day), value) for day, value in observed.items()])
        span = (at_day(days[0]) - 0.4, at_day(days[-1]) + 0.4)
        charts.month_axis(ax, days[0][:7], days[-1][:7], 6, days=True, span=span)
        charts.value_axis(ax, low, high, charts.percent_tick, 4)
        return [
            Hint(
                at_day(day) - 0.5,
                at_day(day) + 0.5,
                f"{day}: {percent(expected[day])} predicted, "
                + (f"{percent(observed[day])} bought" if day in observed else "not known yet"),
            )
            for day in days
        ]

    texts = [
        f"{d}: {percent(expected[d])} predicted, {percent(observed[d])} observed" for d in observed
    ]
    alt = f"Share of buyers by as-of date; {'; '.join(texts) or 'no label window is complete yet'}"
    return chart("buyers", MEDIUM, HEIGHT, alt, draw)


def trend(runs: Sequence[Run]) -> Markup:
    """Draw the test ROC AUC of each training by its day; promoted versions are filled."""
    days = [run.day[:10] for run in runs]
    low, high = ends([v for run in runs for v in (run.roc_auc, run.low, run.high)], 0.05)

    def draw(fig: Figure, width: int) -> list[Hint]:
        ax = axes(fig, 46, 36, 8, 8)
        promoted = [
            (at_day(run.day), run.roc_auc)
            for run in runs
            if run.decision == "promote" and run.roc_auc is not None
        ]
        ax.plot([x for x, _ in promoted], [y for _, y in promoted], c=INK["soft"], lw=1)
        for run in runs:
            if run.roc_auc is None:
                continue
            ink = charts.colour(run.version) if run.version else INK["soft"]
            charts.whisker(ax, at_day(run.day), run.low, run.high, ink)
            filled = run.decision in ("promote", "release")
            shape = charts.marker(run.version) if run.version else "o"
            charts.mark(ax, at_day(run.day), run.roc_auc, shape, ink, 7.5, hollow=not filled)
        span, most = (at_day(days[0]) - 0.6, at_day(days[-1]) + 0.6), 10 if width > NARROW else 5
        charts.month_axis(ax, days[0][:7], days[-1][:7], most, days=True, span=span)
        charts.value_axis(ax, low, high, charts.auc_tick, 4)
        return [
            Hint(
                at_day(run.day) - 0.3,
                at_day(run.day) + 0.3,
                f"{run.day[:10]}: {f'version {run.version}' if run.version else short(run.run_id)},"
                f" {figure(run.roc_auc)} ({interval(run.low, run.high)})",
            )
            for run in runs
        ]

    figures = ", ".join(f"{run.day[:10]} {figure(run.roc_auc)}" for run in runs)
    alt = f"Test ROC AUC of each training: {figures}"
    return svg.wide_and_narrow("trend", (190, 190), alt, draw)


def _test_line(ax: Axes, champion: Champion, now: float) -> None:
    """Draw the test figure of a champion over the time that it was champion."""
    if champion.roc_auc is None:
        return
    start, end = at_day(champion.since), at_day(champion.until) if champion.until else now
    ink = charts.colour(champion.version)
    span = [start, max(end, start + 0.4)]
    ax.plot(span, [champion.roc_auc] * 2, color=ink, lw=1.6, ls=(0, (6, 3)))


def _observed(ax: Axes, result: Performance) -> None:
    if result.roc_auc is None:
        return
    x, ink = at_day(result.day), charts.colour(result.version)
    charts.whisker(ax, x, result.roc_auc_low, result.roc_auc_high, ink)
    charts.mark(ax, x, result.roc_auc, charts.marker(result.version), ink, 8)


def _estimate(ax: Axes, estimate: Estimate) -> None:
    if estimate.roc_auc is None:
        return
    x, ink = at_day(estimate.as_of) + 0.2, charts.colour(estimate.version)
    charts.whisker(ax, x, estimate.low, estimate.high, ink, ls=(0, (1, 2)))
    charts.mark(ax, x, estimate.roc_auc, charts.marker(estimate.version), ink, 6, hollow=True)


def _lanes(ax: Axes, state: PageState, left: float, right: float) -> None:
    place = {name: len(LANES) - 1 - lane for lane, name in enumerate(LANES)}
    ax.set_ylim(-0.5, len(LANES) - 0.5)
    charts.y_ticks(ax, [place[name] for name in LANES], LANES, grid=False)
    ax.axhline(len(LANES) - 0.5, color=INK["line"], lw=1)
    end, pixels = at_day(state.day), ax.bbox.width / (right - left)
    for champion in state.champions:
        start = max(at_day(champion.since), left)
        if champion.until and at_day(champion.until) <= start:
            continue
        stop = at_day(champion.until) if champion.until else end
        ax.barh(
            place["champion"],
            max(stop - start, 0.1),
            0.72,
            start,
            color=charts.colour(champion.version),
            alpha=0.25,
            lw=0,
        )
        label = f"v{champion.version}"
        if (stop - start) * pixels > 8 + 7 * len(label):
            ax.annotate(
                label,
                (start, place["champion"]),
                xytext=(4, -4),
                textcoords="offset points",
                color=INK["text"],
                fontsize=10.5,
            )
    for decision in state.decisions:
        if at_day(decision.day) < left:
            continue
        if decision.action == "trigger":
            charts.mark(ax, at_day(decision.day), place["triggers"], "D", INK["warn"], 7)
        else:
            shape, ink, _ = GATE[decision.action]
            charts.mark(ax, at_day(decision.day), place["gate"], shape, INK[ink], 8.5)
    for alert in state.alerts:
        start = at_month(alert.first_month) - 0.5
        stop = at_month(alert.last_month) + 0.5 if alert.last_month else end
        ax.barh(
            place["alerts"], max(stop - start, 0.2), 0.42, start, color=INK["bad"], alpha=0.65, lw=0
        )


def _date_hints(state: PageState) -> list[Hint]:
    texts_by_day: dict[str, list[str]] = {}
    for result in state.performance:
        ends_text = interval(result.roc_auc_low, result.roc_auc_high)
        texts_by_day.setdefault(result.day, []).append(
            f"version {result.version} {figure(result.roc_auc)} ({ends_text})"
        )
    for one in state.estimates:
        texts_by_day.setdefault(one.as_of, []).append(
            f"version {one.version} estimated {figure(one.roc_auc)} ({interval(one.low, one.high)})"
        )
    return [
        Hint(at_day(day) - 0.5, at_day(day) + 0.5, f"{day}: {'; '.join(texts)}")
        for day, texts in sorted(texts_by_day.items())
    ]


def _performance_words(results: Sequence[Performance]) -> str:
    return ", ".join(f"{one.day} version {one.version} {figure(one.roc_auc)}" for one in results)


def mean_score(drifts: Sequence[Drift]) -> Markup:
    """Draw the mean probability by month, beside that of the month it is compared with."""
    months = [one.month for one in drifts]
    now = [(at_month(one.month), one.mean) for one in drifts if one.mean is not None]
    before = [(at_month(d.month), d.mean_before) for d in drifts if d.mean_before is not None]
    low, high = ends([mean for _, mean in (*now, *before)], 0.05)

    def draw(fig: Figure, width: int) -> list[Hint]:
        ax = axes(fig, 46, 36, 8, 8)
        charts.dashed(ax, before)
        charts.solid(ax, now)
        charts.month_axis(ax, months[0], months[-1], 6)
        charts.value_axis(ax, low, high, charts.percent_tick, 4)
        return [
            charts.month_hint(
                one.month,
                f"mean {percent(one.mean)}; {short_month(one.beside)}: {percent(one.mean_before)};"
                f" PSI {figure(one.psi)}",
            )
            for one in drifts
        ]

    newest = drifts[-1]
    alt = (
        f"Mean probability by month beside the month it is compared with;"
        f" {month_name(newest.month)}: {percent(newest.mean)}, before {percent(newest.mean_before)}"
    )
    return chart("mean-score", MEDIUM, HEIGHT, alt, draw)


def quality_rows(months: Sequence[Quality]) -> Markup:
    """Draw the rows by month; those that are held or refused in another colour."""
    most = max(one.rows for one in months)
    return _bars(
        "rows",
        months,
        [one.rows for one in months],
        compact,
        f"Rows by month, valid and quarantined; the most are {count(most)}",
    )


def quality_shares(months: Sequence[Quality]) -> Markup:
    """Draw the quarantined share of rows by month; held or refused ones in another colour."""
    shares = [one.quarantined / max(one.rows, 1) for one in months]
    alt = f"Quarantined share of rows by month; the highest is {percent(max(shares))}"
    return _bars("quarantined", months, shares, charts.percent_tick, alt)


def _bars(
    name: str,
    months: Sequence[Quality],
    values: Sequence[float],
    show: Callable[[float], str],
    alt: str,
) -> Markup:
    stopped = [month for month in months if month.stopped]

    def draw(fig: Figure, width: int) -> list[Hint]:
        ax = axes(fig, 46, 36, 8, 8)
        for month, value in zip(months, values, strict=True):
            ink = INK["bad" if month.stopped else "s0"]
            ax.bar(at_month(month.month), value, 0.72, color=ink, alpha=0.85, lw=0)
        charts.month_axis(ax, months[0].month, months[-1].month, 6)
        left, right = ax.get_xlim()
        ax.set_xlim(left, max(right, left + 6))  # the bar of a single month is not a wall
        charts.value_axis(ax, 0, max(max(values) * 1.08, 1e-9), show, 4)
        return [
            charts.month_hint(
                month.month,
                f"{count(month.rows)} rows, {count(month.quarantined)} quarantined,"
                f" {BATCHES[month.status]}",
            )
            for month in months
        ]

    notes = "".join(f"; {month_name(month.month)} is {month.status}" for month in stopped)
    return chart(name, MEDIUM, HEIGHT, alt + notes, draw)


def score_tenths(requests: Requests) -> Markup:
    """Draw the share of the service's scores in each tenth of those they are compared with."""
    shares = requests.deciles

    def draw(fig: Figure, width: int) -> list[Hint]:
        ax = axes(fig, 46, 36, 8, 8)
        places = range(1, len(shares) + 1)
        ax.bar(places, shares, 0.72, color=INK["s0"], alpha=0.85, lw=0)
        ax.axhline(1 / len(shares), color=INK["s1"], lw=1.4, ls=(0, (4, 3)))
        charts.x_ticks(ax, places, ["lowest", *map(str, places[1:-1]), "highest"])
        ax.set_xlim(0.4, len(shares) + 0.6)
        charts.value_axis(ax, 0, max(shares) * 1.08, charts.percent_tick, 4)
        return [
            Hint(place - 0.5, place + 0.5, f"tenth {place}: {percent(share)} of the scores")
            for place, share in zip(places, shares, strict=True)
        ]

    alt = (
        f"Share of the service's scores in each tenth of the {requests.beside}, where 10 % in each"
        f" would be the same distribution: {', '.join(percent(share) for share in shares)}"
    )
    return chart("request-scores", MEDIUM, HEIGHT, alt, draw)
