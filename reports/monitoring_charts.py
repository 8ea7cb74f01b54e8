"""The charts of the page of monitoring, from its values to SVG. Each says in its `alt` what it
shows; states and versions differ by their shapes and not only by their colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from monitoring.facts import Drift, Estimate, Performance, Reading
from reports import svg
from reports.state import Batch, Champion, PageState, Run
from reports.svg import INK, MEDIUM, NARROW, Hint, at_day, at_month, axes, chart, ends
from reports.words import (
    NOT_JUDGED,
    STATES,
    count,
    figure,
    in_unit,
    interval,
    month_name,
    month_ranges,
    percent,
    short_month,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SENSOR_HEIGHT, SMALL_HEIGHT = 158, 200
LANES = ("champion", "gate", "triggers", "alerts")
GATE = {  # the decision's marker, colour, and word
    "promote": ("^", "good", "promoted"),
    "reject": ("X", "bad", "rejected"),
    "release": ("s", "s0", "released"),
    "rollback": ("<", "warn", "rolled back"),
}


def band(reading: Reading) -> tuple[float, float] | None:
    """Between which values a reading is no alarm; None where it has no limit."""
    if reading.expected is None or reading.sd is None or reading.limit is None:
        return None
    half = reading.limit * reading.sd
    return reading.expected - half, reading.expected + half


def sensor(
    name: str,
    title: str,
    unit: str,
    readings: Sequence[Reading],
    first: str,
    last: str,
    width: int = NARROW,
) -> Markup:
    """A sensor over its months, from `first` to `last`: its value, its band, the months of the
    baseline shaded, alarms marked. So wide, in pixels."""
    shown = [one for one in readings if one.value is not None]
    bands = {one.month: limits for one in readings if (limits := band(one))}
    low, high = _sensor_ends([one.value for one in shown if one.value is not None], bands)

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 6, 8)
        _shade(made, [one.month for one in readings if one.state == "baseline"])
        _bands(made, readings, bands, low, high)
        for run in svg.runs([at_month(one.month) for one in shown]):
            values = {at_month(one.month): one.value for one in shown}
            made.plot(run, [_clamp(values[x], low, high) for x in run], color=INK["soft"], lw=1.2)
        for one in shown:
            _reading(made, one, low, high)
        svg.month_axis(made, first, last, 6)
        svg.value_axis(made, low, high, lambda value: tick(value, unit), 4)
        return [_month_hint(one.month, _in_words(one, unit, bands)) for one in readings]

    alarms = [one.month for one in readings if one.state == "alarm"]
    said = f"alarm in {month_ranges(alarms)}" if alarms else "no alarm"
    newest = f"; {month_name(shown[-1].month)}: {in_unit(shown[-1].value, unit)}" if shown else ""
    alt = f"{title}, {month_name(first)} to {month_name(last)}: {said}{newest}"
    return chart(name, width, SENSOR_HEIGHT if width == NARROW else SMALL_HEIGHT, alt, draw)


def performance(state: PageState, first: str, last: str) -> Markup:
    """ROC AUC by as-of date and version, observed and estimated, the test figures as lines, and
    below it on the same axis who was champion, what the gate decided, triggers and alerts."""
    known = [
        *(value for p in state.performance for value in (p.roc_auc, p.roc_auc_low, p.roc_auc_high)),
        *(value for e in state.estimates for value in (e.roc_auc, e.low, e.high)),
        *(c.roc_auc for c in state.champions),
    ]
    low, high = ends(known, 0.06)

    def draw(made_in: Figure, width: int) -> list[Hint]:
        wide = width > NARROW
        whole = made_in.get_figheight() * 72
        left, lane = (70, 22) if wide else (62, 22)
        lanes_high = lane * len(LANES)
        made = axes(made_in, left, 36 + lanes_high + 8, 8, 8)
        below = axes(made_in, left, 36, 8, whole - 36 - lanes_high)
        for one in state.champions:
            _test_line(made, one, last)
        for estimate in state.estimates:
            _estimate(made, estimate)
        for found in state.performance:
            _observed(made, found)
        _lanes(below, state, first, last, wide)
        for decision in state.decisions:
            if decision.action in ("promote", "rollback", "release"):
                for panel in (made, below):
                    panel.axvline(at_day(decision.day), color=INK["soft"], lw=1, ls=(0, (2, 3)))
        svg.month_axis(below, first, last, 14 if wide else 5, days=True)
        below.set_xlim(at_month(first) - 1, at_month(last) + 0.6)
        made.set_xlim(below.get_xlim())
        made.set_xticks([])
        svg.value_axis(made, low, high, auc_tick, 5)
        return _date_hints(state)

    alt = f"ROC AUC of each champion by as-of date, {month_name(first)} to {month_name(last)}: "
    alt += _performance_words(state.performance) or "no label window is complete yet"
    return svg.wide_and_narrow("performance", (400, 360), alt, draw)


def buyers(found: Sequence[Performance], estimates: Sequence[Estimate]) -> Markup:
    """The share of buyers by as-of date, predicted and observed."""
    official = sorted((one for one in found if one.official), key=lambda one: one.as_of)
    expected = {one.as_of: one.expected_buyers / max(one.rows, 1) for one in estimates}
    expected |= {one.as_of: one.predicted for one in official}
    observed = {one.as_of: one.observed for one in official}
    days = sorted(expected)

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        _dashed(made, {at_day(day): value for day, value in expected.items()})
        _solid(made, {at_day(day): value for day, value in observed.items()})
        svg.month_axis(made, days[0][:7], days[-1][:7], 6, days=True)
        made.set_xlim(at_day(days[0]) - 0.4, at_day(days[-1]) + 0.4)
        svg.value_axis(made, *ends([*expected.values(), *observed.values()], 0.05), percent_tick, 4)
        return [
            Hint(
                at_day(day) - 0.5,
                at_day(day) + 0.5,
                f"{day}: {percent(expected[day])} predicted, "
                + (f"{percent(observed[day])} bought" if day in observed else "not known yet"),
            )
            for day in days
        ]

    said = [
        f"{d}: {percent(expected[d])} predicted, {percent(observed[d])} observed" for d in observed
    ]
    alt = f"Share of buyers by as-of date; {'; '.join(said) or 'no label window is complete yet'}"
    return chart("buyers", MEDIUM, SMALL_HEIGHT, alt, draw)


def mean_score(drifts: Sequence[Drift]) -> Markup:
    """The mean probability by month, beside that of the month it is compared with."""
    months = [one.month for one in drifts]
    now = {at_month(one.month): one.mean for one in drifts if one.mean is not None}
    before = {at_month(d.month): d.mean_before for d in drifts if d.mean_before is not None}

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        _dashed(made, before)
        _solid(made, now)
        svg.month_axis(made, months[0], months[-1], 6)
        svg.value_axis(made, *ends([*now.values(), *before.values()], 0.05), percent_tick, 4)
        return [
            _month_hint(
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
    return chart("mean-score", MEDIUM, SMALL_HEIGHT, alt, draw)


def batch_rows(batches: Sequence[Batch]) -> Markup:
    """Rows by month; held months are hatched."""
    most = max(one.rows for one in batches)
    return _batch_bars(
        "rows",
        batches,
        [one.rows for one in batches],
        compact,
        f"Rows by month; the most are {count(most)}",
    )


def batch_shares(batches: Sequence[Batch]) -> Markup:
    """The quarantined share of rows by month; held months are hatched."""
    shares = [one.quarantined / max(one.rows, 1) for one in batches]
    alt = f"Quarantined share of rows by month; the highest is {percent(max(shares))}"
    return _batch_bars("quarantined", batches, shares, percent_tick, alt)


def trend(found: Sequence[Run]) -> Markup:
    """The test ROC AUC of each training by its day; promoted versions are filled."""
    days = [one.day[:10] for one in found]
    low, high = ends([v for one in found for v in (one.roc_auc, one.low, one.high)], 0.05)

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        promoted = [one for one in found if one.decision == "promote" and one.roc_auc is not None]
        made.plot(
            [at_day(o.day) for o in promoted], [o.roc_auc for o in promoted], c=INK["soft"], lw=1
        )
        for one in found:
            if one.roc_auc is None:
                continue
            ink = svg.colour(one.version) if one.version else INK["soft"]
            _whisker(made, at_day(one.day), one.low, one.high, ink)
            filled = one.decision in ("promote", "release")
            shape = svg.marker(one.version) if one.version else "o"
            _mark(made, at_day(one.day), one.roc_auc, shape, ink, 7.5, hollow=not filled)
        svg.month_axis(made, days[0][:7], days[-1][:7], 10 if width > NARROW else 5, days=True)
        made.set_xlim(at_day(days[0]) - 0.6, at_day(days[-1]) + 0.6)
        svg.value_axis(made, low, high, auc_tick, 4)
        return [
            Hint(
                at_day(one.day) - 0.3,
                at_day(one.day) + 0.3,
                f"{one.day[:10]}: {f'version {one.version}' if one.version else one.run_id},"
                f" {figure(one.roc_auc)} ({interval(one.low, one.high)})",
            )
            for one in found
        ]

    said = ", ".join(f"{one.day[:10]} {figure(one.roc_auc)}" for one in found)
    return svg.wide_and_narrow("trend", (190, 190), f"Test ROC AUC of each training: {said}", draw)


def percent_tick(share: float) -> str:
    """A share on an axis, without digits that are noughts."""
    return f"{100 * share:.3g} %".replace("-", "−")


def auc_tick(value: float) -> str:
    """0.75 or 0.775: two digits where they are enough."""
    return figure(value, 2 if abs(value * 100 - round(value * 100)) < 1e-6 else 3)


def tick(value: float, unit: str) -> str:
    """A value of a sensor on an axis."""
    return percent_tick(value) if "share" in unit else in_unit(value, unit)


def compact(value: float) -> str:
    """12.5k or 3M: an amount as short as an axis wants it."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


# --- parts of a chart --------------------------------------------------------------------------


def _sensor_ends(
    values: Sequence[float], bands: dict[str, tuple[float, float]]
) -> tuple[float, float]:
    """An axis on which the band can still be read: what is far outside stops at its end."""
    if not bands:
        return ends(values, 1e-9 + 0.2 * max(map(abs, values), default=1.0))
    below, above = min(low for low, _ in bands.values()), max(high for _, high in bands.values())
    room = 1.5 * median(high - low for low, high in bands.values())
    inside = [min(max(value, below - room), above + room) for value in values]
    return ends([*inside, below, above], 1e-12)


def _clamp(value: float | None, low: float, high: float) -> float:
    assert value is not None
    edge = 0.04 * (high - low)
    return min(max(value, low + edge), high - edge)


def _shade(made: Axes, months: Iterable[str]) -> None:
    for run in svg.runs([at_month(month) for month in months]):
        made.axvspan(run[0] - 0.5, run[-1] + 0.5, color=INK["shade"], lw=0, zorder=0)
        made.annotate(
            "baseline",
            (run[0] - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -11),
            textcoords="offset points",
            color=INK["soft"],
            fontsize=10,
        )


def _bands(
    made: Axes,
    readings: Sequence[Reading],
    bands: dict[str, tuple[float, float]],
    low: float,
    high: float,
) -> None:
    """One step per month, as the band may be another in each."""
    limits = {at_month(month): found for month, found in bands.items()}
    expected = {at_month(one.month): one.expected for one in readings if one.month in bands}
    for run in svg.runs([*limits]):
        edges = [run[0] - 0.5, *(x + 0.5 for x in run)]
        floors, tops = zip(*(limits[x] for x in run), strict=True)
        made.stairs(tops, edges, baseline=floors, fill=True, color=INK["s0"], alpha=0.16, lw=0)
        made.stairs(
            [expected[x] for x in run], edges, baseline=None, color=INK["s0"], lw=1, ls=(0, (3, 3))
        )


def _reading(made: Axes, one: Reading, low: float, high: float) -> None:
    assert one.value is not None
    x, y = at_month(one.month), _clamp(one.value, low, high)
    if one.state == "alarm":
        beyond = y != one.value  # an arrow: the value lies outside of the picture
        shape = "D" if not beyond else "^" if one.value > y else "v"
        _mark(made, x, y, shape, INK["bad"], 8.5)
    elif one.state == "pending":
        _mark(made, x, y, "s", INK["warn"], 7)
    elif one.state in NOT_JUDGED:
        _mark(made, x, y, "o", INK["soft"], 5, hollow=True)
    else:
        ink = INK["soft"] if one.state == "baseline" else INK["s0"]
        _mark(made, x, y, "o", ink, 3.5 if one.state == "baseline" else 5.5)


def _mark(
    made: Axes, x: float, y: float, shape: str, ink: str, size: float, hollow: bool = False
) -> None:
    fill, edge = (INK["card"], ink) if hollow else (ink, INK["card"])
    made.plot(
        [x],
        [y],
        marker=shape,
        ms=size,
        mfc=fill,
        mec=edge,
        mew=1.4 if hollow else 0.8,
        ls="",
        clip_on=False,
        zorder=4,
    )


def _whisker(
    made: Axes, x: float, low: float | None, high: float | None, ink: str, **style: Any
) -> None:
    if low is not None and high is not None:
        made.plot([x, x], [low, high], color=ink, lw=1.5, zorder=3, **style)


def _test_line(made: Axes, one: Champion, last: str) -> None:
    """What a champion's test promised, over the time that it was champion."""
    if one.roc_auc is None:
        return
    start, end = at_day(one.since), at_day(one.until) if one.until else at_month(last) + 0.5
    ink = svg.colour(one.version)
    made.plot([start, max(end, start + 0.4)], [one.roc_auc] * 2, color=ink, lw=1.6, ls=(0, (6, 3)))


def _observed(made: Axes, found: Performance) -> None:
    if found.roc_auc is None:
        return
    x = at_day(found.as_of) + (0 if found.official else 0.4)
    ink, size = svg.colour(found.version), 8 if found.official else 5
    _whisker(made, x, found.roc_auc_low, found.roc_auc_high, ink)
    _mark(made, x, found.roc_auc, svg.marker(found.version), ink, size)


def _estimate(made: Axes, found: Estimate) -> None:
    if found.roc_auc is None:
        return
    x, ink = at_day(found.as_of) + 0.2, svg.colour(found.version)
    _whisker(made, x, found.low, found.high, ink, ls=(0, (1, 2)))
    _mark(made, x, found.roc_auc, svg.marker(found.version), ink, 6, hollow=True)


def _lanes(made: Axes, state: PageState, first: str, last: str, wide: bool) -> None:
    place = {name: len(LANES) - 1 - lane for lane, name in enumerate(LANES)}
    made.set_ylim(-0.5, len(LANES) - 0.5)
    made.set_yticks([place[name] for name in LANES], list(LANES))
    made.grid(visible=False)
    made.axhline(len(LANES) - 0.5, color=INK["line"], lw=1)
    end = at_month(last) + 0.5
    for one in state.champions:
        start = max(at_day(one.since), at_month(first) - 1)
        if one.until and at_day(one.until) <= start:
            continue
        stop = at_day(one.until) if one.until else end
        made.barh(
            place["champion"],
            max(stop - start, 0.1),
            0.72,
            start,
            color=svg.colour(one.version),
            alpha=0.25,
            lw=0,
        )
        if stop - start > (0.5 if wide else 1.5):
            made.annotate(
                f"v{one.version}",
                (start, place["champion"]),
                xytext=(4, -4),
                textcoords="offset points",
                color=INK["text"],
                fontsize=10.5,
            )
    for decision in state.decisions:
        if at_day(decision.day) < at_month(first) - 1:
            continue
        if decision.action == "trigger":
            _mark(made, at_day(decision.day), place["triggers"], "D", INK["warn"], 7)
        else:
            shape, ink, _ = GATE[decision.action]
            _mark(made, at_day(decision.day), place["gate"], shape, INK[ink], 8.5)
    for alert in state.alerts:
        start = at_month(alert.first_month) - 0.5
        stop = at_month(alert.last_month) + 0.5 if alert.last_month else end
        made.barh(
            place["alerts"], max(stop - start, 0.2), 0.42, start, color=INK["bad"], alpha=0.65, lw=0
        )


def _dashed(made: Axes, values: dict[float, float] | dict[int, float]) -> None:
    x = sorted(values)
    made.plot(
        x,
        [values[one] for one in x],
        color=INK["s1"],
        lw=1.4,
        ls=(0, (4, 3)),
        marker="s",
        ms=5,
        mfc=INK["card"],
        mec=INK["s1"],
        clip_on=False,
    )


def _solid(made: Axes, values: dict[float, float] | dict[int, float]) -> None:
    x = sorted(values)
    made.plot(x, [values[one] for one in x], c=INK["s0"], lw=1.8, marker="o", ms=5.5, clip_on=False)


def _batch_bars(
    name: str,
    batches: Sequence[Batch],
    values: Sequence[float],
    show: Callable[[float], str],
    alt: str,
) -> Markup:
    held = [one.month for one in batches if one.status == "held"]

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        for one, value in zip(batches, values, strict=True):
            x, stopped = at_month(one.month), one.status == "held"
            made.bar(x, value, 0.72, color=INK["bad" if stopped else "s0"], alpha=0.85, lw=0)
        svg.month_axis(made, batches[0].month, batches[-1].month, 6)
        left, right = made.get_xlim()
        made.set_xlim(left, max(right, left + 6))  # the bar of a single month is not a wall
        svg.value_axis(made, 0, max(max(values) * 1.08, 1e-9), show, 4)
        return [
            _month_hint(
                one.month,
                f"{count(one.rows)} rows, {count(one.quarantined)} quarantined, {one.status}",
            )
            for one in batches
        ]

    said = f"; held: {', '.join(map(month_name, held))}" if held else ""
    return chart(name, MEDIUM, SMALL_HEIGHT, alt + said, draw)


def _in_words(one: Reading, unit: str, bands: dict[str, tuple[float, float]]) -> str:
    said = f"{in_unit(one.value, unit)}, {STATES[one.state]}"
    if one.month in bands:
        low, high = bands[one.month]
        said += f"; band {in_unit(low, unit)} to {in_unit(high, unit)}"
    return said


def _month_hint(month: str, text: str) -> Hint:
    return Hint(at_month(month) - 0.5, at_month(month) + 0.5, f"{short_month(month)}: {text}")


def _date_hints(state: PageState) -> list[Hint]:
    said: dict[str, list[str]] = {}
    for found in sorted(
        state.performance, key=lambda one: (one.as_of, not one.official, one.version)
    ):
        ends_said = interval(found.roc_auc_low, found.roc_auc_high)
        said.setdefault(found.as_of, []).append(
            f"version {found.version} {figure(found.roc_auc)} ({ends_said})"
        )
    for one in sorted(state.estimates, key=lambda one: (one.as_of, one.version)):
        said.setdefault(one.as_of, []).append(
            f"version {one.version} estimated {figure(one.roc_auc)} ({interval(one.low, one.high)})"
        )
    return [
        Hint(at_day(day) - 0.5, at_day(day) + 0.5, f"{day}: {'; '.join(texts)}")
        for day, texts in sorted(said.items())
    ]


def _performance_words(found: Sequence[Performance]) -> str:
    return ", ".join(
        f"{one.as_of} version {one.version} {figure(one.roc_auc)}"
        for one in sorted(found, key=lambda one: (one.as_of, one.version))
        if one.official
    )
