"""Judge each month's own figures against a frozen baseline.

Features of customers drift in every healthy shop (customers grow older, seasons change), so they
explain an alarm and never are one. A sensor measures the month itself. Its reading is

    z = (value - expected) / sd

where the months of the baseline give what to expect: their mean, and how much they differ beyond
what chance gives (the method of moments of DerSimonian & Laird 1986, with a floor). `sd`
adds to that what chance gives a month of this size, and how well the mean is known. It is an alarm
where |z| > c, or where two months running are as far off together: both on one side, each beyond
half of c, and their sum beyond sqrt(2) c, as it is if both are beyond three quarters of c.

A baseline is frozen, because one that follows the months would soon treat a drift as usual. Only
the invoices' ratio to last year, which moves as the shop grows, follows the months that were as
usual half of the way.

`freeze` makes the baseline of what `measure_months` measured, `read_month` judges one month. The
results on simulated years and on a real log are in docs/monitoring.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from monitoring.facts import Reading, State, add_months, months_between
from monitoring.measure import HISTORY, SENSORS, Measured

WARN, HALF = 0.75, 0.5  # of c: a month beyond the first is pending; see `_judge`
OVERDISPERSION = 1.3  # variance of a month's invoices over that of a Poisson count
MONTHS = 12  # of a baseline
ENOUGH = 9  # of them with a value: the first months of a log have no past to compare with
RECENT = 6  # months of the usual ratio: a shop's growth slows down, so the last months count
# The expected ratio moves half of the way to that of the last three months.
FOLLOWED, FOLLOW = 3, 0.5
SHRINK = 0.5  # the variance of months is only roughly known from eleven steps between them


# --- the baseline -----------------------------------------------------------------------------


def freeze(measured: Sequence[Measured], months: Sequence[str]) -> dict[str, Any]:
    """Make the baseline of these months, as JSON values: `months`, and for each of `sensors`

    - `mean` over the months, in the sensor's unit, each weighted by its n; None while the sensor is
      learning, with `until`, the month from which a baseline can be made, or None where the months
      have too few rows;
    - `sd` between months beyond chance, `floor`, which is taken where it is larger, and `error`,
      the standard error of the mean;
    - `c`, the limit of |z|; `months`, those that had a value; `n`, what they are made of;
    - of the invoices `usual_ratio`, to those of the year before: exp(mean), and `recent`, how far
      the last months were from the mean.

    It is frozen: it applies to every later month, until another one is made on purpose.
    """
    by_sensor = {name: [one for one in measured if one.sensor == name] for name in SENSORS}
    return {
        "months": list(months),
        "sensors": {name: _expect(name, by_sensor[name], months) for name in SENSORS},
    }


def _expect(name: str, measured: list[Measured], months: Sequence[str]) -> dict[str, Any]:
    sensor = SENSORS[name]
    used = [one for one in measured if one.month in months and _enough(one)]
    limits = {"c": sensor.c, "floor": sensor.floor, "months": [one.month for one in used]}
    if len(months) < MONTHS or len(used) < ENOUGH:
        valued = [one for one in measured if one.month in months and one.value is not None]
        few = len(months) >= MONTHS and len(valued) >= ENOUGH  # waiting would not help
        return {"mean": None, **limits, "until": None if few else _until(name, measured)}
    if name == "invoices":
        return {**_expect_ratio(used, sensor.floor), **limits}
    total = sum(one.n for one in used)
    weights = [one.n / total for one in used]
    values = [one.value or 0.0 for one in used]
    mean = sum(w * value for w, value in zip(weights, values))
    noise = [_noise(one, mean, total) for one in used]
    # The months differ by what is between them, and by what chance adds to each.
    spread = sum(w * (value - mean) ** 2 for w, value in zip(weights, values))
    by_chance = sum(w * (1 - w) * v for w, v in zip(weights, noise))
    between = max(0.0, spread - by_chance) / (1 - sum(w * w for w in weights))
    error = sum(w * w * (max(between, sensor.floor**2) + v) for w, v in zip(weights, noise))
    return {
        "mean": mean, "sd": math.sqrt(between), "error": math.sqrt(error), "n": total, **limits,
    }  # fmt: skip


def _expect_ratio(used: list[Measured], floor: float) -> dict[str, Any]:
    """Of the invoices. Their ratio to last year moves slowly, as the shop's growth does: so it is
    the mean of the last months, and what is between months is seen in the steps from one to the
    next. `recent`: how far the last ones are from the mean, for `_judge_months`."""
    recent = used[-RECENT:]
    total = sum(one.n for one in recent)
    weights = [one.n / total for one in recent]
    mean = sum(w * (one.value or 0.0) for w, one in zip(weights, recent))
    noise = {one.month: _noise(one, mean, total) for one in used}
    steps = [
        ((b.value or 0.0) - (a.value or 0.0)) ** 2 - noise[a.month] - noise[b.month]
        for a, b in itertools.pairwise(used)
    ]
    between = max(0.0, SHRINK * sum(steps) / 2 / len(steps))
    error = sum(
        w * w * (max(between, floor**2) + noise[one.month]) for w, one in zip(weights, recent)
    )
    return {
        "mean": mean, "usual_ratio": math.exp(mean), "sd": math.sqrt(between),
        "error": math.sqrt(error), "n": total,
        "recent": [(one.value or 0.0) - mean for one in used[-FOLLOWED:]],
    }  # fmt: skip


def _until(name: str, measured: list[Measured]) -> str | None:
    """The first month that can have a year of values before it."""
    first = next((one.month for one in measured if one.value is not None), None)
    if first is None and name == "invoices" and measured:
        first = add_months(measured[0].month, MONTHS)  # the first with a last year
    return None if first is None else add_months(first, MONTHS)


def _enough(measured: Measured) -> bool:
    """Check that a month has enough rows. Few invoices are a result; it is those of last year that
    may be too few to compare with."""
    count = measured.before if measured.sensor == "invoices" else measured.n
    return measured.value is not None and (count or 0) >= SENSORS[measured.sensor].least


def _noise(measured: Measured, mean: float, total: int) -> float:
    """The variance that chance gives to the value of a month of this size, where `mean` is right;
    total: the n that the mean is made of."""
    if measured.sensor == "price":
        return 0.0  # what chance does to a price list is seen in the baseline's months only
    if measured.sensor == "invoices":
        before = measured.before or 1
        return OVERDISPERSION * (1 / before + 1 / (before * math.exp(mean)))
    share = (mean * total + 0.5) / (total + 1)  # none so far is not never
    return share * (1 - share) / measured.n


# --- a month ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Figures:
    """What is expected of a month that has a value, in the sensor's unit, and how far off it is."""

    expected: float
    sd: float
    z: float
    limit: float


def read_month(measured: Sequence[Measured], baseline: dict[str, Any], month: str) -> list[Reading]:
    """Judge each sensor for the month, in the order of `SENSORS`.

    measured: by `measure_months`, with every month since the baseline.  baseline: by `freeze`.
    Nothing after the month is used.
    """
    by_month = {(one.sensor, one.month): one for one in measured}
    readings = []
    for name in SENSORS:
        current = by_month.get((name, month), Measured(name, month, None, 0))
        known = baseline["sensors"].get(name)
        if known is None:  # the sensor is newer than the baseline
            known = {"mean": None, "until": add_months(baseline["months"][-1], 1)}
        reading = _unjudged(current, known, baseline["months"])
        if reading is None:
            first = add_months(baseline["months"][-1], 1)
            so_far = [by_month.get((name, each)) for each in months_between(first, month)]
            reading = _judge_months(so_far, known, baseline["months"])
        readings.append(reading)
    return readings


def _judge_months(
    so_far: Sequence[Measured | None], known: dict[str, Any], months: Sequence[str]
) -> Reading:
    """Judge the last of these months, which begin after the baseline.

    The expected ratio of the invoices moves half of the way from the baseline's to that of the last
    three months that were as usual: the customers of a shop come and go, and its growth changes.
    Months that were not as usual are left out, or a drift would soon be what is expected.
    """
    recent, follow = list(known.get("recent", ())), "recent" in known
    own_past = any(m is not None and SENSORS[m.sensor].own_past for m in so_far)
    reading, alarmed = None, ""
    for measured in so_far:
        if measured is None or _unjudged(measured, known, months):
            reading = None
            continue
        before = reading.z if reading is not None else None
        reading = _judge(measured, known, _figures(measured, known, recent), before)
        if follow and reading.state == "ok":
            recent.append((measured.value or 0.0) - known["mean"])
        if reading.state == "alarm":
            alarmed = measured.month
        elif alarmed and own_past and measured.month <= add_months(alarmed, HISTORY):
            note = f" Its past holds {alarmed} now, an alarm: what changed then may still be so."
            reading = replace(reading, text=reading.text + note)
    assert reading is not None  # the last of them can be judged
    return reading


def _unjudged(measured: Measured, known: dict[str, Any], months: Sequence[str]) -> Reading | None:
    """Make the reading of a month that cannot be judged, or is one of the baseline; else None."""
    name, value = measured.sensor, measured.value
    sensor = SENSORS[name]

    def reading(state: State, text: str, until: str | None = None) -> Reading:
        return Reading(name, measured.month, state, value, measured.n, until=until, text=text)

    if measured.missing:
        return reading("skipped", f"The source has no column {measured.missing}.")
    if measured.month in months:
        judged = known["mean"] is not None and _enough(measured)
        figures = _figures(measured, known) if judged else None
        known_month = reading("baseline", f"{_words(measured, figures)} Part of the baseline.")
        return _with_figures(known_month, figures) if figures else known_month
    if known["mean"] is None and known["until"] is None:
        text = f"the months of the baseline have fewer than {sensor.least} {sensor.of} each"
        return reading("too_few", f"Too few to judge: {text}.")
    if known["mean"] is None:
        until = known["until"]
        needs = " with the same month of the year before" if name == "invoices" else ""
        text = f"{MONTHS} months{needs} as its baseline; from {until} on one can be made"
        return reading("learning", f"Learning: it needs {text}.", until)
    if measured.month < months[0]:
        until = add_months(months[-1], 1)
        return reading("learning", f"Before the baseline; it judges from {until} on.", until)
    if not measured.n:
        return reading("too_few", f"The month has no {sensor.of}: its rows may be missing.")
    if not _enough(measured):
        if name == "invoices":
            had = f"{measured.before or 0:,.0f} invoices last year"
        else:
            had = f"{measured.n:,} {sensor.of}"
        return reading("too_few", f"Too few to judge: {had}, {sensor.least} are needed.")
    return None


def _judge(
    measured: Measured, known: dict[str, Any], figures: _Figures, before: float | None
) -> Reading:
    """before: z of the month before, where that was judged too."""
    z, c, earlier = figures.z, figures.limit, before or 0.0
    together = z * earlier > 0 and min(abs(z), abs(earlier)) > HALF * c
    state: State = "ok"
    conclusion = f"As usual: z = {z:.1f}, alarm beyond {c:g}."
    if abs(z) > c:
        state, conclusion = "alarm", f"Alarm: z = {z:.1f}, beyond {c:g}."
    elif together and abs(z + earlier) > math.sqrt(2) * c:
        state = "alarm"
        conclusion = f"Alarm: z = {z:.1f} after {earlier:.1f}, beyond {c:g} together."
    elif abs(z) > WARN * c:
        state = "pending"
        conclusion = (
            f"Pending: z = {z:.1f}; an alarm beyond {c:g}, or if the next month is as far off."
        )
    text = f"{_words(measured, figures)} {conclusion}"
    name, value = measured.sensor, measured.value
    reading = Reading(name, measured.month, state, value, measured.n, text=text)
    return _with_figures(reading, figures)


def _figures(measured: Measured, known: dict[str, Any], recent: Sequence[float] = ()) -> _Figures:
    """recent: how far the last months that were as usual are from the mean, where that counts."""
    mean, error = known["mean"], known["error"]
    variance = max(known["sd"], known["floor"]) ** 2 + _noise(measured, mean, known["n"])
    expected = mean
    if recent := recent[-FOLLOWED:]:
        expected += FOLLOW * sum(recent) / len(recent)
        error *= 1 - FOLLOW
        variance *= 1 + FOLLOW**2 / len(recent)
    sd = math.sqrt(variance + error**2)
    return _Figures(expected, sd, ((measured.value or 0.0) - expected) / sd, known["c"])


def _with_figures(reading: Reading, figures: _Figures) -> Reading:
    return replace(
        reading, expected=figures.expected, sd=figures.sd, z=figures.z, limit=figures.limit
    )


def _words(measured: Measured, figures: _Figures | None) -> str:
    """Describe what was measured and, where that is known, what was expected, in plain units."""
    if measured.value is None:
        return f"No value: {measured.n:,} {SENSORS[measured.sensor].of}."
    mean, sd = (figures.expected, figures.sd) if figures else (0.0, 0.0)
    if measured.sensor == "price":
        usual = f"; usual is {_beside(mean)} (± {sd:.1%})" if figures else ""
        price = _beside(measured.value)
        return f"The same products cost {price} than in their last six months{usual}."
    if measured.sensor == "invoices":
        before = measured.before or 0
        if not figures:
            return f"{measured.n:,} invoices, {before:,.0f} in the same month of last year."
        expected = before * math.exp(mean)
        change = _beside(measured.value - mean)
        return (
            f"{measured.n:,} invoices are {change} than the {expected:,.0f} expected"
            f" (± {sd:.1%}): {before:,.0f} in the same month of last year, if with the same"
            f" weekdays, times the usual {math.exp(mean):.2f}."
        )
    usual = f", usually {mean:.1%} (± {sd:.1%})" if figures else ""
    return f"{measured.value:.1%} of {measured.n:,} {SENSORS[measured.sensor].sentence}{usual}."


def _beside(log_ratio: float) -> str:
    change = math.expm1(log_ratio)
    return f"{abs(change):.1%} {'less' if change < 0 else 'more'}"
