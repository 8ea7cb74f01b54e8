"""Measure the sensors: one figure per sensor and calendar month, from the month's own rows.

SENSORS describes each of them: what it measures, what an alarm of it means, and its limits. The
order there is the order everywhere. The limits were chosen on simulated shops of the seeds 1000 to
1199, and accepted on others (`make bench-monitoring`, docs/monitoring.md).

The figures come from SQL on DuckDB over the valid rows and the quarantine; `monitoring/sensors.py`
compares them with a baseline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.duck import connect, literal, parquet
from configs.settings import Compute
from monitoring.facts import (
    VerdictName,
    add_months,
    first_day,
    month_number,
    month_of,
    months_between,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HISTORY = 6  # months of a product's own past
MANY = 6  # times the usual quantity
FEW_LINES = 5  # of a product in its past: with fewer it has no usual price and quantity
TRIM = 10  # the price sensor leaves out a tenth of the products at either end
WHOLE_UNTIL = 7  # a log that begins on this day of a month has the month whole


@dataclass(frozen=True)
class Sensor:
    """What a sensor means, and its limits.

    verdict: what an alarm means.  unit: of value, expected and sd.  c: limit of |z|.
    floor: least standard deviation between months.  least: n below it is too few to judge.
    of: what n counts.  needs: columns, of each group one.  own_past: compares with the months
    before, which after some months of a change include it themselves.  sentence: what the share
    is of, for sensors that measure a share ("2.1% of 900 <sentence>").

    A new sensor needs its entry in SENSORS, a query below and its name in `measure_months`; its
    sampling noise is that of a share (`sensors._noise`). A baseline keeps c and floor: a changed
    limit counts from the next `make rebaseline` on, and until then a new sensor is learning.
    """

    meaning: str
    verdict: VerdictName
    unit: str
    c: float
    floor: float
    least: int
    of: str
    needs: tuple[tuple[str, ...], ...] = ()
    own_past: bool = False
    sentence: str = ""


SENSORS = {
    "price": Sensor(
        meaning="unit prices beside those of the same products in their last six months: mean log"
        " ratio over products, without the tenth at either end",
        verdict="broken data",
        unit="log ratio",
        c=6.0,
        floor=0.005,
        least=50,
        of="lines",
        needs=(("product_id",), ("unit_price", "amount"), ("unit_price", "quantity")),
        own_past=True,
    ),
    "unit": Sensor(
        meaning="share of lines with more than six times their product's usual quantity, which is"
        " its geometric mean in its last six months",
        verdict="broken data",
        unit="share of lines",
        c=5.0,
        floor=0.003,
        least=200,
        of="lines",
        needs=(("product_id",), ("quantity",)),
        own_past=True,
        sentence="lines are above six times their product's usual quantity",
    ),
    "anonymous": Sensor(
        meaning="share of invoices that name no customer, of those whose lines are valid otherwise",
        verdict="broken data",
        unit="share of invoices",
        c=5.0,
        floor=0.005,
        least=50,
        of="invoices",
        sentence="invoices name no customer",
    ),
    "abroad": Sensor(
        meaning="share of new customers (of this month's first invoice) who live abroad",
        verdict="changed demand",
        unit="share of new customers",
        c=4.8,
        floor=0.01,
        least=20,
        of="new customers",
        needs=(("country",),),
        sentence="new customers live abroad",
    ),
    "invoices": Sensor(
        meaning="invoices, with and without a customer, beside the same month of last year with"
        " this month's weekdays: log ratio, against the usual ratio",
        verdict="changed demand",
        unit="log ratio",
        c=3.5,
        floor=0.01,
        least=50,
        of="invoices",
    ),
}


@dataclass(frozen=True)
class Measured:
    """What a sensor measures in a month, whatever the baseline.

    value: in the sensor's unit; None where nothing can be measured.  n: what the value is made of
    (`Sensor.of`).  before: invoices of the same month of last year, had it had this month's
    weekdays; None where the log has no last year.  missing: columns that the source would need;
    then nothing is measured.
    """

    sensor: str
    month: str
    value: float | None
    n: int
    before: float | None = None
    missing: str = ""


# --- measuring --------------------------------------------------------------------------------

# Months are counted from the year 0. Logarithms are added up as whole millionths, and so are
# ratios: the last digits of a sum of doubles depend on the order of its rows.
MONTH = "CAST(12 * year(invoiced_at) + month(invoiced_at) - 1 AS INTEGER)"
MICRO = 1e6
SALES = """
CREATE TEMP VIEW sales AS
SELECT {month} AS month, * FROM {transactions} WHERE quantity > 0 AND invoiced_at < {until};

-- Valid except for the missing customer. A second copy of a row also has the reason `duplicate`.
CREATE TEMP VIEW anonymous AS
SELECT {month} AS month, * FROM {quarantine}
WHERE quantity > 0 AND invoiced_at < {until} AND reasons = ['missing_customer'];
"""
PRODUCTS = """
CREATE TEMP TABLE products AS
SELECT month, product_id, count(*) AS lines,
       CAST(sum(CAST(round(ln(quantity) * {micro}) AS BIGINT)) AS BIGINT) AS quantity,
       count(unit_price) FILTER (unit_price > 0) AS priced,
       CAST(sum(CAST(round(ln(unit_price) * {micro}) AS BIGINT)) FILTER (unit_price > 0) AS BIGINT)
           AS price
FROM sales WHERE product_id IS NOT NULL GROUP BY ALL;

CREATE TEMP TABLE past AS
SELECT month + back AS month, product_id, CAST(sum(lines) AS BIGINT) AS lines,
       CAST(sum(priced) AS BIGINT) AS priced, sum(quantity) / sum(lines) AS quantity,
       sum(price) / sum(priced) AS price
FROM products, (SELECT unnest(range(1, {history} + 1)) AS back)
GROUP BY ALL;
"""
PRICE = """
WITH ratios AS (
    SELECT month, now.priced AS lines,
           CAST(round(now.price / now.priced - past.price) AS BIGINT) AS ratio
    FROM products AS now JOIN past USING (month, product_id)
    WHERE now.priced > 0 AND past.priced >= {few_lines}
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY month ORDER BY ratio) AS place,
           count(*) OVER (PARTITION BY month) AS products
    FROM ratios
)
SELECT month, sum(ratio) FILTER (
           place > products // {trim} AND place <= products - products // {trim}
       ) / {micro} / (any_value(products) - 2 * (any_value(products) // {trim})),
       CAST(sum(lines) AS BIGINT)
FROM ranked GROUP BY month
"""
UNIT = """
SELECT month,
       count(*) FILTER (ln(sales.quantity) * {micro} > past.quantity + ln({many}) * {micro})
           / count(*),
       count(*)
FROM sales JOIN past USING (month, product_id)
WHERE past.lines >= {few_lines} GROUP BY month
"""
# A row without a number is an invoice: anonymous rows of a source without invoice numbers.
INVOICES = "count(DISTINCT invoice_id) + count(*) FILTER (invoice_id IS NULL)"
COUNTS = f"""
SELECT month, coalesce(named, 0), coalesce(nameless, 0)
FROM (SELECT month, {INVOICES} AS named FROM sales GROUP BY month)
FULL JOIN (SELECT month, {INVOICES} AS nameless FROM anonymous GROUP BY month) USING (month)
"""
ABROAD = """
WITH by_month AS (
    SELECT customer_id, month, arg_min(country, (invoiced_at, country)) AS country
    FROM sales GROUP BY ALL
),
-- In a struct, because arg_min passes over NULL: to another month, which may be a later one.
firsts AS (
    SELECT min(month) AS month, arg_min({{'of': country}}, month)['of'] AS country
    FROM by_month GROUP BY customer_id
)
SELECT month, count(*) FILTER (country <> {home}) / count(*), count(*)
FROM firsts WHERE country IS NOT NULL GROUP BY month
"""
DAYS = f"""
SELECT CAST(invoiced_at AS DATE), {INVOICES}
FROM (SELECT invoiced_at, invoice_id FROM sales
      UNION ALL SELECT invoiced_at, invoice_id FROM anonymous)
GROUP BY 1
"""


def measure_months(
    transactions: Path,
    quarantine: Path,
    *,
    until: date,
    declared: frozenset[str],
    home_country: str,
    compute: Compute,
    folder: Path,
) -> list[Measured]:
    """Measure each sensor in each calendar month that is over at `until`, in that order.

    transactions, quarantine: Parquet, as `ingestion/validate.py` writes them.  until: the first day
    whose rows are not used.  declared: columns that the source has (`settings.source.declared`).
    home_country: not abroad.  folder: where DuckDB may spill.

    The figures of a month depend on the rows up to its end alone, and not on their order. The
    months are consecutive from the first row on: one without rows is included, with n = 0.
    """
    missing = {name: _missing(sensor, declared) for name, sensor in SENSORS.items()}
    places = {
        "month": MONTH,
        "transactions": parquet(transactions),
        "quarantine": parquet(quarantine),
        "until": f"TIMESTAMP '{until}'",
        "home": literal(home_country),
        "micro": MICRO,
        "history": HISTORY,
        "few_lines": FEW_LINES,
        "trim": TRIM,
        "many": MANY,
    }
    with connect(folder, compute) as connection:
        connection.execute(SALES.format(**places))
        days = dict(connection.execute(DAYS).fetchall())
        if not days:
            return []
        counts = _by_month(connection, COUNTS)  # invoices with a customer, and without
        figures = {}
        if not (missing["price"] and missing["unit"]):
            connection.execute(PRODUCTS.format(**places))
        for name, query in (("price", PRICE), ("unit", UNIT), ("abroad", ABROAD)):
            if not missing[name]:
                figures[name] = _by_month(connection, query.format(**places))
    first = min(days)
    months = months_between(month_of(first), add_months(month_of(until), -1))
    figures["anonymous"] = {
        month: (nameless / (named + nameless), named + nameless)
        for month, (named, nameless) in counts.items()
    }
    measured = []
    for name in SENSORS:
        for month in months:
            if name == "invoices":
                measured.append(_beside_last_year(counts, days, month, first))
            elif missing[name]:
                measured.append(Measured(name, month, None, 0, missing=missing[name]))
            else:
                value, n = figures[name].get(month_number(month), (None, 0))
                measured.append(Measured(name, month, value, n))
    return measured


def _by_month(connection: DuckDBPyConnection, query: str) -> dict[int, tuple[Any, Any]]:
    return {month: (value, n) for month, value, n in connection.execute(query).fetchall()}


def _beside_last_year(
    counts: dict[int, tuple[int, int]], days: dict[date, int], month: str, first: date
) -> Measured:
    """Measure the invoices against last year's. A month without rows has no ratio: a sensor cannot
    know whether they are late."""
    n = sum(counts.get(month_number(month), (0, 0)))
    last_year = add_months(month, -12)
    if last_year < _first_whole(first):
        return Measured("invoices", month, None, n)
    before = sum(counts.get(month_number(last_year), (0, 0)))
    # How much is sold on each weekday, in the twelve months before. A month has four or five of it.
    sold, occurrences = [0] * 7, [0] * 7
    for day in _days(last_year, month):
        sold[day.weekday()] += days.get(day, 0)
        occurrences[day.weekday()] += 1
    each = [count / number for count, number in zip(sold, occurrences)]
    now, then = (
        sum(each[day.weekday()] for day in _days(start, add_months(start, 1)))
        for start in (month, last_year)
    )
    adjusted = before * now / then if then else 0.0
    value = math.log(n / adjusted) if n and adjusted else None
    return Measured("invoices", month, value, n, before=adjusted)


def _days(first: str, stop: str) -> list[date]:
    """List the days of the months from `first` up to and excluding `stop`."""
    begin = first_day(first)
    return [begin + timedelta(days=n) for n in range((first_day(stop) - begin).days)]


def _first_whole(first: date) -> str:
    """Return the first month that the log covers from its beginning."""
    return add_months(month_of(first), int(first.day > WHOLE_UNTIL))


def _missing(sensor: Sensor, declared: frozenset[str]) -> str:
    """Name the columns that the sensor needs and the source does not have."""
    return ", ".join(
        dict.fromkeys(" or ".join(group) for group in sensor.needs if not declared & set(group))
    )
