"""Put a simulated year into words: its table, a row a month, and the closing paragraphs. All of it
is made from what was written down while the year was operated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from flows.operate import Operated
from flows.year_shop import DRIFTS
from monitoring.alerts import Alert
from monitoring.facts import Reading, Verdict, add_months, end_of, month_of
from monitoring.labels import EARLY_LABEL
from registry.chain import Record

# Heads and widths of the columns: 79 characters with the spaces between them.
COLUMNS = {
    "month": 7,
    "rows": 6,
    "scored": 6,
    "alarm (z)": 22,
    "verdict": 14,
    "training": 11,
    "serves": 6,
}
NUMBERS = ("rows", "scored")
LEGEND = (
    "Of each month: rows; customers scored; sensors that alarm, and by how many standard"
    " deviations (z); the verdict; a training and what the gate decided; the version served."
)


@dataclass(frozen=True)
class Year:
    """What was written down. months: in order.  verdicts, alarms: of them; the early label never
    counts and is not among the alarms.  past: the ledger.  versions: requests that each version
    answered; lost: requests without an answer."""

    drift: str
    planted: date
    months: Sequence[Operated]
    verdicts: Sequence[Verdict]
    alarms: Sequence[Reading]
    alerts: Sequence[Alert]
    past: Sequence[Record]
    versions: Mapping[int, int]
    lost: int
    seconds: float


def alarms_of(readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings that alarm and count."""
    return [one for one in readings if one.state == "alarm" and one.sensor != EARLY_LABEL]


def head() -> str:
    return _line(list(COLUMNS))


def rows(operated: Operated, alarms: Sequence[Reading]) -> list[str]:
    """Return the lines of a month: one, and one more for each further sensor that alarms."""
    named = [one.sensor if one.z is None else f"{one.sensor} {one.z:+.1f}" for one in alarms]
    training = ""
    if operated.trigger:
        decision = "promoted" if operated.decision == "promote" else "rejected"
        training = f"v{operated.version} {decision}"
    elif operated.deferred:
        training = "held back"
    first = [
        operated.month,
        f"{operated.rows:,}",
        f"{operated.scored:,}" if operated.scored else "held",
        named[0] if named else "-",
        operated.verdict,
        training,
        f"v{serving(operated)}",
    ]
    return [_line(first), *(_line(["", "", "", name, "", "", ""]) for name in named[1:])]


def serving(operated: Operated) -> int:
    """Return the version that is champion when the month has been processed."""
    promoted = operated.decision == "promote" and operated.version is not None
    return operated.version if promoted else operated.champion  # type: ignore[return-value]


def plan(drift: str, planted: date) -> str:
    """Return what is printed before the year begins."""
    effects, what = DRIFTS[drift]
    text = f"Planted: on {planted} {what}." if effects else "Nothing is planted."
    return f"{text} It takes two to five minutes on two cores."


def paragraphs(year: Year) -> list[str]:
    """Return the closing paragraphs: what was found, what was trained, and the service."""
    effects, what = DRIFTS[year.drift]
    change = [f"On {year.planted} {what}." if effects else f"In this year {what}."]
    change += _what_changed(year) if effects else _nothing_planted(year)
    trained = [*_dated(year), *_held_back(year), *_by_calendar(year)]
    served = [*_served(year), f"The year took {duration(year.seconds)}."]
    return [
        " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
        for sentences in (change, trained, served)
        if sentences
    ]


def _nothing_planted(year: Year) -> list[str]:
    if not year.alarms:
        return [f"No sensor alarmed in any of its {len(year.months)} months."]
    return [f"False alarms: {_sensors(year.alarms)}."]


def _what_changed(year: Year) -> list[str]:
    """Say which sensor found what was planted, when and how clearly, and what the verdict was."""
    begin = month_of(year.planted)
    early = [one for one in year.alarms if one.month < begin]
    alarms = [one for one in year.alarms if one.month >= begin]
    sentences = [f"False alarms before it: {_sensors(early)}."] if early else []
    if not alarms:
        return [*sentences, "No sensor alarmed after it."]
    first = alarms[0]
    late = next(n for n in range(len(year.months)) if add_months(begin, n) == first.month)
    which = ("first", "second", "third")
    when = f"the {which[late]} month of the change" if late < len(which) else f"{late} months later"
    sentences.append(f"The sensor {first.sensor} alarmed in {first.month}, {when}: {first.text}")
    later = [one for one in alarms if one.sensor != first.sensor]
    if later:
        sentences.append(f"Other sensors alarmed too: {_sensors(later)}.")
    judged = next(one for one in year.verdicts if one.month == first.month)
    same = [one.month for one in year.verdicts if one.verdict == judged.verdict]
    sentences.append(f"The verdict was {judged.verdict} in {_months(same)}.")
    alerts = [one for one in year.alerts if one.first_month >= begin]
    each = [f"{one.sensor} ({one.severity}, {_lasting(one)})" for one in alerts]
    verb = "was sent once" if len(each) == 1 else "were sent, each once"
    sentences.append(f"{_count(len(each), 'alert')} {verb}: {', '.join(each)}.")
    return [*sentences, *_between(first.sensor, [one.month for one in alarms], alerts)]


def _lasting(alert: Alert) -> str:
    """`2026-07`, `2026-07 to 2026-09`, or `since 2026-07`."""
    if alert.over is None:
        return f"since {alert.first_month}"
    same = alert.first_month == alert.last_month
    return alert.first_month if same else f"{alert.first_month} to {alert.last_month}"


def _between(sensor: str, alarms: Sequence[str], alerts: Sequence[Alert]) -> list[str]:
    """Say why there is a second alert of one and the same change."""
    again = [one for one in alerts if one.sensor == sensor][1:]
    ended = [one.over for one in alerts if one.sensor == sensor and one.over][: len(again)]
    if not again:
        return []
    return [
        f"In {_months(ended)} {sensor} did not alarm, which ended an alert: the next alarm began"
        " another one."
    ]


def _dated(year: Year) -> list[str]:
    """Say why a changed demand is not learnt from at once, and what followed."""
    dates = list(dict.fromkeys(one.retrain_due for one in year.verdicts if one.retrain_due))
    if not dates:
        return []
    due, by_then = dates[0], end_of(year.months[-1].month).isoformat()
    sentences = [
        "A retraining at once would have learnt nothing, as no label of after the change was known:"
        f" it was dated {due}, when there are such labels to learn from."
    ]
    done = next((one for one in year.months if one.trigger == "changed demand"), None)
    waiting = next((one for one in year.months if "demand changed" in one.deferred), None)
    if done is not None:
        sentences.append(f"It was done as of {end_of(done.month)}: {_decided(year, done)}.")
    elif waiting is not None:
        sentences.append(f"In {waiting.month} it was held back: {waiting.deferred}.")
    elif due > by_then:
        sentences.append("That is after this year.")
    further = [f"{one}, which is after this year" if one > by_then else one for one in dates[1:]]
    if further:
        sentences.append(f"A later alarm dated another retraining {' and '.join(further)}.")
    return sentences


def _held_back(year: Year) -> list[str]:
    """Say which trainings by the calendar were not done."""
    deferred = [one for one in year.months if one.deferred and "demand changed" not in one.deferred]
    broken = [one.month for one in deferred if "is broken" in one.deferred]
    sentences = []
    held = [one.month for one in year.months if not one.scored]
    if held:
        sentences.append(
            f"No list was made of a month whose data was broken: {_months(held)}"
            f" {'was' if len(held) == 1 else 'were'} not scored."
        )
    if broken:
        sentences.append(
            f"In {_months(broken)} a training by the calendar was held back: the model would learn"
            " from broken data. It waits until somebody repairs the rows, or accepts them as"
            " the new normal."
        )
    for one in deferred:
        if one.month not in broken:
            _, _, why = one.deferred.partition(": ")
            sentences.append(f"In {one.month} a training by the calendar was held back: {why}.")
    return sentences


def _by_calendar(year: Year) -> list[str]:
    done = [one for one in year.months if one.trigger in ("calendar", "worse")]
    if not done:
        return []
    each = [f"as of {end_of(one.month)} {_decided(year, one)}" for one in done]
    worse = sum(one.trigger == "worse" for one in done)
    why = "as the champion ranked worse or by the calendar" if worse else "by the calendar"
    return [f"{_count(len(done), 'training')} came {why}: {'; '.join(each)}."]


def _served(year: Year) -> list[str]:
    last = serving(year.months[-1])
    promoted = [one for one in year.months if one.decision == "promote"]
    since = f"champion since {end_of(promoted[-1].month)}" if promoted else "the first champion"
    answered = sum(year.versions.values())
    each = ", ".join(f"version {v}: {n:,}" for v, n in sorted(year.versions.items()))
    swaps = len(year.versions) - 1
    swapped = f", changed to a new champion {_times(swaps)}," if swaps > 0 else ""
    lost = "none" if not year.lost else f"{year.lost:,}"
    return [
        f"At the end version {last}, {since}, was served.",
        f"During the year the service answered {answered:,} requests ({each}){swapped} and lost"
        f" {lost}.",
    ]


def _decided(year: Year, operated: Operated) -> str:
    verb = "promoted" if operated.decision == "promote" else "rejected"
    return f"the gate {verb} version {operated.version}{_reason(year, operated)}"


def _reason(year: Year, operated: Operated) -> str:
    """Return what the gate measured where its first rule broke."""
    rules = next((e.rules for e in year.past if e.run_id == operated.run_id and e.to_version), ())
    broken = next((rule["found"] for rule in rules if not rule["held"]), "")
    return f" ({broken})" if broken else ""


def _sensors(readings: Sequence[Reading]) -> str:
    """`price in 2026-07, unit in 2026-08 to 2026-10`."""
    months: dict[str, list[str]] = {}
    for one in readings:
        months.setdefault(one.sensor, []).append(one.month)
    return ", ".join(f"{sensor} in {_months(in_months)}" for sensor, in_months in months.items())


def _months(months: Sequence[str]) -> str:
    """`2026-07 to 2026-09 and 2026-12`."""
    runs: list[list[str]] = []
    for month in months:
        if runs and month == add_months(runs[-1][-1], 1):
            runs[-1].append(month)
        else:
            runs.append([month])
    each = [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    return " and ".join(filter(None, [", ".join(each[:-1]), each[-1]]))


def _count(number: int, word: str) -> str:
    words = ("no", "one", "two", "three", "four", "five")
    shown = words[number] if number < len(words) else f"{number:,}"
    return f"{shown} {word}{'' if number == 1 else 's'}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def duration(seconds: float) -> str:
    """`48 seconds`, or `2 minutes 5 seconds`."""
    minutes, rest = divmod(round(seconds), 60)
    parts = [
        f"{n} {word}{'' if n == 1 else 's'}"
        for n, word in ((minutes, "minute"), (rest, "second"))
        if n or (word == "second" and not minutes)
    ]
    return " ".join(parts)


def _line(cells: Sequence[str]) -> str:
    return " ".join(
        f"{cell:{'>' if name in NUMBERS else '<'}{width}}"
        for (name, width), cell in zip(COLUMNS.items(), cells, strict=True)
    ).rstrip()
