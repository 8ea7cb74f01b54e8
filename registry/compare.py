"""May a champion be scored on today's test rows, and would the comparison be fair?"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from configs.settings import Settings

QUESTION = ("horizon_days", "active_days", "home_country", "invoice_days")


def question(settings: Settings) -> dict[str, Any]:
    """What a model answers, and about which world: two models with different ones cannot be
    compared. A file may grow from month to month; a simulation of another seed is another shop."""
    source = settings.source
    if source.kind == "table":
        table = source.table
        return {"source": source.kind, "target": table.target, "positive": table.positive}
    asked = {name: getattr(settings.features, name) for name in QUESTION}
    if source.kind == "simulated":
        simulated = source.simulation.model_dump(mode="json", exclude={"days", "drift"})
        return {**asked, "source": source.kind, "seed": settings.seed, **simulated}
    return {**asked, "source": source.kind}


def held_out_sha256(table: Path, settings: Settings) -> str:
    """Which rows the test split holds, in whatever order: their identifiers and labels, and where
    the source has no identifiers their values too (a row number says nothing about a row).

    "" for a log: there the as-of dates say what a model has seen.
    """
    import pyarrow.parquet as pq

    if settings.source.kind != "table":
        return ""
    named = settings.source.table.id is not None
    columns = ["customer_id", "label"] if named else None
    rows = pq.read_table(table, columns=columns, filters=[("split", "==", "test")])
    if not named:
        rows = rows.drop_columns(["customer_id"])
    # Through text, so that a missing value is the same as itself.
    lines = sorted("\x1f".join(map(str, row.values())) for row in rows.to_pylist())
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def why_not_comparable(
    champion: dict[str, Any],
    today: dict[str, Any],
    test_dates: list[str],
    test_rows: str = "",
) -> str:
    """ "" when the champion (the content of its `bundle.json`) can be judged fairly on test rows of
    these as-of dates; otherwise the reason.

    test_rows: their `held_out_sha256`, which decides for a table without dates. There only the
    rows that were the champion's own test split are known to be new to it.
    """
    theirs = champion.get("question", {})
    for name in dict.fromkeys([*today, *theirs]):
        if today.get(name) != theirs.get(name):
            return (
                f"it answers another question: {name} is {theirs.get(name)!r} for it,"
                f" {today.get(name)!r} for this run"
            )
    if not test_dates:
        if not test_rows or champion.get("held_out_sha256") != test_rows:
            return (
                "the test rows are not those that were kept from it: it may have learnt from some"
                " (a column that names the split, source.table.split, keeps them the same)"
            )
        return ""
    learnt_from = max(champion["as_of"]["train"] + champion["as_of"]["valid"])
    seen_until = date.fromisoformat(learnt_from) + timedelta(days=today["horizon_days"])
    if seen_until > date.fromisoformat(min(test_dates)):
        return (
            f"it learnt from outcomes up to {seen_until}, which the test rows of {min(test_dates)}"
            " ask about"
        )
    return ""
