"""Online Retail II for `make bench-monitoring`: what the sensors say of its second year.

The baseline is its first twelve months. December 2011 ends on its ninth day and is not judged. The
same rows are also read with drift planted in them, because simulated prices vary less than real
ones: from June 2011 on, prices a tenth higher, a twentieth of the products counted by the piece at
the price of a dozen, a fifth of the invoices without their customer, and half of the new customers
from France.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

from common.duck import connect, literal, parquet
from configs.load import load
from ingestion.files import read_file
from ingestion.outcome import QUARANTINE, TRANSACTIONS
from ingestion.validate import validate_batch
from monitoring.facts import Reading, add_months
from monitoring.measure import SENSORS
from monitoring.sensors import freeze, read_month
from tests.bench.monitoring_shops import measure, months_to_alarm

BASELINE = [add_months("2009-12", n) for n in range(12)]
JUDGED = [add_months("2010-12", n) for n in range(12)]
END = date(2011, 12, 1)
PLANTED = "2011-06"
# drift -> its sensor, and the columns of valid rows since then. Hashes choose, so that it is the
# same in every run.
SINCE = f"invoiced_at >= TIMESTAMP '{PLANTED}-01'"
DRIFTS = {
    "price": ("price", f"CASE WHEN {SINCE} THEN round(unit_price * 1.1, 2) ELSE unit_price END"
              " AS unit_price"),
    "unit": ("unit", f"CASE WHEN {SINCE} AND hash_of(product_id) % 20 = 0 THEN 12 * quantity"
             " ELSE quantity END AS quantity"),
    "missing": ("anonymous", f"CASE WHEN {SINCE} AND hash_of(invoice_id) % 5 = 0 THEN NULL"
                " ELSE customer_id END AS customer_id"),
    "mix": ("abroad", f"CASE WHEN {SINCE} AND hash_of(customer_id) % 2 = 0 THEN 'France'"
            " ELSE country END AS country"),
}  # fmt: skip


def real_log_readings(log: Path) -> dict[str, Any]:
    """Readings of the second year: how often each state, and what is not `ok` in full; and how soon
    planted drift is found."""
    settings = load("online_retail", ["--source.path", str(log)], {})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read_file(settings.source, log, folder / "rows.parquet", settings.compute, label="real")
        now = datetime(2012, 1, 1)
        validate_batch([folder / "rows.parquet"], folder, settings.contract, now=now)
        readings = _read(settings, folder)
        planted = []
        for drift, (sensor, column) in DRIFTS.items():
            _plant(folder, folder / drift, column)
            found = _read(settings, folder / drift)
            month = months_to_alarm(found, sensor, since=PLANTED)
            first = [r for r in found if r.sensor == sensor and r.month == PLANTED]
            planted.append(
                {"drift": drift, "sensor": sensor, "month": month, "text": first[0].text}
            )
    by_state = {
        state: [asdict(r) for r in readings if r.state == state]
        for state in ("alarm", "pending", "learning")
    }
    return {
        "months": JUDGED,
        "states": {
            name: dict(Counter(r.state for r in readings if r.sensor == name)) for name in SENSORS
        },
        "largest_z": {
            name: max((abs(r.z) for r in readings if r.sensor == name and r.z), default=None)
            for name in SENSORS
        },
        "alarms": by_state["alarm"],
        "pending": by_state["pending"],
        "learning": by_state["learning"][:1],  # it is the same in every month
        "planted": planted,
    }


def _read(settings: Any, folder: Path) -> list[Reading]:
    measured = measure(settings, folder, END)
    baseline = freeze(measured, BASELINE)
    return [reading for month in JUDGED for reading in read_month(measured, baseline, month)]


def _plant(clean: Path, folder: Path, column: str) -> None:
    """The valid rows with that column replaced; those without a customer go into quarantine."""
    folder.mkdir()
    with connect(folder) as connection:
        connection.execute("CREATE MACRO hash_of(text) AS CAST(md5_number(text) % 1000 AS INTEGER)")
        connection.execute(
            f"CREATE TABLE changed AS SELECT * REPLACE ({column})"
            f" FROM {parquet(clean / TRANSACTIONS)}"
        )
        for name, query in (
            (TRANSACTIONS, "SELECT * FROM changed WHERE customer_id IS NOT NULL"),
            (
                QUARANTINE,
                f"SELECT * FROM {parquet(clean / QUARANTINE)} UNION ALL BY NAME"
                " SELECT *, ['missing_customer'] AS reasons FROM changed"
                " WHERE customer_id IS NULL",
            ),
        ):
            connection.execute(f"COPY ({query}) TO {literal(folder / name)} (FORMAT parquet)")
