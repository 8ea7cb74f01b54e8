"""A year of monitoring in values: demand falls in July, the champion is changed in December."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from monitoring.alerts import Alert
from monitoring.facts import Estimate, Performance, Reading, Verdict, add_months, end_of
from monitoring.prometheus import Standing

FIRST = "2025-10"
MONTHS = [add_months(FIRST, place) for place in range(12)]
SENSORS = {"price": 6.0, "unit": 5.0, "anonymous": 5.0, "abroad": 4.8, "invoices": 4.0}


def standing(month: str, dataset: str = "shop-1") -> Standing:
    place = MONTHS.index(month)
    alarm = place in (9, 10)
    version = 1 if place < 6 else 2
    readings = []
    for order, (name, limit) in enumerate(SENSORS.items()):
        z = -5.0 - place / 10 if alarm and name == "invoices" else (place * 7 + order) % 5 - 2.0
        state = "alarm" if abs(z) > limit else "ok"
        value, expected, sd = 1.0 + z / 100, 1.0, 0.01
        readings.append(Reading(name, month, state, value, 5000, expected, sd, z, limit))
    auc = 0.78 - place / 1000
    end = end_of(month)
    verdict = Verdict(
        month=month,
        verdict="changed demand" if alarm else "calendar",
        action="Retraining is due when labels ripen." if alarm else "Nothing.",
        since=MONTHS[9] if alarm else month,
        evidence=(),
        champion=version,
        retrain_due=str(end + timedelta(days=180)) if alarm else None,
    )
    alert = Alert("invoices", MONTHS[9], month, None, "ticket", "changed demand", "text", "")
    at = datetime.combine(end, time(), UTC)
    return Standing(
        dataset=dataset,
        verdict=verdict,
        readings=readings,
        performance=[
            Performance(
                version=version,
                as_of=(str(end),),
                rows=3000,
                positives=1500 + place,
                observed=0.5,
                predicted=0.51 + place / 500,
                roc_auc=auc,
                roc_auc_low=auc - 0.01,
                roc_auc_high=auc + 0.01,
            )
        ],
        estimates=[Estimate(str(end), version, 3000, auc, auc - 0.02, auc + 0.02, 1490.5)],
        champion=version,
        scored_rows=3000 + place,
        alerts=[alert] if alarm else [],
        queued=int(alarm),
        successes={name: at + timedelta(hours=3) for name in ("score", "monitor", "operate")},
    )
