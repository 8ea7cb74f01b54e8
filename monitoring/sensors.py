"""Sensors: each month's own figures, read against a frozen baseline.

Features of customers drift in every healthy shop (customers grow older, autumn comes), so they
explain an alarm and never are one. A sensor looks at the month itself. Its reading is

    z = (value - expected) / sd

where the months of the baseline say what to expect: their mean, and how much they differ beyond
what chance gives (the method of moments of DerSimonian & Laird 1986, with a floor). `sd` adds to
that what chance gives a month of this size, and how well the mean is known. It is an alarm where
|z| > c, or where two months running are beyond three quarters of c on the same side.

`measure_months` reads the rows, `freeze` makes the baseline, `read_month` judges one month. What
came of it in simulated years and in a real log is in docs/monitoring.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from monitoring.facts import Reading, State, add_months
from monitoring.measure import SENSORS, Measured, Sensor, measure_months

__all__ = ["SENSORS", "Measured", "Sensor", "freeze", "measure_months", "read_month"]

WARN = 0.75  # of c: two months running beyond it are an alarm
OVERDISPERSION = 1.3  # variance of a month's invoices over that of a Poisson count
MONTHS = 12  # of a baseline
ENOUGH = 9  # of them with a value: the first months of a log have no past to compare with


# --- the baseline -----------------------------------------------------------------------------


def freeze(measured: Sequence[Measured], months: Sequence[str]) -> dict[str, Any]:
    """The baseline that these months make, as JSON values: `months`, and for each of `sensors`

    - `mean` over the months, in the sensor's unit, each weighted by its n; None while the sensor is
      learning, with `until`, the month from which a baseline can be made;
    - `sd` between months beyond chance, `floor`, which is taken where it is larger, and `error`,
      the standard error of the mean;
    - `c`, the limit of |z|; `months`, those that had a value; `n`, what they are made of;
    - of the invoices `usual_ratio`, to those of the year before: exp(mean).

    It is frozen: it holds for every later month, until another one is made on purpose.
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
        return {"mean": None, **limits, "until": _until(name, measured)}
    values = [one.value or 0.0 for one in used]
    total = sum(one.n for one in used)
    weights = [one.n / total for one in used]
    mean = sum(w * value for w, value in zip(weights, values))
    noise = [_noise(one, mean, total) for one in used]
    # The months differ by what is between them, and by what chance adds to each.
    spread = sum(w * (value - mean) ** 2 for w, value in zip(weights, values))
    by_chance = sum(w * (1 - w) * v for w, v in zip(weights, noise))
    between = max(0.0, spread - by_chance) / (1 - sum(w * w for w in weights))
    error = sum(w * w * (max(between, sensor.floor**2) + v) for w, v in zip(weights, noise))
    found = {"mean": mean, "sd": math.sqrt(between), "error": math.sqrt(error), "n": total}
    usual = {"usual_ratio": math.exp(mean)} if name == "invoices" else {}
    return {**found, **usual, **limits}


def _until(name: str, measured: list[Measured]) -> str | None:
    """The first month that can have a year of values before it."""
    first = next((one.month for one in measured if one.value is not None), None)
    if first is None and name == "invoices" and measured:
        first = add_months(measured[0].month, MONTHS)  # the first with a last year
    return None if first is None else add_months(first, MONTHS)


def _enough(one: Measured) -> bool:
    """Few invoices are a finding, few invoices of last year are too few to compare with."""
    count = one.before if one.sensor == "invoices" else one.n
    return one.value is not None and (count or 0) >= SENSORS[one.sensor].least


def _noise(one: Measured, mean: float, total: int) -> float:
    """The variance that chance gives to the value of a month of this size, where `mean` is right;
    total: the n that the mean is made of."""
    if one.sensor == "price":
        return 0.0  # what chance does to a price list is seen in the baseline's months only
    if one.sensor == "invoices":
        before = one.before or 1
        return OVERDISPERSION * (1 / before + 1 / (before * math.exp(mean)))
    share = (mean * total + 0.5) / (total + 1)  # none so far is not never
    return share * (1 - share) / one.n


# --- a month ----------------------------------------------------------------------------------


def read_month(measured: Sequence[Measured], baseline: dict[str, Any], month: str) -> list[Reading]:
    """A reading of each sensor for the month, in the order of `SENSORS`.

    measured: by `measure_months`, with at least this month and the one before.  baseline: by
    `freeze`; sensors that it does not know are learning.
    """
    found = {(one.sensor, one.month): one for one in measured}
    before = add_months(month, -1)
    readings = []
    for name in SENSORS:
        known = baseline["sensors"].get(name, {"mean": None, "until": None})
        one = found.get((name, month), Measured(name, month, None, 0))
        reading = _unjudged(one, known, baseline["months"])
        if reading is None:
            last = found.get((name, before))
            judged = last is not None and _unjudged(last, known, baseline["months"]) is None
            reading = _judge(one, known, last if judged else None)
        readings.append(reading)
    return readings


def _unjudged(one: Measured, known: dict[str, Any], months: Sequence[str]) -> Reading | None:
    """The reading where nothing can be said of the month, or it is one of the baseline."""
    name = one.sensor
    sensor = SENSORS[name]

    def reading(state: State, text: str, until: str | None = None) -> Reading:
        return Reading(name, one.month, state, one.value, one.n, until=until, text=text)

    if one.missing:
        return reading("skipped", f"The source has no column {one.missing}.")
    if one.month in months:
        judged = {} if known["mean"] is None or not _enough(one) else _figures(one, known)
        return replace(reading("baseline", f"{_words(one, known)} Part of the baseline."), **judged)
    if known["mean"] is None:
        until = known["until"]
        when = f"from {until} on a baseline can be made" if until else "it has measured nothing yet"
        needs = " with the same month of the year before" if name == "invoices" else ""
        text = f"Learning: it needs {MONTHS} months{needs} as its baseline; {when}."
        return reading("learning", text, until)
    if one.month < months[0]:
        until = add_months(months[-1], 1)
        return reading("learning", f"Before the baseline; it judges from {until} on.", until)
    if not one.n:
        return reading("too_few", f"The month has no {sensor.of}: its rows may be missing.")
    if not _enough(one):
        if name == "invoices":
            had = f"{one.before or 0:,} invoices last year"
        else:
            had = f"{one.n:,} {sensor.of}"
        return reading("too_few", f"Too few to judge: {had}, {sensor.least} are needed.")
    return None


def _judge(one: Measured, known: dict[str, Any], last: Measured | None) -> Reading:
    """last: the month before, where that is judged too."""
    figures = _figures(one, known)
    z, c = figures["z"], known["c"]
    earlier = _figures(last, known)["z"] if last else 0.0
    state: State = "ok"
    said = f"As usual: z = {z:.1f}, alarm beyond {c:g}."
    if abs(z) > c:
        state, said = "alarm", f"Alarm: z = {z:.1f}, beyond {c:g}."
    elif min(abs(z), abs(earlier)) > WARN * c and z * earlier > 0:
        state = "alarm"
        said = f"Alarm: z = {z:.1f} after {earlier:.1f}, two months running beyond {WARN * c:g}."
    elif abs(z) > WARN * c:
        state = "pending"
        said = f"Pending: z = {z:.1f}; an alarm beyond {c:g}, or if the next month is as far off."
    text = f"{_words(one, known)} {said}"
    return replace(Reading(one.sensor, one.month, state, one.value, one.n, text=text), **figures)


def _figures(one: Measured, known: dict[str, Any]) -> dict[str, float]:
    """expected, sd, z and limit of a month that has a value."""
    between = max(known["sd"], known["floor"])
    noise = _noise(one, known["mean"], known["n"])
    sd = math.sqrt(between**2 + noise + known["error"] ** 2)
    z = ((one.value or 0.0) - known["mean"]) / sd
    return {"expected": known["mean"], "sd": sd, "z": z, "limit": known["c"]}


def _words(one: Measured, known: dict[str, Any]) -> str:
    """What was measured and what was expected, in plain units."""
    if one.value is None:
        return f"No value: {one.n:,} {SENSORS[one.sensor].of}."
    judged = known["mean"] is not None and _enough(one)
    mean, sd = (known["mean"], _figures(one, known)["sd"]) if judged else (0.0, 0.0)
    if one.sensor == "price":
        usual = f", usually {_beside(mean)} (± {sd:.1%})" if judged else ""
        return f"The same products cost {_beside(one.value)} their last six months{usual}."
    if one.sensor == "invoices":
        before = one.before or 0
        if not judged:
            return f"{one.n:,} invoices, {before:,} in the same month of last year."
        expected = before * math.exp(mean)
        return (
            f"{one.n:,} invoices are {_beside(one.value - mean)} the {expected:,.0f} (± {sd:.1%})"
            f" expected: {before:,} in the same month of last year, times the usual"
            f" {math.exp(mean):.2f}."
        )
    what = {
        "unit": "lines are above six times their product's usual quantity",
        "anonymous": "invoices name no customer",
        "abroad": "new customers live abroad",
    }[one.sensor]
    usual = f", usually {mean:.1%} (± {sd:.1%})" if judged else ""
    return f"{one.value:.1%} of {one.n:,} {what}{usual}."


def _beside(log_ratio: float) -> str:
    change = math.expm1(log_ratio)
    return f"{abs(change):.1%} {'less than' if change < 0 else 'more than'}"
