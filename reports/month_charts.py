"""Charts by month: the mean score, the rows that the data contract kept out, and the scores of
the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from monitoring.facts import Drift, Quality, Requests
from reports import svg
from reports.svg import INK, MEDIUM, Hint, at_month, axes, chart, ends
from reports.words import BATCHES, count, figure, month_name, percent, short_month

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT = 200


def mean_score(drifts: Sequence[Drift]) -> Markup:
    """The mean probability by month, beside that of the month it is compared with."""
    months = [one.month for one in drifts]
    now = [(at_month(one.month), one.mean) for one in drifts if one.mean is not None]
    before = [(at_month(d.month), d.mean_before) for d in drifts if d.mean_before is not None]
    low, high = ends([mean for _, mean in (*now, *before)], 0.05)

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        svg.dashed(made, before)
        svg.solid(made, now)
        svg.month_axis(made, months[0], months[-1], 6)
        svg.value_axis(made, low, high, svg.percent_tick, 4)
        return [
            Hint.of_month(
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
    """Rows by month; those that are held or refused in another colour."""
    most = max(one.rows for one in months)
    return _bars(
        "rows",
        months,
        [one.rows for one in months],
        svg.compact,
        f"Rows by month, valid and quarantined; the most are {count(most)}",
    )


def quality_shares(months: Sequence[Quality]) -> Markup:
    """The quarantined share of rows by month; those that are held or refused in another colour."""
    shares = [one.quarantined / max(one.rows, 1) for one in months]
    alt = f"Quarantined share of rows by month; the highest is {percent(max(shares))}"
    return _bars("quarantined", months, shares, svg.percent_tick, alt)


def _bars(
    name: str,
    months: Sequence[Quality],
    values: Sequence[float],
    show: Callable[[float], str],
    alt: str,
) -> Markup:
    stopped = [one for one in months if one.stopped]

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        for one, value in zip(months, values, strict=True):
            ink = INK["bad" if one.stopped else "s0"]
            made.bar(at_month(one.month), value, 0.72, color=ink, alpha=0.85, lw=0)
        svg.month_axis(made, months[0].month, months[-1].month, 6)
        left, right = made.get_xlim()
        made.set_xlim(left, max(right, left + 6))  # the bar of a single month is not a wall
        svg.value_axis(made, 0, max(max(values) * 1.08, 1e-9), show, 4)
        return [
            Hint.of_month(
                one.month,
                f"{count(one.rows)} rows, {count(one.quarantined)} quarantined,"
                f" {BATCHES[one.status]}",
            )
            for one in months
        ]

    said = "".join(f"; {month_name(one.month)} is {one.status}" for one in stopped)
    return chart(name, MEDIUM, HEIGHT, alt + said, draw)


def score_tenths(found: Requests) -> Markup:
    """The share of the service's scores in each tenth of those that they are compared with."""
    shares = found.deciles

    def draw(made_in: Figure, width: int) -> list[Hint]:
        made = axes(made_in, 46, 36, 8, 8)
        places = range(1, len(shares) + 1)
        made.bar(places, shares, 0.72, color=INK["s0"], alpha=0.85, lw=0)
        made.axhline(1 / len(shares), color=INK["s1"], lw=1.4, ls=(0, (4, 3)))
        made.set_xticks(places, ["lowest", *map(str, places[1:-1]), "highest"])
        made.set_xlim(0.4, len(shares) + 0.6)
        svg.value_axis(made, 0, max(shares) * 1.08, svg.percent_tick, 4)
        return [
            Hint(place - 0.5, place + 0.5, f"tenth {place}: {percent(share)} of the scores")
            for place, share in zip(places, shares, strict=True)
        ]

    alt = (
        f"Share of the service's scores in each tenth of the {found.beside}, where 10 % in each"
        f" would be the same distribution: {', '.join(percent(share) for share in shares)}"
    )
    return chart("request-scores", MEDIUM, HEIGHT, alt, draw)
