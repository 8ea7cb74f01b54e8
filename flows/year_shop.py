"""The shop of a simulated year: its log as monthly files, and what is planted in it."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

from common.duck import connect, literal, parquet
from configs.settings import Settings
from configs.source import Drift

# What is planted, and what to call it.
DRIFTS: dict[str, tuple[dict[str, float], str]] = {
    "none": ({}, "nothing was planted"),
    "rate": ({"purchase_rate": 0.8}, "customers began to buy a fifth less often"),
    "price": ({"price_level": 1.1}, "every price was raised by a tenth"),
    "unit": ({"broken_unit": 0.05}, "a twentieth of the lines began to count pieces for dozens"),
    "missing": ({"missing_customers": 0.2}, "a fifth of the repeat invoices lost their customer"),
    "mix": ({"customer_mix": 0.5}, "half of the new customers came from abroad"),
}


def log_end(settings: Settings) -> date:
    """The first day after the simulated log."""
    simulation = settings.source.simulation
    return date.fromordinal(simulation.start.toordinal() + simulation.days)


def write_months(settings: Settings, drift: str, planted: date, folder: Path) -> Path:
    """Simulate the log, and write the rows of each month into a file of its own, `2026-04.parquet`;
    returns their folder, which is made once. A row without a usable time is in the file of the row
    before it."""
    from simulator.simulator import simulate

    if folder.exists():
        return folder
    effects, _ = DRIFTS[drift]
    simulation = settings.source.simulation
    if effects:
        change = Drift.model_validate({"on": planted, **effects})
        simulation = simulation.model_copy(update={"drift": change})
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    raw = simulate(simulation, settings.seed, aside).raw
    with connect(aside, settings.compute, ordered=True) as connection:
        start, end = f"DATE '{simulation.start}'", f"DATE '{log_end(settings)}'"
        connection.execute(f"""
            CREATE TABLE log AS
            SELECT *, last_value(
                CASE WHEN invoiced_at >= {start} AND invoiced_at < {end}
                     THEN strftime(invoiced_at, '%Y-%m') END IGNORE NULLS
            ) OVER (ORDER BY place) AS month
            FROM (SELECT row_number() OVER () AS place, * FROM {parquet(raw)})
        """)
        months = connection.execute(
            "SELECT DISTINCT month FROM log WHERE month IS NOT NULL ORDER BY month"
        ).fetchall()
        for (month,) in months:
            connection.execute(f"""
                COPY (
                    SELECT * EXCLUDE (place, month) FROM log
                    WHERE coalesce(month, '{months[0][0]}') = '{month}' ORDER BY place
                ) TO {literal(aside / f"{month}.parquet")} (FORMAT parquet)
            """)
    raw.unlink()
    aside.rename(folder)
    return folder


def deliver(months: Path, delivered: Path, *, before: str | None = None, month: str = "") -> None:
    """Copy the files of the months before one, or of a month, to where the source reads them."""
    delivered.mkdir(exist_ok=True)
    for file in sorted(months.glob("*-*.parquet")):
        wanted = file.stem < before if before is not None else file.stem == month
        if wanted and not (delivered / file.name).exists():
            aside = delivered / f".{file.name}"
            shutil.copyfile(file, aside)
            aside.rename(delivered / file.name)
