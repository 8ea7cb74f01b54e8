"""States of the page as a simulated year leaves them: made here from a seed, so that the page can
be tested and looked at without operating a year."""

from __future__ import annotations

from dataclasses import replace
from math import pi, sin
from random import Random

from monitoring.facts import (
    Drift,
    Estimate,
    FeatureShares,
    Performance,
    Quality,
    Reading,
    Requests,
    State,
    Verdict,
    add_months,
    end_of,
)
from monitoring.measure import SENSORS as MEANINGS
from reports.monitoring_state import (
    Alert,
    Champion,
    Decision,
    PageState,
    Run,
    Scores,
    SensorNote,
    Shadow,
)
from reports.words import STATES, in_unit

SENSORS = {
    name: SensorNote(one.meaning, one.verdict, one.unit, one.c) for name, one in MEANINGS.items()
}
# sensor -> expected, sd; what its text says
EXPECTED = {"price": (0.0, 0.0052), "unit": (0.047, 0.0042), "anonymous": (0.071, 0.009)}
EXPECTED |= {"abroad": (0.07, 0.034), "invoices": (0.092, 0.048)}
TEXTS = {
    "price": "The same products cost {} beside their last six months",
    "unit": "{} of 6,209 lines are above six times their product's usual quantity",
    "anonymous": "{} of 1,389 invoices name no customer",
    "abroad": "{} of 58 new customers live abroad",
    "invoices": "1,389 invoices are {} beside the same month of last year",
}
FEATURES = (
    *("recency_days", "orders_30d", "orders_90d", "orders_365d", "value_90d", "value_365d"),
    *("products_90d", "gap_days_mean", "tenure_days", "cancelled_share", "is_home", "basket_lines"),
)
START = "2026-04"

REQUESTS = Requests(
    since="2027-03-01",
    until="2027-04-01",
    state="ok",
    requests=8_214,
    rows=12_480,
    days=31,
    customers=4_907,
    versions=((3, 11_930), (1, 550)),
    version=3,
    mean=0.447,
    beside="batch scores",
    mean_beside=0.462,
    deciles=(0.13, 0.12, 0.11, 0.1, 0.1, 0.09, 0.09, 0.09, 0.08, 0.09),
    psi=0.012,
    features=(
        FeatureShares("gap_days_mean", 0.31, None, 0.22, None),
        FeatureShares("country", 0.0, 0.034, 0.0, 0.002),
        FeatureShares("orders_90d", 0.0, None, 0.0, None),
    ),
    left_out=("date=2027-03-31/.101502-4711-000003.parquet.unfinished: it is still being written",),
    text="12,480 answers on 31 days",
)


def readings(
    first: str, months: int, drift: dict[str, float] | None = None, at: int = 3, seed: int = 1
) -> tuple[Reading, ...]:
    """Twelve months of baseline before `first`, and so many judged ones. drift: sensor -> how many
    standard deviations it is off from the month number `at` on."""
    random, made = Random(seed), []
    for name, (expected, sd) in EXPECTED.items():
        limit, before = SENSORS[name].limit, 0.0
        for place in range(-12, months):
            month = add_months(first, place)
            z = random.gauss(0, 0.8) + ((drift or {}).get(name, 0.0) if place >= at else 0.0)
            value, n = max(expected + z * sd, -0.9), 16_000 + random.randrange(9_000)
            said = f"{TEXTS[name].format(in_unit(value, SENSORS[name].unit))}. "
            if place < 0:
                said += "Part of the baseline."
                made.append(Reading(name, month, "baseline", value, n, text=said))
                continue
            state: State = "ok"
            if abs(z) > limit or (min(abs(z), abs(before)) > 0.75 * limit and z * before > 0):
                state = "alarm"
            elif abs(z) > 0.75 * limit:
                state = "pending"
            said += f"{STATES[state].capitalize()}: z = {z:.1f}, alarm beyond {limit:g}."
            made.append(Reading(name, month, state, value, n, expected, sd, z, limit, text=said))
            before = z
    return tuple(made)


def early(first: str, months: int, off: float = 0.0, at: int = 3) -> tuple[Reading, ...]:
    random, made = Random(2), []
    for place in range(1, months - 1):
        month, z = add_months(first, place), random.gauss(0, 1) - (off if place >= at else 0)
        state: State = "learning" if place < 2 else "alarm" if abs(z) > 3.5 else "ok"
        if state == "learning":
            made.append(
                Reading("early_label", month, state, 0.01, 5400, until=add_months(first, 2))
            )
        else:
            made.append(Reading("early_label", month, state, 0.006 * z, 5600, 0.0, 0.006, z, 3.5))
    return tuple(made)


def performance(
    first: str, months: int, versions: dict[int, int], loss: float = 0.0
) -> tuple[Performance, ...]:
    random, made = Random(3), []
    for place in range(max(months - 3, 0)):
        version = version_at(versions, place)
        off = loss if place >= 3 and version == 1 else 0.0
        auc = 0.771 + 0.008 * sin(place / 12 * 2 * pi) + random.gauss(0, 0.005) - off
        observed = 0.46 + 0.07 * sin((place - 2) / 12 * 2 * pi)
        made.append(
            Performance(
                as_of=(as_of(first, place),),
                version=version,
                rows=5400 + 40 * place,
                positives=int((5400 + 40 * place) * observed),
                roc_auc=auc,
                roc_auc_low=auc - 0.0155,
                roc_auc_high=auc + 0.0155,
                log_loss=0.571 - (auc - 0.77),
                observed=observed - 4 * off,
                predicted=observed + random.gauss(0, 0.008),
                baseline_roc_auc=auc - 0.024,
            )
        )
    return tuple(made)


def version_at(versions: dict[int, int], place: int) -> int:
    """The champion of a month number. versions: from which month number on -> the version."""
    return versions[max(start for start in versions if start <= place)]


def as_of(first: str, place: int) -> str:
    return str(end_of(add_months(first, place - 1)))


def estimates(first: str, months: int, versions: dict[int, int]) -> tuple[Estimate, ...]:
    random, made = Random(4), []
    for place in range(months + 1):
        auc, rows = 0.774 + random.gauss(0, 0.006), 5400 + 40 * place
        buyers = rows * (0.46 + 0.07 * sin((place - 2) / 12 * 2 * pi))
        of = (as_of(first, place), version_at(versions, place), rows)
        made.append(Estimate(*of, auc, auc - 0.02, auc + 0.02, buyers))
    return tuple(made)


def drifts(first: str, months: int, moved: dict[str, float] | None = None) -> tuple[Drift, ...]:
    random, made = Random(5), []
    for place in range(months):
        month = add_months(first, place)
        for name in (*FEATURES, "probability"):
            score = name == "probability"
            psi = abs(random.gauss(0.03, 0.02)) + (moved or {}).get(name, 0.0) * (place >= 3)
            before = random.uniform(0.4, 0.55) if score else random.uniform(1, 40)
            mean = before * (1 - psi * (0.2 if score else 0.8))
            shift = None if score else psi * 0.6 * (name != "tenure_days")
            year_before = add_months(month, -12)
            made.append(Drift(month, name, year_before, psi, psi * 0.7, mean, before, moved=shift))
    return tuple(made)


def quality(first: str, months: int, held: int | None = None) -> tuple[Quality, ...]:
    random, made = Random(6), []
    why = "the batch 1a2b3c is held: the quarantined share rose from 22.1 % to 41.0 %"
    for place in range(months):
        rows = int(22_000 * (1.25 + 0.3 * sin((place - 1) / 12 * 2 * pi)) + random.gauss(0, 600))
        bad = place == held
        out = int(rows * (random.uniform(0.21, 0.235) + (0.19 if bad else 0)))
        reasons = (f"missing_customer {int(out * 0.9):,}", f"duplicate {rows // 90:,}")
        outcome = ("held", reasons, why) if bad else ("accepted", reasons, "")
        made.append(Quality(add_months(first, place), rows, out, *outcome))
    return tuple(made)


def scores(first: str, months: int, versions: dict[int, int]) -> tuple[Scores, ...]:
    return tuple(
        Scores(day, version_at(versions, place), 5400 + 40 * place, f"var/scores/year/as_of={day}")
        for place in range(months + 1)
        for day in [as_of(first, place)]
    )


def run(day: str, version: int, auc: float, decision: str) -> Run:
    return Run(
        day, f"{day}-{version:04d}", "xgboost", version, auc, auc - 0.018, auc + 0.017, decision
    )  # type: ignore[arg-type]


def undrifted(months: int = 12) -> PageState:
    """A year in which nothing happened: trainings by the calendar, one of them promoted."""
    first, last = START, add_months(START, months - 1)
    versions = {0: 1, 7: 3}
    verdicts = tuple(
        Verdict(
            add_months(first, place),
            "calendar",
            "Nothing was found. The next training is due by the calendar, three months after the"
            " last",
            first,
            ("all five sensors are within their limits",),
            version_at(versions, place),
            learning=(
                (f"performance: the first labels are complete on {end_of(add_months(first, 2))}",)
                if place < 2
                else ()
            ),
        )
        for place in range(months)
    )
    runs = (
        run("2026-04-01", 1, 0.772, "promote"),
        run("2026-08-01", 2, 0.768, "reject"),
        run("2026-11-01", 3, 0.779, "promote"),
        run("2027-02-01", 4, 0.776, "reject"),
    )
    return PageState(
        dataset="year",
        made_at="2027-04-01 06:00 UTC",
        day=str(end_of(last)),
        sensors=SENSORS,
        verdicts=verdicts,
        readings=readings(first, months),
        performance=performance(first, months, versions),
        pooled=(
            "Version 3 over its last three dates: ROC AUC .774 (.765 to .783), 16,900 customers;"
            " a fall of .015 would have been found with a probability of .8",
        ),
        estimates=estimates(first, months, versions),
        champions=(
            Champion(1, "2026-04-01", "2026-11-01", 0.772, 0.754, 0.789),
            Champion(3, "2026-11-01", None, 0.779, 0.761, 0.796),
        ),
        early_label=early(first, months),
        drifts=drifts(first, months),
        decisions=(
            Decision("2026-04-01", "promote", 1, "the first champion: every rule held"),
            Decision("2026-08-01", "trigger", None, "calendar: three months since 2026-04-01"),
            Decision(
                "2026-08-01", "reject", 2, "the gain over the champion is not sure: −.004 to .003"
            ),
            Decision("2026-11-01", "trigger", None, "calendar: three months since 2026-08-01"),
            Decision("2026-11-01", "promote", 3, "every rule held: gain .006 (.001 to .011)"),
            Decision("2027-02-01", "trigger", None, "calendar: three months since 2026-11-01"),
            Decision("2027-02-01", "reject", 4, "the gain over the champion is not sure"),
        ),
        runs=runs,
        scores=scores(first, months, versions),
        quality=quality(first, months),
        commands={
            "train": "make train CONFIG=year",
            "operate": "make operate CONFIG=year",
            "quarantine": "make quarantine CONFIG=year",
            "rebaseline": 'make rebaseline CONFIG=year REASON="why"',
        },
    )


def rate_drift() -> PageState:
    """Purchases fall by a fifth on 2026-07-01: an alarm in the fourth month, a retraining that is
    due when labels are complete, and the promotion in the tenth month."""
    state, first, versions = undrifted(), START, {0: 1, 10: 3}
    verdicts = []
    for place, one in enumerate(state.verdicts):
        if 3 <= place < 10:
            one = replace(
                one,
                verdict="changed demand",
                action="Open a ticket with those who sell; train when labels of the time after the"
                " change are complete",
                since="2026-07",
                evidence=(
                    "1,389 invoices: 21 % fewer than in the same month of last year, where 8 % more"
                    " were expected",
                ),
                retrain_due="2026-12-28",
                explained=(
                    "orders_90d: mean 1.9, a year before 2.6",
                    "recency_days: mean 74, a year before 58",
                ),
            )
        elif place >= 10:
            one = replace(one, since="2027-02")
        verdicts.append(replace(one, champion=3 if place >= 9 else 1))
    found = readings(first, 12, {"invoices": -6.0})
    after = {"2027-02", "2027-03"}  # a new baseline was frozen
    found = tuple(
        replace(one, state="ok", z=0.4, expected=(one.value or 0) - 0.019)
        if one.sensor == "invoices" and one.month in after
        else one
        for one in found
    )
    return replace(
        state,
        verdicts=tuple(verdicts),
        readings=found,
        performance=performance(first, 12, versions, 0.014),
        estimates=estimates(first, 12, versions),
        champions=(
            Champion(1, "2026-04-01", "2027-01-01", 0.772, 0.754, 0.789),
            Champion(3, "2027-01-01", None, 0.766, 0.747, 0.783),
        ),
        early_label=early(first, 12, 3.0),
        drifts=drifts(first, 12, {"orders_90d": 0.19, "recency_days": 0.14, "probability": 0.12}),
        decisions=(
            Decision("2026-04-01", "promote", 1, "the first champion: every rule held"),
            Decision("2026-08-01", "trigger", None, "changed demand since 2026-07: due 2026-12-28"),
            Decision("2026-08-01", "reject", 2, "the gain over the champion is not sure"),
            Decision("2027-01-01", "trigger", None, "changed demand: labels are complete"),
            Decision(
                "2027-01-01", "promote", 3, "every rule held: log loss −.011 (−.014 to −.008)"
            ),
        ),
        runs=(
            run("2026-04-01", 1, 0.772, "promote"),
            run("2026-08-01", 2, 0.769, "reject"),
            run("2027-01-01", 3, 0.766, "promote"),
        ),
        scores=scores(first, 12, versions),
        alerts=(
            Alert(
                "invoices",
                "2026-07",
                "ticket",
                "21 % fewer invoices than in July 2025, where 8 % more were expected (z −6.2)",
                "Ask those who sell what changed; retraining is due on 2026-12-28.",
                "2027-01",
            ),
            Alert(
                "champion_gain",
                "2026-09",
                "ticket",
                "The ROC AUC of version 1 less that of orders_365d alone is +0.004 (z −3.4)",
                last_month="2026-10",
            ),
        ),
        requests=REQUESTS,
        shadow=Shadow(
            3,
            4,
            21,
            12_480,
            ("Both would contact the same customers in 96.1 % of the rows.",),
            {
                "mean probability": ("46.2 %", "45.8 %"),
                "99th percentile of the time for a row": ("0.021 ms", "0.034 ms"),
            },
        ),
    )


def until_month(state: PageState, months: int) -> PageState:
    """The same year, when only so many of its months were over."""
    last = add_months(START, months - 1)
    day = str(end_of(last))
    ripe = [one for one in state.performance if one.day <= str(end_of(add_months(last, -3)))]
    return replace(
        state,
        day=day,
        made_at=f"{day} 06:00 UTC",
        verdicts=tuple(one for one in state.verdicts if one.month <= last),
        readings=tuple(one for one in state.readings if one.month <= last),
        early_label=tuple(one for one in state.early_label if one.month < last),
        performance=tuple(ripe),
        pooled=state.pooled if ripe else (),
        estimates=tuple(one for one in state.estimates if one.as_of <= day),
        champions=tuple(
            replace(one, until=one.until if one.until and one.until <= day else None)
            for one in state.champions
            if one.since <= day
        ),
        drifts=tuple(one for one in state.drifts if one.month <= last),
        decisions=tuple(one for one in state.decisions if one.day <= day),
        runs=tuple(one for one in state.runs if one.day <= day),
        alerts=tuple(
            replace(
                one, last_month=one.last_month if one.last_month and one.last_month < last else None
            )
            for one in state.alerts
            if one.first_month <= last
        ),
        scores=tuple(one for one in state.scores if one.as_of <= day),
        quality=tuple(one for one in state.quality if one.month <= last),
        requests=None,
        shadow=None,
    )


def broken_data() -> PageState:
    """A wrong unit in the sixth month: its rows are held."""
    state = undrifted(6)
    found = readings(START, 6, {"unit": 38.0, "price": 4.9}, at=5)
    broken = replace(
        state.verdicts[-1],
        verdict="broken data",
        action="Hold the month and ask its sender; do not retrain on it",
        since="2026-09",
        evidence=(
            "20.7 % of 6,209 lines are above six times their product's usual quantity, where 4.7 %"
            " were expected",
        ),
    )
    return replace(
        until_month(state, 6),
        verdicts=(*state.verdicts[:-1], broken),
        readings=found,
        quality=quality(START, 6, held=5),
        alerts=(
            Alert(
                "unit",
                "2026-09",
                "page",
                "20.7 % of the lines are above six times the usual quantity (z 38.2)",
                "Hold the month; ask its sender.",
            ),
        ),
        sensors={**SENSORS, "weight": SensorNote("Weights", "broken data", "kg", 5.0)},
    )


def first_month() -> PageState:
    """One month was judged, without last year for the seasonal sensor, and few customers abroad."""
    state = until_month(undrifted(), 1)
    found = []
    for one in state.readings:
        if one.sensor == "invoices":
            one = Reading(
                one.sensor, one.month, "learning", None if one.month < START else 0.1, 9000,
                until="2027-04", text="The same month of last year is not in the log"
            )  # fmt: skip
        elif one.sensor == "abroad" and one.month == START:
            one = replace(one, state="too_few", n=12, z=None, expected=None, sd=None, text="")
        found.append(one)
    return replace(state, readings=tuple(found))


def empty() -> PageState:
    """Nothing was done yet."""
    return PageState(dataset="shop", made_at="2026-04-01 06:00 UTC", day="2026-04-01")


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>]]>&amp;{{ 7 * 7 }}$\\frac$"
RTL = "متجر البيانات \u202eevil"


def hostile() -> PageState:
    """Every text from outside is an attack, very long, or runs from right to left."""
    state, name = broken_data(), HOSTILE + RTL + "x" * 300
    return replace(
        state,
        dataset=name,
        sensors={
            key: SensorNote(name, name, name, 5.0) if key in ("unit", "price") else note
            for key, note in state.sensors.items()
        },
        readings=(
            *(replace(one, text=name) for one in state.readings),
            Reading(name, "2026-09", "alarm", 1.0, 5, 0.0, 0.1, 10.0, 5.0, None, name),
        ),
        verdicts=tuple(
            replace(one, action=name, evidence=(name,), explained=(name,), learning=(name,))
            for one in state.verdicts
        ),
        pooled=(name,),
        drifts=tuple(replace(one, feature=name + one.feature) for one in state.drifts),
        decisions=tuple(replace(one, reason=name) for one in state.decisions),
        runs=tuple(replace(one, run_id=name, winner=name) for one in state.runs),
        alerts=(Alert(name, "2026-09", "page", name, name),),
        scores=tuple(replace(one, path=name) for one in state.scores),
        quality=tuple(replace(one, reasons=(name,), why=name) for one in state.quality),
        requests=replace(
            REQUESTS,
            beside=name,
            features=(FeatureShares(name, 0.5, 0.1, 0.1, 0.5),),
            left_out=(name,),
            text=name,
        ),
        commands={"operate": name, "quarantine": name},
        made_at=name,
        shadow=Shadow(1, 2, 1, 1, (name,), {name: (name, name)}),
    )


MADE = {
    "undrifted": undrifted,
    "rate": rate_drift,
    "rate-6": lambda: until_month(rate_drift(), 6),
    "broken": broken_data,
    "first": first_month,
    "empty": empty,
    "long": lambda: undrifted(60),
    "hostile": hostile,
}
