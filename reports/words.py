"""Figures, months and readings of sensors as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from math import expm1, isfinite

from monitoring.facts import Reading, State, add_months

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
STATES: dict[State, str] = {
    "ok": "within its limit",
    "alarm": "alarm",
    "pending": "pending",
    "learning": "learning",
    "too_few": "too few rows",
    "baseline": "baseline",
    "skipped": "no such column",
}
BATCHES = {  # what became of the batch that brought a month's rows
    "accepted": "accepted",
    "held": "held",
    "refused": "refused",
    "released": "accepted by a person",
}
JUDGED = ("ok", "pending", "alarm")
NOT_JUDGED = ("learning", "too_few")
NONE = "–"
LOG_RATIO = "log ratio"  # the unit of some sensors


def sensor_name(name: str) -> str:
    """`early_label` as people read it."""
    return name.replace("_", " ")


def is_number(value: float | None) -> bool:
    """Whether there is a value, and it is neither NaN nor infinite."""
    return value is not None and isfinite(value)


def month_name(month: str) -> str:
    """July 2026."""
    year, number = month.split("-")
    return f"{MONTHS[int(number) - 1]} {year}"


def short_month(month: str) -> str:
    """Jul 2026."""
    name, year = month_name(month).split()
    return f"{name[:3]} {year}"


def month_ranges(months: Sequence[str]) -> str:
    """Jul 2026 to Jan 2027, Mar 2027: months in order, those that follow each other together."""
    found: list[list[str]] = []
    for month in months:
        if found and add_months(found[-1][-1], 1) == month:
            found[-1].append(month)
        else:
            found.append([month])
    return ", ".join(
        short_month(run[0]) + (f" to {short_month(run[-1])}" if len(run) > 1 else "")
        for run in found
    )


def count(value: float | None) -> str:
    """12,345."""
    return NONE if value is None else f"{value:,.0f}"


def figure(value: float | None, digits: int = 3, sign: str = "") -> str:
    """The number with so many digits; a dash where there is none."""
    if value is None or not isfinite(value):
        return NONE
    shown = f"{value:{sign}.{digits}f}"
    return (shown if float(shown) else f"{0:.{digits}f}").replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    return NONE if share is None else f"{figure(100 * share, digits)} %"


def in_unit(value: float | None, unit: str) -> str:
    """A value of a sensor: shares and changes in per cent, amounts with their thousands, others
    with three digits that count. A log ratio is shown as the change that it stands for."""
    if value is None or not isfinite(value):
        return NONE
    if unit == LOG_RATIO:
        return f"{figure(100 * expm1(min(value, 100)), 1, '+')} %"
    if "share" in unit:
        return percent(value, 2 if abs(value) < 0.01 else 1)
    if abs(value) >= 1000:
        return count(value)
    shown = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return (shown if float(shown) else "0").replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    if low is None or high is None:
        return NONE
    return f"{figure(low, digits)} to {figure(high, digits)}"


def distance(reading: Reading) -> str:
    """How far a value is from the expected one, beside its limit; nothing where it has no z."""
    if reading.z is None or not isfinite(reading.z):
        return ""
    side = "above" if reading.z > 0 else "below"
    limit = f"; the limit is {reading.limit:g}" if reading.limit else ""
    return f"{abs(reading.z):.1f} standard deviations {side} the expected value{limit}"


def plural(number: int, one: str, many: str = "") -> str:
    """1 month, 2 months."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    return f"{text.rstrip().rstrip('.')}." if text.strip() else ""
