"""May a champion be scored on today's test rows, and would the comparison be fair?"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from configs.settings import Settings

QUESTION = ("horizon_days", "active_days", "home_country", "invoice_days")


def question(settings: Settings) -> dict[str, Any]:
    """What a model answers, and about which world: two models with different ones cannot be
    compared. A file may grow from month to month; a simulation of another seed is another shop."""
    asked = {name: getattr(settings.features, name) for name in QUESTION}
    source = settings.source
    if source.kind == "simulated":
        simulated = source.simulation.model_dump(mode="json", exclude={"days", "drift"})
        return {**asked, "source": source.kind, "seed": settings.seed, **simulated}
    return {**asked, "source": source.kind}


def why_not_comparable(
    champion: dict[str, Any], today: dict[str, Any], test_dates: list[str]
) -> str:
    """ "" when the champion (the content of its `bundle.json`) can be judged fairly on test rows of
    these as-of dates; otherwise the reason."""
    theirs = champion.get("question", {})
    for name in dict.fromkeys([*today, *theirs]):
        if today.get(name) != theirs.get(name):
            return (
                f"it answers another question: {name} is {theirs.get(name)!r} for it,"
                f" {today.get(name)!r} for this run"
            )
    learnt_from = max(champion["as_of"]["train"] + champion["as_of"]["valid"])
    seen_until = date.fromisoformat(learnt_from) + timedelta(days=today["horizon_days"])
    if seen_until > date.fromisoformat(min(test_dates)):
        return (
            f"it learnt from outcomes up to {seen_until}, which the test rows of {min(test_dates)}"
            " ask about"
        )
    return ""
