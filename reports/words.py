"""Write figures, months, readings of sensors and values of rows as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from math import expm1, isfinite

from common.terminal import short, visible
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
LONGEST = 80  # characters of a name, or of a value in an example
SPLIT_NAMES = {"train": "train", "valid": "validation", "test": "test"}
LOG_RATIO = "log ratio"  # the unit of some sensors


def sensor_name(name: str) -> str:
    """Write `early_label` as people read it."""
    return name.replace("_", " ")


def is_number(value: float | None) -> bool:
    """Say whether there is a value, and it is neither NaN nor infinite."""
    return value is not None and isfinite(value)


def month_name(month: str) -> str:
    """Write `July 2026`."""
    year, number = month.split("-")
    return f"{MONTHS[int(number) - 1]} {year}"


def short_month(month: str) -> str:
    """Write `Jul 2026`."""
    name, year = month_name(month).split()
    return f"{name[:3]} {year}"


def month_ranges(months: Sequence[str]) -> str:
    """Write `Jul 2026 to Jan 2027, Mar 2027`: months in order, those in a row together."""
    ranges: list[list[str]] = []
    for month in months:
        if ranges and add_months(ranges[-1][-1], 1) == month:
            ranges[-1].append(month)
        else:
            ranges.append([month])
    return ", ".join(
        short_month(run[0]) + (f" to {short_month(run[-1])}" if len(run) > 1 else "")
        for run in ranges
    )


def count(value: float | None) -> str:
    """Write `12,345`."""
    return NONE if value is None else f"{value:,.0f}"


def figure(value: float | None, digits: int = 3, sign: str = "") -> str:
    """Write a number with so many digits; a dash where there is none."""
    if value is None or not isfinite(value):
        return NONE
    shown = f"{value:{sign}.{digits}f}"
    return (shown if float(shown) else f"{0:.{digits}f}").replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    return NONE if share is None else f"{figure(100 * share, digits)} %"


def share_of(part: int | None, whole: int) -> str:
    """Write a share, with enough digits that a few rows of a million do not read as none."""
    share = 100 * (part or 0) / max(whole, 1)
    if share == 0:
        return NONE
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.1g} %" if share >= 0.001 else "< 0.001 %"


def tiny(value: float | None) -> str:
    """Write `1.2e-07`."""
    return NONE if value is None else f"{value:.1e}"


def compact(value: float) -> str:
    """Write `12.5k` or `3M`: an amount as short as an axis wants it."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def measure(value: object) -> str:
    """Write what a rule found: 1,067,371, 0.2277, or any other value as it is."""
    match value:
        case None:
            return "no value"
        case bool():
            return str(value)
        case float():
            return f"{value:.4g}"
        case int():
            return f"{value:,}"
    return str(value)


def setting(value: object) -> str:
    """Write a parameter or a setting."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cell(value: object) -> str:
    """Write a value of a row, cut where it is long."""
    match value:
        case None | []:
            return NONE
        case list():
            return ", ".join(str(part)[:LONGEST] for part in value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
        case float():
            return f"{value:,.2f}"
        case int():
            return f"{value:,}"
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def name(text: str) -> str:
    """Write a name on one line, cut where it is long."""
    return short(text, LONGEST)


def rail(value: float | None, low: float, high: float) -> str:
    """Return where a value stands between the ends of a rail, in per cent."""
    if not high > low:
        return "50.0"
    return f"{100 * min(max(((value or 0) - low) / (high - low), 0.0), 1.0):.1f}"


def rail_end(value: float) -> str:
    """Write `.2` or `1`: an end of a rail of ROC AUC."""
    return f"{value:.1f}".lstrip("0").replace("1.0", "1").replace(".0", "0")


def markdown(text: object) -> str:
    """Write any text as a cell of a Markdown table: nothing in it is markup."""
    one_line = visible(" ".join(str(text).split()))
    escaped = re.sub(r"([\\`*_{}\[\]|#~$!])", r"\\\1", one_line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def in_unit(value: float | None, unit: str) -> str:
    """Write a value of a sensor: shares and changes in per cent, amounts with their thousands,
    others with three digits that count. A log ratio is shown as the change that it stands for."""
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
    """Say how far a value is from the expected one, beside its limit; nothing where it has no z."""
    if reading.z is None or not isfinite(reading.z):
        return ""
    side = "above" if reading.z > 0 else "below"
    limit = f"; the limit is {reading.limit:g}" if reading.limit else ""
    return f"{abs(reading.z):.1f} standard deviations {side} the expected value{limit}"


def plural(number: int, singular: str, many: str = "") -> str:
    """Write `1 month` or `2 months`."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


def sentence(text: str) -> str:
    """Write a text with one full stop at its end."""
    return f"{text.rstrip().rstrip('.')}." if text.strip() else ""
